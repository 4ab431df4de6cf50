"""A wake-up call for the main loop."""

from __future__ import annotations

import threading

__all__ = ["Waker"]


class Waker:
    """Lets one thread sleep until a time has come or somebody calls :meth:`wake`.

    A call that comes while nobody sleeps makes the next :meth:`wait` return at once; several calls
    count as one. :meth:`wake` may be called from any thread and from a signal handler:
    ``threading.Event.set`` may not, since a handler that runs while the main thread is inside
    ``Event.wait`` or ``Event.clear`` would wait for the lock that its own thread holds. A bare lock
    has no such state: it is locked while there is nothing to do, and waking releases it.
    """

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wake(self) -> None:
        """End the current wait, or the next one. Never blocks."""
        try:
            self._asleep.release()
        except RuntimeError:
            pass  # not locked: a call is waiting to be noticed already

    def wait(self, timeout_secs: float) -> bool:
        """Sleep for at most ``timeout_secs``; True if woken before that."""
        return self._asleep.acquire(timeout=max(0.0, min(timeout_secs, threading.TIMEOUT_MAX)))
