"""A local folder, or a mounted share, as the destination (``file://``).

Clients of network file systems write their pages back in any order, so that a reader on another
machine could see a hole in a visible file: each append is one write of at most 64 KiB, and on its
way to the server (fsync) before the next.

A temporary file is synced every 16 MiB, and before it is renamed. What a network file system, or a
disk, refuses of a cache is told late, by a later write, by fsync or by close, and once: afterwards
the pages count as clean, and the next fsync succeeds (fsync(2), errseq_t; "fsyncgate"). After a
loss of power any page since the last sync may be missing. So delivery counts on what was synced
(:attr:`~pysubtask.core.capabilities.Capabilities.synced_every_bytes`), and writes the rest again.

A mount may vanish while we deliver: :mod:`pysubtask.transports.mount` tells. Files are kept open
only while something is being delivered (:meth:`FolderTransport.relax`), so that a stick can be
unmounted at any quiet moment.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import (
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.systems import windows
from pysubtask.transports.beneath import open_below
from pysubtask.transports.contract import RemoteSpace, RemoteStat, Request, Result
from pysubtask.transports.mount import MountRule, Root, is_gone
from pysubtask.transports.notes import Notes
from pysubtask.transports.simple import SimpleTransport

__all__ = ["FolderTransport"]

_TEMP_PREFIX = ".pysubtask-"
_MAX_OPEN = 128
_SYNC_EVERY_BYTES = 16 << 20
_START_EVERY_BYTES = 1 << 20
_MAX_NAMES = 250_000
_MAX_NAME_BYTES = 32 << 20
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS = os.O_RDWR | _BINARY
_READING = os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe would wait for somebody who writes to it."""


class FolderTransport(SimpleTransport):
    """Delivers below ``root``.

    Args:
        root: an absolute path. It must exist: a share that is not mounted must not be mistaken for
            an empty folder.
        notes: what was seen of it before.
        mount: the setting ``folder_mount``.
        new_id: names the folder, if it is a mount that nobody has named yet.
    """

    def __init__(
        self,
        root: str,
        *,
        notes: Notes | None = None,
        mount: MountRule = "auto",
        new_id: str = "",
    ) -> None:
        super().__init__()
        self._root = Root(root, notes or Notes(), mount, new_id or os.urandom(8).hex())
        self._open: OrderedDict[str, int] = OrderedDict()
        self._checked = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            positioned_write=True,
            sequential=True,
            atomic_replace=True,
            fsync=True,
            synced_every_bytes=_SYNC_EVERY_BYTES,
            max_write_bytes=65_536,
            max_read_bytes=1 << 20,
            max_files=64,
            limits=self._root.limits,
        )

    def connect(self) -> None:
        self._root.check()
        self._checked = True

    def relax(self) -> None:
        """Nothing is being delivered: let go of all files, so that the mount can be unmounted."""
        self._checked = False  # whatever may be mounted there when the next one comes
        while self._open:
            _, fd = self._open.popitem()
            _close(fd)

    def _carry_out(self, request: Request) -> Result:
        if not self._checked:
            self._root.check()
            self._checked = True
        return super()._carry_out(request)

    def close(self) -> None:
        super().close()
        self.relax()

    def stat(self, path: str) -> RemoteStat:
        try:
            with self._root.at() as at:
                return _from_os(os.stat(self._local(path, at), dir_fd=at))
        except OSError as error:
            self._refuse("stat", path, error)

    def stat_open(self, path: str) -> RemoteStat:
        fd = self._open.get(path)
        if fd is None:
            return super().stat_open(path)
        try:
            return _from_os(os.fstat(fd))
        except OSError as error:
            self._refuse("stat the open file", path, error)

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        try:
            is_temp = _is_temp(path)
            is_new = path not in self._open
            fd = self._handle(path, offset, create=create)
            if is_new and not is_temp:
                os.fsync(fd)  # what was written before a break may be in this machine's cache only
            _write_at(fd, offset, data, sync=bool(data) and not is_temp)
            if is_temp and _is_complete(_SYNC_EVERY_BYTES, offset, len(data)):
                os.fsync(fd)
            elif is_temp and _is_complete(_START_EVERY_BYTES, offset, len(data)):
                _start_writing_back(fd, offset + len(data))
        except OSError as error:
            self._forget(path)  # NFS: a handle that is stale (ESTALE) stays so; the name is good
            self._refuse("write", path, error)

    def finish(self, path: str, *, sync: bool) -> None:
        fd = self._open.pop(path, None)
        if fd is None:
            return
        try:
            if sync or _is_temp(path):
                os.fsync(fd)
        except OSError as error:
            self._refuse("sync", path, error)
        finally:
            _close(fd)

    def read(self, path: str, offset: int, length: int) -> bytes:
        try:
            with self._root.at() as at:
                fd = _open(self._local(path, at), _READING, at)
            with open(fd, "rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            self._refuse("read", path, error)

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        self._forget(path)
        self._forget(target)
        try:
            with self._root.at() as at:
                source, goal = self._changed(path, at), self._changed(target, at)
                if replace:
                    _replace(source, goal, at)
                    return
                if _exists(goal, at):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), goal)
                os.rename(source, goal, src_dir_fd=at, dst_dir_fd=at)
        except OSError as error:
            self._refuse("rename", path, error)

    def remove(self, path: str) -> None:
        self._forget(path)
        try:
            with self._root.at() as at:
                os.unlink(self._changed(path, at), dir_fd=at)
        except OSError as error:
            self._refuse("remove", path, error)

    def make_dir(self, path: str) -> None:
        try:
            with self._root.at() as at:
                local = self._changed(path, at)
                try:
                    os.mkdir(local, dir_fd=at)
                except FileExistsError:
                    if not stat_module.S_ISDIR(os.stat(local, dir_fd=at).st_mode):
                        raise RemoteExists(
                            "a file is in the way", operation="make folder", path=path
                        ) from None
        except OSError as error:
            self._refuse("make folder", path, error)

    def list(self, path: str) -> dict[str, RemoteStat]:
        found: dict[str, RemoteStat] = {}
        left_bytes = _MAX_NAME_BYTES
        try:
            with self._root.at() as at, _scandir(self._local(path, at), at) as entries:
                for entry in entries:
                    left_bytes -= len(entry.name)
                    if len(found) >= _MAX_NAMES or left_bytes < 0:
                        raise RemoteError("the folder is too large", operation="list", path=path)
                    st = _look_at(entry)
                    if st is not None:
                        found[entry.name] = st
        except OSError as error:
            self._refuse("list", path, error)
        return found

    def _refuse(self, operation: str, path: str, error: OSError) -> NoReturn:
        """Raise what the error means: for the whole folder, or for this file."""
        raise (self._root.lost(error) or _convert(operation, path, error)) from error

    def space(self, path: str) -> RemoteSpace:
        try:
            with self._root.at() as at:
                local = self._local(path, at)
                if at is None or sys.platform == "win32":
                    import shutil

                    return RemoteSpace(shutil.disk_usage(local).free)
                fd = os.open(local, os.O_RDONLY | _BINARY, dir_fd=at)
                try:
                    found = os.statvfs(fd)
                finally:
                    os.close(fd)
                files = found.f_favail if found.f_files else None
                return RemoteSpace(found.f_frsize * found.f_bavail, files)
        except OSError as error:
            self._refuse("ask for the free space of", path, error)

    def _forget(self, path: str) -> None:
        """The name is about to stand for another file, or for none."""
        fd = self._open.pop(path, None)
        if fd is not None:
            _close(fd)

    def _local(self, path: str, at: int | None) -> str:
        try:
            is_name = b"\0" not in os.fsencode(path)
        except UnicodeEncodeError:  # half a surrogate pair
            is_name = False
        if not is_name:
            raise RemoteError(
                "no file can have this name", operation="find", path=path, retryable=False
            )
        return self._root.name(path, at)

    def _changed(self, path: str, at: int | None) -> str:
        """As :meth:`_local`, of a name that is to be changed.

        Raises:
            RemoteDenied: its folder is elsewhere, by a link.
        """
        name, folder = self._local(path, at), os.path.dirname(path)
        if folder:
            self._root.keep_inside(folder)
        return name

    def _open_to_write(self, path: str, flags: int, at: int | None) -> int:
        name = self._local(path, at)
        if at is None or sys.platform == "win32":
            self._root.keep_inside(path)
            return _open(name, flags, at)
        return open_below(self._root.path, name, flags, at)

    def _handle(self, path: str, offset: int, *, create: bool) -> int:
        fd = self._open.get(path)
        if fd is None:
            # One that was taken away must not come back with a hole at its beginning.
            flags = _FLAGS | (os.O_CREAT if create and not offset else 0)
            with self._root.at() as at:
                fd = self._open_to_write(path, flags, at)
            self._open[path] = fd
            while len(self._open) > _MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                _close(oldest)
        self._open.move_to_end(path)
        return fd


def _is_temp(path: str) -> bool:
    return os.path.basename(path).startswith(_TEMP_PREFIX)


def _is_complete(block_bytes: int, offset: int, size: int) -> bool:
    """Whether a write of ``size`` bytes ends a block of the file."""
    return (offset + size) // block_bytes > offset // block_bytes


def _start_writing_back(fd: int, end: int) -> None:
    """Have the system begin to write back the last block, so that the next sync waits for less: a
    disk would rest while the cache fills. Linux begins when it is told that the pages are not
    needed (mm/fadvise.c); elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    start = max(0, end - _START_EVERY_BYTES)
    try:
        os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # advice


def _write_at(fd: int, offset: int, data: bytes, *, sync: bool) -> None:
    """``sync``: what is written goes to the server before anything behind it."""
    os.lseek(fd, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)


def _exists(name: str, at: int | None) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _look_at(entry: os.DirEntry[str]) -> RemoteStat | None:
    """None if it was removed since, or is a link that leads nowhere: in a circle, through a file,
    to where we may not look."""
    try:
        return _from_os(entry.stat())
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_gone(error) or not entry.is_symlink():
            raise
        return None


@contextmanager
def _scandir(name: str, at: int | None) -> Iterator[Iterator[os.DirEntry[str]]]:
    if at is None:
        with os.scandir(name) as entries:
            yield entries
        return
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
    fd = os.open(name, flags, dir_fd=at)
    try:
        with os.scandir(fd) as entries:
            yield entries
    finally:
        os.close(fd)


def _open(name: str, flags: int, at: int | None) -> int:
    if sys.platform == "win32":  # where a consumer could not take away what we hold open
        return windows.open_shared(
            name, write=bool(flags & os.O_RDWR), create=bool(flags & os.O_CREAT)
        )
    return os.open(name, flags, 0o666, dir_fd=at)


def _replace(source: str, goal: str, at: int | None) -> None:
    if sys.platform == "win32":
        windows.replace(source, goal)
    else:
        os.replace(source, goal, src_dir_fd=at, dst_dir_fd=at)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # what was written is confirmed by other means


def _from_os(st: os.stat_result) -> RemoteStat:
    return RemoteStat(st.st_size, st.st_mtime, stat_module.S_ISDIR(st.st_mode))


def _convert(operation: str, path: str, error: OSError) -> RemoteError:
    kinds: dict[int, type[RemoteError]] = {
        errno.ENOENT: RemoteNotFound,
        errno.ENOTDIR: RemoteNotFound,
        errno.EEXIST: RemoteExists,
        errno.EACCES: RemoteDenied,
        errno.EPERM: RemoteDenied,
        errno.EROFS: RemoteDenied,
        errno.ENOSPC: RemoteFull,
        getattr(errno, "EDQUOT", -1): RemoteFull,
    }
    kind = kinds.get(error.errno or 0, RemoteError)
    return kind(error.strerror or str(error), operation=operation, path=path)
