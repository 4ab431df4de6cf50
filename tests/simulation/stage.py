"""The stage of one history: machine, program, wire and server, before any child runs."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.beats import NAME, Beats
from tests.simulation.checker import Checker
from tests.simulation.clock import SimClock
from tests.simulation.filesystem import SimFileSystem
from tests.simulation.folderos import SYNC_EVERY_BYTES
from tests.simulation.ledger import Ledger, Source
from tests.simulation.network import SimNetwork
from tests.simulation.platter import Platter
from tests.simulation.program import Program
from tests.simulation.remote import RemoteDisk
from tests.simulation.resends import Resends
from tests.simulation.script import History
from tests.simulation.server import SimServer
from tests.simulation.slots import folded
from tests.simulation.spending import Spending
from tests.simulation.troubles import Troubles

__all__ = ["FOLDER", "STATE_DIR", "WATCH_FOLDER", "Stage"]

FOLDER = "/home/edge/logs"
WATCH_FOLDER = f"{FOLDER}/outgoing"
STATE_DIR = f"{FOLDER}/upload/ftp"
_SEC = 1_000_000_000


class Stage:
    """Everything that is there without the child."""

    def __init__(self, history: History, trace: Callable[[str], None] | None) -> None:
        self.history = history
        self.config = config = history.config
        self._write_trace = trace
        self.rng = random.Random(f"world {history.seed}")
        self.clock = SimClock()
        self.fs = SimFileSystem(self.clock, config.file_system)
        self.ledger = Ledger()
        self.remote = RemoteDisk(lambda: (self.clock.now_ns + 5 * _SEC) // _SEC + 1_700_000_000)
        self.remote.acks_short = config.server.acks_short
        if "server_loss" in history.troubles:
            self.remote.platter = Platter()
            self.remote.now_ns = lambda: self.clock.now_ns
        if config.server.folds_names:
            self.remote.fold = folded
        self.checker = Checker(self.ledger, self.remote, lambda: self.clock.now_ns)
        self.resends = Resends(self.remote, config.server.readable)
        if config.server.calls == "folder":
            self.resends.cached_bytes = SYNC_EVERY_BYTES
        self.remote.observers.append(self.resends)
        self.remote.on_short_write = self.resends.broke
        if config.settings.keys() & {"max_bytes_per_day", "max_rate_bytes_per_sec"}:
            self.resends.spending = Spending(
                config.settings,
                lambda: self.clock.wall_ns() / 1e9,
                lambda: self.clock.now_ns / 1e9,
                len(config.files),
            )
        self.server = SimServer(
            self.clock, random.Random(self.rng.random()), self.remote, config.server
        )
        self.remote.held_back = self.server.cache.__contains__
        self.server.on_refusal = self.resends.broke  # whatever was confirmed by that request
        self.network = SimNetwork(
            self.clock,
            random.Random(self.rng.random()),
            self.server,
            latency_ns=config.latency_ns,
            jitter_ns=config.jitter_ns,
            bytes_per_sec=config.bytes_per_sec,
        )
        self.program = Program(self.clock, random.Random(self.rng.random()), self.fs, self.ledger)
        self.program.block_bytes = config.block_bytes
        self.program.block_share = config.block_share
        self.beats: Beats | None = None
        self.sources: list[Source] = []
        self.troubles = Troubles(
            self.clock, self.rng, self.fs, self.network, self.checker, config.file_system
        )
        self._set_up()

    def _set_up(self) -> None:
        config = self.config
        self.fs.make_dirs(WATCH_FOLDER)
        self.fs.make_dirs("/tmp")
        self.remote.folders.add("/taken")
        if config.remote_dir_exists:
            parts = config.remote_dir.strip("/").split("/")
            for count in range(1, len(parts) + 1):
                self.remote.folders.add("/" + "/".join(parts[:count]))
        replaces = config.settings["on_first_contact"] == "replace"
        self.checker.slots.replaces = self.checker.doubted.replaced = replaces
        self.checker.continued = config.settings["on_remote_gone"] == "continue"
        names = {name for name, _ in config.server.extensions}
        self.checker.line_wait_ns = int(config.settings.get("line_wait_secs", 5.0) * _SEC)
        self.checker.atomic = b"posix-rename@openssh.com" in names
        beat_path = f"{config.remote_dir}/{NAME}"
        self.checker.other_names = lambda path: path.startswith("/taken/") or path == beat_path
        every_secs = config.settings.get("heartbeat_interval_secs", 0.0)
        if every_secs:
            self.beats = Beats(self.remote, beat_path, every_secs, lambda: self.clock.now_ns)
        for spec in config.files:
            folder = WATCH_FOLDER if spec.in_folder else FOLDER
            path = f"{folder}/{spec.name}"
            remote = self.remote.fold(f"{config.remote_dir}/{spec.name}")
            source = Source(path, remote, spec.growth, spec.in_folder, lines=spec.lines)
            asked = bool(config.settings.get("rotated_as")) and not spec.in_folder
            source.keeps = asked and spec.growth != "rewrite"
            source.dated = spec.rotates == "dated"
            self.checker.slots.add(source)
            self.sources.append(self.ledger.add(source))
            if not spec.in_folder:
                self.fs.touch(self.program.notify_path(path), 0)
            if spec.remote_start and config.remote_dir_exists:
                self._leave_something(source, spec.remote_start)
        for slot in self.checker.slots.by_remote.values():
            self.ledger.by_remote[slot.remote] = slot.sources[0]
            for number, source in enumerate(slot.sources):
                source.header = b"%d,time,a,b,c\n" % number
        self.fs.write_back()
        if self.remote.platter is not None:
            self.remote.platter.settle()
        if self._write_trace is not None:
            self.program.trace = self.trace
            self.server.trace = lambda text: self.trace(f"        server: {text}")

    def _leave_something(self, source: Source, what: str) -> None:
        """The remote name is taken before we ever came."""
        self.program.append(source)
        content = bytes(source.current.content)
        if what == "prefix":
            content = content[: self.rng.randrange(1, len(content))]
        elif what == "foreign":
            content = b"somebody else's " + content[: self.rng.randrange(len(content))]
        self.remote.another_hand = True
        self.remote.put(source.remote, content)
        self.remote.another_hand = False
        source.interfered = what == "foreign"
        source.was_found = True
        if source.current.holds(content):  # it happens to be a state of ours
            view = self.checker.view(source.remote)
            view.size, view.exempt = len(content), False
            source.current.shown = source.found_size = len(content)

    def trace(self, text: str) -> None:
        """One line of the story."""
        if self._write_trace is not None:
            self._write_trace(f"{self.clock.now_ns / 1e9:11.6f} {text}")
