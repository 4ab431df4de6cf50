"""``pysubtask status``: how deliveries are, read from their state folders; nothing need run."""

from __future__ import annotations

import os
import shlex
import time
from collections import deque

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pysubtask.cli.convert import file_message, source_message
from pysubtask.cli.exits import Code, Failure, code_of_kind, scrub
from pysubtask.cli.messages import StatusMessage
from pysubtask.cli.options import json_option
from pysubtask.cli.output import Output, age, crop, plain
from pysubtask.cli.pushes import command_states
from pysubtask.states import find_states, read_status
from pysubtask.status import FileStatus, Status, printable, size_words
from pysubtask.tomlfile import load

__all__ = ["command", "note_news", "panel", "places_of"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_SPARK_LOOKS = 20
_LEAST_LOOKS = 6
_LANE = 10
_LEAST_LANE = 6
_LEAST_NAME = 16
_GAP = 2
_MOST_FOLDERS = 200
_STYLES = {
    "connected": "bold green",
    "resting": "green",
    "connecting": "yellow",
    "retrying": "bold red",
    "conflict": "bold red",
    "gone": "dim",
}


@click.command("status", short_help="Show how deliveries are; --watch: go on showing.")
@click.argument("place", default=".", metavar="[PLACE]")
@click.option("--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECS",
    help="With --watch: seconds between two looks.",
)
@click.option(
    "--check",
    is_flag=True,
    help="For scripts: exit code 0 only if all run and nothing is pending or in trouble.",
)
@json_option
def command(place: str, watch: bool, every: float, check: bool, as_json: bool) -> int:
    """Show how deliveries and sources are: link, files, what is pending, the last error in words.

    PLACE is a state folder, a folder with watched files or one that is fetched into (default: this
    one), a watched file, or a TOML file of `pysubtask run`.
    """
    output = Output(as_json=as_json)
    states = places_of(place)
    if not states:
        raise Failure(f"no delivery keeps its state in {place}", Code.ERROR, _where_to_look(place))
    if watch:
        try:
            _watch(output, states, every)
        except KeyboardInterrupt:  # the way to end it
            if not output.as_json and output.out.is_terminal:
                _show(output, [(state, read_status(state)) for state in states])
            return Code.OK
    found = [(state, read_status(state)) for state in states]
    _show(output, found)
    return _verdict(found) if check else Code.OK


def places_of(place: str) -> list[str]:
    """State folders that ``place`` means, a TOML file included.

    Raises:
        SettingsError: the TOML file has a mistake.
    """
    if place.endswith(".toml") and os.path.isfile(place):
        masters = [one.without_passwords().make_master() for one in load(place).deliveries]
        return [state for master in masters for state in find_states(master.state_dir)]
    return sorted({*find_states(place), *command_states(place)})


def _where_to_look(place: str) -> str:
    """One level down, where the programs' folders of data are."""
    try:
        folders = sorted(entry.path for entry in os.scandir(place) if entry.is_dir())
    except OSError:
        folders = []
    for folder in folders[:_MOST_FOLDERS]:
        if find_states(folder):
            return f"pysubtask status {shlex.quote(os.path.normpath(folder))}"
    return "pysubtask status FOLDER, where FOLDER holds the watched files"


def _verdict(found: list[tuple[str, Status]]) -> int:
    codes = [_code(status) for _, status in found]
    return next((code for code in codes if code is not Code.OK), Code.OK)


def _code(status: Status) -> Code:
    if status.last_error_kind is not None:
        return code_of_kind(status.last_error_kind)
    for pull in status.pulls:
        if pull.last_error_kind is not None:
            return code_of_kind(pull.last_error_kind)
    unseen = any(pull.last_error not in (None, *pull.refused.values()) for pull in status.pulls)
    if status.link in ("gone", "conflict", "retrying") or status.last_error or unseen:
        return Code.ERROR
    waits = any(pull.pending_files or pull.refused for pull in status.pulls)
    return Code.PARTIAL if status.pending_bytes or waits else Code.OK


def _watch(output: Output, states: list[str], every: float) -> None:
    sparks: dict[str, deque[int]] = {}
    before: dict[str, dict[str, int]] = {}
    if output.as_json or not output.out.is_terminal:
        shown: dict[str, Status] = {}
        while True:
            news = [(s, read_status(s)) for s in states]
            news = [(s, status) for s, status in news if shown.get(s) != status]
            shown.update(news)
            _show(output, news)
            time.sleep(every)
    with Live(console=output.out, auto_refresh=False, screen=True) as live:
        while True:
            found = [(state, read_status(state)) for state in states]
            for state, status in found:
                note_news(status, state, sparks, before)
            panels = (panel(*pair, sparks, output.out.width) for pair in found)
            live.update(Group(*panels), refresh=True)
            time.sleep(every)


def note_news(
    status: Status, state: str, sparks: dict[str, deque[int]], before: dict[str, dict[str, int]]
) -> None:
    """How many bytes came to each file since the last look, for its sparkline."""
    old = before.setdefault(state, {})
    for path, file in status.files.items():
        news = max(0, (file.size_bytes or 0) - old.get(path, file.size_bytes or 0))
        old[path] = file.size_bytes or 0
        sparks.setdefault(f"{state}\0{path}", deque(maxlen=_SPARK_LOOKS)).append(news)


def _show(output: Output, found: list[tuple[str, Status]]) -> None:
    for number, (state, status) in enumerate(found):
        message = StatusMessage(
            state_dir=state,
            link=status.link,
            pid=status.pid,
            destination=status.destination,
            since=status.since,
            next_try=status.next_try,
            last_error=status.last_error and scrub(status.last_error),
            last_error_kind=status.last_error_kind,
            pending_bytes=status.pending_bytes,
            files=len(status.files),
            files_left_out=status.files_left_out,
            updated_at=status.updated_at,
            notes=status.notes,
        )
        output.emit(message)
        if output.as_json:
            for pull in status.pulls:
                output.emit(source_message(state, pull))
            for path, file in status.files.items():
                output.emit(file_message(state, path, file))
        else:
            if number:
                output.say("")
            output.say(panel(state, status, {}, output.out.width))


def panel(state: str, status: Status, sparks: dict[str, deque[int]], width: int) -> RenderableType:
    """One state folder for a person; ``sparks``: the news of each file, if they are known."""
    now = time.time()
    head = Text()
    only_fetches = status.destination is None and bool(status.pulls)
    if only_fetches and status.link != "gone":
        head.append("● fetching", style="bold green")
    else:
        head.append(f"● {status.link}", style=_STYLES.get(status.link, ""))
        if status.since:
            head.append(f" for {age(now - status.since)}", style="dim")
    if not only_fetches:
        head.append(f"  {printable(status.destination or 'no destination')}")
    if status.pid is not None:
        head.append(f"  subtask {status.pid}", style="dim")
    parts: list[RenderableType] = [head]
    if status.link == "retrying" and status.next_try is not None:
        parts.append(Text(f"  next try in {max(0.0, status.next_try - now):.0f} s"))
    if status.last_error:
        parts.append(Text(f"  {printable(scrub(status.last_error))}", style="red"))
    if status.link == "gone":
        parts.append(Text("  no subtask runs; this is how the last one left it", style="dim"))
    parts += [Text(f"  {printable(note)}", style="yellow") for note in status.notes]
    parts += source_lines(status, now)
    if status.files:
        parts.append(_lanes(state, status, sparks, now, width))
        parts += [
            Text(f"  {plain(path)}: {printable(scrub(file.last_error))}", style="red")
            for path, file in status.files.items()
            if file.last_error and file.last_error != status.last_error
        ]
    if status.files_left_out:
        parts.append(Text(f"  … and {status.files_left_out} more files", style="dim"))
    parts.append(Text(f"  state: {shlex.quote(plain(state))}", style="dim"))
    return Group(*parts)


def source_lines(status: Status, now: float) -> list[Text]:
    """What is fetched, a line for each source and for each of its troubles."""
    lines = []
    for pull in status.pulls:
        line = Text.assemble("  ", (pull.link, _STYLES.get(pull.link, "")))
        files = "1 file" if pull.files == 1 else f"{pull.files} files"
        line.append(f"  {plain(pull.to)} ← {printable(pull.source)}  {files}")
        if pull.pending_files:
            pending = f"{pull.pending_files} pending"
            pending += f" ({size_words(pull.pending_bytes)})" if pull.pending_bytes else ""
            line.append(f", {pending}", style="yellow")
        if pull.looked_at:
            line.append(f", looked at {age(now - pull.looked_at)} ago", style="dim")
        if pull.next_try is not None:
            line.append(f", next try in {max(0.0, pull.next_try - now):.0f} s")
        lines.append(line)
        if pull.last_error and pull.last_error not in pull.refused.values():
            lines.append(Text(f"    {printable(scrub(pull.last_error))}", style="red"))
        lines += [
            Text(f"    {plain(path)}: {printable(scrub(error))}", style="red")
            for path, error in pull.refused.items()
        ]
    return lines


def _lanes(
    state: str, status: Status, sparks: dict[str, deque[int]], now: float, width: int
) -> RenderableType:
    """A row for each file."""
    heads = ["  file", "", "local", "delivered", "pending", "notified"]
    figures = [_figures(file, now) for file in status.files.values()]
    wide = [
        max(len(head), *(len(row[column]) for row in figures))
        for column, head in enumerate(heads[2:])
    ]
    names = [f"  {plain(path)}" for path in status.files]
    room = width - sum(wide) - _GAP * len(heads)
    longest = max(len(heads[0]), *map(len, names))
    name_wide, lane_wide, looks = _shares(room, longest, _SPARK_LOOKS if sparks else 0)
    if looks:
        heads.append("news")
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if 2 <= column < 6 else "left", no_wrap=True)
    for name, (path, file), row in zip(names, status.files.items(), figures, strict=True):
        local, delivered, pending, told = row
        cells: list[RenderableType] = [
            Text("  " + crop(name[2:], name_wide - 2)),
            _lane(file, lane_wide),
            local,
            delivered,
            Text(pending, style="yellow" if file.pending_bytes else "dim"),
            told,
        ]
        if looks:
            cells.append(_spark(sparks.get(f"{state}\0{path}", deque()), looks))
        table.add_row(*cells)
    return table


def _shares(room: int, longest: int, looks: int) -> tuple[int, int, int]:
    """Columns for name, bar and sparkline of ``room``. Where it is narrow, the sparkline gives way
    first, then the bar, then the name."""
    name, lane = longest, _LANE
    over = name + lane + looks - room
    if looks:
        cut = min(max(0, over), looks - _LEAST_LOOKS)
        looks, over = looks - cut, over - cut
        cut = min(max(0, over), lane - _LEAST_LANE)
        lane, over = lane - cut, over - cut
    cut = min(max(0, over), max(0, name - _LEAST_NAME))
    name, over = name - cut, over - cut
    return name, lane, looks if over <= 0 else 0


def _figures(file: FileStatus, now: float) -> tuple[str, str, str, str]:
    return (
        "–" if file.size_bytes is None else size_words(file.size_bytes),
        size_words(file.delivered_bytes),
        size_words(file.pending_bytes),
        f"{age(now - file.notified_at)} ago" if file.notified_at else "–",
    )


def _lane(file: FileStatus, columns: int) -> Text:
    """How much of the file has arrived, as a bar: full, on its way, missing."""
    total = max(file.size_bytes or 0, file.delivered_bytes, 1)
    done = round(columns * file.delivered_bytes / total)
    sent = max(0, round(columns * max(file.sent_bytes, file.delivered_bytes) / total) - done)
    return Text.assemble(
        ("━" * done, "green"), ("━" * sent, "yellow"), ("─" * (columns - done - sent), "dim")
    )


def _spark(news: deque[int], looks: int) -> Text:
    shown = list(news)[-looks:]
    top = max(shown, default=0)
    if not top:
        return Text("")
    steps = len(_BLOCKS) - 1
    return Text("".join(_BLOCKS[-(-steps * count // top)] for count in shown), style="cyan")
