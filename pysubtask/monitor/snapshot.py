"""What is so after a scan, for everybody to read: rows that nobody changes any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pysubtask.monitor.clients import Client
from pysubtask.monitor.names import shown
from pysubtask.monitor.rule import Flag, State

__all__ = ["Row", "Snapshot", "SourceState", "next_snapshot", "stalled_snapshot"]


@dataclass(frozen=True, slots=True)
class Row:
    """One client as it was at one moment. Times in Unix seconds."""

    id: str
    name: str
    shown: str
    state: State
    online: bool | None
    since: float
    """When it came into this state; for late and down: when it was due."""
    interval_secs: int | None
    beat_at: float | None
    deadline: float | None
    flags: tuple[Flag, ...]
    backlog_bytes: int | None
    oldest_age_secs: float | None
    version: str | None
    last_error: str | None
    tags: tuple[str, ...]
    pause: str | None
    pause_until: float | None
    pardon_until: float | None = None
    """While nobody looked, beats may have been impossible: overdue only from here on."""

    @classmethod
    def of(cls, client: Client) -> Row:
        overdue = client.state in (State.DOWN, State.LATE) and client.deadline is not None
        facts = client.facts
        return cls(
            client.id,
            client.name,
            shown(client.name),
            client.state,
            client.online,
            client.deadline or client.state_since if overdue else client.state_since,
            client.interval_secs,
            client.beat_at,
            client.deadline,
            client.flags,
            facts.backlog_bytes,
            facts.oldest_age_secs,
            facts.version,
            facts.last_error,
            client.tags,
            client.pause,
            client.pause_until,
            client.pardon_until,
        )


@dataclass(frozen=True, slots=True)
class SourceState:
    """How the source is. ``blind``: why it can't be seen, None if it can."""

    name: str
    blind: str | None
    blind_since: float | None = None
    took_secs: float = 0.0
    warnings: tuple[str, ...] = ()
    step_secs: float = 0.0
    lost_files: bool = False
    """Many files vanished at once; somebody may say that it is meant."""
    partly: str | None = None
    """Why at least half of the clients can't be seen, though others can."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All clients after one scan."""

    number: int
    at: float
    source: SourceState
    rows: Mapping[str, Row]
    counts: Mapping[State, int]
    changed: tuple[str, ...] = field(default=())
    """The ids whose rows differ from those of the snapshot before."""
    turned: tuple[str, ...] = field(default=())
    """Those among them whose state or flags differ."""
    all_new: bool = False
    """Clients came or went: whoever shows a map draws it anew."""

    @classmethod
    def empty(cls, source: str, now: float) -> Snapshot:
        """Before the first scan."""
        state = SourceState(source, "it has not been read yet")
        return cls(0, now, state, MappingProxyType({}), MappingProxyType({}))


def next_snapshot(
    before: Snapshot,
    clients: Iterable[Client],
    changed: Sequence[Client],
    now: float,
    source: SourceState,
) -> Snapshot:
    """The next one; rows of clients that did not change are shared with the one before."""
    everyone = list(clients)
    fresh = {client.id: Row.of(client) for client in changed}
    old = before.rows
    same = len(old) == len(everyone) and all(key in old for key in fresh)
    if not fresh and same:
        rows = old
    else:
        rows = MappingProxyType(
            {one.id: fresh.get(one.id) or old.get(one.id) or Row.of(one) for one in everyone}
        )
    counts = before.counts
    if rows is not old:
        counts = MappingProxyType(Counter(row.state for row in rows.values()))
    turned = []
    for key, row in fresh.items():
        was = old.get(key)
        if was is None or (was.state, was.flags) != (row.state, row.flags):
            turned.append(key)
    return Snapshot(
        before.number + 1, now, source, rows, counts, tuple(fresh), tuple(turned), all_new=not same
    )


def stalled_snapshot(snapshot: Snapshot, why: str) -> Snapshot:
    """The same when nobody has looked since for too long: what was so then is no longer known.

    As with a source that can't be read, who is paused or archived stays so.
    """

    def unknown(row: Row) -> Row:
        if row.state in (State.ARCHIVED, State.PAUSED):
            return replace(row, online=None)
        return replace(row, state=State.UNKNOWN, online=None, since=snapshot.at)

    rows = MappingProxyType({key: unknown(row) for key, row in snapshot.rows.items()})
    source = replace(snapshot.source, blind=why, blind_since=snapshot.at)
    counts = MappingProxyType(Counter(row.state for row in rows.values()))
    return replace(snapshot, source=source, rows=rows, counts=counts, turned=(), all_new=True)
