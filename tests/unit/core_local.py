"""The local side: journal, outbox and snapshots over a real folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pysubtask.core.model import Delivered, Entry, Version
from pysubtask.subtask.intake.facts import Outcome, Touch
from pysubtask.subtask.intake.snapshot import Snapshots
from pysubtask.subtask.store.journal import Journal
from pysubtask.subtask.store.ledger import Ledger, drop_superseded, record_delivery
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.subtask.store.sources import Sources
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock


@dataclass
class Local:
    """Journal, outbox, sources and snapshots over a real folder."""

    folder: Path
    clock: ManualClock
    disk: HookedDisk
    verify_up_to_bytes: int = 1 << 24
    boot: str = "one"
    rotated_as: str = ""
    path: str = ""
    still_alive: Callable[[], None] = lambda: None
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
        outbox = Outbox(
            self.disk,
            str(state / "outbox"),
            still_alive=self.still_alive,
            now=self.clock.monotonic,
        )
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
        self.sources = Sources(
            self.disk,
            is_needed=self.ledger.is_in_file,
            now=self.clock.time,
            still_alive=self.still_alive,
        )
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
        return self.snapshots.take(
            self.path, "a.csv", growth, touch, final=final, rotated_as=self.rotated_as
        )

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
