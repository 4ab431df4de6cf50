"""How much of the fleet one scan could see. Pure.

Whose file was deleted is gone; but what can't be read, or vanished together with half of the
others, says nothing about clients: it is the monitor that can't see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pysubtask.monitor.clients import Client, Sighting
from pysubtask.monitor.names import shown

__all__ = ["Scan", "Sight", "sight_of"]

MIN_LOSS = 2
_FOLDER = "its folder can't be read, or not as a whole"
_VANISHED = "its file vanished together with many others"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source gave: sightings, or why it could not be read."""

    sightings: tuple[Sighting, ...] = ()
    error: str | None = None
    root: str = ""
    """What identifies the folder itself (device and inode); another one is another mount."""
    took_secs: float = 0.0
    warnings: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    """Folders below the top (``site/``) that could not be read: nobody knows of what is in them."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Which of the clients that should be there a scan could see."""

    expected: int
    visible: int
    """Files that could be read, of new clients, too."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """Why files that are there, or may be, could not be read; by the client's name."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Files that are no longer there, by the client's name."""
    swapped: bool = False
    """Another folder lies in the source's place."""

    @property
    def lost_together(self) -> bool:
        """What is missing is so much that it is hardly somebody's decision about clients."""
        lost = len(self.missing)
        if not lost or (lost < MIN_LOSS and not self.swapped):
            return False
        return lost * 2 >= self.expected - len(self.hidden)

    def reason(self, lost: Mapping[str, str]) -> str | None:
        """Why so many can't be seen, in words; None: none, or only some few."""
        unseen = len(lost) + len(self.hidden)
        few = unseen < MIN_LOSS or unseen * 2 < self.expected
        if not unseen or (few and self.visible and not (lost and self.swapped)):
            return None
        if len(lost) >= len(self.hidden):
            other = "another folder is mounted there" if self.swapped else "is it still mounted?"
            return f"{len(lost)} of {self.expected} heartbeat files vanished at once ({other})"
        name, why = min(self.hidden.items())
        return (
            f"{len(self.hidden)} of {self.expected} heartbeat files can't be read "
            f"({shown(name)}: {why})"
        )


def sight_of(scan: Scan, clients: Iterable[Client], root: str) -> Sight:
    """Compare a scan with the clients that were there before; ``root``: of the last scan."""
    hidden = {one.name: one.unread for one in scan.sightings if one.unread is not None}
    there = {one.name for one in scan.sightings}
    visible = len(there) - len(hidden)
    expected = len(hidden)
    missing = {}
    for client in clients:
        if not client.present or client.name in hidden:
            continue
        expected += 1
        if client.name in there:
            continue
        if scan.unread and client.name.startswith(scan.unread):
            hidden[client.name] = _FOLDER
        else:
            missing[client.name] = _VANISHED
    swapped = bool(root and scan.root and scan.root != root)
    return Sight(expected, visible, hidden, missing, swapped)
