"""What one client's page shows, worked out of the fleet and the history."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pysubtask.monitor.history import Past, Sample
from pysubtask.monitor.snapshot import Row
from pysubtask.monitor.units import bytes_in_words
from pysubtask.monitor.uptime import Day, days, uptime
from pysubtask.monitor.web.view import View
from pysubtask.monitor.words import explain, flag_words

if TYPE_CHECKING:
    from pysubtask.monitor.keeper import Monitor

__all__ = ["Chart", "Detail", "chart", "detail_of"]

_DAYS = 90
_CHART_SECS = 7 * 86_400.0
_WIDTH, _HEIGHT = 600.0, 80.0
_FLIPS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over time: points of an SVG polyline, and its highest value in words."""

    points: str
    highest: str
    last: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One client."""

    row: Row
    words: str
    flags: dict[str, str]
    days: list[Day]
    uptimes: list[tuple[str, float | None]]
    flips: list[tuple[Past, float]]
    """Newest first, each with the seconds until the next one."""
    gaps: list[tuple[float, float]]
    """The longest waits between beats that this run saw: (when it ended, seconds)."""
    backlog: Chart | None
    data: Chart | None
    first_seen: float
    gone_at: float | None
    sequence: int | None


def detail_of(monitor: Monitor, client_id: str, view: View) -> Detail | None:
    """Everything about a client; None if there is none."""
    now = monitor.clock()
    with monitor.lock:
        client = monitor.fleet.clients.get(client_id)
        if client is None:
            return None
        past = monitor.history.flips(client_id, now - (_DAYS + 1) * 86_400.0)
        blind = monitor.history.blind_spans(now - (_DAYS + 1) * 86_400.0)
        samples = monitor.history.samples(client_id, now - _CHART_SECS)
        row, words, flags = Row.of(client), explain(client, now), flag_words(client)
        recent = list(client.recent)
        first_seen, gone_at = client.first_seen, client.gone_at
        sequence = client.facts.sequence
    snapshot = view.snapshot
    if view.stalled and client_id in snapshot.rows:
        row = snapshot.rows[client_id]
        words = f"Not known: the monitor has not looked since. Before that: {words}"
    found = days(past, blind, now, _DAYS)
    ends = [flip.at for flip in past[1:]] + [now]
    flips = [(flip, end - flip.at) for flip, end in zip(past, ends, strict=True)]
    waits = [(after, after - before) for before, after in itertools.pairwise(recent)]
    return Detail(
        row,
        words,
        flags,
        found,
        [(f"{count} days", uptime(found[-count:])) for count in (7, 30, 90)],
        flips[: -_FLIPS_SHOWN - 1 : -1],
        sorted(waits, key=lambda one: -one[1])[:5],
        chart(samples, "backlog_bytes", now),
        chart(samples, "data_bytes", now),
        first_seen,
        gone_at,
        sequence,
    )


def chart(samples: Sequence[Sample], field: str, now: float) -> Chart | None:
    """A week of one figure as steps; None if there is nothing to draw."""
    values = [(one.at, getattr(one, field)) for one in samples]
    values = [(at, value) for at, value in values if value is not None]
    if not values or max(value for _, value in values) == 0:
        return None
    top = max(value for _, value in values)
    begin = now - _CHART_SECS
    points: list[str] = []
    height = _HEIGHT
    for at, value in values:
        x = max(0.0, (at - begin) / _CHART_SECS * _WIDTH)
        y = _HEIGHT - value / top * (_HEIGHT - 4)
        if points:
            points.append(f"{x:.1f},{height:.1f}")  # it was the same until it changed
        points.append(f"{x:.1f},{y:.1f}")
        height = y
    points.append(f"{_WIDTH:.1f},{height:.1f}")
    return Chart(" ".join(points), bytes_in_words(top), bytes_in_words(values[-1][1]))
