"""What ``demo.py`` shows: one lane for each watch, and the words for it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from pysubtask import Status, TaskMaster
from pysubtask.status import PullStatus

__all__ = ["Gauge", "Lane", "Screen", "data_files", "size_of", "spark"]

NEWS_SECS = 0.5
_NEWS_CELLS = 40
_BLOCKS = " ▁▂▃▄▅▆▇█"
PROMPT = "Enter cmd: "


class Lane(NamedTuple):
    """What is shown of one watch; sizes in bytes. ``news``: what came to it in each of the last
    intervals of ``NEWS_SECS``."""

    name: str
    local: int
    delivered: int
    pending: int
    notified: int
    news: tuple[int, ...] = ()


class Gauge:
    """Reads the lanes: sizes from the disk, the rest from ``status()``.

    Args:
        watched: the watch list.
        notified: how often each watch was notified; kept up to date by the caller.
    """

    def __init__(self, watched: Sequence[dict[str, Any]], notified: Sequence[int]) -> None:
        self._watched = watched
        self._notified = notified
        self._arrived: dict[str, tuple[int, int]] = {}
        self._news: list[deque[int]] = [deque(maxlen=_NEWS_CELLS) for _ in watched]
        self._known: list[dict[str, tuple[int, int]]] = [{} for _ in watched]
        self._cell = 0

    def read(self, master: TaskMaster) -> tuple[Status, list[Lane]]:
        status = master.status()
        lanes = []
        cell = int(time.monotonic() / NEWS_SECS)
        passed, self._cell = cell - (self._cell or cell), cell
        for index, watch in enumerate(self._watched):
            notified = self._notified[index]
            news = self._news_of(index, passed)
            if "file" in watch:
                path = str(watch["file"])
                shown = status.files.get(path)
                lanes.append(
                    Lane(
                        path + (" (burst mode)" if watch.get("burstmode") else ""),
                        size_of(path),
                        shown.delivered_bytes if shown else 0,
                        shown.pending_bytes if shown else 0,
                        notified,
                        news,
                    )
                )
                continue
            parts = [self._in_folder(master, status, path) for path in data_files(watch["dir"])]
            local, delivered, pending = (sum(part[i] for part in parts) for i in range(3))
            name = f"{watch['dir']}/ ({len(parts)} file{'' if len(parts) == 1 else 's'})"
            lanes.append(Lane(name, local, delivered, pending, notified, news))
        return status, lanes

    def _news_of(self, index: int, passed: int) -> tuple[int, ...]:
        """Bytes that came, by interval; ``passed``: intervals since the last look."""
        watch, known, news = self._watched[index], self._known[index], self._news[index]
        first = not news
        news.extend([0] * (1 if first else min(passed, _NEWS_CELLS)))
        for path in data_files(watch["dir"]) if "dir" in watch else [str(watch["file"])]:
            try:
                facts = os.stat(path)
            except OSError:
                continue
            now = (facts.st_size, facts.st_mtime_ns)
            before = known.get(path, (0, 0))
            known[path] = now
            if now != before and not first:
                grown = facts.st_size - before[0] if "file" in watch else facts.st_size
                news[-1] += max(0, grown)  # a picture in a folder is new as a whole
        return tuple(news)

    def _in_folder(self, master: TaskMaster, status: Status, path: str) -> tuple[int, int, int]:
        """Only what is pending is in ``status().files``; the others are asked for once."""
        try:
            facts = os.stat(path)
        except OSError:
            return 0, 0, 0
        state = (facts.st_size, facts.st_mtime_ns)
        if path not in status.files and self._arrived.get(path) == state:
            return facts.st_size, facts.st_size, 0
        shown = status.files.get(path) or master.status(path)
        if shown.delivered_bytes == facts.st_size and not shown.pending_bytes:
            self._arrived[path] = state
        return facts.st_size, shown.delivered_bytes, shown.pending_bytes


class Screen:
    """Where everything is printed. In a terminal the lanes stand at its top and what happens
    scrolls below them; else each change is a line."""

    def __init__(self, lane_count: int, source_count: int = 0) -> None:
        self._lock = threading.Lock()
        self._height = lane_count + source_count + 4
        self._source_count = source_count
        self._size = shutil.get_terminal_size()
        self.live = (
            sys.stdout.isatty()
            and os.environ.get("TERM", "dumb") != "dumb"
            and self._size.lines >= self._height + 6
        )
        self._colours = self.live and not os.environ.get("NO_COLOR")
        self._plain: dict[str, str] = {}
        self._asked = False

    def open(self) -> None:
        if self.live:  # keep what is on the screen, then set the lanes' rows apart
            self._write("\n" * (self._size.lines - 1) + "\x1b[H\x1b[J" + self._region())
            self._write(f"\x1b[{self._height + 1};1H")

    def close(self) -> None:
        if self.live:
            self.live = False
            self._write("\x1b7\x1b[r\x1b8")

    def say(self, text: str) -> None:
        """In a terminal folded between words; the question moves below it."""
        if not self.live:
            self._write(text + "\n")
            return
        shown = fold(text, self._size.columns) + "\n"
        self._write(f"\r\x1b[K{shown}{PROMPT}" if self._asked else shown)

    def ask(self) -> None:
        if self.live:
            self._asked = True
            self._write(PROMPT)

    def answered(self) -> None:
        """The line that was asked for has come."""
        self._asked = False

    def show(self, status: Status, lanes: list[Lane]) -> None:
        if not self.live:
            self._show_changes(status, lanes)
            return
        region = ""
        if shutil.get_terminal_size() != self._size:
            self._size = shutil.get_terminal_size()
            region = self._region()
        colour = {"connected": "32", "resting": "32", "connecting": "33"}.get(status.link, "31")
        columns = self._size.columns
        wide = 34 if columns >= 92 else 27
        cells = min(_NEWS_CELLS, max(0, columns - wide - 46))
        heads = "".join(f"{head:>10}" for head in ("local", "delivered", "pending"))
        rows = [
            ("1;" + colour, "● " + link_words(status)),
            ("2", f"    {'':<{wide}}{heads}{'notified':>10}  {'news':<{cells}}"),
        ]
        for index, lane in enumerate(lanes):
            sizes = (lane.local, lane.delivered, lane.pending)
            figures = "".join(f"{size_words(size):>10}" for size in sizes)
            text = f" {index}  {tail(lane.name, wide):<{wide}}{figures}{lane.notified:>9}×"
            rows.append(("33" if lane.pending else "", f"{text}  {spark(lane.news, cells)}"))
        sources = [f" ←  {source_words(pull, status.last_error)}" for pull in status.pulls]
        rows += [("", text) for text in (sources or [""] * self._source_count)]
        rows.append(("31", f"    last error: {status.last_error}" if status.last_error else ""))
        rows.append(("2", "─" * self._size.columns))
        text = "".join(
            f"\x1b[{number};1H{self._paint(style, row[: self._size.columns])}\x1b[K"
            for number, (style, row) in enumerate(rows, 1)
        )
        self._write(f"\x1b7{region}{text}\x1b8")

    def _show_changes(self, status: Status, lanes: list[Lane]) -> None:
        lines = {"link": link_words(status, brief=True)}
        if status.last_error:
            lines["link"] += f": {status.last_error}"
        for lane in lanes:
            if not lane.local:
                continue
            lines[lane.name.partition(" (")[0]] = (
                f"{lane.name}: {lane.local:,} bytes, {lane.delivered:,} delivered, "
                f"{lane.pending:,} pending, notified {lane.notified}×"
            )
        for pull in status.pulls:
            lines[pull.to] = source_words(pull)
        clock = time.strftime("%H:%M:%S")
        for key, line in lines.items():
            if self._plain.get(key) != line:
                self._plain[key] = line
                self._write(f"{clock}  {line}\n")

    def _region(self) -> str:
        """The rows that scroll (DECSTBM, which also moves the cursor)."""
        return f"\x1b[{self._height + 1};{self._size.lines}r"

    def _paint(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[m" if style and self._colours else text

    def _write(self, text: str) -> None:
        with self._lock:
            encoding = sys.stdout.encoding or "ascii"
            sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
            sys.stdout.flush()


def data_files(folder: str) -> list[str]:
    """What pysubtask takes for data in a watched folder: no hidden files, no signals of its own."""
    return sorted(
        f"{folder}/{entry.name}"
        for entry in os.scandir(folder)
        if entry.is_file()
        and not entry.name.startswith(".")
        and not entry.name.endswith((".notify", ".heartbeat"))
    )


def link_words(status: Status, *, brief: bool = False) -> str:
    """The link in a line. ``brief`` leaves out what changes all the time."""
    words = f"{status.link} · {status.destination}"
    if status.next_try and not brief:
        words += f" · next try in {max(0, status.next_try - time.time()):.0f} s"
    return words + (f" · pid {status.pid}" if status.pid else " · no subtask")


def source_words(pull: PullStatus, told: str | None = None) -> str:
    """What is fetched, in a line. ``told``: the error that is shown elsewhere already."""
    words = f"{pull.to}/: {pull.files} file{'' if pull.files == 1 else 's'}, {pull.link}"
    if pull.pending_files:
        words += f", {pull.pending_files} pending"
    if pull.last_error and pull.last_error != told:
        words += f": {pull.last_error}"
    return f"{words} ← {pull.source}"


def tail(text: str, columns: int) -> str:
    """``text``, or its end behind a ``…``."""
    return text if len(text) <= columns else "…" + text[len(text) - columns + 1 :]


def fold(text: str, columns: int) -> str:
    """Between words; what is continued is set in by as much as its line is, and four more."""
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line,
            max(20, columns),
            initial_indent="",
            subsequent_indent=indent + "    ",
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]
    return "\n".join(lines)


def spark(news: Sequence[int], cells: int) -> str:
    """A line whose height is how much came, the last at its right end."""
    shown = list(news)[-cells:] if cells else []
    top = max(shown, default=0)
    steps = len(_BLOCKS) - 1
    line = "".join(_BLOCKS[-(-steps * count // top)] if top else " " for count in shown)
    return line.rjust(cells)


def size_words(size: float) -> str:
    """``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
