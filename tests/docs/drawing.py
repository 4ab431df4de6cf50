"""Draws a terminal's screen as SVG: one picture, or a recording as an animation that needs no
script. The terminal is pyte's."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import pyte

from tests.docs.recorder import Recording

__all__ = ["animate", "draw", "screens"]

NO_BREAK = "\N{NO-BREAK SPACE}"  # others are drawn as one by some programs
_CELL = (8.4, 18.0)
_MARGIN = 14.0
_BACK, _FORE, _DIM = "#1b1f27", "#d8dee9", "#7b8494"
_COLOURS = {
    "black": "#3b4252",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "yellow": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#d8dee9",
    "default": _FORE,
}
Row = tuple[tuple[int, str, str], ...]
"""Runs of one look: first column, text, attributes for SVG."""


class _Screen(pyte.Screen):
    """pyte knows no faint text (SGR 2), which is how what matters less is shown."""

    dim = False

    def select_graphic_rendition(self, *attrs: int, **options: bool) -> None:
        for attr in attrs or (0,):
            if attr in (0, 22):
                self.dim = False
            elif attr == 2:
                self.dim = True
        known = [attr for attr in attrs if attr != 2]
        if known or not attrs:
            super().select_graphic_rendition(*known)
        if self.dim and self.cursor.attrs.fg == "default":
            self.cursor.attrs = self.cursor.attrs._replace(fg=_DIM[1:])


def screens(recording: Recording, step_secs: float) -> list[tuple[float, list[Row]]]:
    """The screen whenever it has changed, looked at every ``step_secs``; and at the end."""
    screen = _Screen(recording.columns, recording.lines)
    stream = pyte.Stream(screen)
    found: list[tuple[float, list[Row]]] = []
    due = step_secs
    for at, text in recording.events:
        while at > due:
            _keep(found, due, screen)
            due += step_secs
        stream.feed(text)
    _keep(found, max(due, recording.secs), screen)
    return found


def _keep(found: list[tuple[float, list[Row]]], at: float, screen: pyte.Screen) -> None:
    rows = [_row(screen, number) for number in range(screen.lines)]
    if not found or found[-1][1] != rows:
        found.append((at, rows))


def _row(screen: pyte.Screen, number: int) -> Row:
    runs: list[tuple[int, str, str]] = []
    for column in range(screen.columns):
        cell = screen.buffer[number][column]
        look = f'fill="{_colour(cell.fg)}"' + (' font-weight="bold"' if cell.bold else "")
        if cell.data == "":  # the second half of a wide character
            continue
        if runs and runs[-1][2] == look and runs[-1][0] + len(runs[-1][1]) == column:
            runs[-1] = (runs[-1][0], runs[-1][1] + cell.data, look)
        elif cell.data != " ":
            runs.append((column, cell.data, look))
    return tuple((start, text.rstrip(), look) for start, text, look in runs if text.strip())


def _colour(name: str) -> str:
    return _COLOURS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else _FORE)


def draw(rows: Sequence[Row], columns: int, title: str) -> str:
    """One screen; empty lines at its end are left out."""
    shown = list(rows)
    while shown and not shown[-1]:
        shown.pop()
    body = "\n".join(_text(row, number) for number, row in enumerate(shown) if row)
    return _frame(body, columns, len(shown), title)


def animate(found: Sequence[tuple[float, list[Row]]], columns: int, title: str) -> str:
    """All screens one after the other, again and again. A row that stays is drawn once."""
    end = found[-1][0] + 3.0
    names: dict[tuple[int, Row], str] = {}
    parts: list[str] = []
    lines = max((i + 1 for _, rows in found for i, row in enumerate(rows) if row), default=1)
    spans: dict[str, list[tuple[float, float]]] = {}
    for index, (at, rows) in enumerate(found):
        until = found[index + 1][0] if index + 1 < len(found) else end
        for number, row in enumerate(rows):
            if not row:
                continue
            name = names.setdefault((number, row), f"r{len(names)}")
            held = spans.setdefault(name, [])
            if held and held[-1][1] == at:
                held[-1] = (held[-1][0], until)
            else:
                held.append((at, until))
    for (number, row), name in names.items():
        for start, until in spans[name]:
            parts.append(
                f'<g visibility="hidden">{_text(row, number)}'
                f'<animate attributeName="visibility" dur="{end:.2f}s" repeatCount="indefinite" '
                f'calcMode="discrete" values="hidden;visible;hidden" '
                f'keyTimes="0;{start / end:.4f};{min(until / end, 1.0):.4f}"/></g>'
                if start > found[0][0]
                else f'<g>{_text(row, number)}<animate attributeName="visibility" '
                f'dur="{end:.2f}s" repeatCount="indefinite" calcMode="discrete" '
                f'values="visible;hidden" keyTimes="0;{min(until / end, 1.0):.4f}"/></g>'
            )
    return _frame("\n".join(parts), columns, lines, title)


def _text(row: Row, number: int) -> str:
    y = _MARGIN + _CELL[1] * (number + 0.75)
    spans = "".join(
        f'<tspan x="{_MARGIN + _CELL[0] * start:.1f}" '
        f'textLength="{_CELL[0] * len(text):.1f}" {look}>'
        f"{escape(text.replace(' ', NO_BREAK))}</tspan>"
        for start, text, look in row
    )
    return f'<text y="{y:.1f}">{spans}</text>'


def _frame(body: str, columns: int, lines: int, title: str) -> str:
    width = columns * _CELL[0] + 2 * _MARGIN
    height = lines * _CELL[1] + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escape(title)}" font-size="14" '
        'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{_BACK}"/>\n{body}\n</svg>\n'
    )
