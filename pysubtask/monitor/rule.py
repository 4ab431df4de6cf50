"""The rule: evidence about one client in, its state and whether it is online out. Pure.

*Offline when now > the heartbeat file's modified time + the seconds on its first line.* That, and
nothing else, is ``online``. The ``state`` beside it says what a person wants to know. It is the
first row of ``TABLE`` that holds; time is an input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["KNOWN", "TABLE", "Evidence", "Flag", "State", "Verdict", "judge"]


class State(StrEnum):
    """What a client is; in the order in which a person wants to see them."""

    DOWN = "down"
    LATE = "late"
    UNKNOWN = "unknown"
    NEW = "new"
    GONE = "gone"
    UP = "up"
    PAUSED = "paused"
    STOPPED = "stopped"
    ARCHIVED = "archived"


KNOWN = frozenset({State.UP, State.LATE, State.DOWN})
"""The states whose time counts for the uptime; late counts as up until it has become down."""


class Flag(StrEnum):
    """What is odd about a client, beside its state."""

    CLOCK_SKEW = "clock_skew"
    BAD_FILE = "bad_file"
    FLAPPING = "flapping"
    NO_DATA = "no_data"
    LOOK_ALIKE = "look_alike"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known. Times in Unix seconds of one clock, the monitor's."""

    now: float
    present: bool = True
    """The heartbeat file was there at the last look that could see."""
    beat_at: float | None = None
    """The modified time of the last beat, as far as it can be believed."""
    interval_secs: int | None = None
    """The last valid promise; None: never one; 0: the client said goodbye."""
    blind: bool = False
    """The monitor can't see the source now."""
    paused: bool = False
    gone_secs: float = 0.0
    grace_secs: float = 0.0
    archive_secs: float = float("inf")
    pardon_until: float | None = None
    """While nobody looked, beats may have been impossible: overdue only from here on."""

    @property
    def deadline(self) -> float | None:
        """When the client turns offline unless it beats again."""
        if self.beat_at is None or not self.interval_secs:
            return None
        return self.beat_at + self.interval_secs

    @property
    def patience_ends(self) -> float | None:
        """When overdue turns into down."""
        if self.deadline is None:
            return None
        return max(self.deadline + self.grace_secs, self.pardon_until or 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``online`` is None where it can't be known: the monitor is blind, or nothing was promised."""

    state: State
    online: bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: the state if ``holds``."""

    state: State
    holds: Callable[[Evidence], bool]
    meaning: str


TABLE = (
    Row(
        State.ARCHIVED,
        lambda e: not e.present and e.gone_secs >= e.archive_secs,
        "its file has been gone for so long that it is no longer shown",
    ),
    Row(State.PAUSED, lambda e: e.paused, "somebody paused it: no alerts"),
    Row(State.UNKNOWN, lambda e: e.blind, "the monitor itself can't see the folder"),
    Row(State.GONE, lambda e: not e.present, "its heartbeat file was removed"),
    Row(
        State.NEW,
        lambda e: e.interval_secs is None or e.beat_at is None,
        "a file without a valid promise so far",
    ),
    Row(State.STOPPED, lambda e: e.interval_secs == 0, "it said goodbye"),
    Row(State.UP, lambda e: e.now <= (e.deadline or 0.0), "it beats as promised"),
    Row(State.LATE, lambda e: e.now <= (e.patience_ends or 0.0), "overdue, within the grace"),
    Row(State.DOWN, lambda e: True, "overdue"),
)


def judge(evidence: Evidence) -> Verdict:
    """Apply the rule."""
    state = next(row.state for row in TABLE if row.holds(evidence))
    return Verdict(state, _online(evidence))


def _online(evidence: Evidence) -> bool | None:
    if evidence.blind or evidence.interval_secs is None or evidence.beat_at is None:
        return None
    return evidence.deadline is not None and evidence.now <= evidence.deadline
