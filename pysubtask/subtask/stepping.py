"""A thread that does what is due, of deliveries or of one source: woken, watched, and ended."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Protocol

from pysubtask.seams.clock import Clock
from pysubtask.settings import Settings
from pysubtask.subtask.waker import Waker

__all__ = ["LifeClock", "StepThread", "Stepping", "Turns", "stuck_after_secs"]

_JOIN_SECS = 1.0
_LONGEST_SLEEP_SECS = 3600.0
_PREPARE_AFTER_SECS = 0.3
"""Idle time after the start before what the first connection needs is made ready."""
_YIELD_SECS = 0.5
_UNWATCHED_SECS = 60.0
_SPARE_SECS = 5.0


def stuck_after_secs(settings: Settings) -> float:
    """How long such a thread may give no sign of life: ``watchdog_secs``, but no less than the
    longest wait that the settings allow a transport in one piece."""
    longest = max(
        settings.reply_timeout_secs, settings.connect_timeout_secs + settings.login_timeout_secs
    )
    return max(settings.watchdog_secs or _UNWATCHED_SECS, longest + _SPARE_SECS)


class LifeClock:
    """The clock for what such a thread calls: that it asks for the time is its sign of life.

    Every wait with a limit of its own asks for the time again and again, be it for minutes; code
    that is stuck in a library does not.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.thread_id: int | None = None
        """Whose signs count; None: nobody's."""
        self.asked_at = -math.inf
        """Monotonic time of the last sign."""

    def time(self) -> float:
        return self._clock.time()

    def monotonic(self) -> float:
        now = self._clock.monotonic()
        if threading.get_ident() == self.thread_id:
            self.asked_at = now
        return now

    def thread_secs(self) -> float:
        return self._clock.thread_secs()

    def sleep(self, secs: float) -> None:
        self._clock.sleep(secs)


class Turns:
    """Lets the main thread go first while it has a backlog.

    Two threads of one Python process that both compute take more than twice the time: at each
    system call one hands the interpreter to the other, and has to ask for it again. So while many
    files wait for their looks, such a thread leaves most of the time to them; never all of it.
    """

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def claim(self, *, backlog: bool) -> None:
        """Whether the main thread has more to do at once. Never blocks."""
        if not backlog:
            self._free.set()
        elif self._free.is_set():
            self._free.clear()

    @property
    def are_claimed(self) -> bool:
        """Others wait."""
        return not self._free.is_set()

    def wait(self) -> None:
        """Wait until it has not, half a second at most."""
        self._free.wait(_YIELD_SECS)


class Stepping(Protocol):
    """What such a thread does."""

    def step(self) -> float:
        """Do what can be done now; gives the monotonic time at which to be called again."""

    def retry_now(self) -> None:
        """What waits for its next try is to be tried at once."""

    def prepare(self) -> None:
        """Make ready, while there is time, what the first connection needs."""

    def close(self) -> None:
        """End the connection now."""


class StepThread:
    """Calls :meth:`Stepping.step` whenever something is due.

    Args:
        name: what it does, as a noun: ``delivery``.
        waker: ends its sleep.
        stuck_after_secs: a step that gives no sign of life for so long is stuck.
        turns: who goes first.
        crashed: called, by the thread, when it has crashed.
        threaded: False where somebody else calls ``step()`` (the simulator).
    """

    def __init__(
        self,
        name: str,
        clock: LifeClock,
        stepping: Stepping,
        waker: Waker,
        *,
        stuck_after_secs: float,
        turns: Turns | None = None,
        crashed: Callable[[], None],
        log: logging.Logger,
        threaded: bool = True,
    ) -> None:
        self._name = name
        self._clock = clock
        self._stepping = stepping
        self._waker = waker
        self._stuck_after_secs = stuck_after_secs
        self._turns = turns or Turns()
        self._crashed = crashed
        self._log = log
        self.threaded = threaded
        self._thread: threading.Thread | None = None
        self._leaving = False
        self._retry_asked = False
        self._busy_since: float | None = None
        self.crash: BaseException | None = None
        """What ended it, if it crashed."""

    def start(self) -> None:
        """Begin."""
        if self.threaded:
            self._thread = threading.Thread(
                target=self._run, name=f"pysubtask-{self._name}", daemon=True
            )
            self._thread.start()

    def wake(self, *, retry: bool = False) -> None:
        """Something is new; ``retry``: what waits for its next try is to be tried at once."""
        if retry:
            self._retry_asked = True
        self._waker.wake()

    @property
    def is_in_step(self) -> bool:
        """Something is being done now."""
        return self._busy_since is not None

    def check(self) -> None:
        """Raise what crashed it, or RuntimeError if it is stuck: the process ends, and the master
        starts another."""
        since = self._busy_since
        if since is not None and self.crash is None:
            stuck = self._clock.monotonic() - max(since, self._clock.asked_at)
            if stuck > self._stuck_after_secs:
                self.crash = RuntimeError(f"{self._name} has not moved for {stuck:.0f} s")
        if isinstance(self.crash, OSError):  # not to be taken for a disk that will be better soon
            raise RuntimeError(f"{self._name} crashed: {self.crash}") from self.crash
        if self.crash is not None:
            raise self.crash

    def retry_if_asked(self) -> None:
        """Try at once what waits, if :meth:`wake` asked for it (the stepping thread's)."""
        if self._retry_asked:
            self._retry_asked = False
            self._stepping.retry_now()

    def leave(self) -> None:
        """Tell it to end, without waiting for that."""
        self._leaving = True
        self._waker.wake()

    def stop(self, known: BaseException | None) -> bool:
        """End it, and the connection. Waits for 1 s at most; ``known``: a crash that was told.

        Returns:
            False if it is still in a step.
        """
        self.leave()
        if self._thread is not None:
            self._thread.join(_JOIN_SECS)
        if self.crash is not known:  # nobody calls check() any more
            self._log.error("%s crashed", self._name, exc_info=self.crash)
        if self._thread is not None and self._thread.is_alive():
            return False
        self._stepping.close()
        return True

    def _run(self) -> None:
        clock = self._clock
        prepared = False
        clock.thread_id = threading.get_ident()
        try:
            while not self._leaving:
                self.retry_if_asked()
                self._turns.wait()
                self._busy_since = clock.monotonic()
                due = self._stepping.step()
                self._busy_since = None
                wait = due - clock.monotonic()
                if wait > 0 and not self._leaving:
                    longest = _LONGEST_SLEEP_SECS if prepared else _PREPARE_AFTER_SECS
                    woken = self._waker.wait(min(wait, longest))
                    if not (woken or prepared):
                        prepared = True
                        self._stepping.prepare()
            self._stepping.close()
        except BaseException as error:  # the main thread ends the process with it
            self.crash = error
            self._crashed()
