"""What programs read: the JSON of the API, and the text of ``/metrics``. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from pysubtask.monitor.names import shown
from pysubtask.monitor.rule import Flag, State
from pysubtask.monitor.snapshot import Row, Snapshot
from pysubtask.version import __version__

__all__ = ["client_document", "fleet_csv", "fleet_document", "in_shard", "metrics"]

_WAITED_FOR = {State.UP, State.LATE, State.DOWN, State.UNKNOWN}


def client_document(row: Row) -> dict[str, Any]:
    """One client; times in Unix seconds. ``name`` is as shown: what can't be seen is escaped."""
    return {
        "name": row.shown,
        "id": row.id,
        "state": row.state.value,
        "online": row.online,
        "since": row.since,
        "interval_secs": row.interval_secs,
        "last_seen": row.beat_at,
        "deadline": row.deadline,
        "flags": [flag.value for flag in row.flags],
        "backlog_bytes": row.backlog_bytes,
        "oldest_age_secs": row.oldest_age_secs,
        "last_error": row.last_error,
        "version": row.version,
        "tags": list(row.tags),
        "paused": row.pause,
        "paused_until": row.pause_until,
    }


def fleet_document(snapshot: Snapshot, rows: Iterable[Row]) -> dict[str, Any]:
    """Clients and what is known of the source."""
    source = snapshot.source
    return {
        "clients": [client_document(row) for row in rows],
        "source": {
            "name": source.name,
            "readable": source.blind is None,
            "error": source.blind,
            "scan_secs": round(source.took_secs, 4),
            "warnings": [*filter(None, [source.partly]), *source.warnings],
        },
        "counts": {state.value: snapshot.counts.get(state, 0) for state in State},
        "at": snapshot.at,
        "sequence": snapshot.number,
    }


_COLUMNS = (
    "name id state online since interval_secs last_seen deadline flags backlog_bytes "
    "oldest_age_secs last_error version tags"
).split()
_FORMULA = ("=", "+", "-", "@")


def fleet_csv(rows: Iterable[Row]) -> str:
    """The same as CSV (RFC 4180), for spreadsheets; times in Unix seconds.

    A text that a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV
    injection").
    """
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(_COLUMNS)
    for row in rows:
        document = client_document(row)
        document["flags"], document["tags"] = " ".join(row.flags), " ".join(row.tags)
        for name in ("version", "last_error"):
            document[name] = shown(document[name]) if document[name] else None
        table.writerow([_cell(document[name]) for name in _COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def in_shard(client_id: str, shard: tuple[int, int] | None) -> bool:
    """Whether the client belongs to part ``shard[0]`` (from 1) of ``shard[1]``."""
    return shard is None or int(client_id, 16) % shard[1] == shard[0] - 1


_LABEL = re.compile(r'[\\"\n]')


def _label(text: str) -> str:
    """Escaped as the text format asks (Prometheus' *exposition formats*: backslash, quote, LF)."""
    return _LABEL.sub(lambda found: {"\n": "\\n"}.get(found[0], "\\" + found[0]), text)


def metrics(
    snapshot: Snapshot, *, shard: tuple[int, int] | None = None, limit: int = 20_000
) -> str:
    """Prometheus' text format.

    Deadlines are given as timestamps, so that ``time() - deadline > 0`` is decided by Prometheus'
    own clock and stays right when this monitor stalls. A client that nobody waits for (paused,
    stopped, gone) has no deadline. At most ``limit`` clients; the rest by ``shard``.
    """
    out: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> None:
        out.append(f"# HELP pysubtask_{name} {text}\n# TYPE pysubtask_{name} {kind}\n")
        out.extend(f"pysubtask_{name}{labels} {value!r}\n" for labels, value in samples)

    source = snapshot.source
    family("monitor_info", "gauge", "Its version.", [(f'{{version="{__version__}"}}', 1)])
    family(
        "monitor_source_readable",
        "gauge",
        "1 if the monitor can see the heartbeat files; if not, no deadline says anything.",
        [("", int(source.blind is None))],
    )
    family(
        "monitor_last_scan_timestamp_seconds", "gauge", "When it last looked.", [("", snapshot.at)]
    )
    family(
        "monitor_scan_duration_seconds", "gauge", "How long that took.", [("", source.took_secs)]
    )
    counts = [(f'{{state="{state}"}}', snapshot.counts.get(state, 0)) for state in State]
    family("monitor_clients", "gauge", "Clients by state.", counts)

    rows = [row for row in snapshot.rows.values() if in_shard(row.id, shard)]
    rows = [row for row in rows if row.state is not State.ARCHIVED]
    left_out = max(0, len(rows) - limit)
    family(
        "monitor_clients_left_out",
        "gauge",
        "Clients without series of their own below; scrape /metrics?shard=1/N … N/N.",
        [("", left_out)],
    )
    rows = rows[:limit]
    labels = {row.id: f'{{client="{_label(row.shown)}",id="{row.id}"}}' for row in rows}
    waited_for = _WAITED_FOR if source.blind else _WAITED_FOR - {State.UNKNOWN}
    family(
        "client_deadline_timestamp_seconds",
        "gauge",
        "The client is offline after this, unless it beats again; after a time in which nobody "
        "could beat it is when patience ends.",
        [
            (labels[row.id], max(row.deadline, row.pardon_until or 0.0))
            for row in rows
            if row.deadline is not None and row.state in waited_for
        ],
    )
    family(
        "client_last_beat_timestamp_seconds",
        "gauge",
        "Its last beat.",
        [(labels[row.id], row.beat_at) for row in rows if row.beat_at is not None],
    )
    family(
        "client_backlog_bytes",
        "gauge",
        "What it owes, as it says itself.",
        [(labels[row.id], row.backlog_bytes) for row in rows if row.backlog_bytes is not None],
    )
    family(
        "client_flagged",
        "gauge",
        "1 for each flag that a client has.",
        [
            (f'{labels[row.id][:-1]},flag="{flag}"}}', 1)
            for row in rows
            for flag in Flag
            if flag in row.flags
        ],
    )
    return "".join(out)
