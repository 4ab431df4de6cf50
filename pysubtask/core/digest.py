"""Which deliveries get a log line of their own, and which are summed up: pure.

A log is read the morning after: it has to say what was delivered and when, and a million notifies
must not make a million lines. So each group (a declared file, or all files of a watched folder)
gets its first deliveries in full; what follows within the same interval is summed up in one line at
its end. While the group stays busy its intervals grow, and it gets summaries only; after a whole
interval without a delivery it begins anew.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["Arrival", "Digest", "Summary"]

FULL_LINES = 3
"""Deliveries of a group that are told one by one, before the first summary."""
FIRST_INTERVAL_SECS = 60.0
LONGEST_INTERVAL_SECS = 900.0
GROWTH = 2.0
LINES_A_MINUTE = 60
"""Over all groups: a watch list may have thousands of files. What is beyond goes to the rest."""
MAX_GROUPS = 1000
REST = "other files"
_MAX_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery."""

    group: str
    name: str
    """The file, as the program declared it."""
    size_bytes: int
    """Bytes that were delivered, not the size of the file."""
    took_secs: float
    behind_secs: float
    """From the snapshot to the acknowledgement."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of one group in an interval, apart from what was told in full."""

    group: str
    times: int
    files: int
    """How many different files, as far as they were counted (up to 10,000)."""
    size_bytes: int
    behind_secs: float
    """The worst of them."""
    span_secs: float


@dataclass(slots=True)
class _Group:
    began: float
    interval_secs: float = FIRST_INTERVAL_SECS
    told: int = 0
    quiet: bool = True
    """No delivery in this interval."""
    times: int = 0
    names: set[str] = field(default_factory=set)
    size_bytes: int = 0
    behind_secs: float = 0.0


class Digest:
    """Takes deliveries, gives what is to be logged. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._minute = -math.inf
        self._lines = 0

    def note(self, now: float, arrival: Arrival) -> Arrival | None:
        """Take a delivery. It is given back if it is to be logged by itself."""
        group = self._group(arrival.group, now)
        group.quiet = False
        if group.told < FULL_LINES and not group.times and self._has_line(now):
            group.told += 1
            return arrival
        if not group.times and group.told < FULL_LINES and arrival.group != REST:
            group = self._group(REST, now)  # no line is left for it this minute
            group.quiet = False
            group.told = FULL_LINES
        group.times += 1
        if len(group.names) < _MAX_NAMES:
            group.names.add(arrival.name)
        group.size_bytes += arrival.size_bytes
        group.behind_secs = max(group.behind_secs, arrival.behind_secs)
        return None

    def due(self) -> float:
        """When :meth:`summaries` has something to say or to forget; infinity: never."""
        return min((g.began + g.interval_secs for g in self._groups.values()), default=math.inf)

    def summaries(self, now: float, *, everything: bool = False) -> list[Summary]:
        """What is to be logged of the intervals that have ended.

        Args:
            everything: of those that have not ended as well (the process ends).
        """
        found = []
        for name, group in list(self._groups.items()):
            span = now - group.began
            if span < group.interval_secs and not everything:
                continue
            if group.times:
                found.append(
                    Summary(
                        name,
                        group.times,
                        len(group.names),
                        group.size_bytes,
                        group.behind_secs,
                        span,
                    )
                )
            if group.quiet or group.told < FULL_LINES:
                del self._groups[name]  # the next ones are told in full again
            else:
                longer = min(LONGEST_INTERVAL_SECS, group.interval_secs * GROWTH)
                self._groups[name] = _Group(now, longer, FULL_LINES)
        return found

    def _group(self, name: str, now: float) -> _Group:
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= MAX_GROUPS and name != REST:
                return self._group(REST, now)
            group = self._groups[name] = _Group(now)
        return group

    def _has_line(self, now: float) -> bool:
        if now - self._minute >= 60.0:
            self._minute, self._lines = now, 0
        if self._lines >= LINES_A_MINUTE:
            return False
        self._lines += 1
        return True
