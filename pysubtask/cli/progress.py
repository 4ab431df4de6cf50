"""Bars on a terminal: how far each file is, how fast it goes, when it is done."""

from __future__ import annotations

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pysubtask.cli.output import Output, plain, size
from pysubtask.status import Status

__all__ = ["Bars"]

_MAX_BARS = 8
_NAME_COLUMNS = 32


class Bars:
    """A line for the link, and one for each file on its way (at most eight).

    Bars vanish when their file is delivered: the line on standard output says so.
    """

    def __init__(self, output: Output) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[resumed]}", style="dim", markup=False),
            console=output.err,
            transient=True,
            refresh_per_second=5,
        )
        self._link: TaskID | None = None
        self._progress.start()
        self._open = True

    def link(self, status: Status) -> None:
        """Show the link while it is not connected: there is nothing else to see then."""
        words = _link_words(status)
        if words is None:
            if self._link is not None:
                self._progress.remove_task(self._link)
                self._link = None
        elif self._link is None:
            self._link = self._progress.add_task(words, total=None, resumed="")
        else:
            self._progress.update(self._link, description=words)

    def progress(self, path: str, sent: int, total: int, resumed: int) -> None:
        """More of a file has arrived."""
        task = self._tasks.get(path)
        if task is None:
            if len(self._tasks) >= _MAX_BARS:
                return
            name = _short(plain(path))
            words = f"{size(resumed)} were there" if resumed else ""
            task = self._progress.add_task(name, total=total, completed=resumed, resumed=words)
            self._tasks[path] = task
        self._progress.update(task, completed=sent, total=total)

    def done(self, path: str, total: int) -> None:
        """The file is delivered."""
        task = self._tasks.pop(path, None)
        if task is not None:
            self._progress.remove_task(task)

    def close(self) -> None:
        """Leave the terminal as it was; idempotent."""
        if self._open:
            self._open = False
            self._progress.stop()


def _link_words(status: Status) -> str | None:
    if status.link in ("connected", "resting"):
        return None
    words = {"connecting": "connecting", "retrying": "no connection", "gone": "starting"}.get(
        status.link, status.link
    )
    if status.link == "retrying" and status.next_try is not None:
        words += f", next try in {max(0.0, status.next_try - time.time()):.0f} s"
    if status.last_error:
        words += f": {status.last_error[:60]}"
    return words


def _short(name: str) -> str:
    if len(name) <= _NAME_COLUMNS:
        return name.ljust(_NAME_COLUMNS)
    return "…" + name[-(_NAME_COLUMNS - 1) :]
