"""Bars on a terminal: how far each file is, how fast it goes, when it is done."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from pysubtask.cli.exits import scrub
from pysubtask.cli.output import Output, crop, plain
from pysubtask.status import Status, size_words

__all__ = ["Bars"]

_MAX_BARS = 8
_WIDE_COLUMNS = 100


class _Amount(ProgressColumn):
    """``3.5 of 19.1 MiB``"""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        done, unit = size_words(task.completed).split()
        total, total_unit = size_words(task.total).split()
        first = done if unit == total_unit else f"{done} {unit}"
        return Text(f"{first} of {total} {total_unit}", style="green")


class _Rate(ProgressColumn):
    """``1.2 MiB/s``, once it is known."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text(f"{size_words(speed)}/s" if speed else "", style="cyan")


class Bars:
    """A line for the link, and one for each file on its way (at most eight).

    Bars vanish when their file is delivered: the line on standard output says so.
    """

    def __init__(self, output: Output) -> None:
        self._tasks: dict[str, TaskID] = {}
        wide = output.err.width >= _WIDE_COLUMNS
        self._name_columns = 24 if wide else 18
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=20 if wide else 12),
            _Amount(table_column=Column(no_wrap=True)),
            _Rate(table_column=Column(no_wrap=True, min_width=11)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        ]
        if wide:
            columns.append(TextColumn("{task.fields[resumed]}", style="dim", markup=False))
        self._progress = Progress(*columns, console=output.err)
        self._link: str | None = None
        self._output = output
        output.bars = output.err
        self._live = Live(
            get_renderable=self._render,
            console=output.err,
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self._open = True

    def _render(self) -> RenderableType:
        if self._link is None:
            return self._progress
        return Group(Text(self._link, style="yellow"), self._progress)

    def link(self, status: Status) -> None:
        """Show the link while it is not connected: there is nothing else to see then."""
        self._link = _link_words(status)

    def progress(self, path: str, sent: int, total: int, resumed: int) -> None:
        """More of a file has arrived."""
        task = self._tasks.get(path)
        if task is None:
            if len(self._tasks) >= _MAX_BARS:
                return
            name = crop(plain(path), self._name_columns).ljust(self._name_columns)
            words = f"{size_words(resumed)} were there" if resumed else ""
            task = self._progress.add_task(name, total=total, completed=resumed, resumed=words)
            self._tasks[path] = task
        elif resumed:
            self._progress.update(task, resumed=f"{size_words(resumed)} were there")
        self._progress.update(task, completed=max(0, sent), total=total)

    def done(self, path: str, total: int) -> None:
        """The file is delivered."""
        task = self._tasks.pop(path, None)
        if task is not None:
            self._progress.remove_task(task)

    def close(self) -> None:
        """Leave the terminal as it was; idempotent."""
        if self._open:
            self._open = False
            self._output.bars = None
            self._live.stop()


def _link_words(status: Status) -> str | None:
    if status.link in ("connected", "resting"):
        return None
    words = {"connecting": "connecting", "retrying": "no connection", "gone": "starting"}.get(
        status.link, status.link
    )
    if status.link == "retrying" and status.next_try is not None:
        words += f", next try in {max(0.0, status.next_try - time.time()):.0f} s"
    if status.last_error:
        words += f": {scrub(status.last_error)}"
    return words
