"""SVG plots of what the side-by-side program found (matplotlib, from the extra ``benchmarks``).

Bars are medians, lines through their ends the least and the most that was seen. Beside each speed
stands the processor time that it took, which a busy machine changes least.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

__all__ = ["draw"]

_OURS, _THEIRS = "#1b6ca8", "#b8b8b8"
_WIDTH_INCHES, _ROW_INCHES = 8.0, 0.32


def draw(found: Sequence[dict[str, Any]], folder: pathlib.Path) -> list[pathlib.Path]:
    """Write a plot for each case with several contenders, and lines where cases are points.

    Args:
        found: what ``--json`` writes, of each benchmark.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "pysubtask",  # the same figures make the same file
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    drawn = []
    for benchmark in found:
        name, figures = benchmark["benchmark"], benchmark["figures"]
        if any("x" in figure for figure in figures):
            drawn.append(_lines(figures, folder / f"{name}.svg"))
            continue
        cases = list(dict.fromkeys(figure["case"] for figure in figures))
        for number, case in enumerate(cases):
            rows = [figure for figure in figures if figure["case"] == case]
            if len(rows) > 1 and len({row["unit"] for row in rows}) == 1:
                drawn.append(_bars(case, rows, folder / f"{name}-{number + 1}.svg"))
    return drawn


def _save(figure: Any, file: pathlib.Path) -> pathlib.Path:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": "python -m benchmarks"})
    pyplot.close(figure)
    text = file.read_text("utf-8")
    file.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", "utf-8")
    return file


def _bars(case: str, rows: list[dict[str, Any]], file: pathlib.Path) -> pathlib.Path:
    with_cpu = all("cpu_secs" in row for row in rows)
    height = _ROW_INCHES * len(rows) + 1.0
    figure, axes = pyplot.subplots(
        1, 2 if with_cpu else 1, figsize=(_WIDTH_INCHES, height), squeeze=False, sharey=True
    )
    names = [row["who"] for row in rows]
    colours = [_OURS if _is_ours(name) else _THEIRS for name in names]
    left = axes[0][0]
    shown = [dict(row.get("shown", {})) for row in rows]
    medians = [float(row["median"]) for row in rows]
    least = [float(row["least"]) for row in rows]
    most = [float(one.get("p99", row["most"])) for one, row in zip(shown, rows, strict=True)]
    spread = [
        [middle - low for middle, low in zip(medians, least, strict=True)],
        [max(0.0, high - middle) for middle, high in zip(medians, most, strict=True)],
    ]
    left.barh(names, medians, color=colours, xerr=spread, error_kw={"lw": 0.8, "ecolor": "#444"})
    left.invert_yaxis()
    unit = rows[0]["unit"]
    left.set_xlabel(f"{unit} (median; line to p99)" if shown[0] else f"{unit}, more is better")
    if max(medians) > 30 * min(medians) > 0:
        left.set_xscale("log")
    figure.suptitle(case, fontsize=10)
    if with_cpu:
        axes[0][1].barh(names, [float(row["cpu_secs"]) for row in rows], color=colours)
        axes[0][1].set_xlabel("s of processor time of the sender, less is better")
    return _save(figure, file)


def _is_ours(name: str) -> bool:
    return name.startswith(("pysubtask", "notify()", "with pysubtask"))


def _lines(figures: list[dict[str, Any]], file: pathlib.Path) -> pathlib.Path:
    names = list(dict.fromkeys(figure["who"] for figure in figures))
    columns = 3
    rows = -(-len(names) // columns)
    drawing, axes = pyplot.subplots(
        rows, columns, figsize=(_WIDTH_INCHES, 2.2 * rows), squeeze=False
    )
    for place in range(rows * columns):
        plot = axes[place // columns][place % columns]
        if place >= len(names):
            plot.axis("off")
            continue
        points = [figure for figure in figures if figure["who"] == names[place]]
        x = [point["x"] for point in points]
        plot.plot(x, [point["median"] for point in points], "o-", color=_OURS, ms=4)
        plot.set_xscale("log")
        plot.set_ylim(bottom=0)
        plot.set_title(names[place], fontsize=9)
        plot.set_ylabel(points[0]["unit"])
        plot.set_xlabel("bytes" if "append" in names[place] else "files")
    return _save(drawing, file)
