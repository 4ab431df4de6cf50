"""Where a file has gone that had a name: the same inode and content under another one beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask.core.model import Stamp, Version
from pysubtask.core.ticks import COARSE_TICK_SECS
from pysubtask.seams.disk import Disk, ReadHandle
from pysubtask.suffixes import has_own_suffix

__all__ = ["Renamed"]

_MOST_SCANS = 3
_SHARED_SECS = 10.0
_MOST_LISTINGS = 2
"""100,000 names are 25 MB."""


class _Moved(Exception):
    """A file got another name while it was looked for."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """What was in a folder, for as long as the folder's own times say that nothing has changed."""

    names: dict[int, list[str]]
    """By inode; of each folder there may be very many."""
    stamp: Stamp
    taken_at: float
    """Unix seconds."""


class Renamed:
    """Finds renamed files. Thread-safe.

    Each search reads its folder, which takes long where there are many files; so searches in a
    folder that is at rest share one reading.

    Args:
        open_file: opens a file for reading.
        is_watched: whether a file is watched itself, and so never what another was renamed to.
        is_watched_folder: whether all data files of a folder are: few other names are in there.
        is_same: whether an open file begins with the bytes of a version.
        now: Unix seconds; without it, nothing is shared.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        open_file: Callable[[str], ReadHandle],
        is_watched: Callable[[str], bool],
        is_watched_folder: Callable[[str], bool],
        is_same: Callable[[ReadHandle, Version], bool],
        now: Callable[[], float] | None,
    ) -> None:
        self._disk = disk
        self._open = open_file
        self._is_watched = is_watched
        self._is_watched_folder = is_watched_folder
        self._is_same = is_same
        self._now = now
        self._listings: dict[str, _Listing] = {}
        self._lock = threading.Lock()

    def find(self, path: str, version: Version) -> ReadHandle | None:
        """The file that holds ``version`` and had the name ``path``, open; None if there is none.

        Raises:
            OSError: it, or its folder, can't be read.
        """
        if not version.size:
            return None  # every file begins with nothing
        folder = os.path.dirname(path)
        for _ in range(_MOST_SCANS):
            names = self._names_of(folder, version)
            try:
                return self._first_of([os.path.join(folder, n) for n in names], path, version)
            except _Moved:  # its new name may have come into the folder after it was listed
                self._forget(folder)
        return None

    def tidy(self) -> None:
        """Let go of what is not believed any more."""
        with self._lock:
            stale = [f for f, known in self._listings.items() if not self._is_fresh(known)]
            for folder in stale:
                del self._listings[folder]

    def _first_of(self, others: list[str], path: str, version: Version) -> ReadHandle | None:
        """The first of those that holds ``version``.

        Raises:
            _Moved: a name stood for it when the folder was listed, and not when it was opened.
        """
        for other in others:
            if other == path or self._is_watched(other):
                continue
            try:
                handle = self._open(other)
            except FileNotFoundError as error:
                raise _Moved from error
            found = None
            try:
                is_other = handle.stat().ino != version.identity.ino
                if self._is_same(handle, version):
                    found = handle
            finally:
                if found is None:
                    handle.close()
            if found is not None:
                return found
            if is_other:
                raise _Moved
        return None

    def _names_of(self, folder: str, version: Version) -> list[str]:
        """The names of regular files that have its inode. What is owed of it from its file is
        looked for in a reading of its own, whatever the folder's times say."""
        self.tidy()
        ino = version.identity.ino
        is_owed = any(p.name is None for p in version.pieces)
        before = self._stamp_of(folder)
        with self._lock:
            known = self._listings.get(folder)
        if known is not None and known.stamp == before and not is_owed:
            return known.names.get(ino, [])
        taken_at = self._now() if self._now is not None else 0.0
        names: dict[int, list[str]] = {}
        only = _is_no_data if self._is_watched_folder(folder) else None
        for name, st in self._disk.scan(folder, only):
            if st is not None and st.is_file:
                names.setdefault(st.ino, []).append(name)
        if before is not None and _is_at_rest(before, taken_at):
            self._note(folder, _Listing(names, before, taken_at))
        return names.get(ino, [])

    def _stamp_of(self, folder: str) -> Stamp | None:
        if self._now is None:
            return None
        try:
            st = self._disk.stat(folder)
        except OSError:
            return None
        return Stamp(st.mtime_ns, st.ctime_ns)

    def _is_fresh(self, listing: _Listing) -> bool:
        return self._now is not None and 0 <= self._now() - listing.taken_at < _SHARED_SECS

    def _note(self, folder: str, listing: _Listing) -> None:
        with self._lock:
            self._listings.pop(folder, None)
            self._listings[folder] = listing
            while len(self._listings) > _MOST_LISTINGS:
                del self._listings[next(iter(self._listings))]

    def _forget(self, folder: str) -> None:
        with self._lock:
            self._listings.pop(folder, None)


def _is_no_data(name: str) -> bool:
    """Whether a name in a watched folder is not that of a data file."""
    return name.startswith(".") or has_own_suffix(name)


def _is_at_rest(stamp: Stamp, now: float) -> bool:
    """Whether a change from now on would show in a folder's times, however coarse they are and
    though a server's clock gave them, which is not quite ours. Some file systems have none."""
    if stamp.mtime_ns <= 0:
        return False
    return now - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9 > COARSE_TICK_SECS
