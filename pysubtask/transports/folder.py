"""A local folder, or a mounted share, as the destination (``file://``).

Clients of network file systems write their pages back in any order, so that a reader on another
machine could see a hole in a visible file: each append is one write of at most 64 KiB, and on its
way to the server (fsync) before the next. A temporary file is synced before it is renamed.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import sys
from collections import OrderedDict
from collections.abc import Callable

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import (
    LinkError,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.systems import windows
from pysubtask.transports.contract import RemoteStat
from pysubtask.transports.simple import SimpleTransport

__all__ = ["FolderTransport"]

_TEMP_PREFIX = ".pysubtask-"
_MAX_OPEN = 128
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class FolderTransport(SimpleTransport):
    """Delivers below ``root``.

    Args:
        root: an absolute path. It must exist: a share that is not mounted must not be mistaken for
            an empty folder.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            positioned_write=True,
            sequential=True,
            atomic_replace=True,
            fsync=True,
            max_write_bytes=65_536,
            max_read_bytes=1 << 20,
            max_files=64,
        )

    def connect(self) -> None:
        try:
            if not os.path.isdir(self._root):
                raise LinkError(
                    "the folder is not there",
                    operation="connect",
                    path=self._root,
                    hint="make it, or mount the share that holds it",
                )
            os.listdir(self._root)
        except OSError as error:
            raise LinkError(
                error.strerror or str(error), operation="connect", path=self._root
            ) from error

    def close(self) -> None:
        super().close()
        while self._open:
            _, fd = self._open.popitem()
            _close(fd)

    def stat(self, path: str) -> RemoteStat:
        return _remote_stat("stat", path, lambda: os.stat(self._local(path)))

    def stat_open(self, path: str) -> RemoteStat:
        fd = self._open.get(path)
        if fd is None:
            return super().stat_open(path)
        return _remote_stat("stat the open file", path, lambda: os.fstat(fd))

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        try:
            fd = self._handle(path, create=create)
            self._write_at(fd, offset, data)
            if data and not os.path.basename(path).startswith(_TEMP_PREFIX):
                os.fsync(fd)
        except OSError as error:
            raise _convert("write", path, error) from error

    def finish(self, path: str, *, sync: bool) -> None:
        fd = self._open.pop(path, None)
        if fd is None:
            return
        try:
            if sync or os.path.basename(path).startswith(_TEMP_PREFIX):
                os.fsync(fd)
        except OSError as error:
            raise _convert("sync", path, error) from error
        finally:
            _close(fd)

    def read(self, path: str, offset: int, length: int) -> bytes:
        try:
            opener = windows.opener if sys.platform == "win32" else None
            with open(self._local(path), "rb", opener=opener) as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise _convert("read", path, error) from error

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        source, goal = self._local(path), self._local(target)
        self._forget(path)
        self._forget(target)
        try:
            if replace:
                (windows.replace if sys.platform == "win32" else os.replace)(source, goal)
                return
            if os.path.lexists(goal):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), goal)
            os.rename(source, goal)
        except OSError as error:
            raise _convert("rename", path, error) from error

    def remove(self, path: str) -> None:
        self._forget(path)
        try:
            os.unlink(self._local(path))
        except OSError as error:
            raise _convert("remove", path, error) from error

    def make_dir(self, path: str) -> None:
        try:
            os.mkdir(self._local(path))
        except FileExistsError:
            if not os.path.isdir(self._local(path)):
                raise RemoteExists(
                    "a file is in the way", operation="make folder", path=path
                ) from None
        except OSError as error:
            raise _convert("make folder", path, error) from error

    def list(self, path: str) -> dict[str, RemoteStat]:
        found = {}
        try:
            with os.scandir(self._local(path)) as entries:
                for entry in entries:
                    try:
                        found[entry.name] = _from_os(entry.stat())
                    except FileNotFoundError:
                        continue  # removed since
        except OSError as error:
            raise _convert("list", path, error) from error
        return found

    def _forget(self, path: str) -> None:
        """The name is about to stand for another file, or for none."""
        fd = self._open.pop(path, None)
        if fd is not None:
            _close(fd)

    def _local(self, path: str) -> str:
        if "\0" in path:
            raise RemoteError(
                "no file can have this name", operation="find", path=path, retryable=False
            )
        return os.path.join(self._root, path) if path else self._root

    def _handle(self, path: str, *, create: bool) -> int:
        fd = self._open.get(path)
        if fd is None:
            fd = _open_for_writing(self._local(path), create)
            self._open[path] = fd
            while len(self._open) > _MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                _close(oldest)
        self._open.move_to_end(path)
        return fd

    def _write_at(self, fd: int, offset: int, data: bytes) -> None:
        os.lseek(fd, offset, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def _open_for_writing(path: str, create: bool) -> int:
    if sys.platform == "win32":  # where a consumer could not take away what we hold open
        return windows.open_shared(path, write=True, create=create)
    return os.open(path, _FLAGS | (os.O_CREAT if create else 0), 0o666)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # what was written is confirmed by other means


def _from_os(st: os.stat_result) -> RemoteStat:
    return RemoteStat(st.st_size, st.st_mtime, stat_module.S_ISDIR(st.st_mode))


def _remote_stat(operation: str, path: str, ask: Callable[[], os.stat_result]) -> RemoteStat:
    try:
        return _from_os(ask())
    except OSError as error:
        raise _convert(operation, path, error) from error


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
