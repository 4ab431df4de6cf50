"""A demonstration: files grow, notifies come singly and in bursts, and the bytes arrive.

Without more it starts an SFTP server of its own on this machine, delivers to it while you play,
fetches a file of orders that changes there, and ends by comparing what was written with what
arrived, byte for byte. Fill in ``demo_config.py``
or give ``--to`` to deliver to a real server. Commands are read from the terminal or from a pipe:

    printf 'a\\n0\\ns\\nx\\n' | python demo.py

The exit code is 0 if every file arrived, 1 if not, 2 if it could not begin.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import demo_config
from examples.demo_monitor import HEARTBEAT, DemoMonitor
from examples.demo_orders import Orders, lines_words
from examples.demo_screen import Gauge, Screen, data_files, size_of
from examples.demo_server import OwnServer
from examples.demo_verdicts import judge_by_bytes, judge_by_status
from pysubtask import PysubtaskError, SettingsError, TaskMaster

WATCHED: list[dict[str, Any]] = [
    {"file": "logs/test1.mrk"},  # every notify is delivered at once
    {"file": "logs/test1.csv", "burstmode": True},  # notifies that come too fast share a delivery
    {"dir": "logs/watch_all_in_here"},  # whatever appears in it
]
"""Add files and folders of your own; the demo writes into each of them."""

HELP = """\
  a    new data in every file, then notify all of them
  0-{last}  new data in one file, then notify it by its index
  c    check for data that a burst holds back, and release it
  r    reset: stop the subtask and start it again
  s    status, in words
  k    kill the subtask, as a crash would; it comes back
  o    change the orders at the demo's own server; the program fetches them
  d    take the demo's own server down, or up again
  x    exit (as do Ctrl-C and Ctrl-D)
  ?    this help"""

ANSWER_SECS = 3.0
"""With commands from a pipe: how long a notify may take until the next command is read."""
ORDERS_SECS = 10.0
"""The same for orders, which are fetched once they have held still for three seconds."""
FLUSH_SECS = 30.0
ALONE_SECS = 6.0
"""Without any command from the pipe, it runs so long by itself."""


class Data:
    """The program's side: it appends to its files and says so."""

    def __init__(self, orders: Orders | None = None) -> None:
        self.master: TaskMaster | None = None
        self._orders = orders
        self.notified = [0] * len(WATCHED)
        self._lines = 0
        self._lock = threading.Lock()  # the writer and the commands write the same files
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        for watch in WATCHED:
            if "dir" in watch:
                Path(watch["dir"]).mkdir(parents=True, exist_ok=True)
            else:
                Path(watch["file"]).parent.mkdir(parents=True, exist_ok=True)
                Path(watch["file"]).touch()

    def write(self, index: int) -> str:
        """New data for one watch; gives the path of the file."""
        with self._lock:
            return self._write(index)

    def _write(self, index: int) -> str:
        self._lines += 1
        watch = WATCHED[index]
        if "file" in watch:
            with open(watch["file"], "a", encoding="ascii") as file:
                for _ in range(self._orders.lines if self._orders is not None else 1):
                    value = f"{random.gauss(20, 2):.4f},{os.urandom(16).hex()}"
                    file.write(f"{time.time():.3f},{self._lines},{value}\n")
            return str(watch["file"])
        # a new version of one of eight files, complete before it has its name
        path = Path(watch["dir"]) / f"picture{self._lines % 8}.raw"
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(random.randbytes(random.randrange(1000, 20_000)))
        draft.replace(path)
        return str(path)

    def write_and_notify(self, index: int) -> tuple[str, bool]:
        """New data for one watch, and the notify that belongs to it."""
        path = self.write(index)
        self.notified[index] += 1
        master = self.master
        if master is None:
            return path, False
        if "file" in WATCHED[index]:
            return path, master.notify_file_by_index(index)
        return path, master.notify(path)

    def begin(self) -> None:
        """Write by itself: single notifies, bursts of them, and files that appear."""
        self._thread = threading.Thread(target=self._keep_writing, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._leave.set()
        if self._thread is not None:
            self._thread.join(5)

    def _keep_writing(self) -> None:
        tick = 0
        while not self._leave.wait(0.25):
            for index, watch in enumerate(WATCHED):
                if "dir" in watch:
                    due = tick % 20 == 10
                elif watch.get("burstmode"):
                    phase = tick % 56  # 14 s: 6 s of four notifies a second, then slow ones
                    due = phase < 24 or phase % 8 == 0
                else:
                    due = tick % 12 == 4
                if due:
                    with suppress(OSError):
                        self.write_and_notify(index)
            if self._orders is not None and tick % 48 == 40:
                self._orders.change()  # the server's people, every 12 s
            tick += 1


class Demo:
    """The commands."""

    def __init__(
        self,
        master: TaskMaster,
        data: Data,
        screen: Screen,
        server: OwnServer | None,
        orders: Orders | None,
        piped: bool,
    ) -> None:
        self._master = master
        self._data = data
        self._screen = screen
        self._server = server
        self._orders = orders
        self._piped = piped
        self._gauge = Gauge(WATCHED, data.notified)
        self._leave = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._commands: dict[str, Callable[[], None]] = {
            "a": self._notify_all,
            "c": self._check_pending,
            "r": self._reset,
            "s": lambda: screen.say(str(master.status())),
            "k": self._kill,
            "o": self._change_orders,
            "d": self._down_or_up,
            "?": lambda: screen.say(HELP.format(last=len(WATCHED) - 1)),
        }

    def begin(self) -> None:
        self._ticker.start()

    def run_commands(self) -> None:
        """Until ``x`` or the end of the input."""
        obeyed = 0
        while True:
            self._screen.ask()
            line = sys.stdin.readline() if sys.stdin is not None else ""
            self._screen.answered()
            command = line.strip().lower()
            if not line and self._piped and not obeyed:  # nobody is there: a look at it, at least
                self._screen.say(f"no commands come; it runs for {ALONE_SECS:.0f} seconds")
                self._obey("a")
                time.sleep(ALONE_SECS)
            if not line or command == "x":
                if not line and not self._piped:
                    self._screen.say("")
                return
            obeyed += 1
            if command:
                self._obey(command)

    def _obey(self, command: str) -> None:
        if self._piped:
            self._screen.say(f"> {command}")
        try:
            if command in self._commands:
                self._commands[command]()
            elif command.isascii() and command.isdecimal() and int(command) < len(WATCHED):
                self._notify_one(int(command))
            else:
                self._screen.say(f"there is no command {command!r}; ? shows them")
        except (PysubtaskError, OSError) as error:
            self._screen.say(f"{command}: {error}")

    def _notify_one(self, index: int) -> None:
        path, touched = self._data.write_and_notify(index)
        self._screen.say(f"new data in {path}; notify {'is on disk' if touched else 'failed'}")
        self._await([path])

    def _notify_all(self) -> None:
        paths = [self._data.write(index) for index in range(len(WATCHED))]
        for index in range(len(WATCHED)):
            self._data.notified[index] += 1
        touched = self._master.notify_all_files()
        self._screen.say(
            f"new data in {', '.join(paths)}; notifies {'are on disk' if touched else 'failed'}"
        )
        self._await(paths)

    def _await(self, paths: list[str]) -> None:
        """For readers of a pipe's output: say what becomes of a notify. Who sits at a terminal
        sees it in the lanes."""
        if not self._piped:
            return
        wanted = {path: size_of(path) for path in paths}
        began = time.monotonic()
        while wanted and time.monotonic() - began < ANSWER_SECS:
            time.sleep(0.02)
            wanted = {p: size for p, size in wanted.items() if not self._has_arrived(p, size)}
        if not wanted:
            self._screen.say(f"delivered within {time.monotonic() - began:.2f} s")
            return
        why = self._master.status().last_error or "held back by a burst, or still on its way"
        self._screen.say(f"not delivered yet: {', '.join(wanted)}: {why}")

    def _has_arrived(self, path: str, size: int) -> bool:
        delivered = self._master.status(path).delivered_bytes
        grows = any(watch.get("file") == path for watch in WATCHED)  # by other hands meanwhile
        return delivered >= size if grows else delivered == size

    def _check_pending(self) -> None:
        pending = self._master.check_pending_notifications()
        self._screen.say("data was pending; released" if pending else "nothing is pending")

    def _reset(self) -> None:
        before = self._master.status().pid
        self._master.reset()
        self._screen.say(f"subtask {before} stopped, {self._master.status().pid} started")

    def _kill(self) -> None:
        pid = self._master.status().pid
        if pid is None:
            self._screen.say("no subtask runs at the moment")
            return
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._screen.say(f"killed subtask {pid}; the master starts another one")

    def _change_orders(self) -> None:
        if self._orders is None:
            self._screen.say("that is for the demo's own server")
            return
        lines = self._orders.change()
        self._screen.say(f"the server's people want {lines_words(lines)} at a time")
        if not self._piped:
            return
        began = time.monotonic()
        self._master.pull(timeout=ORDERS_SECS)  # else it is looked at within a second or two
        while self._orders.lines != lines and time.monotonic() - began < ORDERS_SECS:
            time.sleep(0.02)  # until the program has read it
        if self._orders.lines != lines:
            self._screen.say("not fetched yet")

    def _down_or_up(self) -> None:
        if self._server is None:
            self._screen.say("that is for the demo's own server")
        elif self._server.is_up:
            self._server.down()
            self._screen.say("the server is down; what is written now has to wait (d: up again)")
        else:
            self._server.up()
            self._screen.say("the server is up again")

    def _tick(self) -> None:
        with suppress(OSError, ValueError):  # the output is closed: the main thread notices too
            while not self._leave.is_set():
                self._take_note()
                self._screen.show(*self._gauge.read(self._master))
                self._leave.wait(0.2 if self._screen.live else 1.0)

    def _take_note(self) -> None:
        """The program's side of fetching: what has arrived?"""
        if self._orders is not None:
            for line in self._orders.take_note(self._master):
                self._screen.say(line)

    # --- the end

    def finish(self) -> bool:
        """Deliver the rest, stop, compare. True if all files are at the destination."""
        if self._server is not None and not self._server.is_up:
            self._down_or_up()
        began = time.monotonic()
        self._screen.say("delivering the rest …")
        self._master.notify_all_files()
        for path in all_files():  # those in folders, too, which may not have been found yet
            self._master.notify(path)
        done = self._master.flush(timeout=FLUSH_SECS)
        if self._orders is not None:
            done = self._master.pull(timeout=FLUSH_SECS) and done
        secs = time.monotonic() - began
        until = time.monotonic() + 1  # status() follows within 0.2 s
        while done and self._master.status().pending_bytes and time.monotonic() < until:
            time.sleep(0.02)
        self._end_show()
        self._screen.say(
            f"flush: {'all is delivered' if done else 'NOT all is delivered'}, {secs:.2f} s"
        )
        if not done:
            self._screen.say(str(self._master.status()))
        verdicts = []
        if self._server is None:  # what the subtask was told is all that we know of a server
            verdicts = [judge_by_status(self._master, path) for path in all_files()]
        self._master.stop(forcekill=False)
        if self._server is not None:
            there = self._server.files / "incoming"
            verdicts = [judge_by_bytes(path, there / Path(path).name) for path in all_files()]
        if self._orders is not None:
            verdicts.append(judge_by_bytes(self._orders.path, self._orders.there))
        for _, line in verdicts:
            self._screen.say(line)
        good = sum(same for same, _ in verdicts)
        how = "equal, byte for byte" if self._server is not None else "delivered, says the subtask"
        self._screen.say(f"{good} of {len(verdicts)} files are {how}")
        self._screen.say("what the subtask did: logs/*_subtask.log.txt")
        if self._server is not None:
            self._screen.say("with a server of yours: python demo.py --to sftp://user@host/folder")
        return good == len(verdicts)

    def _end_show(self) -> None:
        self._leave.set()
        self._ticker.join(5)
        self._take_note()
        self._screen.show(*self._gauge.read(self._master))
        self._screen.close()


def all_files() -> list[str]:
    """Every file that has to be at the destination, by the path as declared."""
    paths: list[str] = []
    for watch in WATCHED:
        paths += data_files(watch["dir"]) if "dir" in watch else [watch["file"]]
    return paths


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        help="deliver there instead, such as sftp://user@host/folder or file:///mnt/share; other "
        "settings are those of demo_config.py (a password belongs there, not into the URL)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="run so long without asking for commands"
    )
    parser.add_argument(
        "--no-writer", action="store_true", help="write only when a command says so"
    )
    parser.add_argument(
        "--with-monitor", action="store_true", help="send heartbeats, and show who is online"
    )
    return parser.parse_args(argv)


def end_by_signal(number: int, frame: object) -> None:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""
    raise KeyboardInterrupt


def start_monitor(server: OwnServer | None, to: str | None, stack: ExitStack) -> DemoMonitor:
    """The monitor of the folder that is delivered to; it ends with the demo."""
    if server is not None:
        drop = server.files / "incoming"
    elif to is not None and to.startswith("file://"):
        drop = Path(url2pathname(urlsplit(to).path))
    else:
        raise SettingsError(
            "it can only watch a folder on this machine",
            operation="start the monitor",
            hint="leave out --with-monitor, or deliver to the demo's own server or to file:///…",
        )
    base = Path(stack.enter_context(TemporaryDirectory(prefix="pysubtask-demo-monitor-")))
    monitor = DemoMonitor(drop, base)
    stack.callback(monitor.close)
    return monitor


def run(options: argparse.Namespace, stack: ExitStack) -> bool:
    server: OwnServer | None = None
    orders: Orders | None = None
    target: dict[str, Any] = {"to": options.to} if options.to else {}
    if not target and not demo_config.ftp.Host:
        server = OwnServer()
        stack.callback(server.close)
        target = server.settings() | {"pull_max_interval_secs": 2}  # nobody wants to wait here
        orders = Orders(server)
    data = Data(orders)
    monitor: DemoMonitor | None = None
    if options.with_monitor:
        monitor = start_monitor(server, options.to, stack)
        target |= HEARTBEAT
    fetched = [orders.watch()] if orders is not None else []
    master = TaskMaster([*WATCHED, *fetched], demo_config, **target)
    stack.callback(master.stop, forcekill=True)  # whatever happens; nothing if it was stopped
    screen = Screen(len(WATCHED), len(fetched))
    stack.callback(screen.close)
    piped = sys.stdin is None or not sys.stdin.isatty()
    demo = Demo(master, data, screen, server, orders, piped and options.seconds is None)
    master.start()
    data.master = master
    screen.open()
    screen.say(f"files:   {Path('logs').resolve()} (logs of pysubtask included)")
    screen.say(f"go to:   {server.files / 'incoming' if server else master.status().destination}")
    if monitor is not None:
        screen.say(f"monitor: {monitor.url} (it calls the demo down 15 s after its last beat)")
        if not piped:
            monitor.show()
    if options.seconds is None:
        screen.say("Copy a file into logs/watch_all_in_here, or touch a .notify file yourself.")
        screen.say(HELP.format(last=len(WATCHED) - 1))
    demo.begin()
    if not options.no_writer:
        data.begin()
    stack.callback(data.end)
    try:
        if options.seconds is not None:
            time.sleep(max(0.0, options.seconds))
        else:
            demo.run_commands()
    except KeyboardInterrupt:
        screen.answered()
        screen.say("")
    data.end()
    return demo.finish()


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end_by_signal)
    try:
        with ExitStack() as stack:
            return 0 if run(options, stack) else 1
    except KeyboardInterrupt:
        print("interrupted; nothing was compared", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads us any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if error.name != "asyncssh":
            raise
        print(
            "the demo's own server needs asyncssh: python -m pip install -e '.[demo]'\n"
            "(or deliver somewhere else: python demo.py --to sftp://user@host/folder)",
            file=sys.stderr,
        )
        return 2
    except PysubtaskError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
