"""Files that may have another name on the server now: a log was rotated.

Then the local file is renamed, too, instead of fetched once more. New names are looked at first,
and those that may have moved wait for that.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

from pysubtask.core.pull import Pulled
from pysubtask.subtask.delivery.engine import Step
from pysubtask.subtask.pull.following import Following
from pysubtask.subtask.pull.looking import Sight
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = ["Renames"]


class Renames:
    """What of one look may be a rename."""

    def __init__(self, journal: RecordLog[Pulled], places: Places) -> None:
        self._journal = journal
        self._places = places
        self._suspects: dict[str, Pulled] = {}
        self._naming: set[str] = set()

    @property
    def are_open(self) -> bool:
        """Whether a new name is being looked at."""
        return bool(self._naming)

    def begin(self, sights: dict[str, Sight]) -> None:
        """After a look: known files that may have moved, if there are new names."""
        self._naming.clear()
        self._suspects = {}
        if all(self._journal.get(path) is not None for path in sights):
            return
        for entry in self._journal.entries():
            whole = entry.source is not None and entry.passage is None
            if not whole or entry.place != entry.path or not entry.size or entry.removed:
                continue
            sight = sights.get(entry.path)
            assert entry.source is not None
            if sight is None or not sight.mark.is_like(entry.source):
                self._suspects[entry.path] = entry

    def may_concern(self, path: str) -> bool:
        """Whether a file may have moved."""
        return path in self._suspects

    def expect(self, path: str) -> None:
        """A file is about to be looked at: what may have moved waits, if that is a new name."""
        if self._suspects and self._journal.get(path) is None:
            self._naming.add(path)

    def follow(
        self, following: Following, path: str, sight: Sight, sights: dict[str, Sight]
    ) -> Generator[Step, Any, str | None]:
        """Look at a new name; gives the old one if it is a file that we know."""
        if not self._suspects or self._places.is_there(path):
            self._naming.discard(path)
            return None
        self._naming.add(path)
        for entry in list(self._suspects.values()):
            other = sights.get(entry.path)
            longer = other is not None and other.mark.size >= entry.size
            if longer and not _alike(entry.path, path):
                continue  # most likely it has only grown
            if not (yield from following.is_moved(entry, sight.remote, sight.mark)):
                continue
            if longer and (yield from following.is_still(entry)):
                continue
            if self._suspects.pop(entry.path, None) is None:
                continue  # another name was quicker
            moved = following.move(entry, path, sight.remote)
            self._naming.discard(path)
            return entry.path if moved else None
        self._naming.discard(path)
        return None

    def done(self, path: str) -> None:
        """The job of a name has ended, one way or another."""
        self._naming.discard(path)


def _alike(old: str, new: str) -> bool:
    """Whether the new name may be what a rotation made of the old one: ``a.log``, ``a.log.1``,
    ``a-20261126.log``."""
    return os.path.basename(new).startswith(os.path.basename(old).partition(".")[0])
