"""The child's view of the simulated file system: the ``Disk`` seam.

Every call first asks ``before_call`` (the world), which may let time pass, let the program act in
between, raise an ``OSError`` (a fault) or :class:`~tests.simulation.clock.Killed`. A process that
is dead does nothing more: its ``finally`` blocks find a disk that does not answer.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from pysubtask.seams.disk import FileStat
from tests.simulation.clock import Killed
from tests.simulation.filesystem import Directory, Inode, SimFileSystem, os_error

__all__ = ["HALF", "SimDisk"]

HALF = "injected, half of it was written"
"""What a fault says before which an append has written half of its data."""

BeforeCall = Callable[[str, str], None]


class _Handle:
    def __init__(self, disk: SimDisk, inode: Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._open = True
        inode.opens += 1
        disk.handles[self] = None

    def _enter(self, operation: str) -> None:
        self._disk.before_call(operation, self._path)
        if not self._open:
            raise os_error(errno.EBADF, self._path)

    def stat(self) -> FileStat:
        self._enter("fstat")
        return self._disk.file_system.stat_of(self._inode)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._disk.handles.pop(self, None)
            self._inode.opens -= 1
            self._disk.file_system.release(self._inode)


class _ReadHandle(_Handle):
    def read_at(self, offset: int, length: int) -> bytes:
        self._enter("read")
        return bytes(self._inode.data[offset : offset + length])


class _WriteHandle(_Handle):
    def append(self, data: bytes) -> None:
        try:
            self._enter("append")
        except Killed as killed:
            if killed.args:  # died within the write: the share of it that was done
                done = data[: int(len(data) * float(killed.args[0]))]
                self._disk.file_system.write_inode(self._inode, len(self._inode.data), done)
            raise
        except OSError as error:
            if error.strerror == HALF:
                half = bytes(data[: len(data) // 2])
                self._disk.file_system.write_inode(self._inode, len(self._inode.data), half)
            raise
        file_system = self._disk.file_system
        room = max(0, file_system.capacity_bytes - file_system.used_bytes)
        file_system.write_inode(self._inode, len(self._inode.data), bytes(data[:room]))
        if len(data) > room:
            raise os_error(errno.ENOSPC, self._path)

    def truncate(self, size: int) -> None:
        self._enter("truncate")
        self._disk.file_system.truncate_inode(self._inode, size)

    def sync(self) -> None:
        try:
            self._enter("sync")
        except OSError as error:
            if error.errno == errno.EIO:
                self._inode.fail_sync()
            raise
        self._disk.file_system.sync_file(self._inode)


class SimDisk:
    """One child process's hands on the file system."""

    def __init__(
        self, file_system: SimFileSystem, before_call: BeforeCall, *, pid: int = 1
    ) -> None:
        self.file_system = file_system
        self.before_call = before_call
        self.handles: dict[_Handle, None] = {}
        self.on_rename: Callable[[str, str], None] = lambda path, target: None
        self._pid = pid

    def abandon(self) -> None:
        """The process is gone; the kernel closes what it held."""
        for handle in list(self.handles):
            handle.close()

    def open_files(self) -> Iterator[tuple[str, Inode]]:
        """What it holds open, by the names that were opened."""
        return ((handle._path, handle._inode) for handle in self.handles)

    def forget(self) -> None:
        """The machine is gone; nobody closes anything."""
        for handle in self.handles:
            handle._open = False
        self.handles.clear()

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        self.before_call("stat", path)
        return self.file_system.stat_of(self.file_system.node(path))

    def times(self, path: str) -> tuple[int, int] | None:
        try:
            st = self.stat(path)
        except OSError:
            return None
        return st.mtime_ns, st.ctime_ns

    def scan(
        self, folder: str, only: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[str, FileStat | None]]:
        self.before_call("scan", folder)
        directory = self.file_system.directory(folder)
        for name in list(directory.entries):
            if only is not None and not only(name):
                continue
            node = directory.entries.get(name)
            yield name, None if node is None else self.file_system.stat_of(node)

    def open_read(self, path: str) -> _ReadHandle:
        self.before_call("open", path)
        node = self.file_system.node(path)
        if isinstance(node, Directory):
            raise os_error(errno.EINVAL, path)
        if path in self.file_system.unreadable:
            raise os_error(errno.EACCES, path)
        return _ReadHandle(self, node, path)

    def open_append(
        self, path: str, *, create_new: bool = False, private: bool = True
    ) -> _WriteHandle:
        self.before_call("create", path)
        if not self.file_system.exists(path):
            if self.file_system.used_bytes >= self.file_system.capacity_bytes:
                raise os_error(errno.ENOSPC, path)
            return _WriteHandle(self, self.file_system.create(path), path)
        if create_new:
            raise os_error(errno.EEXIST, path)
        return _WriteHandle(self, self.file_system.file(path), path)

    def open_existing(self, path: str) -> _WriteHandle:
        self.before_call("open", path)
        return _WriteHandle(self, self.file_system.file(path), path)

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        temporary = f"{path}.{self._pid}.tmp"
        handle = self.open_append(temporary)
        try:
            try:
                handle.truncate(0)
                handle.append(data)
                if sync:
                    handle.sync()
            finally:
                handle.close()
            self.rename(temporary, path)
        except OSError:
            try:
                self.remove(temporary)
            except OSError:
                pass
            raise

    def overwrite(self, path: str, data: bytes) -> None:
        self.before_call("append", path)
        self.file_system.write_inode(self.file_system.file(path), 0, data)

    def read_whole(self, path: str, limit_bytes: int) -> bytes:
        handle = self.open_read(path)
        try:
            return handle.read_at(0, limit_bytes)
        finally:
            handle.close()

    def rename(self, path: str, target: str) -> None:
        self.before_call("rename", path)
        self.file_system.rename(path, target)
        self.on_rename(path, target)

    def link(self, path: str, target: str) -> None:
        self.before_call("link", target)
        if self.file_system.kind.ctime_is_mtime:
            raise os_error(errno.EPERM, target)  # FAT has no second names
        self.file_system.link(path, target)
        self.on_rename(path, target)

    def remove(self, path: str) -> None:
        self.before_call("remove", path)
        self.file_system.remove(path)

    def make_dirs(self, path: str, *, private: bool = True) -> None:
        self.before_call("mkdir", path)
        files = self.file_system
        parts = path.strip("/").split("/")
        folders = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        made = [folder for folder in folders if not files.exists(folder)]
        files.make_dirs(path)
        for folder in made:
            files.sync_dir(folder.rpartition("/")[0])

    def sync_dir(self, path: str) -> None:
        self.before_call("sync_dir", path)
        self.file_system.sync_dir(path)

    def free_bytes(self, path: str) -> int:
        self.before_call("free", path)
        self.file_system.node(path)
        return max(0, self.file_system.capacity_bytes - self.file_system.used_bytes)
