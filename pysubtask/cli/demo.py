"""``pysubtask demo``: files grow in a folder of its own, and arrive; at the end all is compared."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import tempfile
import threading
import time
from collections import deque

import click
from rich.live import Live
from rich.text import Text

from pysubtask.cli.convert import file_message, verified_message
from pysubtask.cli.exits import Code, Failure, code_of, code_of_kind, link_error_of, what_to_try
from pysubtask.cli.messages import SummaryMessage
from pysubtask.cli.options import Connection, UrlType, connection_options, json_option
from pysubtask.cli.output import Output
from pysubtask.cli.status import note_news, panel
from pysubtask.errors import RemoteError
from pysubtask.master._master import TaskMaster
from pysubtask.status import Status
from pysubtask.verify import Comparison, compare, pairs
from pysubtask.watch import Entry

__all__ = ["command", "failure_of"]

_LOOK_SECS = 0.2
_FLUSH_SECS = 30.0
_GIVE_UP_SECS = 5.0


@click.command("demo", short_help="See it work, in a folder of its own.")
@click.option("--to", type=UrlType(), metavar="URL", help="Deliver there, not to a local folder.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 3600),
    default=20.0,
    show_default=True,
    metavar="SECS",
    help="How long to write.",
)
@click.option("--keep", is_flag=True, help="Keep the demo's folder.")
@connection_options
@json_option
def command(
    to: str | None, seconds: float, keep: bool, connection: Connection, as_json: bool
) -> int:
    """See it work: a log that grows, one that comes in bursts, pictures that appear in a folder.

    Everything lies in a temporary folder. At the end each file is compared, byte for byte, with
    the one at the destination.
    """
    output = Output(as_json=as_json)
    home = tempfile.mkdtemp(prefix="pysubtask-demo-")
    try:
        return _run(output, home, to, seconds, connection)
    finally:
        if keep:
            output.note(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def _run(output: Output, home: str, to: str | None, seconds: float, connection: Connection) -> int:
    if to is None:
        os.mkdir(os.path.join(home, "there"))
        to = pathlib.Path(home, "there").as_uri()
    target = connection.target(to)
    writer = _Writer(os.path.join(home, "here"))
    watches: list[Entry] = [
        {"file": writer.steady},
        {"file": writer.bursts, "burstmode": True},
        {"dir": writer.pictures},
    ]
    with TaskMaster(watches, to=target.to, **target.keywords) as master:
        writer.start(master)
        try:
            _show(output, master, seconds)
        except KeyboardInterrupt:
            output.note("ending early")
        finally:
            writer.stop()
        master.notify_all_files()
        flushed = _flush(master)
        status = master.status()
        files = pairs(master.watches, target.destination)
        if not flushed:
            master.stop(forcekill=True)  # waiting would not help
    if not flushed and status.last_error:
        raise failure_of(status, str(target.destination))
    return _compare(output, list(compare(files, target.destination, target.settings)))


def _flush(master: TaskMaster) -> bool:
    """Wait until all is there; not for long if the server refuses us or is not there."""
    began = time.monotonic()
    while not master.flush(timeout=1):
        secs = time.monotonic() - began
        kind = master.status().last_error_kind
        refused = code_of_kind(kind) in (Code.LOGIN, Code.IDENTITY)
        if refused or secs >= (_FLUSH_SECS if kind is None else _GIVE_UP_SECS):
            return False
    return True


def failure_of(status: Status, url: str) -> Failure:
    """Why nothing arrives, with the exit code that the other commands end with."""
    words = f"deliver to {url}: {status.last_error}"
    error = link_error_of(status) or RemoteError(words)
    return Failure(words, code_of(error), what_to_try(error, url, "pysubtask demo"))


def _show(output: Output, master: TaskMaster, seconds: float) -> None:
    until = time.monotonic() + seconds
    state = master.state_dir
    sparks: dict[str, deque[int]] = {}
    before: dict[str, dict[str, int]] = {}
    if output.as_json or not output.out.is_terminal:
        while time.monotonic() < until:
            time.sleep(min(2.0, max(0.05, until - time.monotonic())))
            for path, file in master.status().files.items():
                output.emit(
                    file_message(state, path, file),
                    f"{os.path.basename(path)}: {file.delivered_bytes:,} bytes delivered, "
                    f"{file.pending_bytes:,} pending",
                )
        return
    with Live(console=output.out, auto_refresh=False, transient=True) as live:
        while time.monotonic() < until:
            status = master.status()
            note_news(status, state, sparks, before)
            live.update(panel(state, status, sparks, output.out.width), refresh=True)
            time.sleep(_LOOK_SECS)


def _compare(output: Output, found: list[Comparison]) -> int:
    good = sum(comparison.match == "equal" for comparison in found)
    for comparison in found:
        style = "green" if comparison.match == "equal" else "bold red"
        output.emit(
            verified_message(comparison),
            Text.assemble(
                (f"{comparison.match:<10}", style),
                f"  {os.path.basename(comparison.path)}  {comparison.size_bytes:,} bytes",
            ),
        )
    code = Code.OK if good == len(found) else Code.PARTIAL
    output.emit(SummaryMessage(command="demo", ok=good, total=len(found), exit_code=code))
    if code is not Code.OK:
        raise Failure(
            f"{len(found) - good} of {len(found)} files have not arrived as they are here",
            code,
            "pysubtask demo --keep, and read the logs in its folder",
        )
    output.say(Text(f"{good} of {len(found)} files arrived, byte for byte", style="bold green"))
    output.note("with your server: pysubtask doctor URL, then pysubtask push FILE --to URL")
    return code


class _Writer:
    """The program of the demo: it appends and notifies, and knows of nothing else."""

    def __init__(self, folder: str) -> None:
        self.steady = os.path.join(folder, "steady.csv")
        self.bursts = os.path.join(folder, "bursts.csv")
        self.pictures = os.path.join(folder, "pictures")
        os.makedirs(self.pictures)
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, master: TaskMaster) -> None:
        self._thread = threading.Thread(target=self._work, args=(master,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._leave.set()
        if self._thread is not None:
            self._thread.join(5)

    def _work(self, master: TaskMaster) -> None:
        tick = 0
        while True:
            if tick % 5 == 0:
                self._append(master, self.steady, tick)
            if tick % 50 < 25 and tick % 2 == 0:
                self._append(master, self.bursts, tick)
            if tick % 40 == 3:
                picture = os.path.join(self.pictures, f"picture{tick // 40 % 6}.raw")
                draft = os.path.join(self.pictures, ".draft")
                with open(draft, "wb") as file:
                    file.write(random.randbytes(random.randrange(5_000, 50_000)))
                os.replace(draft, picture)
                master.notify(picture)
            tick += 1
            if self._leave.wait(0.1):
                return

    def _append(self, master: TaskMaster, path: str, tick: int) -> None:
        with master.open(path) as file:
            file.write(
                f"{time.time():.3f},{tick},{random.gauss(20, 2):.4f},{os.urandom(16).hex()}\n"
            )
