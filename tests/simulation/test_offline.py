"""A month without a link, on the simulator's clock and disk: what is kept, where, and what is said.

The child's real code, from the look at a file to the delivery, over a disk and a clock that exist
only in memory. The program appends, rotates every day, and may delete old files as ``logrotate``
does.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pytest

from pysubtask.handover import Handover
from pysubtask.settings import from_wire
from pysubtask.signals import StateLayout
from pysubtask.status import Status
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.urls import Destination
from pysubtask.watch import Watch
from tests.simulation.clock import ChildClock, SimClock
from tests.simulation.disk import SimDisk
from tests.simulation.filesystem import FileSystemKind, SimFileSystem
from tests.simulation.nodes import Inode

MIB = 1 << 20
SEC = 1_000_000_000
DAY_SECS = 86_400
FOLDER = "/logs"
PATH = f"{FOLDER}/a.csv"
STATE = "/state"
EVERY_SECS = 3600
"""The program appends and notifies so often."""
DAILY_BYTES = 4 * MIB


@dataclass
class Machine:
    """A program, its child, and a destination that is not reachable at first."""

    settings: dict[str, Any]
    growth: str = "append"
    keep_rotated: int = 1000
    """How many rotated files the program keeps; older ones it deletes."""
    capacity_bytes: int = 1 << 40
    days: list[bytes] = field(default_factory=list)
    """What each day's file held in the end."""
    shown: list[tuple[int, int]] = field(default_factory=list)
    """Which day's file the destination showed, and how much of it, after each change."""
    peak_outbox_bytes: int = 0

    def __post_init__(self) -> None:
        self.clock = SimClock()
        self.fs = SimFileSystem(self.clock, FileSystemKind())
        self.fs.capacity_bytes = self.capacity_bytes
        for folder in (FOLDER, STATE, f"{STATE}/notify"):
            self.fs.make_dirs(folder)
        self.fs.touch(f"{PATH}.notify", 0)
        self.server = MemoryServer(now=lambda: self.clock.wall_ns() / 1e9)
        self.server.up = False
        self.server.after = self._after
        self.rng = random.Random(1)
        self.log_lines: list[str] = []
        self.pid = 0
        self.start()

    def start(self) -> None:
        """A new child process."""
        self.pid += 1
        self.disk = SimDisk(self.fs, self._call, pid=self.pid)
        watch = Watch(
            path=PATH, is_dir=False, declared="a.csv", remote_name="a.csv", growth=self.growth
        )
        settings = {"timer_interval_secs": 600.0, "retry_long_wait_secs": 900.0, **self.settings}
        handover = Handover(
            extension="ftp",
            settings=from_wire(settings),
            watches=[watch],
            destination=Destination(scheme="sftp", host="server", port=22, path="", absolute=False),
            state_dir=STATE,
            log_dir=None,
            log_name="",
            work_dir=FOLDER,
            precleanup_old_files=False,
            parent_pid=1,
            token="",
            sys_path=[],
            subtask=None,
        )
        log = logging.Logger("month")
        log.addHandler(_Lines(self.log_lines))
        self.child = TransferSubtask(
            Context(
                handover=handover,
                layout=StateLayout(STATE),
                disk=self.disk,
                clock=ChildClock(self.clock, 0, self._call),
                log=log,
                wake=lambda: None,
                status_changed=lambda: None,
            ),
            make_transport=lambda: MemoryTransport(self.server),
            boot="one",
            rng=random.Random(self.pid),
            threaded=False,
        )
        self.child.start()

    def kill(self) -> None:
        """The child dies, and another starts."""
        self.disk.abandon()
        self.start()

    def _call(self, operation: str, path: str) -> None:
        self.clock.now_ns += 2_000

    def _after(self, operation: str, path: str) -> None:
        """The reader at the destination looks after each change."""
        if operation not in ("rename", "write"):
            return
        content = self.server.read_file("a.csv")
        if content is None:
            return
        day = next(n for n, d in enumerate(self.days) if d.startswith(content))
        if not self.shown or self.shown[-1] != (day, len(content)):
            self.shown.append((day, len(content)))

    # -- time ------------------------------------------------------------------------------------

    def step(self) -> float:
        """One turn of looking and delivering; when the next one is due, in ns."""
        due = min(self.child.step(), self.child.delivery.step())
        self.peak_outbox_bytes = max(self.peak_outbox_bytes, self.child.ledger.outbox.held_bytes)
        return due * SEC

    def run(self, secs: float) -> None:
        """Let time pass for the child."""
        end_ns = self.clock.now_ns + int(secs * SEC)
        while self.clock.now_ns < end_ns:
            due_ns = self.step()
            self.clock.now_ns = int(min(end_ns, max(due_ns, self.clock.now_ns + 1_000_000)))

    def work(self, days: int) -> None:
        """The program writes a day's file, notifies each time, rotates at midnight."""
        for _ in range(days):
            if self.fs.exists(PATH):
                self.rotate()
            whole = bytearray()
            for _ in range(DAY_SECS // EVERY_SECS):
                data = self.rng.randbytes(DAILY_BYTES * EVERY_SECS // DAY_SECS)
                whole += data
                self.fs.append(PATH, data)
                self.notify()
                self.run(EVERY_SECS)
            self.days.append(bytes(whole))
            self._forget_pending()

    def notify(self) -> None:
        """As ``notify()`` does."""
        self.fs.touch(f"{PATH}.notify", self.clock.wall_ns())
        self.child.hint(f"{PATH}.notify")

    def rotate(self) -> None:
        """Rename, and delete what is too old."""
        numbers = itertools.takewhile(lambda n: self.fs.exists(f"{PATH}.{n}"), itertools.count(1))
        for number in sorted(numbers, reverse=True):
            if number >= self.keep_rotated:
                self.fs.remove(f"{PATH}.{number}")
            else:
                self.fs.rename(f"{PATH}.{number}", f"{PATH}.{number + 1}")
        self.fs.rename(PATH, f"{PATH}.1")

    def _forget_pending(self) -> None:
        """The power never fails here: what a loss of it would leave takes memory only."""
        for node in self.fs.directory(FOLDER).entries.values():
            if isinstance(node, Inode):
                node.pending.clear()

    def connect(self) -> None:
        """The link is back; everything that can be is delivered."""
        self.server.up = True
        for _ in range(2000):
            self.run(60)
            if not self.child.status().pending_bytes:
                return
        raise AssertionError(f"not delivered: {self.child.status()}")

    # -- what became of it -----------------------------------------------------------------------

    @property
    def written_bytes(self) -> int:
        return sum(len(day) for day in self.days)

    def delivered_days(self) -> list[tuple[int, int]]:
        """Which days the destination showed, in order, and how much of each in the end."""
        assert self.shown == sorted(self.shown), "in order"
        return list(dict(self.shown).items())


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture(autouse=True)
def _no_copies_for_a_loss_of_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inode, "sync", lambda self: self.pending.clear())


def _lies(status: Status) -> int:
    return status.copied_bytes + status.only_in_files_bytes


LIMITS = {"outbox_max_bytes": 64 * MIB, "keep_free_bytes": 0}


@pytest.mark.parametrize("killed", [False, True])
def test_thirty_days_offline_lose_nothing_that_is_still_there(killed: bool) -> None:
    """120 MiB in 30 rotated files, of which an outbox of 64 MiB can hold the first half."""
    machine = Machine(LIMITS)
    machine.work(20)
    if killed:
        machine.kill()
    machine.work(10)
    status = machine.child.status()
    assert status.pending_bytes == machine.written_bytes > 110 * MIB
    assert _lies(status) == machine.written_bytes
    assert 60 * MIB <= status.copied_bytes <= 64 * MIB
    assert status.outbox_bytes <= 64 * MIB
    assert status.deleted_bytes == status.given_up_bytes == 0
    assert status.outbox_full is not None
    words = str(status)
    assert "MiB copied to the outbox" in words
    assert "MiB in their files only" in words
    assert "the outbox is full with 6" in words
    assert "of 64.0 MiB (outbox_max_bytes)" in words
    shown = status.files["a.csv"]
    assert shown.copied_bytes == status.copied_bytes
    machine.child.beat()
    assert b'"note":"the outbox is full' in machine.child.heartbeat.text
    assert machine.peak_outbox_bytes <= 64 * MIB
    told = [line for line in machine.log_lines if "outbox is full" in line]
    assert len(told) == 1 + killed, told
    machine.connect()
    assert machine.delivered_days() == [(n, len(d)) for n, d in enumerate(machine.days)]
    machine.run(1200)
    status = machine.child.status()
    assert status.outbox_full is None
    assert status.given_up_bytes == 0
    assert status.outbox_bytes == 0


def test_what_the_program_deletes_is_kept_as_far_as_there_is_room() -> None:
    """Five rotated files are kept: what is neither in the outbox nor in them has to be given up,
    the latest of it, and that is told. The disk never holds more than it should."""
    machine = Machine(LIMITS, keep_rotated=5)
    machine.work(30)
    status = machine.child.status()
    assert status.given_up_bytes > 0
    assert status.pending_bytes + status.given_up_bytes == machine.written_bytes
    assert _lies(status) == status.pending_bytes
    assert f"given up: {status.given_up_bytes / MIB:.1f} MiB" in str(status)
    assert status.outbox_bytes + status.deleted_bytes <= 64 * MIB
    six_files = 6 * DAILY_BYTES
    assert machine.fs.used_bytes <= 64 * MIB + six_files + MIB
    lost = [line for line in machine.log_lines if "are given up" in line]
    assert lost
    assert all("outbox_max_bytes" in line for line in lost)
    machine.connect()
    delivered = machine.delivered_days()
    assert sum(size for _, size in delivered) + status.given_up_bytes == machine.written_bytes
    assert [day for day, _ in delivered[:15]] == list(range(15)), "the earlier ones are kept"
    whole = [day for day, size in delivered if size == len(machine.days[day])]
    assert whole[-6:] == [24, 25, 26, 27, 28, 29], "and what is there still"


def test_without_a_limit_what_is_deleted_is_in_the_outbox() -> None:
    machine = Machine({"outbox_max_bytes": 1 << 40, "keep_free_bytes": 0}, keep_rotated=2)
    machine.work(8)
    assert machine.child.status().given_up_bytes == 0
    machine.connect()
    assert machine.delivered_days() == [(n, len(d)) for n, d in enumerate(machine.days)]


def test_what_is_to_be_left_free_is_left_free() -> None:
    """The program's own files take the disk; copies stop before they do."""
    keep = 60 * MIB
    machine = Machine({"outbox_max_bytes": None, "keep_free_bytes": keep}, capacity_bytes=100 * MIB)
    assert machine.child.status().outbox_limit_bytes == pytest.approx(25 * MIB, rel=1e-4)
    free_after_copies: list[int] = []
    store: Callable[..., Any] = machine.child.ledger.outbox._append

    def append(*args: Any, **kwargs: Any) -> Any:
        done = store(*args, **kwargs)
        free_after_copies.append(machine.fs.capacity_bytes - machine.fs.used_bytes)
        return done

    machine.child.ledger.outbox._append = append  # type: ignore[method-assign]
    machine.work(12)
    assert free_after_copies
    assert min(free_after_copies) >= keep - MIB
    status = machine.child.status()
    assert "less than 60.0 MiB would be left of the local disk (keep_free_bytes)" in str(status)
    assert status.pending_bytes == machine.written_bytes
    machine.connect()
    assert machine.delivered_days() == [(n, len(d)) for n, d in enumerate(machine.days)]


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_a_file_that_is_copied_at_once_is_its_own_source_at_the_limit(growth: str) -> None:
    machine = Machine({"outbox_max_bytes": MIB, "keep_free_bytes": 0}, growth=growth)
    machine.work(1)
    status = machine.child.status()
    assert status.outbox_bytes <= MIB
    assert status.only_in_files_bytes > 0
    assert status.outbox_full is not None
    machine.connect()
    whole = blake2b(machine.days[0]).digest()
    assert blake2b(machine.server.read_file("a.csv") or b"").digest() == whole
