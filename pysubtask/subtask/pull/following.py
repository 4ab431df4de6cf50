"""A file was renamed on the server: the local one follows, and is not fetched once more."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.pull import HEAD_BYTES, Mark, Pulled, Told
from pysubtask.errors import RemoteError
from pysubtask.subtask.delivery.engine import Step
from pysubtask.subtask.pull.session import Session

__all__ = ["Following"]


class Following:
    """Follows renamed files."""

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
