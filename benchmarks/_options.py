"""What every member of the program can be told on the command line."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How thorough a benchmark is.

    Attributes:
        rounds: how often each contender runs; None: as the benchmark thinks best.
        quick: small sizes, to see that it runs; the figures mean nothing.
        folder: below it all data lie; default: memory.
        without_peers: only pysubtask and what is no program of its own.
    """

    rounds: int | None = None
    quick: bool = False
    folder: str | None = None
    without_peers: bool = False
