"""When a source is looked at next."""

from __future__ import annotations

import math
from collections.abc import Callable

from pysubtask.settings import Settings
from pysubtask.subtask.pull.watching import ChangeWatch
from pysubtask.transports.contract import ChangeWaiter

__all__ = ["Pace"]

_SLOWER = 1.5
"""Each look that finds nothing new makes the wait for the next one so many times longer."""
_WATCHED_SECS = 3600.0
"""Between looks at a source whose server tells of changes: to be on the safe side."""
_LEAST_SECS = 1.0
"""Between two looks that changes ask for."""


class Pace:
    """Polls, slower and slower while nothing is new; waits for changes where the server tells.

    All times are monotonic.

    Args:
        settings: of the source.
        changes: hears of changes.
    """

    def __init__(self, settings: Settings, changes: ChangeWatch) -> None:
        self._settings = settings
        self._changes = changes
        self.next_look = 0.0
        self._wait_secs = settings.pull_interval_secs
        self._changed = False
        """Something has changed at the source since the last look began."""
        self._began = self._ended = -math.inf
        self._settle_until = self._retry_until = math.inf
        self.unsettled: set[str] = set()
        """Files that may be half written: they are looked at again."""

    def begin_round(self, now: float) -> None:
        """A look begins."""
        self._began = now
        self._changed = False
        self._settle_until = self._retry_until = math.inf
        self.unsettled.clear()

    def settle(self, path: str, until: float) -> None:
        """A file may be half written: look at it again then."""
        self.unsettled.add(path)
        self.look_again(until)

    def look_again(self, at: float) -> None:
        """This round is not over for good before another look then."""
        self._settle_until = min(self._settle_until, at)

    def retry(self, at: float) -> None:
        """A file that was refused is tried again then."""
        self._retry_until = min(self._retry_until, at)

    def end_round(
        self, now: float, *, found_new: bool, make_waiter: Callable[[], ChangeWaiter | None]
    ) -> bool:
        """What the look found is here, waits, or was refused.

        Args:
            make_waiter: what tells of changes since that look; None if nothing does.

        Returns:
            Whether nothing waits but what was refused.
        """
        shortest = self._settings.pull_interval_secs
        if found_new:
            self._wait_secs = shortest
        else:
            most = max(shortest, self._settings.pull_max_interval_secs)
            self._wait_secs = min(self._wait_secs * _SLOWER, most)
        if not self._changed:
            waiter = make_waiter()
            if waiter is not None:
                self._changes.begin(waiter)
        again = min(self._settle_until, self._retry_until)
        self.next_look = min(self._next_after(now), max(now, again))
        self._ended = now
        return self._settle_until == math.inf

    def hear(self, now: float, *, in_round: bool) -> None:
        """Heed what was heard of changes since the last call."""
        news = self._changes.take()
        if news == "changed":
            self._changed = True
            self._wait_secs = self._settings.pull_interval_secs
        if news is not None and not in_round:
            self.next_look = min(self.next_look, self._next_after(now))

    def _next_after(self, now: float) -> float:
        if self._changed:
            return max(now, self._began + _LEAST_SECS)
        return now + (_WATCHED_SECS if self._changes.is_trusted else self._wait_secs)

    def rest_at(self, now: float) -> float:
        """When the connection is of no more use for a while; it may be now."""
        dead_secs = self._settings.dead_time_milli / 1000
        if self._changes.is_trusted:  # the next look may be soon, or not
            return self._ended + dead_secs
        return now if self.next_look - now > dead_secs else math.inf
