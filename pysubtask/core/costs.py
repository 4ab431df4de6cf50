"""What each ability of a destination is good for, and what it costs where it is missing.

One table, pure: ``pysubtask doctor`` shows it; ``status().notes`` and the subtask's log say what is
missing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pysubtask.core.capabilities import Capabilities

__all__ = ["ABILITIES", "Ability", "costs_of", "missing"]


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that a destination can do or can't."""

    name: str
    """The field of :class:`~pysubtask.core.capabilities.Capabilities`."""
    title: str
    """What it is, as a thing that can be there or be missing."""
    gain: str
    """What delivery makes of it."""
    cost: str
    """What its absence costs."""


ABILITIES: tuple[Ability, ...] = (
    Ability(
        "positioned_write",
        "append to a visible file",
        "a file that grows costs its new bytes",
        "a file that grows is sent whole, each time",
    ),
    Ability(
        "atomic_replace",
        "replace a file in one step",
        "readers find the old version or the new one at every instant",
        "while a new version takes the old one's place there is for a moment no file, "
        "never half a one",
    ),
    Ability(
        "sequential",
        "handle requests in order, for certain",
        "a write and the check of its size share one round trip",
        "one more round trip for each append, since the check has to wait for the write",
    ),
    Ability(
        "server_copy",
        "copy on the server",
        "what is there already need not be sent again",
        "a file that changed inside is sent whole",
    ),
    Ability(
        "fsync",
        "put data on the server's disk",
        "what was acknowledged survives the server's loss of power",
        "a loss of power at the server may take what it has acknowledged",
    ),
    Ability(
        "readable",
        "read back",
        "what is there is compared, not believed",
        "after a break the last part is sent again, and a foreign file is not recognised as ours",
    ),
)


def missing(can: Capabilities) -> tuple[Ability, ...]:
    """What the destination can't do."""
    return tuple(ability for ability in ABILITIES if not getattr(can, ability.name))


def costs_of(can: Capabilities) -> tuple[str, ...]:
    """What the destination can't do and what that costs, beyond what its ``limits`` say of it."""
    return tuple(
        f"the destination can't {ability.title}: {ability.cost}"
        for ability in missing(can)
        if ability.name not in can.told
    )
