"""Finding out whether a destination tells two names apart: by a file of ours that has neither."""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.names import Parting
from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import Step, flight
from pysubtask.subtask.delivery.names import NameTaken
from pysubtask.subtask.delivery.session import TEMP_PREFIX, Session, Steps
from pysubtask.transports.contract import Finish, Put, RemoteStat, Remove, Request, Stat, Write

__all__ = ["NameTrial", "is_trial"]

_DATA = b"\n"


def is_trial(temp: str) -> bool:
    """Whether a temporary name is that of a trial, and not of an upload."""
    return len(posixpath.basename(temp)) > len(TEMP_PREFIX) + 16


class NameTrial:
    """Settles, before anything of a file is sent, that its name is its own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def settle(self, path: str) -> Steps:
        """Nothing, if the name is free for this file.

        Raises:
            NameTaken: it is not.
            RemoteError: the trial was refused.
        """
        names = self._session.names
        if names is None:
            return
        names.connected(self._session.can.folds_names)
        while True:
            found = names.look(path)
            if found is None:
                return
            if isinstance(found, NameTaken):
                raise found
            are_one = yield from self._try(path, found)
            names.learn(found, are_one)
            if are_one is False:
                self._session.log.info(
                    "the destination tells %s and %s apart", found.ours, found.theirs
                )

    def _try(self, path: str, todo: Parting) -> Generator[Step, Any, bool | None]:
        """Make a file with the one, look for it by the other. None where that tells nothing: it
        is not shown, somebody tidied up, a look was refused."""
        session = self._session
        folder = posixpath.join(session.root, todo.folder)
        stem = posixpath.join(folder, f"{TEMP_PREFIX}{session.hooks.token_hex()}")
        ours, theirs = f"{stem}{todo.ours}", f"{stem}{todo.theirs}"
        session.ledger.update(path, lambda e: replace(e, litter=(*e.litter, ours)))
        yield from self._make(ours)
        (other,) = yield from flight(Stat(theirs))
        (mine,) = yield from flight(Stat(ours))  # not before: somebody may tidy up in between
        (removed,) = yield from flight(Remove(ours))
        if removed is None:
            session.ledger.update(
                path,
                lambda e: replace(e, litter=tuple(t for t in e.litter if t != ours)),
                must=False,
            )
        if not isinstance(mine, RemoteStat) or not isinstance(other, RemoteStat | RemoteNotFound):
            return None
        return isinstance(other, RemoteStat)

    def _make(self, name: str) -> Steps:
        requests: tuple[Request, ...] = (Write(name, 0, _DATA, create=True), Finish(name))
        if self._session.can.upload_tokens:
            requests = (Put(name, _DATA, quiet=True),)
        results = yield from flight(*requests)
        if isinstance(results[0], RemoteNotFound):
            yield from self._session.make_folders(posixpath.dirname(name))
            results = yield from flight(*requests)
        for result in results:
            if isinstance(result, RemoteError):
                raise result
