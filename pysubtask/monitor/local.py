"""Heartbeat files in a local or mounted folder.

Names and contents are strangers'. Only regular files are opened, never through a symbolic link,
without waiting (``O_NONBLOCK``: a FIFO with no writer must not stop the scan), and at most 4 KiB
are read. A folder that can't be read below the top is a warning; the top one is the source's error.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

from pysubtask.monitor.beatfile import MAX_BYTES
from pysubtask.monitor.clients import Sighting
from pysubtask.monitor.fleet import Scan
from pysubtask.monitor.names import SUFFIX, client_name, shown

__all__ = ["LocalFolder"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_MAX_DEPTH = 16
_KINDS = {
    stat.S_IFLNK: "is a symbolic link, which is not followed",
    stat.S_IFIFO: "is a FIFO, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
    stat.S_IFDIR: "is a folder, not a file",
}


class LocalFolder:
    """Scans a folder.

    Args:
        path: the folder that clients' heartbeat files land in.
        recursive: look into its folders as well (16 deep at most, not through links).
        data: look at the data files beside a heartbeat file that is alone in its folder.
        limit: at most so many clients; a stranger may create files without end. Whom the last scan
            saw goes first; what is left out is unread, not gone.
    """

    def __init__(
        self, path: str, *, recursive: bool = True, data: bool = False, limit: int = 200_000
    ) -> None:
        self.path = os.path.abspath(path)
        self.recursive = recursive
        self.data = data
        self.limit = limit
        self._known: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return shown(self.path)

    def close(self) -> None:
        """Nothing is kept open."""

    def scan(self) -> Scan:
        """Look at every heartbeat file. Never raises for what it finds or can't find."""
        began = time.perf_counter()
        warnings: list[str] = []
        unread: list[str] = []
        try:
            top = os.stat(self.path)
            found = tuple(self._sightings(warnings, unread))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            words = f"{shown(self.path)} can't be read: {reason}"
            return Scan(error=words, took_secs=time.perf_counter() - began)
        self._known = frozenset(one.name for one in found)
        return Scan(
            found,
            root=f"{top.st_dev}:{top.st_ino}",
            took_secs=time.perf_counter() - began,
            warnings=tuple(warnings[:20]),
            unread=tuple(unread),
        )

    def _sightings(self, warnings: list[str], unread: list[str]) -> Iterator[Sighting]:
        room, left_out = self.limit - len(self._known), False
        folders = [("", 0)]
        while folders:
            below, depth = folders.pop()
            path = f"{self.path}/{below}" if below else self.path
            beats: list[os.DirEntry[str]] = []
            data: list[os.DirEntry[str]] = []
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = entry.name
                        if name.endswith(SUFFIX):
                            if client_name(name) is None:
                                continue
                            known = below + name.removesuffix(SUFFIX) in self._known
                            if known or room > 0:
                                beats.append(entry)
                                room -= not known
                            elif not unread or unread[-1] != below:
                                left_out = True
                                unread.append(below)
                        elif self.recursive and entry.is_dir(follow_symlinks=False):
                            if depth < _MAX_DEPTH and not name.startswith("."):
                                folders.append((below + name + "/", depth + 1))
                        elif self.data and not name.startswith("."):
                            data.append(entry)
            except OSError as error:
                if not below:
                    raise
                warnings.append(f"{shown(below)} can't be read: {error.strerror}")
                unread.append(below)
                continue
            data_at, data_bytes = _newest(data) if self.data and len(beats) == 1 else (None, None)
            for beat in beats:
                sighting = _look(beat, below, data_at, data_bytes)
                if sighting is not None:
                    yield sighting
        if left_out:
            warnings.append(f"more than {self.limit} heartbeat files: the rest is left out")


def _look(
    entry: os.DirEntry[str], below: str, data_at: float | None, data_bytes: int | None
) -> Sighting | None:
    name = (below + entry.name).removesuffix(SUFFIX)
    refused = unread = None
    content = b""
    try:
        if not entry.is_file(follow_symlinks=False):
            found = entry.stat(follow_symlinks=False)
            refused = _KINDS.get(stat.S_IFMT(found.st_mode), "is no regular file")
        else:
            handle = os.open(entry.path, _FLAGS)
            try:
                found = os.fstat(handle)
                if stat.S_ISREG(found.st_mode):  # swapped between the two calls?
                    content = os.read(handle, MAX_BYTES)
                else:
                    refused = "is no regular file"
            finally:
                os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        unread = f"it can't be read: {error.strerror}"
        found = os.stat_result((0,) * 10)
    return Sighting(
        name,
        found.st_mtime_ns,
        found.st_ctime_ns if os.name == "posix" else None,  # on Windows: the time of creation
        found.st_ino,
        found.st_size,
        content,
        refused,
        unread,
        data_at,
        data_bytes,
    )


def _newest(entries: list[os.DirEntry[str]]) -> tuple[float | None, int | None]:
    newest, total = None, 0
    for entry in entries:
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            newest = max(newest or 0.0, found.st_mtime)
            total += found.st_size
    return newest, total if newest is not None else None
