"""Removing a file from the server once it is safe here.

No server removes a file only if it is still the one that was seen. So it is first renamed to a
temporary name, under which nobody puts another one, and looked at there: what has changed since it
was fetched gets its name back. Only a writer that holds the file open can still add to it then.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.pull import Pulled
from pysubtask.errors import RemoteNotFound
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.pull.session import Session, Steps, mark_of
from pysubtask.suffixes import TEMP_PREFIX
from pysubtask.transports.contract import RemoteStat, Remove, Rename, Stat

__all__ = ["Removing"]

_MOST_LOOKS = 3
"""So often a temporary name is looked for, a minute apart (what waits on a connection that broke,
the server does soon or never)."""


class Removing:
    """Removes what was fetched.

    Args:
        undecided: by path, how often a temporary name was looked for in vain.
    """

    def __init__(self, session: Session, undecided: dict[str, int]) -> None:
        self._session = session
        self._undecided = undecided

    def remove(self, path: str) -> Steps:
        """Remove a remote file whose content is safe here, unless it has changed since.

        Raises:
            RemoteError: the server refuses.
            OSError: the disk does.
        """
        if self._session.entry(path).leaving:
            yield from self.settle(path)
        entry = self._session.entry(path)
        source = entry.source
        if source is None or entry.passage is not None or source.is_vague:
            return
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            return
        if not mark_of(st).is_like(source):
            return
        if not entry.leaving:
            folder = posixpath.dirname(entry.remote)
            leaving = posixpath.join(folder, TEMP_PREFIX + self._session.token_hex())
            entry = self._session.update(path, lambda e: replace(e, leaving=leaving))
            # else, after a loss of power, nobody would know whose it is
            self._session.journal.sync(must=True)
        self._undecided.pop(path, None)
        # Looked at once more on the heels of which it is renamed: what another one writes in
        # between shows by its time, but for storages on which a rename is a copy with a new time.
        st, refused = yield from flight(Stat(entry.remote), Rename(entry.remote, entry.leaving))
        if refused is not None and not isinstance(refused, RemoteNotFound):
            yield from self.settle(path, last=True)
            raise refused
        same = isinstance(st, RemoteStat) and mark_of(st).is_like(source)
        yield from self.settle(path, was_same=same, last=True)

    def settle(self, path: str, *, was_same: bool = True, last: bool = False) -> Steps:
        """What has its temporary name is removed, or gets its own again.

        Args:
            was_same: it was what was fetched when it got that name, or nobody has seen it then.
            last: if nothing has that name, nothing will. Else an earlier connection may have asked
                for it, and the server may do it yet: so the name stays noted for a while.

        Raises:
            RemoteError: the server refuses.
            OSError: the disk does.
        """
        entry = self._session.entry(path)
        try:
            st = yield from call(Stat(entry.leaving))
        except RemoteNotFound:
            times = self._undecided.get(path, 0) + 1
            if last or times >= _MOST_LOOKS:
                self._done(path)
            else:
                self._undecided[path] = times
            return
        fetched = yield from self._is_fetched(entry, st, was_same=was_same)
        if fetched:
            try:
                yield from call(Remove(entry.leaving))
            except RemoteNotFound:
                pass
            self._session.log.info("removed %s on the server: it is safe here", entry.remote)
        else:
            yield from self._give_back(entry)
        self._done(path, removed=fetched)

    def _is_fetched(
        self, entry: Pulled, st: RemoteStat, *, was_same: bool
    ) -> Generator[Step, Any, bool]:
        source, now = entry.source, mark_of(st)
        if source is None or entry.passage is not None or now.size != entry.size:
            return False
        if now.is_like(source):
            return True
        if not was_same or (now.digest is not None and source.digest is not None):
            return False
        # On some storages a rename is a copy, which has a time of its own.
        there = yield from self._session.read_prints(entry.leaving, entry.size)
        return bool(there == (entry.head, entry.tail))

    def _give_back(self, entry: Pulled) -> Steps:
        """It has changed since: it gets its name again, or one beside it if that is taken."""
        try:
            yield from call(Stat(entry.remote))
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._session.now()))
            name = f"{entry.remote}~{stamp}"
        except RemoteNotFound:
            name = entry.remote
        yield from call(Rename(entry.leaving, name))
        self._session.log.info("%s has changed since it was fetched: it stays", entry.remote)

    def _done(self, path: str, *, removed: bool = False) -> None:
        self._undecided.pop(path, None)
        self._session.update(path, lambda e: replace(e, leaving="", removed=removed or e.removed))
