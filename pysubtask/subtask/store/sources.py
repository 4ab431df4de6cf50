"""The watched files as sources of bytes: held open, followed through renames, checked.

A handle that is held keeps the bytes readable when the file is renamed or deleted. It is let go
when the version is no longer owed, or when too many are held. On Windows nothing is held: an open
handle would keep the program from renaming its file onto another.
"""

from __future__ import annotations

import errno
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from pysubtask.core.model import Version
from pysubtask.core.prints import print_of
from pysubtask.seams.disk import Disk, FileStat, ReadHandle, is_missing
from pysubtask.subtask.store.alive import AliveHandle
from pysubtask.subtask.store.renamed import Renamed

__all__ = ["Sources", "is_same_content"]

_MAX_HELD = 256
_MOST_REFUSALS = 8
"""What was held and is nowhere else is given up once it could not be read so often in a row."""


def is_same_content(handle: ReadHandle, version: Version) -> bool:
    """Whether an open file begins with the bytes of ``version``, as far as its print tells."""
    kept = version.print
    return print_of(handle.read_at, kept.kind, kept.size) == kept


_Key: TypeAlias = tuple[str, int]
"""Path and version number."""


def _close(handle: ReadHandle) -> None:
    """Some file systems say at the closing only what went wrong, which concerns no reader."""
    try:
        handle.close()
    except OSError:
        pass


class _Held:
    __slots__ = ("dropped", "handle", "refusals", "users")

    def __init__(self, handle: ReadHandle) -> None:
        self.handle = handle
        self.users = 0
        self.refusals = 0
        self.dropped = False

    def deleted_inode(self) -> int | None:
        """The file's inode number if it has no name any more, as far as can be told."""
        try:
            st = self.handle.stat()
        except OSError:
            return None
        return st.ino if st.links == 0 else None

    def test(self) -> OSError | None:
        """Why it can't be read, if it can't: what it was opened on may be gone for good (a server
        that was started anew, a stick that was taken out and put back)."""
        try:
            self.handle.stat()
            self.handle.read_at(0, 1)
        except OSError as error:
            return error
        return None


class Sources:
    """Open handles by path and version number. Thread-safe.

    Args:
        is_watched: whether a file is watched itself, and so never what another was renamed to.
        is_watched_folder: whether all data files of a folder are.
        is_needed: whether bytes of a version, by path and number, are owed and in its file only.
        hold: keep handles open between looks.
        now: Unix seconds, to tell whether a folder is at rest.
        still_alive: called with each reading, for it may be one of many.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        is_watched: Callable[[str], bool] = lambda path: False,
        is_watched_folder: Callable[[str], bool] = lambda folder: False,
        is_needed: Callable[[str, int], bool] = lambda path, number: False,
        hold: bool = sys.platform != "win32",
        now: Callable[[], float] | None = None,
        still_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._disk = disk
        self._is_watched = is_watched
        self._is_needed = is_needed
        self._hold = hold
        self._still_alive = still_alive
        self._renamed = Renamed(
            disk,
            open_file=self.open,
            is_watched=is_watched,
            is_watched_folder=is_watched_folder,
            is_same=is_same_content,
            now=now,
        )
        self._held: OrderedDict[_Key, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: str) -> ReadHandle:
        """Open a file to look at it, however long that takes.

        Raises:
            OSError: it is not there, or can't be read.
        """
        return AliveHandle(self._disk.open_read(path), self._still_alive)

    def hold(self, path: str, number: int, handle: ReadHandle) -> None:
        """Keep ``handle`` for this version; takes it over. One that is held goes, be it of the same
        file: it may be stale since, and this one was just read from."""
        key = (path, number)
        with self._lock:
            if not self._hold:
                _close(handle)
                return
            if key in self._held:
                self._drop(key)
            self._held[key] = _Held(handle)
            while len(self._held) > _MAX_HELD:
                self._drop(self._least_needed(key))

    def is_watched(self, path: str) -> bool:
        """Whether a file is watched itself."""
        return self._is_watched(path)

    def is_at(self, path: str, st: FileStat) -> bool:
        """Whether the file of which ``st`` was told has the name ``path`` now."""
        try:
            here = self._disk.stat(path)
        except OSError:
            return False
        return (here.ino, here.dev) == (st.ino, st.dev)

    def is_held(self, path: str, number: int) -> bool:
        """Whether a handle of this version is held."""
        return (path, number) in self._held

    def is_used(self, path: str, number: int) -> bool:
        """Whether somebody reads from the handle that is held of this version."""
        with self._lock:
            held = self._held.get((path, number))
            return held is not None and held.users > 0

    def is_gone(self, path: str) -> bool:
        """Whether nothing has that name."""
        return is_missing(self._disk, path)

    def unneeded_deleted(self) -> list[tuple[str, int, int]]:
        """What is held of files that have no name any more, though nothing is owed from it, with
        their inode numbers: their room on the disk is had once it is released."""
        with self._lock:
            held = [(key, h) for key, h in self._held.items() if not self._is_needed(*key)]
        inodes = ((key, h.deleted_inode()) for key, h in held)
        return [(*key, inode) for key, inode in inodes if inode is not None]

    def tidy(self) -> None:
        """Let go of what was read to search for files and is of no use any more; to be called now
        and then."""
        self._renamed.tidy()

    def deleted_bytes(self, path: str, number: int) -> int:
        """The size of the file held for a version if it has no name any more, else 0."""
        with self._lock:
            held = self._held.get((path, number))
            if held is None:
                return 0
            st = held.handle.stat()
            return st.size if st.links == 0 else 0

    def release(self, path: str, number: int) -> None:
        """The version is no longer owed from its source."""
        with self._lock:
            if (path, number) in self._held:
                self._drop((path, number))

    def release_others(self, path: str, wanted: set[int]) -> None:
        """Let go of the versions of ``path`` whose number is not wanted any more."""
        with self._lock:
            for key in [k for k in self._held if k[0] == path and k[1] not in wanted]:
                self._drop(key)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            for key in list(self._held):
                self._drop(key)

    def _least_needed(self, latest: _Key) -> _Key:
        """What goes when there are too many: the one used longest ago of those that are not owed,
        else of those that can be found again by a name; one of a deleted file last of all, for its
        bytes would go with it."""
        others = [key for key in self._held if key != latest]
        for key in others:
            if not self._is_needed(*key):
                return key
        for key in others:
            if self._held[key].deleted_inode() is None:
                return key
        return others[0]

    def _drop(self, key: _Key) -> None:
        held = self._held.pop(key)
        held.dropped = True
        if not held.users:
            _close(held.handle)

    @contextmanager
    def borrow(self, path: str, version: Version) -> Iterator[ReadHandle]:
        """The file that holds ``version``: the one held, the one at ``path``, or a renamed one.

        Raises:
            FileNotFoundError: its content is nowhere to be found.
            OSError: it can't be read.
        """
        key = (path, version.number)
        held = self._lend(key)
        if held is not None:
            try:
                refusal = held.test()
                if refusal is None:
                    held.refusals = 0
                    yield held.handle
                    return
            finally:
                self._take_back(held)
            handle = self._find_instead(key, version, held, refusal)
        else:
            handle = self._find(path, version)
        try:
            yield handle
        finally:
            handle.close()

    def _lend(self, key: _Key) -> _Held | None:
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                held.users += 1
                self._held.move_to_end(key)
            return held

    def _take_back(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            if held.dropped and not held.users:
                _close(held.handle)

    def _find_instead(
        self, key: _Key, version: Version, held: _Held, refusal: OSError
    ) -> ReadHandle:
        """The file of a held handle that can't be read, opened anew. If it is nowhere to be found,
        the handle may be all there is of it: it stays for a while, unless it is stale for good."""
        held.refusals += 1
        is_hopeless = refusal.errno == errno.ESTALE or held.refusals >= _MOST_REFUSALS
        try:
            handle = self._find(key[0], version)
        except FileNotFoundError:
            if not is_hopeless:
                raise refusal from None
            self._drop_if_held(key, held)
            raise
        self._drop_if_held(key, held)
        return handle

    def _drop_if_held(self, key: _Key, held: _Held) -> None:
        with self._lock:
            if self._held.get(key) is held:
                self._drop(key)

    def _find(self, path: str, version: Version) -> ReadHandle:
        """The inode goes before the content, for the file that took its place may begin with all
        that had been seen of it; and neither counts alone, for inodes are used again. What is open
        is asked, not its name: a file may be renamed at any moment."""
        why: OSError = FileNotFoundError(2, "what was there at the last look is gone", path)
        here: ReadHandle | None = None
        try:
            here = self.open(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            why = error
        with ExitStack() as stack:
            if here is not None:
                stack.callback(here.close)
            found = None
            if here is None or here.stat().ino != version.identity.ino:
                found = self._renamed.find(path, version)
            if found is None and here is not None and is_same_content(here, version):
                stack.pop_all()
                found = here
        if found is None:
            raise why
        return found
