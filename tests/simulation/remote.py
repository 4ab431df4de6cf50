"""The server's file system, watched by a reader that looks after every single change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from tests.simulation.platter import Platter

__all__ = ["Observer", "RemoteDisk", "RemoteFile", "RemoteRefusal"]


class RemoteFile:
    """Content that handles and names refer to."""

    __slots__ = ("content", "mtime", "names", "placed")

    def __init__(self) -> None:
        self.content = bytearray()
        self.mtime = 0
        self.names: set[str] = set()
        self.placed = False
        """It has had a name that is not a temporary one of ours."""


class RemoteRefusal(Exception):
    """The server's file system says no; ``args[0]`` is the SFTP status code."""


class Observer(Protocol):
    """Whoever wants to see what a reader could see; called after each change."""

    def wrote(self, file: RemoteFile, offset: int, data: bytes) -> None:
        """``data`` was written at ``offset``."""

    def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> None:
        """``path`` names ``file`` from now on (a new file, or one that was renamed)."""

    def unnamed(self, path: str, file: RemoteFile) -> None:
        """``path`` names nothing any more."""

    def folder_moved(self, path: str, target: str) -> None:
        """A folder has another name, with all that is in it."""

    def lost(self) -> None:
        """The server went down, and some of what was written lately is gone."""


NO_SUCH_FILE, DENIED, FAILURE = 2, 3, 4


class RemoteDisk:
    """Files by path, folders by path. A rename never loses an open handle."""

    def __init__(self, wall_secs: Callable[[], int]) -> None:
        self.files: dict[str, RemoteFile] = {}
        self.folders: set[str] = {"/"}
        self.observers: list[Observer] = []
        self.capacity_bytes = 1 << 40
        self.used_bytes = 0
        self.refuse: Callable[[str, str], int | None] = lambda operation, path: None
        """A status code for an operation that the server denies just now."""
        self.acks_short = False
        """A write of which only a part fits succeeds all the same."""
        self.on_short_write: Callable[[], None] = lambda: None
        self.late = False
        """What happens now was asked for by a client that has lost its power since."""
        self.missed: set[str] = set()
        """Paths that were looked for, or to be removed, when nothing was there."""
        self.another_hand = False
        """Somebody else than our session acts: nothing is denied to them."""
        self.fold: Callable[[str], str] = lambda path: path
        """What the server makes of each path that it is given."""
        self._wall_secs = wall_secs
        self.platter: Platter | None = None
        """What is not on the disk yet, if anybody wants to know."""
        self.now_ns: Callable[[], int] = lambda: 0
        self.held_back: Callable[[RemoteFile], bool] = lambda file: False
        """The machine that mounts it has some of the file in its cache only."""

    @property
    def has_room(self) -> bool:
        """It is not full, and never was a short time ago."""
        return self.capacity_bytes >= 1 << 40

    def sync(self, file: RemoteFile) -> None:
        """As ``fsync(2)``."""
        if self.platter is not None:
            self.platter.sync(file)

    def lose(self, rng: random.Random, how: str) -> None:
        """The server goes down and comes back; see :meth:`Platter.lose`."""
        if self.platter is None:
            return
        before = dict(self.files.items())
        self.platter.lose(rng, how, self.now_ns(), self.files)
        for file in (*before.values(), *self.files.values()):
            file.names.clear()
        for path, file in self.files.items():
            file.names.add(path)
        self.used_bytes = sum(len(file.content) for file in self._distinct())
        for observer in self.observers:
            observer.lost()

    def _distinct(self) -> list[RemoteFile]:
        return list({id(file): file for file in self.files.values()}.values())

    def _check(self, operation: str, path: str) -> None:
        code = None if self.another_hand else self.refuse(operation, path)
        if code is not None:
            raise RemoteRefusal(code)

    def lookup(self, path: str) -> RemoteFile:
        """The file at ``path``."""
        file = self.files.get(path)
        if file is None:
            self.missed.add(path)
            raise RemoteRefusal(FAILURE if path in self.folders else NO_SUCH_FILE)
        return file

    def open(
        self, path: str, *, write: bool, create: bool, truncate: bool, exclusive: bool
    ) -> RemoteFile:
        """As ``open(2)``."""
        self._check("open" if write else "read", path)
        file = self.files.get(path)
        if file is None:
            if not create:
                raise RemoteRefusal(FAILURE if path in self.folders else NO_SUCH_FILE)
            self._check("create", path)
            self._need_parent(path)
            if path in self.folders:
                raise RemoteRefusal(FAILURE)
            file = RemoteFile()
            file.mtime = self._wall_secs()
            self._name(path, file)
        elif create and exclusive:
            raise RemoteRefusal(FAILURE)
        elif truncate and file.content:
            self.truncate(file, 0)
        return file

    def _need_parent(self, path: str) -> None:
        if (path.rpartition("/")[0] or "/") not in self.folders:
            raise RemoteRefusal(NO_SUCH_FILE)

    def _note_name(
        self, source: str | None, path: str, file: RemoteFile, replaced: RemoteFile | None
    ) -> None:
        if self.platter is not None:
            changes: list[tuple[str, RemoteFile | None]] = [(path, replaced)]
            if source is not None:
                changes.append((source, file))
            self.platter.named(self.now_ns(), *changes)

    def _name(self, path: str, file: RemoteFile, moved_from: str | None = None) -> None:
        replaced = self.files.get(path)
        if replaced is not None:
            replaced.names.discard(path)
            self._count_out(replaced)
        self._note_name(moved_from, path, file, replaced)
        self.files[path] = file
        file.names.add(path)
        file.placed = file.placed or "/.pysubtask-" not in path
        for observer in self.observers:
            observer.named(path, file, replaced)

    def _count_out(self, file: RemoteFile) -> None:
        if not file.names:
            self.used_bytes -= len(file.content)

    def write(self, file: RemoteFile, offset: int, data: bytes) -> None:
        """As ``pwrite(2)``; on a full disk what fits is written, then it fails."""
        if file.names:
            for path in file.names:
                self._check("write", path)
            growth = offset + len(data) - len(file.content)
            room = max(0, self.capacity_bytes - self.used_bytes)
            if growth > room and not self.another_hand:
                part = data[: max(0, len(data) - (growth - room))]
                self._put(file, offset, part)
                if part and self.acks_short:
                    self.on_short_write()
                    return
                raise RemoteRefusal(FAILURE)
        self._put(file, offset, data)

    def _put(self, file: RemoteFile, offset: int, data: bytes) -> None:
        if not data:
            return
        content = file.content
        before = len(content)
        self._note_bytes(file, offset, len(data))
        if offset > before:
            content.extend(bytes(offset - before))
        content[offset : offset + len(data)] = data
        if file.names:
            self.used_bytes += len(content) - before
        file.mtime = self._wall_secs()
        for observer in self.observers:
            observer.wrote(file, offset, data)

    def _note_bytes(self, file: RemoteFile, offset: int, length: int | None) -> None:
        if self.platter is not None:
            stop = None if length is None else offset + length
            before = bytes(file.content[offset:stop])
            self.platter.wrote(self.now_ns(), file, offset, before, len(file.content), file.mtime)

    def truncate(self, file: RemoteFile, size: int) -> None:
        """As ``ftruncate(2)``, which no request of ours may ever cause."""
        self._note_bytes(file, size, None)
        if file.names:
            self.used_bytes += size - len(file.content)
        if size < len(file.content):
            del file.content[size:]
        else:
            file.content.extend(bytes(size - len(file.content)))
        file.mtime = self._wall_secs()
        for observer in self.observers:
            observer.wrote(file, size, b"")

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        """``replace``: as ``rename(2)``; else as the draft's RENAME, refusing a taken name."""
        self._check("rename", path)
        self._check("rename", target)
        if path in self.folders and target not in self.folders and target not in self.files:
            self._rename_folder(path, target)
            return
        file = self.lookup(path)
        self._need_parent(target)
        if target in self.folders or (not replace and target in self.files):
            raise RemoteRefusal(FAILURE)
        if target == path:
            return
        del self.files[path]
        file.names.discard(path)
        self._name(target, file, moved_from=path)
        for observer in self.observers:
            observer.unnamed(path, file)

    def _rename_folder(self, path: str, target: str) -> None:
        self._need_parent(target)
        inside = [name for name in self.files if name.startswith(f"{path}/")]
        self.folders.discard(path)
        self.folders.add(target)
        for name in inside:
            file = self.files.pop(name)
            file.names.discard(name)
            self.files[target + name[len(path) :]] = file
            file.names.add(target + name[len(path) :])
        for observer in self.observers:
            observer.folder_moved(path, target)

    def remove(self, path: str) -> None:
        """As ``unlink(2)``."""
        self._check("remove", path)
        if path not in self.files:
            self.missed.add(path)
        file = self.lookup(path)
        if self.platter is not None:
            self.platter.named(self.now_ns(), (path, file))
        del self.files[path]
        file.names.discard(path)
        self._count_out(file)
        for observer in self.observers:
            observer.unnamed(path, file)

    def make_folder(self, path: str) -> None:
        """As ``mkdir(2)``."""
        self._check("mkdir", path)
        if path in self.folders or path in self.files:
            raise RemoteRefusal(FAILURE)
        self._need_parent(path)
        self.folders.add(path)

    def names_in(self, folder: str) -> list[str]:
        """Names directly in ``folder``."""
        if folder not in self.folders:
            raise RemoteRefusal(NO_SUCH_FILE)
        start = "" if folder == "/" else folder
        size = len(start) + 1
        known = [*self.files, *(f for f in self.folders if f != "/")]
        return [p[size:] for p in known if p.rpartition("/")[0] == start]

    def put(self, path: str, content: bytes) -> RemoteFile:
        """Another hand writes a whole file (new, by rename)."""
        file = RemoteFile()
        file.content[:] = content
        file.mtime = self._wall_secs()
        self.used_bytes += len(content)
        self._name(path, file)
        return file
