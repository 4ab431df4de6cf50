"""A wake-up call for the thread that supervises a subtask."""

from __future__ import annotations

import os
import select
import sys
import threading

__all__ = ["Waker"]


class Waker:
    """Lets one thread sleep until somebody calls :meth:`wake`, from any thread and from a signal
    handler, which may run between any two steps of the main thread: a ``threading.Event`` would
    then be waited for with a lock that its own thread holds. A bare lock that is locked while there
    is nothing to do has no such state, and neither has an eventfd (eventfd(2)), which can be
    waited for together with the end of a process.
    """

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._fd = -1
        self._made: tuple[int, int] | None = None
        if sys.platform == "linux":
            try:
                self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._made = _identity(self._fd)
            except OSError:
                pass  # no descriptor is left, or a sandbox denies it

    def __del__(self) -> None:
        fd = self.fd
        if fd >= 0:
            os.close(fd)

    @property
    def fd(self) -> int:
        """Readable after a call; -1 where there is none. It lives as long as this object does,
        unless the program closes whatever is open: its number may be another file's then."""
        if self._fd >= 0 and _identity(self._fd) != self._made:
            self._fd = -1
        return self._fd

    def wake(self) -> None:
        """End the current wait, or the next one. Never blocks."""
        fd = self.fd
        if sys.platform == "linux" and fd >= 0:
            try:
                os.eventfd_write(fd, 1)
            except BlockingIOError:
                pass  # so many calls wait to be noticed
            return
        try:
            self._asleep.release()
        except RuntimeError:
            pass  # not locked: a call waits to be noticed already

    def wait(self, timeout_secs: float) -> bool:
        """Sleep for at most ``timeout_secs``; True if woken before that."""
        fd = self.fd
        if sys.platform == "linux" and fd >= 0:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return bool(poller.poll(max(0.0, timeout_secs) * 1000)) and self.noticed()
        return self._asleep.acquire(timeout=max(0.0, min(timeout_secs, threading.TIMEOUT_MAX)))

    def noticed(self) -> bool:
        """Forget the calls so far, after :attr:`fd` was found readable. Always True."""
        fd = self.fd
        if sys.platform == "linux" and fd >= 0:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
        return True


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
