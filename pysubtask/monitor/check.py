"""An answer in the manner of Nagios plugins (Monitoring Plugins Development Guidelines). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pysubtask.monitor.names import client_id
from pysubtask.monitor.rule import State
from pysubtask.monitor.snapshot import Row, Snapshot

__all__ = ["verdict"]

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
_NAMED = 5


def verdict(snapshot: Snapshot, names: Sequence[str] | None = None) -> tuple[int, str]:
    """Exit code and the line to print, with performance data after ``|``."""
    if snapshot.source.blind is not None:
        return UNKNOWN, f"HEARTBEAT UNKNOWN - {_plain(snapshot.source.blind)}"
    rows: list[Row] = list(snapshot.rows.values())
    if names:
        missing = [name for name in names if _find(snapshot, name) is None]
        if missing:
            return UNKNOWN, f"HEARTBEAT UNKNOWN - no such client: {_plain(', '.join(missing))}"
        rows = [row for row in (_find(snapshot, name) for name in names) if row is not None]
    by_state = {state: [row for row in rows if row.state is state] for state in State}
    down, late = by_state[State.DOWN], by_state[State.LATE]
    flagged = [row for row in by_state[State.UP] if row.flags]
    perf = " ".join(f"{state}={len(by_state[state])}" for state in State)
    if down:
        code, word, words = CRITICAL, "CRITICAL", f"{len(down)} down: {_some(down)}"
    elif late:
        code, word, words = WARNING, "WARNING", f"{len(late)} late: {_some(late)}"
    elif flagged:
        code, word, words = WARNING, "WARNING", f"{len(flagged)} flagged: {_some(flagged)}"
    elif not rows:
        code, word, words = UNKNOWN, "UNKNOWN", "no heartbeat files"
    else:
        code, word, words = OK, "OK", f"{len(by_state[State.UP])} of {len(rows)} up"
    return code, f"HEARTBEAT {word} - {words} | {perf}"


def _find(snapshot: Snapshot, name: str) -> Row | None:
    return snapshot.rows.get(client_id(name)) or next(
        (row for row in snapshot.rows.values() if row.shown == name), None
    )


def _some(rows: Sequence[Row]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return _plain(", ".join(row.shown for row in rows[:_NAMED])) + more


def _plain(text: str) -> str:
    """Without ``|``, after which performance data would begin."""
    return text.replace("|", "¦")
