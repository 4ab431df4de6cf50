"""A clock and a disk that do what a test says, and the words of the model in short."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Identity, Piece, Print, Stamp, Version
from pysubtask.seams.disk import FileStat, ReadHandle, RealDisk, WriteHandle

LOG = logging.getLogger("pysubtask.test")

BeforeCall = Callable[[str, str], None]


def nothing(operation: str, path: str) -> None:
    """A hook that does nothing."""


class ManualClock:
    """Time passes only when a test says so. The wall clock starts at the real time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reading_takes_secs = 0.0
        """Every look at the clock takes that long: a busy machine."""
        self._offset = time.time() - self.now

    def time(self) -> float:
        return self.now + self._offset

    def monotonic(self) -> float:
        self.now += self.reading_takes_secs
        return self.now

    def thread_secs(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs

    advance = sleep

    def show_real_time(self) -> None:
        """Set the wall clock: the file system stamps with the real time, whatever passed here."""
        self._offset = time.time() - self.now


class _Reading:
    def __init__(self, disk: HookedDisk, handle: ReadHandle, path: str) -> None:
        self._disk = disk
        self._handle = handle
        self._path = path
        self.stale: tuple[int, tuple[str, ...]] | None = None

    def stat(self) -> FileStat:
        self._refuse_if_stale("fstat")
        self._disk.before("fstat", self._path)
        return self._handle.stat()

    def read_at(self, offset: int, length: int) -> bytes:
        self._refuse_if_stale("read")
        self._disk.before("read", self._path)
        data = self._handle.read_at(offset, length)
        self._disk.read_bytes += len(data)
        return data

    def _refuse_if_stale(self, operation: str) -> None:
        if self.stale is not None and operation in self.stale[1]:
            raise OSError(self.stale[0], os.strerror(self.stale[0]), self._path)

    def close(self) -> None:
        self._disk.open_handles.discard(self)
        self._handle.close()


class _Writing:
    def __init__(self, disk: HookedDisk, handle: WriteHandle, path: str) -> None:
        self._disk = disk
        self._handle = handle
        self._path = path

    def append(self, data: bytes) -> None:
        try:
            self._disk.before("append", self._path)
        except OSError:
            self._handle.append(data[: len(data) // 2])  # what a full disk leaves behind
            raise
        self._handle.append(data)

    def stat(self) -> FileStat:
        return self._handle.stat()

    def truncate(self, size: int) -> None:
        self._disk.before("truncate", self._path)
        self._handle.truncate(size)

    def sync(self) -> None:
        self._disk.before("sync", self._path)

    def close(self) -> None:
        self._handle.close()


class HookedDisk(RealDisk):
    """The real disk; ``before(operation, path)`` runs before each call and may raise.

    It leaves out only fsync, which no test can see and which waits for everybody's writes.
    """

    def __init__(self) -> None:
        self.before: BeforeCall = nothing
        self.read_bytes = 0
        self.open_handles: set[_Reading] = set()

    def open_read(self, path: str) -> ReadHandle:
        self.before("open_read", path)
        handle = _Reading(self, super().open_read(path), path)
        self.open_handles.add(handle)
        _opened.append(handle)
        return handle

    def go_stale(self, code: int, *operations: str) -> None:
        """What is open for reading refuses these operations from now on: the file server was
        started anew, or the stick taken out and put back."""
        for handle in self.open_handles:
            handle.stale = code, operations

    def open_append(
        self, path: str, *, create_new: bool = False, private: bool = True
    ) -> WriteHandle:
        self.before("open_append", path)
        made = super().open_append(path, create_new=create_new, private=private)
        handle = _Writing(self, made, path)
        _opened.append(handle)
        return handle

    def open_existing(self, path: str) -> WriteHandle:
        self.before("open_existing", path)
        handle = _Writing(self, super().open_existing(path), path)
        _opened.append(handle)
        return handle

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        self.before("write_whole", path)
        super().write_whole(path, data, sync=False)

    def rename(self, path: str, target: str) -> None:
        self.before("rename", path)
        super().rename(path, target)

    def link(self, path: str, target: str) -> None:
        self.before("link", target)
        super().link(path, target)

    def remove(self, path: str) -> None:
        self.before("remove", path)
        super().remove(path)

    def sync_dir(self, path: str) -> None:
        self.before("sync_dir", path)


_opened: list[ReadHandle | WriteHandle] = []


def close_all() -> None:
    """Close what a test, or a child that it "killed", has left open."""
    while _opened:
        _opened.pop().close()


def on_nth(operation: str, suffix: str, n: int, action: Callable[[], None]) -> BeforeCall:
    """A hook that acts once: before the ``n``-th (from 1) such call on such a path."""
    count = itertools.count(1)

    def before(called: str, path: str) -> None:
        if called == operation and path.endswith(suffix) and next(count) == n:
            action()

    return before


def disk_full() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def fail_with(error: Callable[[], BaseException], *operations: str, suffix: str = "") -> BeforeCall:
    """A hook that raises a new ``error()`` in each of these calls."""

    def before(called: str, path: str) -> None:
        if called in operations and path.endswith(suffix):
            raise error()

    return before


# -- model -----------------------------------------------------------------------------------


def make_version(
    number: int = 1,
    size: int = 10,
    *,
    growing: bool = True,
    pieces: Iterable[Piece] | None = None,
    **changes: object,
) -> Version:
    """A version whose single piece is the watched file."""
    if pieces is None:
        pieces = (Piece(0, size, None, ""),) if size else ()
    version = Version(
        number=number,
        size=size,
        growing=growing,
        identity=Identity(1, 2),
        stamp=Stamp(3, 4),
        settled=True,
        print=Print("whole", size, "00"),
        pieces=tuple(pieces),
        taken_at=1.0,
    )
    return replace(version, **changes)  # type: ignore[arg-type]


def make_entry(
    *versions: Version, delivered: Delivered | None = None, path: str = "/w/a.csv"
) -> Entry:
    """An entry with these versions."""
    return Entry(path, "a.csv", versions=versions, delivered=delivered)
