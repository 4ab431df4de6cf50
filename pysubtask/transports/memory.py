"""A destination in memory, with the manners of real servers: for tests of programs and of ours."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.names import name_key
from pysubtask.errors import LinkError, LinkLost, RemoteError, RemoteExists, RemoteNotFound
from pysubtask.transports.contract import Copy, RemoteStat
from pysubtask.transports.simple import SimpleTransport

__all__ = ["MemoryServer", "MemoryTransport"]


class _File:
    __slots__ = ("data", "mtime")

    def __init__(self, mtime: float) -> None:
        self.data = bytearray()
        self.mtime = mtime


class MemoryServer:
    """What outlives connections: files and folders by path.

    Args:
        capabilities: what it shows of itself; everything by default.
        now: its clock (Unix seconds).
        folds_names: names that differ in case or in the form of their letters are one.

    Attributes:
        up: False refuses new connections and breaks those there are at their next request.
        before: called with each request's name and path before it is carried out; may raise a
            ``RemoteError`` or ``LinkLost`` to refuse it or to cut the connection there.
        after: the same, once it is carried out and before the client hears of it.
    """

    def __init__(
        self,
        capabilities: Capabilities | None = None,
        now: Callable[[], float] = time.time,
        *,
        folds_names: bool = False,
    ) -> None:
        self.folds_names = folds_names
        self.capabilities = capabilities or Capabilities(
            positioned_write=True,
            sequential=True,
            atomic_replace=True,
            server_copy=True,
            fsync=True,
            max_write_bytes=261_120,
            max_read_bytes=261_120,
            max_files=1000,
        )
        self.up = True
        self.before: Callable[[str, str], None] = lambda name, path: None
        self.after: Callable[[str, str], None] = lambda name, path: None
        self._now = now
        self._files: dict[str, _File] = {}
        self._folders: set[str] = {""}

    def read_file(self, path: str) -> bytes | None:
        """The content of a file; None if there is none."""
        found = self._files.get(self.name_of(path))
        return None if found is None else bytes(found.data)

    def put_file(self, path: str, data: bytes) -> None:
        """Put a file there, as another hand would."""
        found = _File(self._now())
        found.data[:] = data
        self._files[self.name_of(path)] = found

    def take_file(self, path: str) -> bytes:
        """Take a file away, as a consumer would; open handles still write to it."""
        return bytes(self._files.pop(path).data)

    def move_file(self, path: str, target: str) -> None:
        """Rename a file, as another hand would."""
        self._files[target] = self._files.pop(path)

    def name_of(self, path: str) -> str:
        """The name of the file that is found as ``path``; that itself, if there is none."""
        if not self.folds_names or path in self._files:
            return path
        key = name_key(path)
        return next((name for name in self._files if name_key(name) == key), path)

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._files)

    def has_folder(self, path: str) -> bool:
        """Whether the folder is there."""
        return path.strip("/") in self._folders

    def make_folder(self, path: str) -> None:
        """Add a folder and its parents."""
        for part in itertools.accumulate(path.strip("/").split("/"), lambda a, b: f"{a}/{b}"):
            self._folders.add(part)


class MemoryTransport(SimpleTransport):
    """One connection to a :class:`MemoryServer`."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__()
        self._server = server
        self._handles: dict[str, _File] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._server.capabilities

    def connect(self) -> None:
        if not self._server.up:
            raise LinkError("connection refused", operation="connect", path="memory")

    def close(self) -> None:
        super().close()
        self._handles.clear()

    def stat(self, path: str) -> RemoteStat:
        self._arrive("stat", path)
        path = self._server.name_of(path)
        if self._server.has_folder(path) and path not in self._server._files:
            result = RemoteStat(0, None, is_dir=True)
        else:
            found = self._file("stat", path)
            result = RemoteStat(len(found.data), found.mtime)
        self._server.after("stat", path)
        return result

    def stat_open(self, path: str) -> RemoteStat:
        self._arrive("stat_open", path)
        found = self._handles.get(path)
        if found is None:
            return super().stat_open(path)
        return RemoteStat(len(found.data), found.mtime)

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        self._arrive("write", path)
        self._put("write", path, offset, data, create=create)
        self._server.after("write", path)

    def _put(self, name: str, path: str, offset: int, data: bytes, *, create: bool) -> None:
        found = self._handles.get(path)
        asked, path = path, self._server.name_of(path)
        if found is None:
            if create and path not in self._server._files:
                self._need_folder(name, path)
                self._server._files[path] = _File(self._server._now())
            found = self._handles[asked] = self._file(name, path)
        if offset > len(found.data):
            found.data.extend(bytes(offset - len(found.data)))
        found.data[offset : offset + len(data)] = data
        found.mtime = self._server._now()

    def finish(self, path: str, *, sync: bool) -> None:
        self._arrive("finish", path)
        self._handles.pop(path, None)
        self._server.after("finish", path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        self._arrive("read", path)
        return bytes(self._file("read", path).data[offset : offset + length])

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        self._arrive("rename", path)
        found = self._file("rename", path)
        self._handles.pop(path, None)
        self._handles.pop(target, None)
        path, target = self._server.name_of(path), self._server.name_of(target)
        self._need_folder("rename", target)
        if target in self._server._files and not replace:
            raise RemoteExists("the name is taken", operation="rename", path=target)
        del self._server._files[path]
        self._server._files[target] = found
        self._server.after("rename", path)

    def remove(self, path: str) -> None:
        self._arrive("remove", path)
        self._file("remove", path)
        self._handles.pop(path, None)
        del self._server._files[self._server.name_of(path)]
        self._server.after("remove", path)

    def make_dir(self, path: str) -> None:
        self._arrive("make_dir", path)
        self._need_folder("make folder", path.rstrip("/"))
        if path.rstrip("/") in self._server._files:
            raise RemoteExists("a file is in the way", operation="make folder", path=path)
        self._server._folders.add(path.strip("/"))
        self._server.after("make_dir", path)

    def list(self, path: str) -> dict[str, RemoteStat]:
        self._arrive("list", path)
        if not self._server.has_folder(path):
            raise RemoteNotFound("no such folder", operation="list", path=path)
        found: dict[str, RemoteStat] = {}
        for name, file in self._server._files.items():
            folder, _, last = name.rpartition("/")
            if folder.strip("/") == path.strip("/"):
                found[last] = RemoteStat(len(file.data), file.mtime)
        for name in self._server._folders - {""}:
            folder, _, last = name.rpartition("/")
            if folder == path.strip("/"):
                found[last] = RemoteStat(0, None, is_dir=True)
        return found

    def copy(self, request: Copy) -> None:
        self._arrive("copy", request.path)
        start, end = request.offset, request.offset + request.length
        data = bytes(self._file("copy", request.path).data[start:end])
        self._put("copy", request.target, request.target_offset, data, create=request.create)
        self._server.after("copy", request.path)
        if len(data) < request.length:
            raise RemoteError("the file ends before", operation="copy", path=request.path)

    def _arrive(self, name: str, path: str) -> None:
        if not self._server.up:
            raise LinkLost("the connection broke", operation=name, path=path)
        self._server.before(name, path)

    def _file(self, operation: str, path: str) -> _File:
        found = self._server._files.get(self._server.name_of(path))
        if found is None:
            raise RemoteNotFound("no such file", operation=operation, path=path)
        return found

    def _need_folder(self, operation: str, path: str) -> None:
        folder = path.rpartition("/")[0].strip("/")
        if folder not in self._server._folders:
            raise RemoteNotFound("no such folder", operation=operation, path=folder)
