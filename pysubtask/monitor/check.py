"""An answer in the manner of Nagios plugins (Monitoring Plugins Development Guidelines). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pysubtask.monitor.names import client_id, shown
from pysubtask.monitor.rule import State
from pysubtask.monitor.snapshot import Row, Snapshot

__all__ = ["verdict"]

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
_NAMED = 5
_UNJUDGED = (State.NEW, State.UNKNOWN, State.GONE, State.ARCHIVED)
"""Nobody can say that these are well: an invalid file, one that vanished while we looked …"""


def verdict(
    snapshot: Snapshot, names: Sequence[str] | None = None, unread: Sequence[str] = ()
) -> tuple[int, str]:
    """Exit code and the line to print, with performance data after ``|``.

    Args:
        names: only these clients.
        unread: folders that could not be read; of clients in them nothing is known.
    """
    if snapshot.source.blind is not None:
        return UNKNOWN, f"HEARTBEAT UNKNOWN - {_plain(snapshot.source.blind)}"
    rows: list[Row] = list(snapshot.rows.values())
    if names:
        missing = [name for name in names if _find(snapshot, name) is None]
        if missing:
            return UNKNOWN, f"HEARTBEAT UNKNOWN - no such client: {_plain(', '.join(missing))}"
        rows = [row for row in (_find(snapshot, name) for name in names) if row is not None]
    hidden = () if names else tuple(unread)
    code, word, words = _judge(rows, hidden)
    perf = " ".join(f"{state}={sum(row.state is state for row in rows)}" for state in State)
    return code, f"HEARTBEAT {word} - {words} | {perf}"


def _judge(rows: Sequence[Row], unread: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, its name, and why: the worst that is known, then what can't be known."""
    by_state = {state: [row for row in rows if row.state is state] for state in State}
    down, late = by_state[State.DOWN], by_state[State.LATE]
    unjudged = [row for row in rows if row.state in _UNJUDGED]
    flagged = [row for row in rows if row.flags and row.state in (State.UP, State.STOPPED)]
    if down:
        return CRITICAL, "CRITICAL", f"{len(down)} down: {_some(down)}"
    if unread:
        folders = ", ".join(shown(one) or "./" for one in unread[:_NAMED])
        return UNKNOWN, "UNKNOWN", f"can't be read: {_plain(folders)}"
    if not rows:
        return UNKNOWN, "UNKNOWN", "no heartbeat files"
    if len(unjudged) == len(rows):
        return UNKNOWN, "UNKNOWN", f"{len(rows)} without a valid heartbeat: {_some(rows)}"
    if late:
        return WARNING, "WARNING", f"{len(late)} late: {_some(late)}"
    if unjudged:
        words = f"{len(unjudged)} without a valid heartbeat: {_some(unjudged)}"
        return WARNING, "WARNING", words
    if flagged:
        return WARNING, "WARNING", f"{len(flagged)} flagged: {_some(flagged)}"
    return OK, "OK", f"{len(by_state[State.UP])} of {len(rows)} up"


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
