"""A file was renamed on the server: the local one follows, and is not fetched once more."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.pull import HEAD_BYTES, Mark, Pulled, Told
from pysubtask.errors import RemoteError
from pysubtask.subtask.delivery.engine import Step
from pysubtask.subtask.pull.session import Session
from pysubtask.subtask.pull.takeover import settle_move

__all__ = ["Following"]


class Following:
    """Follows renamed files."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_moved(self, entry: Pulled, name: str, remote: Mark) -> Generator[Step, Any, bool]:
        """Whether the remote file ``name`` begins with all that was fetched as ``entry``."""
        assert entry.source is not None
        if entry.size == remote.size:  # a rename changes neither time nor digest
            tells = entry.size > 0 and remote.is_like(entry.source) and not remote.is_vague
        else:
            tells = HEAD_BYTES <= entry.size < remote.size
        if not tells or self._session.places.look(entry) != "as_left":
            return False
        return (yield from self._begins_with(entry, name))

    def is_still(self, entry: Pulled) -> Generator[Step, Any, bool]:
        """Whether its old name still stands for what was fetched: another one is a copy then."""
        return (yield from self._begins_with(entry, entry.remote))

    def _begins_with(self, entry: Pulled, name: str) -> Generator[Step, Any, bool]:
        try:
            there = yield from self._session.read_prints(name, entry.size)
        except RemoteError:
            return False
        return bool(there == (entry.head, entry.tail))

    def move(self, entry: Pulled, path: str, name: str) -> bool:
        """Rename the local file as the remote one was renamed; False if the program was quicker.

        Raises:
            OSError: the disk refuses.
        """
        session, places = self._session, self._session.places
        told = Told("renamed", session.telling.first_news(entry))
        # what may still be on its way to another name there had the old one
        moved = replace(entry, path=path, remote=name, place=path, told=told, leaving="")
        session.journal.update(path, lambda e: moved, remote=name)
        # else, after a loss of power, it would be the program's own
        session.journal.sync(must=True)
        if places.is_there(path) or places.look(entry) != "as_left":
            session.journal.update(path, lambda e: Pulled(path=path, remote=name))
            return False
        try:
            places.move(entry.place, path)
        except OSError:  # which may have done the rename, and not have synced the folder
            if not settle_move(session.journal, places, path):
                raise
        session.journal.update(
            entry.path, lambda e: Pulled(path=entry.path, remote=entry.remote, leaving=e.leaving)
        )
        session.log.info("%s is %s on the server now; here, too", entry.path, name)
        session.telling.tell(path, told)
        session.telling.withdraw(entry.place)
        return True
