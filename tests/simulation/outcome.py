"""What became of one history."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """What became of one history."""

    seed: int
    kind: str = ""
    """``""`` if all promises held; else ``torn``, ``lost``, ``crash`` …"""
    message: str = ""
    counts: dict[str, int] = field(default_factory=dict)
