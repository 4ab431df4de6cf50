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
from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import Step, call
from pysubtask.subtask.pull.session import Session, Steps, mark_of
from pysubtask.suffixes import TEMP_PREFIX
from pysubtask.transports.contract import RemoteStat, Remove, Rename, Stat

__all__ = ["Removing"]


class Removing:
    """Removes what was fetched."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def remove(self, path: str) -> Steps:
        """Remove a remote file whose content is safe here, unless it has changed since.

        Raises:
            RemoteError: the server refuses.
        """
        entry = self._session.entry(path)
        if entry.leaving:
            yield from self._go_on(entry)
            return
        if entry.source is None or entry.passage is not None or entry.source.is_vague:
            return
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            return
        if not mark_of(st).is_like(entry.source):
            return
        folder = posixpath.dirname(entry.remote)
        leaving = posixpath.join(folder, TEMP_PREFIX + self._session.token_hex())
        entry = self._session.update(path, lambda e: replace(e, leaving=leaving))
        self._session.journal.sync()  # else, after a loss of power, nobody would know whose it is
        try:
            yield from call(Rename(entry.remote, leaving))
        except RemoteNotFound:
            self._done(path)
            return
        except RemoteError:
            self._done(path)
            raise
        yield from self._go_on(entry)

    def _go_on(self, entry: Pulled) -> Steps:
        """It has its temporary name, or never got it."""
        try:
            st = yield from call(Stat(entry.leaving))
        except RemoteNotFound:
            self._done(entry.path)
            return
        if (yield from self._is_fetched(entry, st)):
            try:
                yield from call(Remove(entry.leaving))
            except RemoteNotFound:
                pass
            self._session.log.info("removed %s on the server: it is safe here", entry.remote)
        else:
            yield from self._give_back(entry)
        self._done(entry.path)

    def _is_fetched(self, entry: Pulled, st: RemoteStat) -> Generator[Step, Any, bool]:
        source = entry.source
        if source is None or entry.passage is not None or st.size != entry.size:
            return False
        if mark_of(st).is_like(source):
            return True
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

    def _done(self, path: str) -> None:
        self._session.update(path, lambda e: replace(e, leaving=""))
