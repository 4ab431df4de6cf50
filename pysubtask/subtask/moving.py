"""Moving a file into another folder and back, never over another one: for the archive.

A move is one ``rename`` within a file system, so a crash leaves the file here or there. The new
name is taken first by making an empty file of it, which a rename replaces: neither another process
nor another archive can lose a file to us. (A kill between the two leaves that empty file.)
"""

from __future__ import annotations

import errno
import os

from pysubtask.core.aging import numbered
from pysubtask.seams.disk import Disk, FileStat, is_full, local_words

__all__ = ["Mover", "Stuck"]

_MAX_NUMBER = 1000
# The archive as a whole can't be written, not only this file moved.
_WHOLE = frozenset({errno.EROFS, errno.EXDEV, errno.ENOTDIR})
# link(2) where the file system has none, FAT on Linux and Windows among them
_NO_LINK = frozenset(
    {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
)


class Stuck(Exception):
    """The archive of a folder can't be written: no use to try the next file."""


class Mover:
    """Moves files of one file system."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._made: set[str] = set()

    def move(self, path: str, day: str, *, above: tuple[str, str]) -> str:
        """Into the folder ``day``, which is made if need be, with those above it up to one of
        ``above``; gives the name that the file has there.

        Raises:
            Stuck: nothing can be moved there.
            OSError: this file can't be.
        """
        try:
            self._make(day, above)
            target, taken = self._take_name(day, os.path.basename(path))
        except OSError as error:
            raise Stuck(local_words(error)) from error
        try:
            self._disk.rename(path, target)
        except OSError as error:
            self._give_name_back(target, taken)
            if error.errno in _WHOLE or is_full(error):
                raise Stuck(local_words(error)) from error
            raise
        return target

    def move_back(self, target: str, path: str) -> str:
        """Give a file its name back; gives the one that it has now. A program may make another file
        of that name at any moment, so it is never taken by a rename, which would replace that.

        Raises:
            OSError: it can't have any.
        """
        folder, name = os.path.split(path)
        for number in range(_MAX_NUMBER):
            back = os.path.join(folder, numbered(name, number))
            try:
                self._disk.link(target, back)
            except FileExistsError:
                if not self._are_one(target, back):
                    continue
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                back, _ = self._take_name(folder, name, first=1)
                self._disk.rename(target, back)
                return back
            self._disk.remove(target)
            return back
        raise OSError(errno.EEXIST, f"there are {_MAX_NUMBER} files of that name already", folder)

    def _make(self, day: str, above: tuple[str, str]) -> None:
        if day in self._made:
            try:
                self._disk.stat(day)
                return
            except OSError:
                self._made.discard(day)
        self._disk.make_dirs(day, private=False)
        folder = day
        while True:  # a file must not move into a folder that a loss of power takes away
            folder = os.path.dirname(folder)
            self._disk.sync_dir(folder)
            if folder in (*above, os.path.dirname(folder)):
                break
        self._made.add(day)

    def _take_name(self, day: str, name: str, first: int = 0) -> tuple[str, FileStat]:
        for number in range(first, _MAX_NUMBER):
            target = os.path.join(day, numbered(name, number))
            try:
                self._disk.open_append(target, create_new=True).close()
            except FileExistsError:
                continue
            return target, self._disk.stat(target)
        raise OSError(errno.EEXIST, f"there are {_MAX_NUMBER} files of that name already", day)

    def _give_name_back(self, target: str, taken: FileStat) -> None:
        """Unless the file is there after all: a network mount may say "no" to what it has done."""
        try:
            now = self._disk.stat(target)
            if now.ino == taken.ino and now.size == 0:
                self._disk.remove(target)
        except OSError:
            pass

    def _are_one(self, target: str, back: str) -> bool:
        """Whether a file has both names: it was to lose one of them, and the disk refused."""
        one, other = self._disk.stat(target), self._disk.stat(back)
        return (one.ino, one.dev) == (other.ino, other.dev)
