"""A wake-up call for the thread that supervises a subtask."""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress

__all__ = ["Waker", "identity"]


class Waker:
    """Lets one thread sleep until somebody calls :meth:`wake`, from any thread and from a signal
    handler, which may run between any two steps of the main thread: a ``threading.Event`` would
    then be waited for with a lock that its own thread holds. A bare lock that is locked while there
    is nothing to do has no such state, and neither has a pipe, which can be waited for together
    with the end of a process. (Not an eventfd: it has its inode in common with every other, so that
    nobody could tell whether a number still means ours.)
    """

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._ends = (-1, -1)
        self._made: tuple[int, int] | None = None
        if sys.platform == "linux":
            with suppress(OSError):  # no descriptor is left
                self._ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                self._made = identity(self._ends[0])

    def __del__(self) -> None:
        for fd in self._ends:
            if self._is_ours(fd):
                with suppress(OSError):
                    os.close(fd)

    def _is_ours(self, fd: int) -> bool:
        return self._made is not None and identity(fd) == self._made

    @property
    def fd(self) -> int:
        """Readable after a call; -1 where there is none. It lives as long as this object does,
        unless the program closes whatever is open: its number may be another file's then."""
        return self._ends[0] if all(map(self._is_ours, self._ends)) else -1

    def wake(self) -> None:
        """End the current wait, or the next one. Never blocks."""
        if self.fd >= 0:
            with suppress(OSError):  # full: so many calls wait to be noticed; or closed just now
                os.write(self._ends[1], b"!")
        with suppress(RuntimeError):  # not locked: a call waits to be noticed already
            self._asleep.release()  # beside a pipe, too: that may be closed before it is read

    def wait(self, timeout_secs: float) -> bool:
        """Sleep for at most ``timeout_secs``; True if woken before that."""
        fd = self.fd
        if sys.platform != "win32" and fd >= 0:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return bool(poller.poll(max(0.0, timeout_secs) * 1000)) and self.noticed()
        return self._asleep.acquire(timeout=max(0.0, min(timeout_secs, threading.TIMEOUT_MAX)))

    def noticed(self) -> bool:
        """Forget the calls so far, after :attr:`fd` was found readable. Always True."""
        fd = self.fd
        if fd >= 0:
            with suppress(OSError):
                os.read(fd, 1 << 16)
        self._asleep.acquire(blocking=False)
        return True


def identity(fd: int) -> tuple[int, int] | None:
    """What tells an open file from another one that has its number; None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
