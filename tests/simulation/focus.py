"""Worlds with a bias: in every fourth seed some kind of trouble comes much more often.

Ordinary histories spread over everything that can happen; what needs three things in a row within
the same second hardly ever comes up in them. A focus draws them together. It bends a world that was
drawn as any other, so all the rest may still happen in it, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

__all__ = ["FOCUSES", "Focus", "focus_of", "seeds_with"]

MS = 1_000_000
_EVERY = 4
_PLACE = 1
"""Of every four seeds the one that leaves this remainder has a focus."""


@dataclass(frozen=True, slots=True)
class Focus:
    """How a world is bent. Where a field holds several values, one of them is drawn."""

    about: str
    always: tuple[str, ...] = ()
    """Troubles that it has in any case."""
    weights: dict[str, int] = field(default_factory=dict)
    """How often one of these comes, instead of what ``TROUBLES`` says."""
    trouble_share: float = 0.3
    """The share of events that are trouble."""
    growths: tuple[str, ...] = ()
    """What the declared files are like; ``folder``: they lie in the watched folder instead."""
    servers: tuple[str, ...] = ()
    config: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields of ``Config``."""
    disk: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields of ``FileSystemKind``."""
    settings: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    """What the program does, besides what ``ACTIONS`` has for every file."""
    wait_share: float | None = None
    """The share of actions after which the program waits for the snapshot; None: as always."""
    chase_share: float = 0.0
    """The share of notified actions after which the program acts again at one of the child's very
    next calls, while it is looking."""
    strike_share: float = 0.0
    """The share of actions with a waiting program that one of ``always`` follows at once."""
    mean_request: float = 5.0
    """A cut that counts the server's requests comes at about this one."""
    hands: tuple[str, ...] = ()
    """What another hand does, too."""
    last: tuple[str, ...] = ()
    """Kinds of trouble, one of which ends the script."""

    def draw(self, rng: random.Random, choices: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        """One value for each name."""
        return {name: rng.choice(values) for name, values in choices.items()}


FOCUSES: dict[str, Focus] = {
    "bulk": Focus(
        "big files over a quick link to a server with parallel workers, cut in mid-flight",
        always=("cut",),
        weights={"cut": 20},
        growths=("auto", "append", "rewrite"),
        servers=("go", "wild", "wild", "plain", "write-only"),
        config=dict(
            block_bytes=(300_000, 900_000),
            block_share=(0.4,),
            bytes_per_sec=(0, 2_000_000),
            latency_ns=(50_000, MS),
            jitter_ns=(0,),
        ),
        settings=dict(retry_short_wait_secs=(0.2, 1.0), retry_long_wait_secs=(2.0,)),
        mean_request=12.0,
    ),
    "outage": Focus(
        "the link is down; the power fails over what waits in the outbox",
        always=("power", "refuse"),
        weights={"power": 8, "refuse": 8, "kill": 4},
        trouble_share=0.35,
        growths=("auto", "auto", "rewrite", "append"),
        config=dict(events=(1.0,)),
        disk=dict(zero_tails=(True, True, False), zero_writes=(True, False)),
        settings=dict(retry_long_wait_secs=(2.0, 10.0)),
        wait_share=0.5,
        strike_share=0.3,
    ),
    "trickle": Focus(
        "a slow link on which the power fails between two parts of a file",
        always=("power", "refuse"),
        weights={"power": 10, "refuse": 4, "kill": 3},
        growths=("append", "append", "append", "auto"),
        config=dict(
            bytes_per_sec=(4_000,),
            block_bytes=(20_000, 40_000),
            block_share=(0.5,),
            worst_share=(0.1,),
            events=(1.0,),
            latency_ns=(MS,),
        ),
        settings=dict(retry_long_wait_secs=(2.0,), sync_secs=(2.0, 5.0)),
        wait_share=0.8,
    ),
    "chase": Focus(
        "the program goes on writing while its file is being looked at",
        growths=("rewrite", "rewrite", "auto"),
        config=dict(events=(1.0,), block_share=(0.3,)),
        actions={"rewrite_slowly": 8, "truncate": 8, "overwrite": 4},
        chase_share=0.8,
    ),
    "deaths": Focus(
        "processes die in a row, often within a write to the journal",
        always=("kill",),
        weights={"kill": 20},
        trouble_share=0.4,
        wait_share=0.3,
        strike_share=0.5,
    ),
    "copies": Focus(
        "a longer copy of a file is moved into its place, which is rotated soon",
        growths=("auto",),
        config=dict(events=(1.0, 0.5, 0.0)),
        actions={"copy_longer": 10, "rotate": 8},
        chase_share=0.4,
    ),
    "hands": Focus(
        "somebody else is at the files at the destination",
        always=("foreign",),
        weights={"foreign": 8},
        settings=dict(dead_time_milli=(180_000,), on_remote_gone=("resend",)),
        hands=("outgrow", "outgrow", "outgrow", "outgrow"),
        last=("foreign",),
    ),
    "refusals": Focus(
        "the server, or the local disk, refuses in the middle of a file",
        always=("remote_full", "denied"),
        weights={"remote_full": 12, "denied": 4, "disk_fault": 4},
        trouble_share=0.4,
        growths=("auto", "append"),
        settings=dict(dead_time_milli=(180_000,)),
    ),
    "drops": Focus(
        "files are copied into a watched folder, part by part",
        growths=("folder",),
        config=dict(events=(1.0, 0.5)),
    ),
    "edits": Focus(
        "files are edited inside, on a server that can copy",
        growths=("auto", "rewrite"),
        servers=("openssh",),
        config=dict(block_bytes=(2_000, 20_000), block_share=(0.4,)),
        actions={"edit": 14},
    ),
    "stops": Focus(
        "clean stops while touches arrive",
        always=("restart",),
        weights={"restart": 12, "flush": 6},
        chase_share=0.3,
    ),
}


def focus_of(seed: int) -> str:
    """The name of the focus of a seed's world; ``""`` for an ordinary one."""
    if seed % _EVERY != _PLACE:
        return ""
    return tuple(FOCUSES)[seed // _EVERY % len(FOCUSES)]


def seeds_with(focus: str, start: int, number: int) -> Iterator[int]:
    """The first ``number`` seeds from ``start`` on whose world has this focus (``""``: any)."""
    wanted = (seed for seed in count(start) if not focus or focus_of(seed) == focus)
    return islice(wanted, number)
