"""How often files that change all the time are looked at: a bounded share of the time, as pure
arithmetic.

A look at a file that was looked at less than :data:`RECENT_SECS` ago is a *repeated* one. Each
books a place in a row: the places are so far apart that repeated looks, with the deliveries that
follow them, take a fifth of one processor or so, however many notifies come. Few of them are never
in each other's way: what was not used of late may be used at once. Nobody waits longer than
:data:`LONGEST_WAIT_SECS`.
"""

from __future__ import annotations

import math

__all__ = ["LONGEST_WAIT_SECS", "RECENT_SECS", "Pace"]

RECENT_SECS = 1.0
LONGEST_WAIT_SECS = 1.0

_REST = 20.0
"""Time from one repeated look to the next, in times of what one takes. Looking is half of the work
that a notify causes, or less."""
_SPARE_SECS = 0.05
"""So much of the row's past may be used at once."""
_GROUP_SECS = 0.02
"""Those that wait are looked at in groups: then each thread wakes up once for many files."""
_FIRST_GUESS_SECS = 0.0001
_MOST_SECS = 0.005
"""A look that takes longer (a big file) is no measure of what the others cost."""
_WEIGHT = 1 / 16


class Pace:
    """The row."""

    def __init__(self) -> None:
        self._look_secs = _FIRST_GUESS_SECS
        self._next_at = -math.inf

    def took(self, secs: float) -> None:
        """A look took so long."""
        self._look_secs += (min(max(secs, 0.0), _MOST_SECS) - self._look_secs) * _WEIGHT

    def book(self, now: float, last_at: float | None) -> float:
        """When a file may be looked at, by the same clock; books the place.

        Args:
            last_at: when it was looked at last; None: never.
        """
        if last_at is None or now - last_at >= RECENT_SECS:
            return now
        place = max(self._next_at, now - _SPARE_SECS)
        if place > now + LONGEST_WAIT_SECS:
            return now + LONGEST_WAIT_SECS  # the row is full
        self._next_at = place + _REST * self._look_secs
        if place <= now:
            return now
        grouped = math.ceil(place / _GROUP_SECS) * _GROUP_SECS
        return min(grouped, now + LONGEST_WAIT_SECS)
