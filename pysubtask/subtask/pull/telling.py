"""Telling the program what has arrived, and noting that it was told."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec.structs import replace

from pysubtask.core.pull import Pulled, Told
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.takeover import settle_move
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = ["Telling"]


class Telling:
    """Of one source. That the program was told is noted once ``<file>.arrived`` is on the disk,
    with the next sync: until then a loss of power, or a kill, has it told again.

    Args:
        token_hex: a new temporary name.
    """

    def __init__(
        self,
        journal: RecordLog[Pulled],
        places: Places,
        news: News,
        *,
        token_hex: Callable[[], str],
        log: logging.Logger,
    ) -> None:
        self._journal = journal
        self._places = places
        self._news = news
        self._token_hex = token_hex
        self._log = log
        self._said: dict[str, tuple[Told, int]] = {}
        """What the program was told by this process, and up to which size, by path."""

    def is_told(self, entry: Pulled) -> bool:
        """Whether there is nothing that the program was not told of."""
        return entry.told is None or self._said.get(entry.path) == (entry.told, entry.size)

    def tell(self, path: str, told: Told) -> None:
        """Tell the program of a file; what can't be told now is told later.

        Raises:
            OSError: the journal can't be written.
        """
        self._journal.update(path, lambda e: replace(e, told=told))
        self.tell_again(path)

    def tell_again(self, path: str) -> None:
        """Tell the program of what it may not have been told yet.

        Raises:
            OSError: the journal can't be written.
        """
        entry = self._journal.get(path)
        if entry is None or entry.told is None or self.is_told(entry):
            return
        try:
            if not settle_move(self._journal, self._places, path):
                return
            self._news.tell(entry.place, entry.remote, entry.told, entry.size, self._token_hex())
        except OSError as error:
            self._log.warning("tell of %s: %s; will be repeated", entry.place, error)
            return
        self._places.names_changed()
        self._said[path] = (entry.told, entry.size)
        self._journal.after_sync(lambda: self.note(path, must=False))

    def note(self, path: str, *, must: bool = True) -> None:
        """Note that it was told of, if so: what comes next is news of its own.

        Raises:
            OSError: the journal can't be written (``must``).
        """
        entry = self._journal.get(path)
        if entry is not None and entry.told is not None and self.is_told(entry):
            self._journal.update(path, lambda e: replace(e, told=None), must=must)
        self._said.pop(path, None)

    def first_news(self, entry: Pulled) -> int:
        """From where on the program has not been told of a file, or has not dealt with that."""
        starts = [entry.size]
        if entry.told is not None and not self.is_told(entry):
            starts.append(entry.told.start)
        pending = self._news.pending(entry.place)
        if pending is not None:
            starts.append(pending.start_bytes)
        return min(starts)

    def withdraw(self, place: str) -> None:
        """Nothing is to be told of that name any more: its file has another one."""
        self._news.withdraw(place)
