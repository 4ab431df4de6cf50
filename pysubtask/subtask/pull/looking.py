"""What a source has now: one look at its folder, or at its one file."""

from __future__ import annotations

import logging
import posixpath
import sys
import unicodedata
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pysubtask.core.pull import Mark
from pysubtask.errors import RemoteNotFound
from pysubtask.pull import Pull
from pysubtask.status import printable
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.pull.places import Places, why_unsafe
from pysubtask.subtask.pull.session import mark_of
from pysubtask.transports.contract import List, RemoteStat, Stat

__all__ = ["Looking", "Sight"]

_MOST_TOLD = 100
_MOST_ASKED = 1000


@dataclass(frozen=True, slots=True)
class Sight:
    """One file that the source has."""

    remote: str
    mark: Mark


class Looking:
    """Looks at one source."""

    def __init__(self, pull: Pull, places: Places, log: logging.Logger) -> None:
        self._pull = pull
        self._places = places
        self._log = log
        self._told: set[str] = set()
        self.error: str | None = None
        """Why there was nothing to be seen, or not all of it; in words."""
        self.folder: str | None = None
        """The folder that the last look has listed; None if it was at one file."""
        self.refused: dict[str, str] = {}
        """What the last look found and no file here may be called, by its path here, and why."""

    def note(self, error: str | None) -> None:
        """Why the look failed; None if it did not."""
        if error is not None and error != self.error:
            self._log.warning("look at %s: %s", self._pull.source, error)
        self.error = error

    def look(self) -> Generator[Step, Any, dict[str, Sight]]:
        """The files by the path that they have here.

        Raises:
            RemoteError: the server refused.
        """
        source, pattern = self._pull.source.path, self._pull.pattern
        self.folder = None
        if pattern is None:
            st: RemoteStat = yield from call(Stat(source))
            if not st.is_dir:
                return self._sights(posixpath.dirname(source), {posixpath.basename(source): st})
        try:
            found: dict[str, RemoteStat] = yield from call(List(source))
        except RemoteNotFound as error:
            raise RemoteNotFound(
                "there is no such folder (yet)", operation="look at", path=source
            ) from error
        self.folder = source
        wanted = {name: st for name, st in found.items() if self._pull.matches(name)}
        yield from self._ask_times(source, wanted)
        return self._sights(source, wanted)

    def _ask_times(self, folder: str, found: dict[str, RemoteStat]) -> Generator[Step, Any, None]:
        """A listing without times (FTP's LIST) tells too little of each file: it is asked for."""
        vague = [n for n, st in found.items() if mark_of(st).is_vague and not st.is_dir]
        names = vague[:_MOST_ASKED]
        answers = yield from flight(*(Stat(posixpath.join(folder, name)) for name in names))
        for name, st in zip(names, answers, strict=True):
            if isinstance(st, RemoteStat):
                found[name] = st

    def _sights(self, folder: str, found: dict[str, RemoteStat]) -> dict[str, Sight]:
        sights: dict[str, Sight] = {}
        taken: dict[str, str] = {}
        refused: dict[str, str] = {}
        for name, st in sorted(found.items()):
            if st.is_dir:
                continue
            why = why_unsafe(name)
            key = _local_key(name)
            if why is None and taken.setdefault(key, name) != name:
                why = f"would have the name of {printable(taken[key])} here"
            if why is not None:
                self._complain(name, why)
                if len(refused) < _MOST_TOLD:
                    refused[self._places.path(name)] = f"it {why}"
                continue
            remote = posixpath.join(folder, name) if folder else name
            sights[self._places.path(name)] = Sight(remote, mark_of(st))
        self.refused = refused
        return sights

    def _complain(self, name: str, why: str) -> None:
        """Once for each name, and not for ever."""
        if name not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(name)
            self._log.warning("a file on the server %s: %s; it stays there", why, printable(name))


def _local_key(name: str) -> str:
    """The same for names that stand for one file here (APFS and NTFS keep case, and ignore it)."""
    if sys.platform not in ("win32", "darwin"):
        return name
    return unicodedata.normalize("NFC", name).casefold()
