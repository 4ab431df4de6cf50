"""``status.json`` and the sign of life, written as seldom as possible."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pysubtask.blake import blake2b
from pysubtask.seams.disk import is_full

if TYPE_CHECKING:
    import logging

    from pysubtask.seams.clock import Clock
    from pysubtask.seams.disk import Disk
    from pysubtask.status import Status

__all__ = ["SignOfLife", "StatusFile"]

MIN_INTERVAL_SECS = 0.2
"""At most five writes a second."""
MAX_INTERVAL_SECS = 1.0
"""While it changes all the time: a write takes a page of the disk, however little is new."""
_GROWTH = 1.5
COST_FACTOR = 20
"""Writing takes at most a twentieth of the time, however many files there are to show."""
_ROOM_BYTES = 2048
"""status.json is a multiple of it: a full disk has to be told in the room that the file has."""
RETRY_SECS = 1.0
RETRY_MAX_SECS = 30.0


class StatusFile:
    """Shows the subtask's status to the master, if there is something new to show.

    A disk that fails or is full never stops the child: it is logged once, tried again after 1 s,
    2 s, 4 s … 30 s, and logged once more when it works again.

    Args:
        path: ``status.json``.
        make: makes the status.
    """

    def __init__(
        self,
        path: str,
        make: Callable[[], Status],
        *,
        disk: Disk,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._path = path
        self._make = make
        self._disk = disk
        self._clock = clock
        self._log = log
        self._dirty = True
        self._next = self._last = float("-inf")
        self._interval_secs = MIN_INTERVAL_SECS
        self._shown: bytes | None = None
        """Digest of what the file says: the status itself may be of a thousand files."""
        self._file: tuple[int, int, int] | None = None
        self._retry_secs = 0.0

    def changed(self) -> bool:
        """There may be something new to show. Any thread. True if that was not known yet."""
        was_clean, self._dirty = not self._dirty, True
        return was_clean

    def due(self) -> float:
        """The monotonic time of the next write; infinity if there is nothing to show."""
        return self._next if self._dirty else float("inf")

    def write_if_due(self) -> None:
        """Write if there is something new and the last write is long enough ago."""
        if self._dirty and self._clock.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write now, unless nothing changed."""
        began = self._clock.monotonic()
        self._dirty = False  # first: what changes from here on is for the next write
        status = msgspec.structs.replace(self._make(), updated_at=None)
        shown = blake2b(_encode(status), digest_size=16).digest()
        if shown == self._shown:
            self._next = began + MIN_INTERVAL_SECS
            return
        told = msgspec.structs.replace(status, pid=os.getpid(), updated_at=self._clock.time())
        data = _encode(told)
        try:
            self._disk.write_whole(self._path, data)
        except OSError as error:
            self._failed(error)
            if is_full(error):
                self._overwrite(told)
            return
        if self._retry_secs:
            self._log.info("%s can be written again", self._path)
            self._retry_secs = 0.0
        self._shown = shown
        self._file = self._look()
        cost = self._clock.monotonic() - began
        self._next = began + max(self._interval_after(began), COST_FACTOR * cost)

    def _interval_after(self, began: float) -> float:
        """How long to wait after a write: longer and longer if one follows the other."""
        quiet = began - self._last > 2 * self._interval_secs
        longer = min(MAX_INTERVAL_SECS, _GROWTH * self._interval_secs)
        self._last, self._interval_secs = began, MIN_INTERVAL_SECS if quiet else longer
        return self._interval_secs

    def check(self) -> None:
        """Write it again soon if somebody removed or overwrote it."""
        if self._file is not None and self._look() != self._file:
            self._file = self._shown = None
            self._dirty = True

    def _look(self) -> tuple[int, int, int] | None:
        try:
            st = self._disk.stat(self._path)
        except OSError:
            return None
        return st.ino, st.mtime_ns, st.size

    def _overwrite(self, told: Status) -> None:
        """The disk is full, and that is what has to be told: in the room that the file has."""
        try:
            room = self._disk.stat(self._path).size
            data = _encode(told)
            if len(data) > room:
                left_out = told.files_left_out + len(told.files)
                data = _encode(msgspec.structs.replace(told, files={}, files_left_out=left_out))
            if len(data) <= room:
                self._disk.overwrite(self._path, data.ljust(room))
                self._file = self._look()
        except OSError:
            pass  # said already, and tried again

    def _failed(self, error: OSError) -> None:
        if not self._retry_secs:
            self._log.warning("%s can't be written: %s", self._path, error)
        self._retry_secs = min(RETRY_MAX_SECS, self._retry_secs * 2 or RETRY_SECS)
        self._next = self._clock.monotonic() + self._retry_secs
        self._dirty = True


def _encode(status: Status) -> bytes:
    """As JSON, with some room at its end for when the disk is full."""
    try:
        data = msgspec.json.encode(status)
    except UnicodeEncodeError:  # a file name that is no UTF-8
        data = json.dumps(status.to_plain(), separators=(",", ":")).encode("ascii")
    return data + b" " * (-len(data) % _ROOM_BYTES)


class SignOfLife:
    """``alive``: its modified time says when the main loop came round last.

    Args:
        path: the file.
        interval_secs: least time between two touches, a quarter of ``watchdog_secs``; 0 for none.
    """

    def __init__(
        self, path: str, interval_secs: float, *, clock: Clock, log: logging.Logger
    ) -> None:
        self._path = path
        self._interval_secs = interval_secs
        self._clock = clock
        self._log = log
        self._next = float("-inf")
        self._failing = False

    def due(self) -> float:
        """The monotonic time of the next touch."""
        return self._next if self._interval_secs > 0 else float("inf")

    def touch_if_due(self) -> None:
        """Touch the file if the last time is long enough ago."""
        if self._clock.monotonic() >= self.due():
            self.touch()

    def touch(self) -> None:
        """Touch the file now, whether or not there is a watchdog."""
        self._next = self._clock.monotonic() + self._interval_secs
        try:
            self._touch()
        except OSError as error:
            if not self._failing:
                self._log.warning("%s can't be touched: %s", self._path, error)
            self._failing = True
        else:
            self._failing = False

    def _touch(self) -> None:
        try:
            os.utime(self._path)
        except FileNotFoundError:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(self._path)
