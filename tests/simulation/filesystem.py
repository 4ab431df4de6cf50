"""A local file system in memory that knows what a loss of power would leave of it.

Two states live side by side: what processes see, and what is on the platter. File data becomes
durable by :meth:`Inode.sync`, names by :meth:`SimFileSystem.sync_dir`; :meth:`SimFileSystem.crash`
decides the rest at random, as ALICE (Pillai et al., OSDI '14) found real file systems to: of the
operations since the last sync a prefix survives, per file and per folder, files and folders
independently of each other; appended data may survive as zeros (size written, data not).

Time stamps come from a coarse kernel tick, and explicit ones are cut to what the file system
stores: ext4 before Linux 6.13 has a tick of 1-10 ms and stores nanoseconds, HFS+ has 1 s for both,
FAT 2 s for both and no change time of its own.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pysubtask.seams.disk import FileStat
from tests.simulation.clock import SimClock
from tests.simulation.nodes import Directory, Inode, last_kept, write_into

__all__ = ["SURVIVALS", "Directory", "FileSystemKind", "Inode", "SimFileSystem", "os_error"]

SURVIVALS: dict[str, tuple[int | None, int | None]] = {
    "": (None, None),
    "nothing": (0, 0),
    "everything": (1, 1),
    "names": (1, 0),
    "data": (0, 1),
}
"""Of what was not synced, the names and the data that a loss of power leaves: none (0), all (1), or
as it happens (None)."""
_NAME_MAX = 255


def os_error(number: int, path: str) -> OSError:
    """The error that the operating system would raise."""
    return OSError(number, os.strerror(number), path)


@dataclass(frozen=True, slots=True)
class FileSystemKind:
    """How this file system differs from an ideal one."""

    tick_ns: int = 1
    """The kernel stamps changes with the time cut to this."""
    granularity_ns: int = 1
    """Explicit times are cut to this."""
    ctime_is_mtime: bool = False
    """FAT: no change time of its own."""
    reuse_inodes: bool = True
    """A freed inode number goes to the next file that is made."""
    ordered_names: bool = True
    """One metadata journal (ext4, XFS): names survive in the order of their changes across all
    folders, and any fsync commits them all. Otherwise each folder has to be synced by itself."""
    zero_tails: bool = False
    """The lost end of a file may come back as zeros."""
    zero_writes: bool = False
    """It has the length of the whole write then (XFS: the size was written, the data not)."""


_Names = Sequence[tuple[str, Inode | Directory | None]]
_Change = tuple[Directory, int, _Names]
"""The folder, the number of the change, and what its names stand for from then on."""


def _apply(entries: dict[str, Inode | Directory], names: _Names) -> None:
    for name, node in names:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class SimFileSystem:
    """The machine's disk. The program calls it directly; the child through ``SimDisk``."""

    def __init__(self, clock: SimClock, kind: FileSystemKind) -> None:
        self.clock = clock
        self.kind = kind
        self.capacity_bytes = 1 << 40
        """What the child may fill; the program has reserved blocks and always finds room."""
        self.used_bytes = 0
        self.unreadable: set[str] = set()
        """What the child may not open."""
        self.on_change: Callable[[str, str], None] = lambda change, path: None
        """Told of every change, as inotify would: ``modify``, ``attrib``, ``create``,
        ``moved_from``, ``moved_to``, ``delete``."""
        self._free_numbers: list[int] = []
        self._last_number = 1
        self._sequence = 0
        self._root = Directory(1, "/")
        self._directories = {"": self._root}

    # -- looking ---------------------------------------------------------------------------------

    def directory(self, path: str) -> Directory:
        """The folder at ``path``."""
        found = self._directories.get(path.rstrip("/"))
        if found is None:
            raise self._no_folder(path)
        return found

    def _no_folder(self, path: str) -> OSError:
        """Why ``path`` is no folder: missing, or a file stands in the way."""
        while (found := self._find(path)) is None and path:
            path = path.rpartition("/")[0]
        return os_error(errno.ENOTDIR if isinstance(found, Inode) else errno.ENOENT, path)

    def _split(self, path: str) -> tuple[Directory, str]:
        folder, _, name = path.rpartition("/")
        found = self._directories.get(folder)
        if found is None:
            raise self._no_folder(folder)
        return found, name

    @staticmethod
    def _check_length(name: str) -> None:
        if len(name) * 4 > _NAME_MAX and len(os.fsencode(name)) > _NAME_MAX:
            raise os_error(errno.ENAMETOOLONG, name)

    def _find(self, path: str) -> Inode | Directory | None:
        known = self._directories.get(path)
        if known is not None:
            return known
        folder, _, name = path.rpartition("/")
        parent = self._directories.get(folder)
        return None if parent is None else parent.entries.get(name)

    def node(self, path: str) -> Inode | Directory:
        """What is at ``path``."""
        above = self._directories.get(path.rpartition("/")[0])
        here = above.entries.get(path.rpartition("/")[2]) if above is not None else None
        if here is not None:
            return here
        found = self._directories.get(path.rstrip("/"))
        if found is not None:
            return found
        folder, name = self._split(path)
        node = folder.entries.get(name)
        if node is None:
            self._check_length(name)
            raise os_error(errno.ENOENT, path)
        return node

    def file(self, path: str) -> Inode:
        """The file at ``path``."""
        node = self.node(path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        return node

    def exists(self, path: str) -> bool:
        """Whether there is something at ``path``."""
        return self._find(path) is not None

    def read(self, path: str) -> bytes:
        """A file's whole content."""
        return bytes(self.file(path).data)

    def stat_of(self, node: Inode | Directory) -> FileStat:
        """As ``fstat`` would tell."""
        if isinstance(node, Directory):
            at_ns = node.changed_ns
            return FileStat(4096, at_ns, at_ns, node.number, 42, is_file=False, is_dir=True)
        stamps = (node.mtime_ns, node.ctime_ns)
        return FileStat(len(node.data), *stamps, node.number, 42, links=node.links)

    # -- times -----------------------------------------------------------------------------------

    def _stamp(self, inode: Inode, *, data_changed: bool = True) -> None:
        now_ns = self.clock.wall_ns()
        now_ns -= now_ns % self.kind.tick_ns
        if data_changed:
            inode.mtime_ns = now_ns
        inode.ctime_ns = inode.mtime_ns if self.kind.ctime_is_mtime else now_ns

    def touch(self, path: str, mtime_ns: int | None = None) -> None:
        """``utime``: an explicit time, or the kernel's own idea of now; makes a missing file."""
        if not self.exists(path):
            self.create(path)
        inode = self.file(path)
        if mtime_ns is None:
            self._stamp(inode)
        else:
            inode.mtime_ns = mtime_ns - mtime_ns % self.kind.granularity_ns
            self._stamp(inode, data_changed=False)
        inode.pending.append((len(inode.data), b"", inode.mtime_ns, inode.ctime_ns))
        self.on_change("attrib", path)

    # -- data ------------------------------------------------------------------------------------

    def write_inode(self, inode: Inode, offset: int, data: bytes) -> None:
        """Write as ``pwrite`` does."""
        if not data:
            return
        growth = offset + len(data) - len(inode.data)
        write_into(inode.data, offset, data)
        self.used_bytes += max(0, growth)
        self._stamp(inode)
        inode.pending.append((offset, bytes(data), inode.mtime_ns, inode.ctime_ns))
        if inode.links:
            self.on_change("modify", inode.path)

    def truncate_inode(self, inode: Inode, size: int) -> None:
        """As ``ftruncate``."""
        self.used_bytes += size - len(inode.data)
        write_into(inode.data, size, None)
        if inode.lost:
            inode.cut(size)
        self._stamp(inode)
        inode.pending.append((size, None, inode.mtime_ns, inode.ctime_ns))
        if inode.links:
            self.on_change("modify", inode.path)

    def append(self, path: str, data: bytes) -> None:
        """Open for appending, write, close."""
        inode = self.file(path) if self.exists(path) else self.create(path)
        self.write_inode(inode, len(inode.data), data)

    # -- names -----------------------------------------------------------------------------------

    def _change(self, directory: Directory, *names: tuple[str, Inode | Directory | None]) -> None:
        _apply(directory.entries, names)
        directory.pending.append((self._sequence, list(names)))
        now_ns = self.clock.wall_ns()
        directory.changed_ns = now_ns - now_ns % self.kind.tick_ns

    def create(self, path: str) -> Inode:
        """A new, empty file."""
        folder, name = self._split(path)
        self._check_length(name)
        if name in folder.entries:
            raise os_error(errno.EEXIST, path)
        inode = Inode(self._new_number(), path)
        inode.links = 1
        self._stamp(inode)
        inode.durable = (b"", inode.mtime_ns, inode.ctime_ns)  # its times come with its name
        self._sequence += 1
        inode.made = self._sequence
        self._change(folder, (name, inode))
        self.on_change("create", path)
        return inode

    def _new_number(self) -> int:
        if self.kind.reuse_inodes and self._free_numbers:
            return self._free_numbers.pop()
        self._last_number += 1
        return self._last_number

    def make_dirs(self, path: str) -> None:
        """``mkdir -p``."""
        done = ""
        for part in path.strip("/").split("/"):
            parent, done = self._directories[done], f"{done}/{part}"
            node = parent.entries.get(part)
            if node is None:
                made = Directory(self._new_number(), done)
                self._sequence += 1
                self._change(parent, (part, made))
                self._directories[done] = made
                self.on_change("create", done)
            elif isinstance(node, Inode):
                raise os_error(errno.ENOTDIR if done != path else errno.EEXIST, path)

    def rename(self, path: str, target: str) -> None:
        """``rename`` of a file, replacing ``target``."""
        source_folder, source_name = self._split(path)
        target_folder, target_name = self._split(target)
        inode = self.file(path)
        self._check_length(target_name)
        replaced = target_folder.entries.get(target_name)
        if isinstance(replaced, Directory):
            inside = path.startswith(target.rstrip("/") + "/")
            raise os_error(errno.ENOTEMPTY if inside else errno.EISDIR, target)
        if replaced is inode:
            return  # rename(2): both names are the same file, nothing happens
        self._sequence += 1
        if source_folder is target_folder:
            self._change(source_folder, (source_name, None), (target_name, inode))
        else:
            self._change(source_folder, (source_name, None))
            self._change(target_folder, (target_name, inode))
        inode.path = target
        self._stamp(inode, data_changed=False)
        inode.pending.append((len(inode.data), b"", inode.mtime_ns, inode.ctime_ns))
        self.on_change("moved_from", path)
        self.on_change("moved_to", target)
        if replaced is not None:
            replaced.links -= 1
            self.release(replaced)

    def link(self, path: str, target: str) -> None:
        """A second name for the same file."""
        inode = self.file(path)
        folder, name = self._split(target)
        if name in folder.entries:
            raise os_error(errno.EEXIST, target)
        self._sequence += 1
        self._change(folder, (name, inode))
        inode.links += 1
        self._stamp(inode, data_changed=False)
        self.on_change("create", target)

    def remove(self, path: str) -> None:
        """``unlink``."""
        folder, name = self._split(path)
        inode = self.file(path)
        self._sequence += 1
        self._change(folder, (name, None))
        inode.links -= 1
        self.on_change("delete", path)
        self.release(inode)

    def release(self, inode: Inode) -> None:
        """Free a file that has neither names nor open handles."""
        if inode.links == 0 and inode.opens == 0:
            self.used_bytes -= len(inode.data)
            self._free_numbers.append(inode.number)

    # -- durability ------------------------------------------------------------------------------

    def sync_file(self, inode: Inode) -> None:
        """``fsync`` of a file; where there is one journal of names, it commits all of it."""
        inode.sync()
        if self.kind.ordered_names:
            self._commit_names()

    def sync_dir(self, path: str) -> None:
        """``fsync`` of a folder."""
        self.directory(path).sync()
        if self.kind.ordered_names:
            self._commit_names()

    def _commit_names(self) -> None:
        for directory in self._directories.values():
            directory.sync()

    def write_back(self, rng: random.Random | None = None) -> None:
        """The kernel's own flushing: everything, or a random half of it."""
        for directory in self._directories.values():
            if rng is None or rng.random() < 0.5:
                directory.sync()
            for node in directory.entries.values():
                if isinstance(node, Inode) and (rng is None or rng.random() < 0.5):
                    node.sync()

    def crash(self, rng: random.Random, how: str = "") -> None:
        """The power fails. Every open handle is void afterwards.

        Args:
            how: which of the changes that are not on the platter survive: one of
                :data:`SURVIVALS`.
        """
        names_share, data_share = SURVIVALS[how]
        kept = self._surviving_names(rng, names_share)
        changes = [
            (d, sequence, names)
            for d in self._directories.values()
            for sequence, names in d.pending
        ]
        for directory in self._directories.values():
            entries = dict(directory.durable)
            for sequence, names in directory.pending:
                if sequence > kept[directory.path]:
                    break
                _apply(entries, names)
            directory.entries = entries
            directory.pending.clear()
        self._remove_replaced(changes)
        self._directories = {}
        self.used_bytes = 0
        self._recover(self._root, "", rng, {}, data_share)

    def _remove_replaced(self, changes: Sequence[_Change]) -> None:
        """Where a file survived that was given the number of a removed one, so did the removal, and
        all that it was a part of: a rename puts another file in the place of the one it removes.

        Args:
            changes: of all folders, that were not on the disk.
        """
        newest: dict[int, int] = {}
        reached: dict[tuple[str, str], int] = {}
        """Up to which change each name has been brought."""
        is_settled = False
        while not is_settled:  # what a change brings may be replaced by a later one
            is_settled = True
            for directory in self._directories.values():
                for node in directory.entries.values():
                    if isinstance(node, Inode):
                        newest[node.number] = max(node.made, newest.get(node.number, 0))
            for directory in self._directories.values():
                for name, node in list(directory.entries.items()):
                    if not isinstance(node, Inode) or node.made == newest[node.number]:
                        continue
                    if directory.entries.get(name) is not node:
                        continue  # it went with another one
                    is_settled = False
                    del directory.entries[name]
                    after = reached.get((directory.path, name), node.made)
                    removal = next(
                        (
                            sequence
                            for changed, sequence, names in changes
                            if changed is directory
                            and any(n == name and x is not node for n, x in names)
                            and sequence > after
                        ),
                        None,
                    )
                    if removal is not None:
                        reached[directory.path, name] = removal
                    for changed, sequence, names in changes:
                        if sequence == removal:
                            _apply(changed.entries, names)
        for directory in self._directories.values():
            directory.durable = dict(directory.entries)

    def _surviving_names(self, rng: random.Random, share: int | None) -> dict[str, int]:
        """For each folder the last change that survives."""
        directories = list(self._directories.values())
        if self.kind.ordered_names:
            sequences = sorted({s for d in directories for s, _ in d.pending})
            last = last_kept(rng, sequences, share)
            return {d.path: last for d in directories}
        kept = {d.path: last_kept(rng, [s for s, _ in d.pending], share) for d in directories}
        homes: dict[int, list[str]] = {}
        for directory in directories:
            for sequence, _ in directory.pending:
                homes.setdefault(sequence, []).append(directory.path)
        for sequence in sorted(homes, reverse=True):  # a move between folders is one change
            if not all(kept[home] >= sequence for home in homes[sequence]):
                for home in homes[sequence]:
                    kept[home] = min(kept[home], sequence - 1)
        return kept

    def _recover(
        self,
        directory: Directory,
        path: str,
        rng: random.Random,
        seen: dict[int, Inode],
        share: int | None,
    ) -> None:
        self._directories[path] = directory
        for name, node in directory.entries.items():
            node_path = f"{path}/{name}"
            if isinstance(node, Directory):
                self._recover(node, node_path, rng, seen, share)
                continue
            if seen.get(node.number) is node:
                node.links += 1
                continue
            if node.number in self._free_numbers:  # its removal was undone
                self._free_numbers.remove(node.number)
            seen[node.number] = node
            node.links, node.opens, node.path = 1, 0, node_path
            node.settle(rng, self.kind.zero_tails, self.kind.zero_writes, share)
            self.used_bytes += len(node.data)
