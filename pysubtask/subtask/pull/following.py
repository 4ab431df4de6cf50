"""What else happens to a file: it is renamed on the server, or removed there once it is safe."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from pysubtask.core.pull import HEAD_BYTES, Mark, Pulled, Told
from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import Step, call
from pysubtask.subtask.pull.session import Session, mark_of
from pysubtask.transports.contract import Remove, Stat

__all__ = ["Following"]


class Following:
    """Follows renamed files, and removes what was fetched."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_moved(self, entry: Pulled, name: str, remote: Mark) -> Generator[Step, Any, bool]:
        """Whether the remote file ``name`` begins with all that was fetched as ``entry``."""
        tells = HEAD_BYTES <= entry.size <= remote.size or 0 < entry.size == remote.size
        if not tells or self._session.places.look(entry) != "as_left":
            return False
        try:
            there = yield from self._session.read_prints(name, entry.size)
        except RemoteError:
            return False
        return there == (entry.head, entry.tail)

    def move(self, entry: Pulled, path: str, name: str) -> bool:
        """Rename the local file as the remote one was renamed; False if the program was quicker.

        Raises:
            OSError: the disk refuses.
        """
        told = Told("renamed", entry.size)
        moved = replace(entry, path=path, remote=name, place=path, told=told)
        self._session.journal.update(path, lambda e: moved, remote=name)
        self._session.journal.sync()  # else, after a loss of power, it would be the program's own
        places = self._session.places
        if places.is_there(path) or places.look(entry) != "as_left":
            self._session.journal.update(path, lambda e: Pulled(path=path, remote=name))
            return False
        places.move(entry.place, path)
        self._session.journal.update(
            entry.path, lambda e: Pulled(path=entry.path, remote=entry.remote)
        )
        self._session.log.info("%s is %s on the server now; here, too", entry.path, name)
        self._session.tell(path, told)
        return True

    def remove(self, path: str) -> Generator[Step, Any, bool]:
        """Remove a remote file whose content is safe here, unless it has changed since."""
        entry = self._session.entry(path)
        if entry.source is None or entry.passage is not None:
            return False
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            return False
        if entry.source.is_vague or not mark_of(st).is_like(entry.source):
            return False
        try:
            yield from call(Remove(entry.remote))
        except RemoteNotFound:
            return False
        self._session.log.info("removed %s on the server: it is safe here", entry.remote)
        return True
