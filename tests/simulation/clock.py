"""Simulated time: one number, moved on by whoever waits, with the events that fall due meanwhile.

Nothing here reads the machine's clock. Whoever waits (a sleeping child, a disk call that takes its
time, a channel that waits for bytes) calls :meth:`SimClock.advance`, and everything that was
planned up to then happens on the way: the program appends, a packet arrives, the power fails.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["ChildClock", "Killed", "SimClock"]

_START_WALL_NS = 1_700_000_000_123_456_789


class Killed(BaseException):
    """The child process has died here: no ``except Exception`` may outlive it."""


class SimClock:
    """True time since the world began (``now_ns``) and a wall clock beside it that may step."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.wall_offset_ns = _START_WALL_NS
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        """What is planned, a heap: when, in which order, and what."""
        self._planned = 0
        self.in_event = False
        """An event is happening now: it must not let time pass."""

    def wall_ns(self) -> int:
        """Unix time in nanoseconds, as the operating system would tell it now."""
        return self.now_ns + self.wall_offset_ns

    def step_wall(self, secs: float) -> None:
        """Somebody sets the clock (NTP, a person, a flat battery)."""
        self.wall_offset_ns += int(secs * 1e9)

    def at(self, when_ns: int, action: Callable[[], None]) -> None:
        """Plan ``action``; actions due at the same time happen in the order of planning."""
        self._planned += 1
        heapq.heappush(self.events, (when_ns, self._planned, action))

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Plan ``action`` for ``delay_ns`` from now."""
        self.at(self.now_ns + delay_ns, action)

    def next_event_ns(self) -> int | None:
        """When the next planned thing happens."""
        return self.events[0][0] if self.events else None

    def advance(self, duration_ns: int) -> None:
        """Let time pass, and what is due with it."""
        self.advance_to(self.now_ns + duration_ns)

    def advance_to(self, target_ns: int) -> None:
        """Let time pass up to ``target_ns``."""
        events = self.events
        while events and events[0][0] <= target_ns:
            self.run_next()
        if target_ns > self.now_ns:
            self.now_ns = target_ns

    def run_next(self) -> None:
        """Go to the next planned event and let it happen."""
        assert not self.in_event, "an event must not let time pass"
        when_ns, _, action = heapq.heappop(self.events)
        if when_ns > self.now_ns:
            self.now_ns = when_ns
        self.in_event = True
        try:
            action()
        finally:
            self.in_event = False


class ChildClock:
    """The clock that one child process sees; ``monotonic`` counts from its machine's boot."""

    def __init__(
        self, clock: SimClock, boot_ns: int, before_call: Callable[[str, str], None]
    ) -> None:
        self._clock = clock
        self.boot_ns = boot_ns
        self._before_call = before_call

    def time(self) -> float:
        return self._clock.wall_ns() / 1e9

    def monotonic(self) -> float:
        return (self._clock.now_ns - self.boot_ns) / 1e9

    def thread_secs(self) -> float:
        return self.monotonic()  # one processor, and all that runs there

    def sleep(self, secs: float) -> None:
        self._before_call("sleep", "")
        self._clock.advance(max(0, int(secs * 1e9)))

    def true_ns(self, monotonic_secs: float) -> int:
        """The true time at which :meth:`monotonic` is certain to have reached this value."""
        return int(monotonic_secs * 1e9) + self.boot_ns + 1_000
