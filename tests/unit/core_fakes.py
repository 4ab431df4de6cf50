"""A clock, a disk, a destination and a reader that do what a test says, around the real core."""

from __future__ import annotations

import errno
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.flow import Window
from pysubtask.core.model import Delivered, Entry, Identity, Piece, Print, Stamp, Version
from pysubtask.core.plan import Policy
from pysubtask.core.retry import RetryRule
from pysubtask.errors import LinkLost
from pysubtask.seams.disk import FileStat, ReadHandle, RealDisk, WriteHandle
from pysubtask.subtask.delivery.courier import Courier
from pysubtask.subtask.delivery.delivery import Delivery
from pysubtask.subtask.delivery.session import Hooks, Session
from pysubtask.subtask.intake.snapshot import Outcome, Snapshots, Touch
from pysubtask.subtask.store.journal import Journal
from pysubtask.subtask.store.ledger import Ledger, drop_superseded, record_delivery
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.subtask.store.sources import Sources
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.transports.contract import Transport

LOG = logging.getLogger("pysubtask.test")
TEMP_PREFIX = ".pysubtask-"

BeforeCall = Callable[[str, str], None]


def nothing(operation: str, path: str) -> None:
    """A hook that does nothing."""


class ManualClock:
    """Time passes only when a test says so. The wall clock starts at the real time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._offset = time.time() - self.now

    def time(self) -> float:
        return self.now + self._offset

    def monotonic(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs

    advance = sleep


class _Reading:
    def __init__(self, disk: HookedDisk, handle: ReadHandle, path: str) -> None:
        self._disk = disk
        self._handle = handle
        self._path = path

    def stat(self) -> FileStat:
        self._disk.before("fstat", self._path)
        return self._handle.stat()

    def read_at(self, offset: int, length: int) -> bytes:
        self._disk.before("read", self._path)
        data = self._handle.read_at(offset, length)
        self._disk.read_bytes += len(data)
        return data

    def close(self) -> None:
        self._disk.open_handles.discard(self)
        self._handle.close()


class _Writing:
    def __init__(self, disk: HookedDisk, handle: WriteHandle, path: str) -> None:
        self._disk = disk
        self._handle = handle
        self._path = path

    def append(self, data: bytes) -> None:
        try:
            self._disk.before("append", self._path)
        except OSError:
            self._handle.append(data[: len(data) // 2])  # what a full disk leaves behind
            raise
        self._handle.append(data)

    def truncate(self, size: int) -> None:
        self._disk.before("truncate", self._path)
        self._handle.truncate(size)

    def sync(self) -> None:
        self._disk.before("sync", self._path)

    def close(self) -> None:
        self._handle.close()


class HookedDisk(RealDisk):
    """The real disk; ``before(operation, path)`` runs before each call and may raise.

    It leaves out only fsync, which no test can see and which waits for everybody's writes.
    """

    def __init__(self) -> None:
        self.before: BeforeCall = nothing
        self.read_bytes = 0
        self.open_handles: set[_Reading] = set()

    def open_read(self, path: str) -> ReadHandle:
        self.before("open_read", path)
        handle = _Reading(self, super().open_read(path), path)
        self.open_handles.add(handle)
        _opened.append(handle)
        return handle

    def open_append(self, path: str, *, create_new: bool = False) -> WriteHandle:
        self.before("open_append", path)
        handle = _Writing(self, super().open_append(path, create_new=create_new), path)
        _opened.append(handle)
        return handle

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        self.before("write_whole", path)
        super().write_whole(path, data, sync=False)

    def rename(self, path: str, target: str) -> None:
        self.before("rename", path)
        super().rename(path, target)

    def remove(self, path: str) -> None:
        self.before("remove", path)
        super().remove(path)

    def sync_dir(self, path: str) -> None:
        self.before("sync_dir", path)


_opened: list[ReadHandle | WriteHandle] = []


def close_all() -> None:
    """Close what a test, or a child that it "killed", has left open."""
    while _opened:
        _opened.pop().close()


def on_nth(operation: str, suffix: str, n: int, action: Callable[[], None]) -> BeforeCall:
    """A hook that acts once: before the ``n``-th (from 1) such call on such a path."""
    count = itertools.count(1)

    def before(called: str, path: str) -> None:
        if called == operation and path.endswith(suffix) and next(count) == n:
            action()

    return before


def disk_full() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def fail_with(error: Callable[[], BaseException], *operations: str, suffix: str = "") -> BeforeCall:
    """A hook that raises a new ``error()`` in each of these calls."""

    def before(called: str, path: str) -> None:
        if called in operations and path.endswith(suffix):
            raise error()

    return before


# -- model -----------------------------------------------------------------------------------


def make_version(
    number: int = 1,
    size: int = 10,
    *,
    growing: bool = True,
    pieces: Iterable[Piece] | None = None,
    **changes: object,
) -> Version:
    """A version whose single piece is the watched file."""
    if pieces is None:
        pieces = (Piece(0, size, None, ""),) if size else ()
    version = Version(
        number=number,
        size=size,
        growing=growing,
        identity=Identity(1, 2),
        stamp=Stamp(3, 4),
        settled=True,
        print=Print("whole", size, "00"),
        pieces=tuple(pieces),
        taken_at=1.0,
    )
    return replace(version, **changes)  # type: ignore[arg-type]


def make_entry(
    *versions: Version, delivered: Delivered | None = None, path: str = "/w/a.csv"
) -> Entry:
    """An entry with these versions."""
    return Entry(path, "a.csv", versions=versions, delivered=delivered)


# -- the local side --------------------------------------------------------------------------


@dataclass
class Local:
    """Journal, outbox, sources and snapshots over a real folder."""

    folder: Path
    clock: ManualClock
    disk: HookedDisk
    verify_up_to_bytes: int = 1 << 24
    boot: str = "one"
    path: str = ""
    ledger: Ledger = field(init=False)
    sources: Sources = field(init=False)
    snapshots: Snapshots = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.path or str(self.folder / "a.csv")
        self.open()

    def open(self) -> None:
        """As a new process does; what was open before is left as a kill leaves it."""
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        outbox = Outbox(self.disk, str(state / "outbox"))
        journal = Journal(
            self.disk,
            self.clock,
            str(state / "journal"),
            boot_id=self.boot,
            new_id=lambda: "c0ffee00",
            before_sync=outbox.sync,
            log=LOG,
        )
        self.ledger = Ledger(journal, outbox)
        self.ledger.open()
        self.sources = Sources(self.disk)
        self.snapshots = Snapshots(
            self.disk,
            self.clock,
            self.ledger,
            self.sources,
            verify_up_to_bytes=self.verify_up_to_bytes,
            log=LOG,
        )

    @property
    def entry(self) -> Entry:
        """The entry of the watched file."""
        entry = self.ledger.get(self.path)
        assert entry is not None
        return entry

    @property
    def current(self) -> Version:
        """Its current version."""
        version = self.entry.current
        assert version is not None
        return version

    def write(self, data: bytes, mode: str = "wb") -> None:
        """Write the watched file; ``mode="ab"`` appends."""
        with open(self.path, mode) as file:
            file.write(data)

    def take(
        self, growth: str = "auto", touch: Touch | None = None, *, final: bool = False
    ) -> Outcome:
        """Look at the watched file, long after its last change."""
        self.clock.advance(10)
        return self.snapshots.take(self.path, "a.csv", growth, touch, final=final)

    def content(self, number: int | None = None, start: int = 0) -> bytes:
        """What would be sent of a version: its bytes from ``start``."""
        version = self.current if number is None else self.entry.version(number)
        assert version is not None
        reader = VersionReader(self.path, version, self.ledger.outbox, self.sources)
        try:
            return reader.read(start, version.size - start) if version.size > start else b""
        finally:
            reader.close()

    def outbox_files(self) -> set[str]:
        """The names of the pieces that lie in the outbox."""
        return {p.name for p in (self.folder / "state" / "outbox").iterdir()}

    def outbox_litter(self) -> set[str]:
        """Pieces in the outbox that no entry speaks of, after all that waited for a sync went."""
        self.ledger.journal.after_sync(lambda: None)
        self.ledger.journal.sync()
        wanted: set[str] = set()
        for entry in self.ledger.journal.entries():
            wanted |= entry.outbox_names()
        return self.outbox_files() - wanted

    def deliver_all(self) -> None:
        """Note that the destination shows all of the current version."""
        version = self.current
        done = Delivered(version.number, version.size)
        self.ledger.update(self.path, lambda e: drop_superseded(record_delivery(e, done)))


# -- the destination -------------------------------------------------------------------------


class WatchedServer(MemoryServer):
    """A destination in memory whose reader looks after every request.

    ``seen`` holds each content that ``name`` had, in order, without repetitions; None where there
    was no file.
    """

    def __init__(self, capabilities: Capabilities | None = None, name: str = "a.csv") -> None:
        super().__init__(capabilities)
        self.name = name
        self.seen: list[bytes | None] = [None]
        self.requests: list[tuple[str, str]] = []
        self.written_bytes = 0
        self.fault_before: BeforeCall = nothing
        self.fault_after: BeforeCall = nothing
        self.before = self._before
        self.after = self._after

    def _look(self) -> None:
        content = self.read_file(self.name)
        if content != self.seen[-1]:
            self.seen.append(content)

    def _before(self, operation: str, path: str) -> None:
        self._look()
        self.requests.append((operation, path))
        self.fault_before(operation, path)

    def _after(self, operation: str, path: str) -> None:
        self._look()
        self.fault_after(operation, path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder, as another hand would."""
        self._folders.discard(path)

    def move_away(self, path: str) -> Callable[[], bytes]:
        """Move a file to where no client looks; gives what reads it there.

        It is the same file: a handle that is open still writes to it.
        """
        file = self._files.pop(path)
        self._look()
        return lambda: bytes(file.data)

    def temps(self) -> list[str]:
        """Our temporary names that are there."""
        return [n for n in self.names() if n.rpartition("/")[2].startswith(TEMP_PREFIX)]


class WatchedTransport(MemoryTransport):
    """Counts the data that arrive."""

    def __init__(self, server: WatchedServer) -> None:
        super().__init__(server)
        self._watched = server

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        super().write(path, offset, data, create=create)
        self._watched.written_bytes += len(data)


class Cut:
    """A hook that breaks the connection at the ``n``-th request (from 1), once."""

    def __init__(self, n: int) -> None:
        self._left = n
        self.done = False

    def __call__(self, operation: str, path: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.done = True
            raise LinkLost("cut by the test", operation=operation, path=path)


PARALLEL = Capabilities(positioned_write=True, sequential=False, atomic_replace=True)
RENAME_ONLY = Capabilities(positioned_write=True, sequential=True, atomic_replace=False)


@dataclass
class Remote:
    """Delivery of what a :class:`Local` owes to a server."""

    local: Local
    server: WatchedServer
    policy: Policy = field(default_factory=Policy)
    root: str = ""
    dead_time_secs: float = 30.0
    retry_rule: RetryRule = field(default_factory=RetryRule)
    make_transport: Callable[[], Transport] | None = None
    held: set[str] = field(default_factory=set)
    looked_again: list[str] = field(default_factory=list)
    delivery: Delivery = field(init=False)
    connections: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """As a new process does."""
        self.delivery = Delivery(
            self.local.clock,
            self.local.ledger,
            make_transport=self._transport,
            make_courier=self._courier,
            retry_rule=self.retry_rule,
            dead_time_secs=self.dead_time_secs,
            ack_timeout_secs=60.0,
            log=LOG,
            destination="memory",
        )

    def _transport(self) -> Transport:
        self.connections += 1
        if self.make_transport is not None:
            return self.make_transport()
        return WatchedTransport(self.server)

    def _courier(self, can: Capabilities, window: Window) -> Courier:
        local = self.local
        hooks = Hooks(
            is_held=lambda path: path in self.held,
            look_again=self.looked_again.append,
            delivered=lambda path, size, how: None,
            token_hex=lambda: f"c0ffee00{self._random.getrandbits(32):08x}",
        )
        return Courier(
            Session(
                local.ledger,
                local.sources,
                local.clock,
                can,
                self.policy,
                hooks,
                LOG,
                self.root,
                local.verify_up_to_bytes,
                window,
            )
        )

    def step(self, path: str | None = None) -> float:
        """Offer the file and do what can be done now."""
        self.delivery.offer(path or self.local.path)
        return self.delivery.step()

    def settle(self, limit_secs: float = 600.0, path: str | None = None) -> None:
        """Step, waiting as long as asked each time, until nothing is owed."""
        clock = self.local.clock
        until = clock.now + limit_secs
        due = self.step(path)
        while not self.is_settled(path):
            assert clock.now < until, f"not delivered in {limit_secs} s: {self.delivery.link}"
            clock.now = max(clock.now, min(due, until))
            due = self.step(path)

    def is_settled(self, path: str | None = None) -> bool:
        """Nothing is owed, begun or lying about."""
        entry = self.local.ledger.get(path or self.local.path)
        assert entry is not None
        return entry.next_owed is None and entry.upload is None and not entry.litter

    def restart(self) -> None:
        """Kill the process and start another."""
        self.local.open()
        self.open()
