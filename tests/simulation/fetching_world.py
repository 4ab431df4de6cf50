"""One history: a server that changes, a child that fetches and dies, a program that takes files."""

from __future__ import annotations

import json
import logging
import random
import traceback
from collections.abc import Callable
from typing import Any

from pysubtask.config import build
from pysubtask.core.pull import (
    HEAD_BYTES,
    Pulled,
    print_of,
    pulled_from_json,
    pulled_to_json,
)
from pysubtask.pull import Pull
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import TEMP_PREFIX, Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.urls import Destination
from tests.simulation.checker import Violation
from tests.simulation.child import transport_over
from tests.simulation.clock import ChildClock, Killed, SimClock
from tests.simulation.disk import SimDisk
from tests.simulation.fetching_origin import FOLDER, Line, Origin
from tests.simulation.fetching_story import plan_story
from tests.simulation.filesystem import Directory, FileSystemKind, Inode, SimFileSystem
from tests.simulation.network import SimConnector, SimNetwork
from tests.simulation.outcome import Outcome
from tests.simulation.remote import DENIED, Observer, RemoteDisk, RemoteFile
from tests.simulation.server import GO_EXTENSIONS, ServerKind, SimServer

__all__ = ["FetchingWorld", "run_fetching"]

INBOX = "/home/inbox"
STATE = "/home/state"
_CODEC: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)
_TROUBLE_SECS = 90.0
_CALM_SECS = 400.0
_MOST_STEPS = 40_000
_MOST_IN_A_ROW = 500
_BETWEEN_WEIGHT = 10
"""Where something is here, and not yet for sure, a child dies so much more often."""
SEC = 1_000_000_000
_ON_THE_WIRE = frozenset({"connect", "send", "receive", "call"})
_SERVERS: tuple[tuple[str, ServerKind], ...] = (
    ("openssh", ServerKind()),
    ("slow", ServerKind(service_ns=3_000_000)),
    ("few handles", ServerKind(max_handles=12)),
    ("go", ServerKind(parallel=True, extensions=GO_EXTENSIONS, service_ns=5_000_000)),
    ("draft", ServerKind(parallel=True, ordered_commands=False, extensions=())),
    ("ftp", ServerKind(calls="ftp", extensions=())),
    ("sessions", ServerKind(calls="sessions", extensions=())),
    ("folder", ServerKind(calls="folder", extensions=())),
)


class FetchingWorld:
    """Everything of one history."""

    def __init__(self, seed: int, say: Callable[[str], None] = lambda text: None) -> None:
        self.rng = rng = random.Random(f"fetching {seed % 1_000_000_000}")
        self.say_raw = say
        self.clock = SimClock()
        self.kind = rng.choice(
            [
                FileSystemKind(tick_ns=4_000_000),
                FileSystemKind(tick_ns=4_000_000, ordered_names=False, zero_tails=True),
                FileSystemKind(tick_ns=1_000_000_000, granularity_ns=1_000_000_000),
            ]
        )
        self.files = SimFileSystem(self.clock, self.kind)
        for folder in ("/home", STATE, *rng.choice([(), (INBOX,)])):
            self.files.make_dirs(folder)
        self.files.write_back()
        skew_secs, tick_secs = rng.choice([0, 5, -3600, 3600]), rng.choice([1, 1, 2])
        began_secs = self.clock.wall_ns() // SEC + skew_secs  # the server has a clock of its own
        self.server_secs = lambda: (began_secs + self.clock.now_ns // SEC) // tick_secs * tick_secs
        self.remote = RemoteDisk(self.server_secs)
        self.server_name, server = rng.choice(_SERVERS)
        self.server = Origin(self.remote)
        self.machine = SimServer(self.clock, random.Random(rng.random()), self.remote, server)
        self.network = SimNetwork(
            self.clock,
            random.Random(rng.random()),
            self.machine,
            latency_ns=int(rng.choice([1e6, 20e6, 80e6])),
            jitter_ns=int(rng.choice([0, 0, 5e6])),
            bytes_per_sec=rng.choice([0, 0, 200_000]),
        )
        self.remote.refuse = self._refuses
        self.growth = rng.choice(["auto", "auto", "append", "rewrite"])
        self.deletes = self.growth != "append" and rng.random() < 0.25
        self.cut_share = rng.choice([0.0, 0.003, 0.015])
        self.refuse_share = rng.choice([0.0, 0.0, 0.02])
        self.kill_share = rng.choice([0.0, 0.001, 0.005])
        self.power_share = rng.choice([0.0, 0.3, 0.9])
        if seed % 4 == 3:  # they die all the time, most of them with their machine
            self.cut_share, self.kill_share, self.power_share = 0.003, 0.01, 0.8
        self.stops = random.Random(f"fetching stops {seed}")
        self.alike = random.Random(f"fetching alike {seed}")
        self.stop_share = self.stops.choice([0.0, 0.0, 0.0, 0.02])
        self.consumes = rng.random() < 0.4
        self.edits = rng.random() < 0.3
        self.troubled = True
        self.boot = 0
        self.boot_ns = 0
        self.disk: SimDisk | None = None
        self.journal: RecordLog[Pulled] | None = None
        """The last child's."""
        self.connector: SimConnector | None = None
        self.in_child = False
        self.woken = False
        self.in_a_row = 0
        """Steps after which there was something to do at once."""
        self.sizes: set[int] = set()
        """Of all contents at the server: two of one size, in one second, can't be told apart."""
        self.counts = dict.fromkeys(("kills", "power", "cuts", "arrivals", "conflicts", "steps"), 0)
        self.edited: dict[str, set[bytes]] = {}
        """What the program itself has put under a name."""
        self.took: dict[str, list[bytes]] = {}
        """What it was told of, by name, with what the file held when it looked."""
        self.wild: set[str] = set()
        """Names whose visible file may hold garbage after a loss of power, until it is mended."""
        self.spoilt: set[str] = set()
        """Names that the program had edited or taken when the power failed: that is its own
        loss."""
        self.half_added: set[str] = set()
        """Names to which a child was adding when it was killed: if the server has another file
        there before the next one looks, nobody can tell whose those bytes are."""
        self.removed: set[tuple[str, bytes]] = set()
        """What the child has removed at the server."""
        self.remote.observers.append(_Removals(self))
        self.files.on_change = self._on_change
        self.machine.trace = lambda text: self.say(f"        server: {text}")
        self.failed: Violation | None = None

    def say(self, text: str) -> None:
        self.say_raw(f"{self.clock.now_ns / 1e9:11.6f} {text}")

    # -- the child -----------------------------------------------------------------------------

    def before_call(self, operation: str, path: str) -> None:
        """A call of the child to its disk or its wire: time passes, things go wrong."""
        if self.failed is not None or not self.in_child:
            raise Killed
        if not self.clock.in_event:
            self.clock.advance(20_000)
        if not self.troubled:
            return
        if operation in _ON_THE_WIRE and self.rng.random() < self.cut_share:
            self._cut()
        between = operation in ("sync", "sync_dir") and path.startswith(INBOX)
        if self.rng.random() < self.kill_share * (_BETWEEN_WEIGHT if between else 1):
            self.say(f"kill at {operation} {path}")
            if operation == "append" and path.startswith(f"{INBOX}/"):
                self.half_added.add(path.rpartition("/")[2])
            self.in_child = False
            raise Killed(self.rng.random())

    def _cut(self) -> None:
        how = self.rng.choice(["up", "down", "both", "mute", "before", "after"])
        self.say(f"cut {how}")
        self.counts["cuts"] += 1
        if how in ("before", "after"):
            self.machine.cut_at = self.machine.executed + self.rng.randrange(1, 4)
            self.machine.cut_before = how == "before"
        else:
            self.network.cut(how)

    def _refuses(self, operation: str, path: str) -> int | None:
        return DENIED if self.troubled and self.rng.random() < self.refuse_share else None

    def is_noted_whole(self, name: str, content: bytes) -> bool:
        """Whether the last child's journal has all of a file, and of no other name a part of it."""
        if self.journal is None:
            return False
        head = print_of(content[:HEAD_BYTES])
        sizes = {e.path: e.size for e in self.journal.entries() if e.head == head}
        return f"{INBOX}/{name}" in sizes and set(sizes.values()) == {len(content)}

    def refuse_for(self, secs: float) -> None:
        """No connection can be made for a while."""
        if not self.troubled:
            return
        self.network.refusing = self.rng.choice(["refuse", "silent", "login"])
        self.say(f"server refuses connections: {self.network.refusing}")
        self.network.cut("both")

        def accept() -> None:
            self.network.refusing = ""

        self.clock.after(int(secs * SEC), accept)

    def start_child(self) -> Puller:
        number = 100 + self.counts["kills"] + self.counts["power"]
        disk = self.disk = SimDisk(self.files, self.before_call, pid=number)
        connector = self.connector = SimConnector(self.network, self.before_call)
        clock = ChildClock(self.clock, self.boot_ns, lambda operation, path: None)
        settings = build("ftp", None, None, {"pull_interval_secs": 2.0, "reply_timeout_secs": 5.0})
        pull = Pull(
            source=Destination(scheme="sftp", host="server", path=FOLDER, absolute=True),
            pattern="*",
            to=INBOX,
            declared="inbox",
            growth=self.growth,  # type: ignore[arg-type]
            delete_remote=self.deletes,
        )
        log = logging.Logger("simulated", logging.DEBUG)
        log.addHandler(_ToStory(self.say))
        places = Places(disk, clock, INBOX)
        journal: RecordLog[Pulled] = RecordLog(
            disk,
            clock,
            f"{STATE}/journal",
            codec=_CODEC,
            sync_secs=2.0,
            boot_id=str(self.boot),
            new_id=lambda: self.rng.randbytes(4).hex(),
            before_sync=places.sync_if_changed,
            log=log,
        )
        places.sync_if_changed()
        journal.open()

        def wake() -> None:
            if self.disk is disk:
                self.woken = True

        puller = Puller(
            pull,
            settings,
            clock,
            journal,
            places,
            News(disk, clock, f"{STATE}/arrivals", log),
            make_transport=lambda: transport_over(
                connector,
                clock,
                wake,
                ack_timeout_secs=settings.reply_timeout_secs,
                seed=number,
            ),
            token_hex=lambda: journal.client_id + self.rng.randbytes(4).hex(),
            rng=self.rng,
            log=log,
            status_changed=lambda: None,
            wake=wake,
        )
        puller.start()
        self.journal = journal
        return puller

    def live(self, until_ns: int) -> None:
        """Children come and go until then."""
        while self.clock.now_ns < until_ns and self.failed is None:
            self.in_child = True
            try:
                self.say(f"start child {self.counts['kills'] + self.counts['power'] + 1}")
                puller = self.start_child()
                while self.clock.now_ns < until_ns and not self._is_to_stop():
                    self.counts["steps"] += 1
                    if self.counts["steps"] > _MOST_STEPS:
                        raise Violation("spin", "it never comes to rest")
                    self._sleep(puller.step())
                puller.close()
                assert self.journal is not None
                self.journal.close(clean=puller.is_settled)
                self.in_child = False
                disk, self.disk = self.disk, None
                assert disk is not None
                disk.abandon()
            except Killed:
                self.in_child = False
                self._bury()

    def _is_to_stop(self) -> bool:
        """The program ends its child in order, and starts another."""
        return self.troubled and self.stops.random() < self.stop_share

    def _sleep(self, due: float) -> None:
        """Until then, or until something has arrived."""
        clock = self.clock
        self.in_a_row = self.in_a_row + 1 if due <= (clock.now_ns - self.boot_ns) / SEC else 0
        if self.in_a_row > _MOST_IN_A_ROW:
            raise Violation("spin", f"it has not slept for {self.in_a_row} steps")
        due_ns = self.boot_ns + int(due * SEC) if due < 1e9 else 1 << 62
        until_ns = min(due_ns, clock.now_ns + 5 * SEC) + 1000
        while not self.woken:
            next_ns = clock.next_event_ns()
            if next_ns is None or next_ns > until_ns:
                clock.advance_to(until_ns)
                break
            clock.run_next()
        self.woken = False

    def _bury(self) -> None:
        if self.failed is not None:
            raise self.failed
        disk, self.disk = self.disk, None
        assert disk is not None
        assert self.connector is not None
        if self.rng.random() < self.power_share:
            self.counts["power"] += 1
            self.say("power")
            disk.forget()
            self.network.lose_client()
            before = self.visible()
            self.wild.update(before)
            self.spoilt.update(self.edited)
            quiet, self.files.on_change = self.files.on_change, lambda change, path: None
            self.files.crash(self.rng)
            self.files.on_change = quiet
            after = self.visible()
            self.spoilt.update(name for name in after if name not in before)
            for name, content in before.items():
                if (_base(name), content) in self.removed and after.get(name) != content:
                    raise Violation("lost", f"{name} was removed at the server, and has gone here")
            self.boot += 1
            self.boot_ns = self.clock.now_ns
            self.files.make_dirs(STATE)  # the master's doing
        else:
            self.counts["kills"] += 1
            disk.abandon()
            self.connector.abandon()
        self.clock.advance(int(self.rng.choice([0.1, 3.0]) * SEC))

    def end_trouble(self) -> None:
        """No more faults."""
        self.say("no more faults")
        self.troubled = False
        self.machine.cut_at = 0
        self.network.heal()

    # -- what is seen here ---------------------------------------------------------------------

    def _entries(self) -> dict[str, Inode | Directory]:
        there = self.files.exists(INBOX)
        return dict(self.files.directory(INBOX).entries) if there else {}

    def visible(self) -> dict[str, bytes]:
        """What a reader of the inbox sees."""
        found = {}
        for name, node in self._entries().items():
            ours = name.startswith(".") or name.endswith(".arrived")
            if isinstance(node, Inode) and not ours:
                found[name] = bytes(node.data)
        return found

    def _on_change(self, change: str, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if folder != INBOX or self.failed is not None:
            return
        content = self.visible().get(name)
        if content is None:
            return
        if self.is_allowed(name, content):
            self.wild.discard(name)
            here = {(_base(other), data) for other, data in self.visible().items()}
            self.removed &= here  # the others have given way to this one
        elif name not in self.wild:
            self.failed = Violation("torn", f"{name} shows {content[-60:]!r} ({len(content)})")
            self.say(f"VIOLATION {self.failed.args}")

    def on_removed(self, name: str, content: bytes) -> None:
        """The child has removed a file at the server."""
        if self.failed is not None:
            return
        took = {data for other, all_ in self.took.items() if _base(other) == name for data in all_}
        here = {data for other, data in self.visible().items() if _base(other) == name}
        if content in here:  # what was taken since is the program's to lose
            self.removed.add((name, content))
        elif content not in took:
            self.failed = Violation("lost", f"{name} was removed at the server and is not here")
            self.say(f"VIOLATION {self.failed.args}")

    def is_allowed(self, name: str, content: bytes) -> bool:
        """Whether a reader may see that under that name."""
        if content in self.edited.get(name, ()):
            return True
        lines = self.server.lines.get(_base(name), ())
        return any(line.allows(content) for line in lines)

    # -- the end -------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Faults have stopped: all that the server has is here, and was told."""
        seen = self.visible()
        for name in self.server.names_there():
            content = self.server.content(name)
            assert content is not None
            here = [seen.get(name)]
            here += [data for other, data in seen.items() if other.startswith(f"{name}~conflict-")]
            if content in here:
                continue
            took = [d for other, all_ in self.took.items() if _is_of(other, name) for d in all_]
            if content in took:
                continue  # the program has taken it away since
            raise Violation("lost", f"{name}: {len(content)} bytes there, here {_sizes(here)}")
        if self.deletes:
            left = [n for n in self.server.names_there() if self.server.line(n).complete]
            if left:
                raise Violation("pending", f"{left} should have been removed on the server")
        for name, content in seen.items():
            told = [data for all_ in self.took.values() for data in all_]  # it may be renamed
            known = name in self.spoilt | self.half_added or content in told
            known = known or content in self.edited.get(name, ())
            if not known and self.is_allowed(name, content) and name in self.server.names_there():
                raise Violation("untold", f"{name}: {len(content)} bytes")
        for name in seen:
            own = "~" in name or name in self.edited.keys() | self.spoilt | self.half_added
            if not own and name in self.took and not self.files.exists(f"{INBOX}/{name}.arrived"):
                raise Violation("untold", f"{name}: there is no .arrived beside it")
        litter = [name for name in self._entries() if name.startswith(TEMP_PREFIX)]
        if litter:
            raise Violation("litter", f"{litter}")

    # -- the program ---------------------------------------------------------------------------

    def read_news(self) -> None:
        """The program notes what has arrived; it may take the file away."""
        folder = f"{STATE}/arrivals"
        if not self.files.exists(folder):
            return
        for entry in list(self.files.directory(folder).entries):
            if not entry.endswith(".json"):
                continue
            arrival = json.loads(self.files.read(f"{folder}/{entry}"))
            self.files.remove(f"{folder}/{entry}")
            self.counts["arrivals"] += 1
            self.counts["conflicts"] += arrival["kind"] == "conflict"
            place = arrival["path"]
            name = place.rpartition("/")[2]
            known = _base(name) in self.edited.keys() | self.spoilt | self.half_added
            if arrival["kind"] == "conflict" and not (known or self.failed):
                self.failed = Violation("beside", f"{name}, though nobody had changed the file")
                self.say(f"VIOLATION {self.failed.args}")
            if not self.files.exists(place):
                continue
            content = self.files.read(place)
            self._check_start(name, content, arrival)
            self.took.setdefault(name, []).append(content)
            # what a killed child was adding may stand behind it
            self.took[name].append(content[: arrival["size_bytes"]])
            if self.consumes and self.rng.random() < 0.5:
                self.say(f"program takes {name}")
                self.files.remove(place)
                self.removed.discard((_base(name), content))

    def _check_start(self, name: str, content: bytes, arrival: dict[str, Any]) -> None:
        """Whoever reads what is news, and nothing else, has all of the file."""
        start, own = arrival["start_bytes"], self.edited.keys() | self.spoilt | self.half_added
        if not start or _base(name) in own or name in self.wild or self.failed is not None:
            return
        before = content[:start]
        if not any(data.startswith(before) for all_ in self.took.values() for data in all_):
            self.failed = Violation("untold", f"{name}: what comes before {start}")
            self.say(f"VIOLATION {self.failed.args}")

    def edit(self) -> None:
        """The program changes a file that was fetched."""
        names = [name for name in self.visible() if "~" not in name]
        if not names:
            return
        name = self.rng.choice(names)
        mine = b"mine %d\n" % self.rng.randrange(1000)
        self.took.setdefault(name, []).append(self.visible()[name])
        content = self.visible()[name] + mine if self.rng.random() < 0.5 else mine
        self.edited.setdefault(name, set()).add(content)
        self.say(f"program edits {name}")
        if self.files.exists(f"{INBOX}/.mine"):
            self.files.remove(f"{INBOX}/.mine")
        self.files.create(f"{INBOX}/.mine")
        self.files.append(f"{INBOX}/.mine", content)
        self.files.rename(f"{INBOX}/.mine", f"{INBOX}/{name}")


def _base(name: str) -> str:
    """The name at the server of what may lie beside the program's own file here."""
    return name.partition("~conflict-")[0]


def _is_of(other: str, name: str) -> bool:
    return _base(other) == name


def _sizes(contents: list[bytes | None]) -> list[int | None]:
    return [None if content is None else len(content) for content in contents]


class _Removals(Observer):
    """Sees what the child takes away at the server, and what it gives back."""

    def __init__(self, world: FetchingWorld) -> None:
        self._world = world
        self._left: dict[str, tuple[str, Line]] = {}
        """By the temporary name: the one that it had, and what that stood for."""

    def unnamed(self, path: str, file: RemoteFile) -> None:
        world, name = self._world, path.rpartition("/")[2]
        if world.remote.another_hand:
            return
        if not file.names:
            world.on_removed(self._left.get(name, (name, None))[0], bytes(file.content))
            return
        new = next(iter(file.names)).rpartition("/")[2]
        if new.startswith(TEMP_PREFIX):
            self._left[new] = (name, world.server.line(name))
        else:
            line = self._left[name][1]
            if line not in world.server.lines.setdefault(new, []):
                world.server.lines[new].append(line)


class _ToStory(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"    child: {record.levelname}: {record.getMessage()}")


def run_fetching(seed: int, say: Callable[[str], None] | None = None) -> Outcome:
    """Play one history to its end."""
    world = FetchingWorld(seed, say or (lambda text: None))
    try:
        plan_story(world, _TROUBLE_SECS)
        world.live(int(_TROUBLE_SECS * SEC))
        world.end_trouble()
        world.live(int((_TROUBLE_SECS + _CALM_SECS) * SEC))
        world.read_news()
        if world.failed is not None:
            raise world.failed
        world.check_end()
    except Violation as found:
        return Outcome(seed, found.args[0], found.args[1], world.counts)
    except Exception:
        return Outcome(seed, "crash", traceback.format_exc(), world.counts)
    return Outcome(seed, counts=world.counts)
