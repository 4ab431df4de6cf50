"""The file of a record log: lines are added at its end, or all of it is replaced in one step."""

from __future__ import annotations

import os
import sys

from pysubtask.seams.disk import Disk, WriteHandle

__all__ = ["RecordFile"]

_READ_BYTES = 1 << 20


class RecordFile:
    """One file, open for as long as the log is. Whoever uses it holds the log's lock, but for
    :meth:`sync`.

    Args:
        path: its folder exists.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._handle: WriteHandle | None = None
        self._closed = False
        self._tail = b""
        self._replaced = 0
        self.size = 0
        """Bytes of the lines that are whole."""
        self.is_torn = False
        """Half a line is at its end, and could not be cut off."""
        self.is_doubtful = False
        """A sync failed. Linux takes what it could not write for written then, and the next sync
        succeeds without it (fsync(2), "Errors"; lwn.net/Articles/752063): what was added since the
        last good one can be read, but may never reach the disk. Only a new file does."""

    @property
    def last_written(self) -> tuple[int, int, bytes] | None:
        """How often it was replaced, its size, its last line; None while it is not open."""
        return None if self._handle is None else (self._replaced, self.size, self._tail)

    def read(self) -> bytes:
        """All of it; nothing if it is not there.

        Raises:
            OSError: it can't be read.
        """
        try:
            handle = self._disk.open_read(self._path)
        except FileNotFoundError:
            return b""
        try:
            parts = []
            offset = 0
            while part := handle.read_at(offset, _READ_BYTES):
                parts.append(part)
                offset += len(part)
            return b"".join(parts)
        finally:
            handle.close()

    def keep_as(self, aside: str, data: bytes) -> str:
        """Give a damaged file a second name. It keeps its own: a disk that refuses the new one, or
        a kill before it is there, must not leave us without any, which would mean that nothing is
        owed. Gives where it is.

        Args:
            data: what it holds; copied where files have one name only (FAT).
        """
        try:
            self._disk.link(self._path, aside)
        except FileExistsError:
            pass  # by a process that did not get further, within this second
        except OSError:
            try:
                self._disk.write_whole(aside, data)
            except OSError as error:
                return f"nothing ({error})"
        return aside

    def open(self, size: int, found: int) -> None:
        """Go on with a file that is there.

        Args:
            size: what is whole of it; the rest is cut off.
            found: what it has.

        Raises:
            OSError: it can't be written.
        """
        self._handle = self._disk.open_append(self._path)
        self.size = size
        if found > size:
            self._handle.truncate(size)

    def append(self, line: bytes) -> None:
        """Add a line.

        Raises:
            OSError: it is not there, nor a part of it, unless :attr:`is_torn`.
        """
        if self._closed:
            raise OSError(9, "the journal is closed", self._path)
        if self._handle is None:
            self._handle = self._disk.open_append(self._path)  # it could not be, last time
        if self.is_torn:
            self._cut(self._handle)
        try:
            self._handle.append(line)
        except OSError:
            self.is_torn = True
            try:
                self._cut(self._handle)
            except OSError:
                pass  # before the next line
            raise
        self.size += len(line)
        self._tail = line

    def _cut(self, handle: WriteHandle) -> None:
        """Half a line must not precede the next one: a process that reads them takes both for a
        torn end."""
        handle.truncate(self.size)
        self.is_torn = False

    def replace(self, lines: list[bytes]) -> None:
        """Put a file of these lines in its place, on the disk.

        Raises:
            OSError: it is as it was; or the new one is there, but may not be open, or its name
                not on the disk.
        """
        data = b"".join(lines)
        if sys.platform == "win32" and self._handle is not None:
            self._handle.close()  # an open file can't be replaced there
            self._handle = None
        self._disk.write_whole(self._path, data, sync=True)
        self.is_doubtful = True  # until its name is on the disk
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        self.size = len(data)
        self.is_torn = False
        self._tail = lines[-1]
        self._replaced += 1
        self._handle = self._disk.open_append(self._path)
        self._disk.sync_dir(os.path.dirname(self._path) or ".")
        self.is_doubtful = False

    def sync(self) -> None:
        """Bring what was added to the disk; no use while :attr:`is_doubtful`. Needs no lock: a slow
        card must not hold up those who add more.

        Raises:
            OSError: the disk refused.
        """
        handle = self._handle
        if handle is None:
            return
        try:
            handle.sync()
        except OSError:
            if handle is self._handle:  # else another file is there, all of it on the disk
                self.is_doubtful = True
            raise

    def close(self) -> None:
        """Let go of it; nothing can be added any more."""
        self._closed = True
        if self._handle is not None:
            self._handle.close()
            self._handle = None
