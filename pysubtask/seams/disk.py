"""The child's disk, as a seam: the simulator replaces it.

Everything that intake, journal and outbox do to the local disk goes through :class:`Disk`. Paths
are ``str``; names that are not valid text carry their bytes as lone surrogates (PEP 383). Errors
are ``OSError`` with its ``errno``, as from the operating system.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from pysubtask.systems import macos, windows

__all__ = [
    "Disk",
    "FileStat",
    "ReadHandle",
    "RealDisk",
    "WriteHandle",
    "is_full",
    "is_missing",
    "local_words",
]

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class FileStat(msgspec.Struct, frozen=True, gc=False):
    """What ``stat`` tells of a file; times in nanoseconds since 1970. Two are equal if everything
    but ``links`` is."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int
    is_file: bool = True
    is_dir: bool = False
    links: int = 1
    """How many names the file has; 0 for one that is deleted and still held open. Where the system
    can't tell, 1."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileStat):
            return NotImplemented
        return (
            self.size == other.size
            and self.mtime_ns == other.mtime_ns
            and self.ctime_ns == other.ctime_ns
            and self.ino == other.ino
            and self.dev == other.dev
            and self.is_file == other.is_file
            and self.is_dir == other.is_dir
        )

    def __ne__(self, other: object) -> bool:  # msgspec has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash((self.size, self.mtime_ns, self.ctime_ns, self.ino, self.dev))


_NO_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems say that sync no folders (fsync(2); PostgreSQL passes over the first two)."""
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def is_full(error: Exception | None) -> bool:
    """Whether it says that the local disk, or a quota, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def local_words(error: OSError) -> str:
    """What the local disk refused, for a person."""
    where = f": {error.filename}" if error.filename else ""
    if is_full(error):
        return f"the local disk is full{where} (make room; nothing is lost)"
    return f"{error.strerror or error}{where}"


class ReadHandle(Protocol):
    """A file open for reading. It follows the file through renames and deletion."""

    def stat(self) -> FileStat:
        """The open file itself, wherever its name points now."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the file."""

    def close(self) -> None:
        """Let go of it."""


class WriteHandle(Protocol):
    """A file open for appending, as the journal and outbox pieces are."""

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end, or raise ``OSError``."""

    def stat(self) -> FileStat:
        """The open file itself, wherever its name points now."""

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""

    def sync(self) -> None:
        """Return when the data would survive a loss of power (fsync)."""

    def close(self) -> None:
        """Let go of it."""


class Disk(Protocol):
    """The local file system."""

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        """Follows symbolic links, unless ``follow=False``: a link is no file then."""

    def times(self, path: str) -> tuple[int, int] | None:
        """Modified and changed time of a file, None if it can't be told: cheaper than :meth:`stat`,
        for what is asked very often."""

    def scan(
        self, folder: str, only: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[str, FileStat | None]]:
        """Names in ``folder``, each with its stat (links followed; None if it vanished). ``only``:
        which names; the others are passed over, which is cheaper by far."""

    def open_read(self, path: str) -> ReadHandle:
        """Open a regular file; never blocks on a FIFO or device (``OSError`` EINVAL instead)."""

    def open_append(
        self, path: str, *, create_new: bool = False, private: bool = True
    ) -> WriteHandle:
        """Open for appending, making the file if need be; ``create_new`` refuses an existing one.
        A new file is for its owner alone (mode 0600), if ``private``; else for whom the umask
        lets."""

    def open_existing(self, path: str) -> WriteHandle:
        """Open for appending a file that is there (``FileNotFoundError``)."""

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        """Replace ``path`` by ``data`` in one step (temporary name, then rename)."""

    def overwrite(self, path: str, data: bytes) -> None:
        """Write over the beginning of an existing file: takes no space that it does not have, where
        the file system writes in place. A reader may see a part of it."""

    def read_whole(self, path: str, limit_bytes: int) -> bytes:
        """The first ``limit_bytes`` of a small file."""

    def rename(self, path: str, target: str) -> None:
        """Rename, replacing ``target`` atomically."""

    def link(self, path: str, target: str) -> None:
        """Give a file a second name, which must be free (FileExistsError)."""

    def remove(self, path: str) -> None:
        """Delete a file."""

    def make_dirs(self, path: str, *, private: bool = True) -> None:
        """Make a folder and its parents; none of it an error if there. What was made survives a
        loss of power, where the system can. ``private``: mode 0700."""

    def sync_dir(self, path: str) -> None:
        """Make renames in a folder survive a loss of power, where the system can."""

    def free_bytes(self, path: str) -> int:
        """Space left for an ordinary user on the file system of ``path``."""


def is_missing(disk: Disk, path: str) -> bool:
    """Whether nothing has that name. What can't be told is not said."""
    try:
        disk.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _convert(st: os.stat_result) -> FileStat:
    return FileStat(
        size=st.st_size,
        mtime_ns=st.st_mtime_ns,
        ctime_ns=st.st_ctime_ns,
        ino=st.st_ino,
        dev=st.st_dev,
        is_file=stat_module.S_ISREG(st.st_mode),
        is_dir=stat_module.S_ISDIR(st.st_mode),
        links=st.st_nlink if sys.platform != "win32" else 1,
    )


class _RealReadHandle:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def stat(self) -> FileStat:
        return _convert(os.fstat(self._fd))

    def read_at(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            part = self._pread(length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pread(self, length: int, offset: int) -> bytes:
        if sys.platform == "win32":
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, length)
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _RealWriteHandle:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def stat(self) -> FileStat:
        return _convert(os.fstat(self._fd))

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        if sys.platform == "darwin":
            macos.sync(self._fd)
        else:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _kind(mode: int) -> str:
    if stat_module.S_ISDIR(mode):
        return "a folder"
    if stat_module.S_ISFIFO(mode):
        return "a FIFO"
    return "a device"


class RealDisk:
    """The operating system's file system."""

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        return _convert(os.stat(path, follow_symlinks=follow))

    def times(self, path: str) -> tuple[int, int] | None:
        try:
            st = os.stat(path)
        except OSError:
            return None
        return st.st_mtime_ns, st.st_ctime_ns

    def scan(
        self, folder: str, only: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[str, FileStat | None]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if only is not None and not only(entry.name):
                    continue
                try:
                    # os.stat, not entry.stat: on Windows the latter has no inode and stale sizes
                    yield entry.name, _convert(os.stat(entry.path))
                except OSError:
                    yield entry.name, None

    def open_read(self, path: str) -> ReadHandle:
        fd = _open_shared(path)
        mode = os.fstat(fd).st_mode
        if not stat_module.S_ISREG(mode):
            os.close(fd)
            raise OSError(22, f"not a regular file: it is {_kind(mode)}", path)
        return _RealReadHandle(fd)

    def open_append(
        self, path: str, *, create_new: bool = False, private: bool = True
    ) -> WriteHandle:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY
        mode = 0o600 if private else 0o666
        return _RealWriteHandle(os.open(path, flags | (os.O_EXCL if create_new else 0), mode))

    def open_existing(self, path: str) -> WriteHandle:
        return _RealWriteHandle(os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY))

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        temporary = f"{path}.{os.getpid()}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)
        try:
            handle = _RealWriteHandle(fd)
            try:
                handle.append(data)
                if sync:
                    handle.sync()
            finally:
                handle.close()
            _replace(temporary, path)
        except OSError:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            raise

    def overwrite(self, path: str, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | _BINARY)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def read_whole(self, path: str, limit_bytes: int) -> bytes:
        handle = self.open_read(path)
        try:
            return handle.read_at(0, limit_bytes)
        finally:
            handle.close()

    def rename(self, path: str, target: str) -> None:
        _replace(path, target)

    def link(self, path: str, target: str) -> None:
        os.link(path, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def make_dirs(self, path: str, *, private: bool = True) -> None:
        # os.makedirs gives the mode to the last folder only (Python documentation, since 3.7)
        parent = os.path.dirname(path)
        if parent and not os.path.exists(parent):
            self.make_dirs(parent, private=private)
        try:
            os.mkdir(path, 0o700 if private else 0o777)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            return
        try:
            self.sync_dir(parent or ".")
        except OSError:
            pass  # a parent that may be written to, but not read

    def sync_dir(self, path: str) -> None:
        if sys.platform == "win32":
            return  # NTFS journals names itself, and a folder can't be opened for fsync
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(fd)

    def free_bytes(self, path: str) -> int:
        if sys.platform != "win32":
            st = os.statvfs(path)
            return st.f_bavail * st.f_frsize
        import shutil  # late: it loads all that packs and unpacks

        return shutil.disk_usage(path).free


def _open_shared(path: str) -> int:
    """Open for reading so that the program may still rename or delete the file."""
    if sys.platform == "win32":
        return windows.open_shared(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _BINARY)


def _replace(source: str, target: str) -> None:
    if sys.platform == "win32":
        windows.replace(source, target)
    else:
        os.replace(source, target)
