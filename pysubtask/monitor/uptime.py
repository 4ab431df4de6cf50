"""Uptime out of flips: days, their shares, and what was not known. Pure.

Uptime is up time divided by *known* time: what happened while the monitor was blind, off, or the
client paused, stopped or gone, counts for nothing.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pysubtask.monitor.history import Past, Span
from pysubtask.monitor.rule import State

__all__ = ["Day", "days", "uptime"]

_UP = {State.UP.value, State.LATE.value}
_DOWN = State.DOWN.value


@dataclass(slots=True)
class Day:
    """One day by the server's calendar; seconds of each kind."""

    begins: float
    ends: float
    up_secs: float = 0.0
    down_secs: float = 0.0
    unknown_secs: float = 0.0
    other_secs: float = 0.0
    """Paused, stopped, gone, or not yet there."""

    @property
    def uptime(self) -> float | None:
        """0 … 1; None when nothing is known."""
        known = self.up_secs + self.down_secs
        return self.up_secs / known if known > 0 else None


def days(flips: Sequence[Past], blind: Sequence[Span], now: float, count: int = 90) -> list[Day]:
    """The last ``count`` days, today last.

    Args:
        flips: one client's, oldest first.
        blind: when the monitor could not see or did not run, oldest first.
    """
    edges = _midnights(now, count)
    found = [Day(begin, end) for begin, end in itertools.pairwise(edges)]
    spans = _apart(blind, now)
    ends = [end for _, end in spans]
    for index, flip in enumerate(flips):
        until = flips[index + 1].at if index + 1 < len(flips) else now
        for since, end, state in _cut(flip.at, min(until, now), flip.new, spans, ends):
            _spread(found, since, end, state)
    return found


def uptime(found: Sequence[Day]) -> float | None:
    """Up time by known time over all the days; None when nothing is known."""
    up = sum(day.up_secs for day in found)
    known = up + sum(day.down_secs for day in found)
    return up / known if known > 0 else None


def _apart(blind: Sequence[Span], now: float) -> list[tuple[float, float]]:
    """Spans that do not overlap, which they may where the clock was set back."""
    found: list[tuple[float, float]] = []
    for span in blind:
        since, until = span.since, now if span.until is None else span.until
        if found and since <= found[-1][1]:
            since, until = found[-1][0], max(found.pop()[1], until)
        found.append((since, until))
    return found


def _cut(
    since: float,
    until: float,
    state: str,
    blind: Sequence[tuple[float, float]],
    ends: Sequence[float],
) -> list[tuple[float, float, str]]:
    """The stretch, with what fell into blindness turned into unknown."""
    if state not in _UP and state != _DOWN:
        return [(since, until, state)]
    pieces = []
    for at in range(bisect.bisect_right(ends, since), len(blind)):
        begin, end = max(since, blind[at][0]), min(until, blind[at][1])
        if begin >= until:
            break
        if begin >= end:
            continue
        pieces.append((since, begin, state))
        pieces.append((begin, end, State.UNKNOWN.value))
        since = end
    pieces.append((since, until, state))
    return pieces


def _spread(found: list[Day], since: float, until: float, state: str) -> None:
    first = bisect.bisect_right(found, since, key=lambda day: day.ends)
    for day in itertools.islice(found, first, None):
        if day.begins >= until:
            break
        took = min(until, day.ends) - max(since, day.begins)
        if took <= 0:
            continue
        if state in _UP:
            day.up_secs += took
        elif state == _DOWN:
            day.down_secs += took
        elif state == State.UNKNOWN.value:
            day.unknown_secs += took
        else:
            day.other_secs += took


def _midnights(now: float, count: int) -> list[float]:
    """``count`` + 1 midnights of the local calendar, the last one after now."""
    today = time.localtime(now)
    return [
        # mktime puts day 0 or -5 of a month where it belongs, and knows about summer time
        time.mktime((today.tm_year, today.tm_mon, today.tm_mday + ahead, 0, 0, 0, 0, 0, -1))
        for ahead in range(1 - count, 2)
    ]
