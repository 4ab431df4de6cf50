"""An intake over a real folder, with a clock, looks and time stamps that do what a test says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from pysubtask.core.burst import BurstRule, Rule
from pysubtask.core.retry import RetryRule
from pysubtask.seams.disk import FileStat, ReadHandle
from pysubtask.signals import StateLayout, notify_path, touch
from pysubtask.subtask.intake.facts import Outcome, Touch
from pysubtask.subtask.intake.intake import Intake
from pysubtask.subtask.intake.snapshot import Snapshots
from pysubtask.subtask.intake.target import Target
from pysubtask.subtask.store.journal import Journal
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.subtask.store.sources import Sources
from pysubtask.watch import Watch
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock

TIMER_SECS = 10.0
SETTLE_SECS = 1.0
SETTLE_MAX_SECS = 10.0


class _Stamped:
    """A handle whose file shows the stamps that its disk gives."""

    def __init__(self, disk: StampingDisk, handle: ReadHandle) -> None:
        self._disk = disk
        self._handle = handle
        self.read_at = handle.read_at
        self.close = handle.close

    def stat(self) -> FileStat:
        return self._disk.stamped(self._handle.stat())


class StampingDisk(HookedDisk):
    """While ``stamp_ns`` is set, that is the time of every file: what a coarse clock gives to
    changes that come close together."""

    def __init__(self) -> None:
        super().__init__()
        self.stamp_ns: int | None = None
        self.scans: list[str] = []
        self.scanned = 0
        """Names of which a stat was asked in all of them."""

    def stamped(self, st: FileStat) -> FileStat:
        if self.stamp_ns is None or st.mtime_ns == 0:
            return st
        return replace(st, mtime_ns=self.stamp_ns, ctime_ns=self.stamp_ns)

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        return self.stamped(super().stat(path, follow=follow))

    def scan(
        self, folder: str, only: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[str, FileStat | None]]:
        self.scans.append(folder)
        self.before("scan", folder)
        for name, st in super().scan(folder, only):
            self.scanned += 1
            yield name, None if st is None else self.stamped(st)

    def open_read(self, path: str) -> ReadHandle:
        return _Stamped(self, super().open_read(path))


@dataclass
class Look:
    """A look that the intake asked for."""

    at: float
    name: str
    touch: Touch | None
    final: bool


@dataclass
class Bench:
    """The intake of one child: its looks take real snapshots unless ``answer`` says otherwise.

    Of ``files`` the names are declared in ``folder``; ``outgoing`` is a watched folder in it.
    """

    folder: Path
    files: tuple[str, ...] = ("a.csv",)
    growth: Literal["auto", "append", "rewrite"] = "auto"
    burstmode: bool = False
    burst_rule: Rule = field(default_factory=BurstRule)
    hold_looks: bool = False
    own_names: Callable[[str], bool] = lambda path: False
    clock: ManualClock = field(default_factory=ManualClock)
    disk: StampingDisk = field(default_factory=StampingDisk)
    looks: list[Look] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)
    answer: Callable[[Target], Outcome | None] = lambda target: None
    intake: Intake = field(init=False)
    ledger: Ledger = field(init=False)
    _last_ns: int = 0

    def __post_init__(self) -> None:
        self.outgoing = self.folder / "outgoing"
        self.outgoing.mkdir(exist_ok=True)
        self.layout = StateLayout(str(self.folder / "state"))
        os.makedirs(self.layout.notify_dir, exist_ok=True)
        self.open()

    def open(self, blank_marks: dict[str, int | None] | None = None) -> None:
        """As a new process does; the first step is still to come. ``blank_marks``: what its master
        saw at its start."""
        outbox = Outbox(self.disk, self.layout.outbox)
        journal = Journal(self.disk, self.clock, self.layout.journal, boot_id="one", log=LOG)
        self.ledger = Ledger(journal, outbox)
        self.ledger.open()
        self.sources = Sources(
            self.disk,
            is_watched_folder=lambda folder: folder == str(self.outgoing),
            now=self.clock.time,
        )
        self.snapshots = Snapshots(
            self.disk, self.clock, self.ledger, self.sources, verify_up_to_bytes=1 << 24, log=LOG
        )
        watches = [
            Watch(
                path=self.path(name),
                is_dir=False,
                declared=name,
                remote_name=name,
                growth=self.growth,
                burstmode=self.burstmode,
            )
            for name in self.files
        ]
        watches.append(
            Watch(
                path=str(self.outgoing),
                is_dir=True,
                declared="outgoing",
                remote_dir="box",
                burstmode=self.burstmode,
            )
        )
        self.intake = Intake(
            self.disk,
            self.clock,
            self.ledger,
            watches,
            self.layout,
            look=self._look,
            ready=lambda path: self.ready.append(os.path.relpath(path, self.folder)),
            timer_interval_secs=TIMER_SECS,
            settle_secs=SETTLE_SECS,
            settle_max_secs=SETTLE_MAX_SECS,
            burst_rule=self.burst_rule,
            retry_rule=RetryRule(),
            log=LOG,
            hold_looks=self.hold_looks,
            own_names=self.own_names,
        )
        self.intake.start(self.clock.now, blank_marks)

    def _look(self, target: Target, touch: Touch | None, final: bool) -> Outcome:
        name = os.path.relpath(target.path, self.folder)
        self.looks.append(Look(self.clock.now, name, touch, final))
        given = self.answer(target)
        if given is not None:
            return given
        remote = self.intake.remote_path(target.path)
        assert remote is not None
        return self.snapshots.take(target.path, remote, target.watch.growth, touch, final=final)

    # -- the program's side ------------------------------------------------------------------

    def path(self, name: str) -> str:
        """The absolute path of a name below the folder."""
        return str(self.folder / name)

    def write(self, name: str, data: bytes, mode: str = "ab") -> None:
        """Append to a file (or write it anew)."""
        with open(self.path(name), mode) as file:
            file.write(data)
        self.clock.show_real_time()

    def touch(self, name: str, *, hint: bool = True) -> int:
        """What ``notify()`` does, and the file-system event that follows it."""
        now = int(self.clock.time() * 1e9)
        self._last_ns = touch(notify_path(self.path(name)), max(self._last_ns, now))
        if hint:
            self.intake.hint(notify_path(self.path(name)))
        return self._last_ns

    def touch_fallback(self, name: str) -> int:
        """The same in the state folder, where none can lie beside the file; no event."""
        path = self.path(name)
        place = self.layout.fallback_notify_path(path)
        self._last_ns = touch(place, self._last_ns, content=os.fsencode(path))
        return self._last_ns

    # -- the child's side --------------------------------------------------------------------

    def step(self) -> float:
        """One step now."""
        return self.intake.step(self.clock.now)

    def run(self, secs: float) -> None:
        """Let time pass, stepping whenever the intake asked for it."""
        until = self.clock.now + secs
        while True:
            due = max(self.step(), self.clock.now)
            if due > until:
                break
            self.clock.now = due
        self.clock.now = until

    def names(self) -> list[str]:
        """What was looked at, in order."""
        return [look.name for look in self.looks]

    def forget(self) -> None:
        """Forget what was looked at so far."""
        self.looks.clear()
        self.ready.clear()

    def taken(self, name: str = "a.csv") -> bytes | None:
        """What the latest snapshot holds; None without one."""
        entry = self.ledger.get(self.path(name))
        if entry is None or entry.current is None:
            return None
        version = entry.current
        reader = VersionReader(self.path(name), version, self.ledger.outbox, self.sources)
        try:
            return reader.read(0, version.size) if version.size else b""
        finally:
            reader.close()
