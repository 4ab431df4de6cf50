"""What a fetching process that died left in the middle of adding to a visible file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.pull import Mark, Pulled, Told, print_of, pulled_from_json, pulled_to_json
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.takeover import take_over
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from tests.unit.core_fakes import HookedDisk, ManualClock

CODEC: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)
OLD, NEW = b"one\n" * 300, b"two\n" * 200
LOG = logging.getLogger("test")


class Bench:
    """A folder with one file that had grown to :data:`OLD` when :data:`NEW` was being added."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.clock = HookedDisk(), ManualClock()
        self.inbox, self.state = folder / "in", str(folder / "journal")
        self.inbox.mkdir()
        self.file = self.inbox / "a.log"
        self.file.write_bytes(OLD)
        self.places = Places(self.disk, self.clock, str(self.inbox))
        self.path = self.places.path("a.log")
        journal = self.open("boot 1")
        journal.update(self.path, lambda e: e, remote="/out/a.log")
        journal.update(self.path, self._as_fetched)
        journal.sync()  # and there it ends

    def _as_fetched(self, entry: Pulled) -> Pulled:
        head, tail = self.places.prints(self.path, len(OLD))
        return replace(
            entry,
            place=self.path,
            size=len(OLD),
            source=Mark(len(OLD), 1.0),
            head=head,
            tail=tail,
            local=self.places.left(self.path),
            reach=len(OLD) + len(NEW),
            reach_print=print_of(NEW),
        )

    def open(self, boot: str) -> RecordLog[Pulled]:
        journal: RecordLog[Pulled] = RecordLog(
            self.disk, self.clock, self.state, codec=CODEC, boot_id=boot, log=LOG
        )
        journal.open()
        return journal

    def taken_over(self, boot: str) -> Pulled:
        """What the next process makes of it."""
        journal = self.open(boot)
        take_over(journal, self.places, LOG)
        entry = journal.get(self.path)
        assert entry is not None
        journal.close()
        return entry

    def add(self, data: bytes) -> None:
        with self.file.open("ab") as file:
            file.write(data)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_that_was_being_added_counts_though_nobody_asked_the_server(bench: Bench) -> None:
    """It may show another file by now, which would then go beside ours for no reason."""
    bench.add(NEW)
    entry = bench.taken_over("boot 1")
    assert (entry.size, entry.reach) == (len(OLD + NEW), 0)
    assert entry.told == Told("grown", len(OLD))
    assert (entry.head, entry.tail) == bench.places.prints(bench.path, len(OLD + NEW))
    assert bench.places.look(entry) == "as_left"


@pytest.mark.parametrize("added", [NEW[:100], b"mine" + NEW[4:]])
def test_what_may_be_the_programs_own_is_left_to_the_look_at_the_server(
    bench: Bench, added: bytes
) -> None:
    bench.add(added)
    entry = bench.taken_over("boot 1")
    assert (entry.size, entry.told) == (len(OLD), None)
    assert bench.places.look(entry) == "partly"
    assert bench.file.read_bytes() == OLD + added


@pytest.mark.parametrize("added", [NEW[:100], b"\0" * len(NEW)])
def test_what_a_loss_of_power_left_is_cut_off(bench: Bench, added: bytes) -> None:
    bench.add(added)
    entry = bench.taken_over("boot 2")
    assert (entry.size, entry.reach, entry.told) == (len(OLD), 0, None)
    assert bench.places.look(entry) == "as_left"
    assert bench.file.read_bytes() == OLD


def test_what_a_loss_of_power_left_whole_counts(bench: Bench) -> None:
    bench.add(NEW)
    assert bench.taken_over("boot 2").size == len(OLD + NEW)


def test_nothing_was_added_yet(bench: Bench) -> None:
    entry = bench.taken_over("boot 1")
    assert (entry.size, entry.told) == (len(OLD), None)


def test_the_record_survives_its_json() -> None:
    entry = Pulled("/in/a", "/a", reach=7, reach_print="abc")
    assert pulled_from_json(pulled_to_json(entry)) == entry
