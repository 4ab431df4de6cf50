"""The local side of what is fetched: temporary files, putting them in place, and whose is there."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Generator
from typing import Any, Literal, TypeAlias

from pysubtask.core.pull import HEAD_BYTES, Local, Passage, Pulled, print_of, tail_start
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat, WriteHandle
from pysubtask.suffixes import OWN_SUFFIXES, TEMP_PREFIX

__all__ = ["TEMP_PREFIX", "Look", "Places", "why_unsafe"]

Look: TypeAlias = Literal["absent", "as_left", "partly", "changed"]
"""``partly``: as it was left, and some bytes behind that may be ours: they were being added."""

_READ_BYTES = 1 << 20
_COARSEST_NS = 2_000_000_000
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Devices, whatever comes behind the dot (Microsoft Learn: "Naming Files, Paths, and
Namespaces")."""
_LONGEST_NAME_BYTES = 255 - len(".arrived")


def why_unsafe(name: str) -> str | None:
    """In words why no file may have the name that a server gives; None if one may.

    A server is not believed: no name of it leads out of the folder, or takes one of ours.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return "is no file name"
    if "\\" in name or any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "has a backslash or a control character in its name"
    if name.startswith(TEMP_PREFIX) or name.endswith(OWN_SUFFIXES):
        return "has a name that pysubtask keeps for itself"
    try:
        size = len(os.fsencode(name))
    except UnicodeError:
        return "is no file name"
    if size > _LONGEST_NAME_BYTES:
        return "has too long a name"
    if sys.platform == "win32" and (
        re.search(r'[<>:"|?*]', name) or name.endswith((" ", ".")) or _RESERVED.fullmatch(name)
    ):
        return "has a name that Windows does not allow"
    return None


def _local(st: FileStat) -> Local:
    return Local(st.size, st.mtime_ns, st.ino)


def _may_be(st: FileStat, left: Local) -> bool:
    """Whether it may be what was left there although its facts differ: FAT keeps times in steps of
    2 s and makes up inodes. Mounted anew, both differ."""
    return st.size == left.size and abs(st.mtime_ns - left.mtime_ns) < _COARSEST_NS


def _shortened(path: str, end: str) -> str:
    """The path with that end, its name cut where it would be too long."""
    folder, slash, name = path.rpartition("/")
    while len(os.fsencode(name + end)) > _LONGEST_NAME_BYTES:
        name = name[:-1]
    return f"{folder}{slash}{name}{end}"


class Places:
    """One folder into which files are fetched.

    Args:
        folder: absolute; it is made when it is needed.
        keep_free_bytes: so much of the disk is left free for the program.
    """

    def __init__(self, disk: Disk, clock: Clock, folder: str, *, keep_free_bytes: int = 0) -> None:
        self._keep_free_bytes = keep_free_bytes
        self._disk = disk
        self._clock = clock
        self.folder = folder
        self._is_dirty = True  # a process before may have been killed

    def path(self, name: str) -> str:
        """Where a file of that name goes."""
        return f"{self.folder.rstrip('/')}/{name}"

    def _temp(self, temp: str) -> str:
        return self.path(TEMP_PREFIX + temp)

    def need_room(self, size: int) -> None:
        """So many bytes are about to be written.

        Raises:
            OSError: the disk would be too full then (ENOSPC).
        """
        self._disk.make_dirs(self.folder, private=False)
        if self._disk.free_bytes(self.folder) - size < self._keep_free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.folder)

    # -- what is there -----------------------------------------------------------------------

    def look(self, entry: Pulled) -> Look:
        """Whether what was put at ``entry.place`` is still what we left there.

        Raises:
            OSError: it can't be looked at.
        """
        st = self._stat(entry.place or entry.path)
        return "absent" if st is None else self._judge(entry, st)

    def _judge(self, entry: Pulled, st: FileStat) -> Look:
        left = entry.local
        if left is None or not st.is_file:
            return "changed"
        if (st.size, st.mtime_ns, st.ino) == (left.size, left.mtime_ns, left.ino):
            return "as_left"
        if st.ino == left.ino and left.size < st.size <= entry.reach:
            return "partly"
        same = _may_be(st, left) and self._has_prints(entry.place, entry.size, entry)
        return "as_left" if same else "changed"

    def is_cut(self, entry: Pulled) -> bool:
        """Whether a file that was being added to has been cut to what is known of it, and the power
        took the note of that.

        Raises:
            OSError: it can't be read.
        """
        st, left = self._stat(entry.place), entry.local
        if st is None or left is None or (st.ino, st.size) != (left.ino, left.size):
            return False
        return self._has_prints(entry.place, entry.size, entry)

    def _has_prints(self, path: str, size: int, told: Pulled | Passage) -> bool:
        return self.prints(path, size) == (told.head, told.tail)

    def is_there(self, path: str) -> bool:
        """Whether anything has that name."""
        return self._stat(path) is not None

    def _stat(self, path: str) -> FileStat | None:
        try:
            return self._disk.stat(path, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_placed(self, passage: Passage) -> bool:
        """Whether what was on its way stands at its place, and nobody has changed it there."""
        try:
            st, left = self._stat(passage.place), passage.local
            if st is None or left is None or not st.is_file:
                return False
            if _local(st) == left:
                return True
            size = passage.goal.size
            return _may_be(st, left) and self._has_prints(passage.place, size, passage)
        except OSError:
            return False

    def left(self, path: str) -> Local:
        """How a file is left now."""
        return _local(self._disk.stat(path))

    def prints(self, path: str, size: int) -> tuple[str, str]:
        """The prints of the first and the last of its first ``size`` bytes.

        Raises:
            OSError: it can't be read.
        """
        handle = self._disk.open_read(path)
        try:
            start = tail_start(size)
            head = handle.read_at(0, min(HEAD_BYTES, size))
            return print_of(head), print_of(handle.read_at(start, size - start))
        finally:
            handle.close()

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Some bytes of a file."""
        handle = self._disk.open_read(path)
        try:
            return handle.read_at(offset, length)
        finally:
            handle.close()

    # -- temporary files ---------------------------------------------------------------------

    def temp_size(self, temp: str) -> int | None:
        """How much of a content is there; None if there is no such file."""
        st = self._stat(self._temp(temp))
        return st.size if st is not None else None

    def open_temp(self, temp: str, *, new: bool) -> WriteHandle:
        """Open one for appending; ``new``: it must not be there yet."""
        if new:
            self._disk.make_dirs(self.folder, private=False)
        return self._disk.open_append(self._temp(temp), create_new=new, private=False)

    def cut_temp(self, temp: str, size: int) -> None:
        """Cut one to so many bytes, if it has more; quiet if it is gone."""
        have = self.temp_size(temp)
        if have is not None and have > size:
            self.cut(self._temp(temp), size)

    def temp_path(self, temp: str) -> str:
        """Its path."""
        return self._temp(temp)

    def drop_temp(self, temp: str) -> None:
        """Remove one that nobody needs; quiet if it is gone."""
        try:
            self._disk.remove(self._temp(temp))
        except FileNotFoundError:
            pass

    def sweep(self, client_id: str, keep: set[str]) -> None:
        """Remove temporary files that bear our id and that the journal does not know."""
        try:
            names = [name for name, _ in self._disk.scan(self.folder)]
        except OSError:
            return
        ours = re.compile(re.escape(TEMP_PREFIX + client_id) + r"[0-9a-f]{8}")
        for name in names:
            if ours.fullmatch(name) and name.removeprefix(TEMP_PREFIX) not in keep:
                try:
                    self._disk.remove(self.path(name))
                except OSError:
                    pass

    # -- putting in place --------------------------------------------------------------------

    def publish(self, temp: str, place: str) -> None:
        """Give a complete and synced temporary file its name, in one step, for good."""
        self._disk.rename(self._temp(temp), place)
        self._disk.sync_dir(self.folder)

    def names_changed(self) -> None:
        """A name was given that need not be on the disk before the journal says so."""
        self._is_dirty = True

    def sync_if_changed(self) -> None:
        """Bring such names to the disk, and at first those that a process before gave.

        Raises:
            OSError: it can't be done.
        """
        if self._is_dirty:
            self._is_dirty = False
            try:
                self.sync_names()
            except OSError:
                self._is_dirty = True
                raise

    def sync_names(self) -> None:
        """Make the names that a killed process gave outlive a loss of power, too.

        Raises:
            OSError: it can't be done.
        """
        try:
            self._disk.sync_dir(self.folder)
        except FileNotFoundError:
            pass  # nor are there any names then

    def sync(self, place: str) -> None:
        """Likewise the bytes that it wrote to a file.

        Raises:
            OSError: it can't be done.
        """
        handle = self._disk.open_existing(place)
        try:
            handle.sync()
        finally:
            handle.close()

    def move(self, place: str, target: str) -> None:
        """Rename a file of ours."""
        self._disk.rename(place, target)
        self._disk.sync_dir(self.folder)

    def append(self, entry: Pulled, data: bytes) -> bool:
        """Add bytes at the end of a visible file; on the disk when this returns. False if it is
        not as it was left: nothing is added then."""
        try:
            handle = self._disk.open_existing(entry.place)
        except FileNotFoundError:
            return False
        try:
            if self._judge(entry, handle.stat()) != "as_left":
                return False
            handle.append(data)
            handle.sync()
        finally:
            handle.close()
        return True

    def cut(self, place: str, size: int) -> None:
        """Cut off what a loss of power left behind the bytes that are known to be good."""
        handle = self._disk.open_existing(place)
        try:
            handle.truncate(size)
            handle.sync()
        finally:
            handle.close()

    def beside(self, path: str) -> str:
        """A free name beside a file that is the program's own."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.time()))
        end = f"~conflict-{stamp}"
        number = 1
        while self.is_there(place := _shortened(path, end)):
            number += 1
            end = f"~conflict-{stamp}-{number}"
        return place

    def is_beginning(self, path: str, temp: str) -> Generator[None, Any, bool]:
        """Whether all that a file holds is the beginning of a temporary one, or all of it; lets
        others run in between."""
        ours = self._disk.open_read(self._temp(temp))
        try:
            theirs = self._disk.open_read(path)
            try:
                offset = 0
                while data := theirs.read_at(offset, _READ_BYTES):
                    if ours.read_at(offset, len(data)) != data:
                        return False
                    offset += len(data)
                    yield
                return True
            finally:
                theirs.close()
        finally:
            ours.close()
