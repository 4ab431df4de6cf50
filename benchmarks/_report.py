"""What a benchmark found: figures with their spread, ratios taken within the same round, targets.

Machines are noisy and rounds differ; what two contenders did a moment after each other does not
differ for that reason. So a ratio is made of each round by itself, and its median is what counts.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

__all__ = ["Figure", "Ratio", "Report", "machine"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a figure compares with another one, round by round; above 1 means better."""

    to: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity of one contender.

    Args:
        case: what was done, the same for all who did it.
        who: the contender.
        unit: of ``values``; one value for each round (or for each call).
        cpu_secs: processor time of the contender, one for each round; empty if not measured.
        ratios: in comparison with others of the same case.
        target: what the project wants, in words.
        met: whether it was reached; None if there is no target.
        note: what else has to be known.
        shown: what to print and to judge by instead of the median: ``(name, value)`` pairs.
        x: the quantity that a plot has on its x axis, if the cases are points of a line.
    """

    case: str
    who: str
    unit: str
    values: tuple[float, ...]
    cpu_secs: tuple[float, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    target: str = ""
    met: bool | None = None
    note: str = ""
    shown: tuple[tuple[str, float], ...] = ()
    x: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "case": self.case,
            "who": self.who,
            "unit": self.unit,
            "median": self.median,
            "least": min(self.values),
            "most": max(self.values),
            "count": len(self.values),
        }
        if len(self.values) <= 64:
            found["values"] = list(self.values)
        if self.cpu_secs:
            found["cpu_secs"] = statistics.median(self.cpu_secs)
        if self.shown:
            found["shown"] = dict(self.shown)
        if self.x is not None:
            found["x"] = self.x
        found["ratios"] = [
            {"to": r.to, "median": r.median, "least": min(r.values), "most": max(r.values)}
            for r in self.ratios
        ]
        if self.target:
            found["target"], found["met"] = self.target, self.met
        if self.note:
            found["note"] = self.note
        return found


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


@dataclass
class Report:
    """Collects the figures of one benchmark and prints them as they come."""

    name: str
    out: TextIO = field(default_factory=lambda: sys.stdout)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _case: str = ""

    def add(self, figures: Sequence[Figure]) -> None:
        """Take figures in, and print them."""
        for figure in figures:
            self.figures.append(figure)
            if figure.case != self._case:
                self._case = figure.case
                print(f"\n{figure.case}", file=self.out)
            print("  " + _line(figure), file=self.out, flush=True)

    def note(self, words: str) -> None:
        """Something that has to be known, such as a peer that is missing."""
        self.notes.append(words)
        print(f"  ({words})", file=self.out, flush=True)

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "notes": self.notes,
            "figures": [figure.as_json() for figure in self.figures],
        }


def _line(figure: Figure) -> str:
    if figure.shown:
        values = ", ".join(f"{name} {_short(value)}" for name, value in figure.shown)
        text = f"{figure.who:<34}{values} {figure.unit}"
    else:
        spread = f"({_short(min(figure.values))}–{_short(max(figure.values))})"
        text = f"{figure.who:<34}{_short(figure.median):>9} {figure.unit:<8}{spread:<18}"
    if figure.cpu_secs:
        text += f" CPU {statistics.median(figure.cpu_secs):.2f} s"
    for ratio in figure.ratios:
        least, most = min(ratio.values), max(ratio.values)
        text += f"  {ratio.median:.2f} × {ratio.to} ({least:.2f}–{most:.2f})"
    if figure.target:
        verdict = {True: "reached", False: "MISSED", None: "not judged"}[figure.met]
        text += f"  [{figure.target}: {verdict}]"
    if figure.note:
        text += f"  ({figure.note})"
    return text


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
