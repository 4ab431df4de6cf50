"""Badges: a small SVG (and the JSON that shields.io's endpoint badges read) for one client or all.

A badge says its state in words; the colour only repeats it.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from pysubtask.monitor.rule import State
from pysubtask.monitor.snapshot import Row, Snapshot

__all__ = ["badge_json", "badge_svg", "client_badge", "fleet_badge"]

_COLOURS = {
    State.UP: "#1a7f37",
    State.LATE: "#9a6700",
    State.DOWN: "#cf222e",
    State.UNKNOWN: "#6e40aa",
}
_GREY = "#57606a"
_CHAR = 6.6  # the mean width of a character of Verdana at 11 px
_LABEL_CHARS = 40


def client_badge(row: Row) -> tuple[str, str, str]:
    """Label, message and colour of one client's badge."""
    flags = f" ({', '.join(flag.replace('_', ' ') for flag in row.flags)})" if row.flags else ""
    return row.shown, row.state.value + flags, _COLOURS.get(row.state, _GREY)


def fleet_badge(snapshot: Snapshot) -> tuple[str, str, str]:
    """The same of the whole fleet: its worst state."""
    if snapshot.source.blind is not None:
        return "clients", "unknown", _COLOURS[State.UNKNOWN]
    counts = snapshot.counts
    for state in (State.DOWN, State.LATE):
        if counts.get(state):
            return "clients", f"{counts[state]} {state.value}", _COLOURS[state]
    return "clients", f"{counts.get(State.UP, 0)} up", _COLOURS[State.UP]


def badge_json(label: str, message: str, colour: str) -> dict[str, Any]:
    """What https://shields.io/badges/endpoint-badge asks for."""
    return {"schemaVersion": 1, "label": label, "message": message, "color": colour}


def badge_svg(label: str, message: str, colour: str) -> str:
    """The picture."""
    if len(label) > _LABEL_CHARS:
        label = label[: _LABEL_CHARS - 1] + "…"
    left, right = round(len(label) * _CHAR) + 12, round(len(message) * _CHAR) + 12
    width = left + right
    label, message = escape(label), escape(message)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" fill="#fff" '
        f'text-anchor="middle"><title>{label}: {message}</title>'
        f'<rect width="{width}" height="20" rx="3" fill="#24292f"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{colour}"/>'
        f'<text x="{left / 2}" y="14">{label}</text>'
        f'<text x="{left + right / 2}" y="14">{message}</text></svg>'
    )
