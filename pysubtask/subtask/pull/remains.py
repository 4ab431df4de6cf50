"""What processes before have left of a source's files, and what is there no more."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator

from msgspec.structs import replace

from pysubtask.core.pull import Pulled
from pysubtask.seams.disk import local_words
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.takeover import note_purged, take_growth, take_over, take_over_one
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = ["Remains"]


class Remains:
    """Of one source."""

    def __init__(self, journal: RecordLog[Pulled], places: Places, log: logging.Logger) -> None:
        self._journal = journal
        self._places = places
        self._log = log
        self._untaken: dict[str, OSError] = {}
        """Files of which it is not clear what a process before has left, and why: nothing is done
        to them before it is."""

    @property
    def are_settled(self) -> bool:
        """Nothing that the journal says is here depends on what may not be on the disk."""
        entries = self._journal.entries()
        return not self._untaken and not any(e.passage is not None or e.reach for e in entries)

    def start(self) -> None:
        """Take over what a process before left behind. What the disk refuses is tried again with
        each file, and keeps no other from being fetched."""
        self._untaken = take_over(self._journal, self._places, self._log)
        for path, error in self._untaken.items():
            self._log.warning("look at %s: %s; will be repeated", path, local_words(error))

    def take_over(self, path: str) -> None:
        """What this process, or one before, has left of a file in the middle of something.

        Raises:
            OSError: the disk refuses.
        """
        entry = self._journal.get(path)
        if entry is None:
            return
        if path not in self._untaken:
            take_growth(self._journal, self._places, entry, self._log)
            return
        take_over_one(self._journal, self._places, entry, self._log)
        del self._untaken[path]

    def is_clear(self, entry: Pulled) -> bool:
        """Whether all of a file is here for sure."""
        whole = entry.source is not None and entry.passage is None and not entry.reach
        return whole and entry.path not in self._untaken

    def are_gone(self, seen: Container[str]) -> Iterator[Pulled]:
        """What is neither there nor here any more is forgotten.

        Args:
            seen: what the server shows.

        Yields:
            Files that it does not show, and that are to be put in place all the same.

        Raises:
            OSError: the disk refuses.
        """
        gone = []
        for entry in self._journal.entries():
            if entry.path in seen or entry.leaving or entry.path in self._untaken:
                continue
            if entry.passage is not None and entry.passage.local is not None:
                yield entry
                continue
            if entry.passage is not None:
                self._places.drop_temp(entry.passage.temp)
                self._journal.update(entry.path, lambda e: replace(e, passage=None))
            if entry.source is None or not self._places.is_there(entry.place):
                gone.append(entry.path)
        if gone:
            self._journal.forget(*gone)

    def note_purged(self) -> None:
        """Note whether nothing here may still hold what a loss of power has left."""
        note_purged(self._journal, self._untaken)
