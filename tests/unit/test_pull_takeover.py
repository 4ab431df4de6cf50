"""What a fetching process that died left in the middle of adding to a visible file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.pull import (
    Local,
    Mark,
    Passage,
    Pulled,
    Told,
    print_of,
    pulled_from_json,
    pulled_to_json,
)
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.takeover import take_over
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from tests.unit.core_fakes import HookedDisk, ManualClock, fail_with

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

    def note_passage(self, passage: Passage) -> None:
        """So the journal knows what was on its way when its process ended."""
        journal = self.open("boot 1")
        journal.update(self.path, lambda e: replace(e, passage=passage, reach=0))
        journal.sync()

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


@pytest.fixture
def calls(bench: Bench) -> list[str]:
    """What is called on the disk, and of which file, from here on."""
    seen: list[str] = []
    bench.disk.before = lambda call, path: seen.append(f"{call} {path.rpartition('/')[2]}")
    return seen


def test_what_a_killed_process_added_is_on_the_disk_before_it_counts(
    bench: Bench, calls: list[str]
) -> None:
    bench.add(NEW)
    bench.taken_over("boot 1")
    opened, synced = calls.index("open_existing a.log"), calls.index("sync a.log")
    assert opened < synced < len(calls) - 1 - calls[::-1].index("append journal")


def test_a_cut_whose_note_the_power_took_is_no_change_of_the_programs(bench: Bench) -> None:
    bench.add(NEW[:100])
    os.truncate(bench.path, len(OLD))
    os.utime(bench.path, (1_000_000, 1_000_000))
    entry = bench.taken_over("boot 2")
    assert entry.local is not None
    assert bench.places.look(entry) == "as_left"
    bench.file.write_bytes(b"mine" + OLD[4:])
    os.utime(bench.path, (2_000_000, 2_000_000))
    assert bench.places.look(entry) == "changed"


@pytest.mark.parametrize(("boot", "stays"), [("boot 1", True), ("boot 2", False)])
def test_a_complete_file_that_is_gone_was_taken_by_the_program_or_by_the_power(
    bench: Bench, boot: str, stays: bool
) -> None:
    """After a loss of power it comes again."""
    local = Local(3, 1, 1)
    gone = Passage("0123", Mark(3, 2.0), 3, bench.path, "replaced", local, "h", "t")
    bench.note_passage(gone)
    assert bench.taken_over(boot).passage == (gone if stays else None)


def test_a_complete_file_that_has_its_place_keeps_it(bench: Bench) -> None:
    local = bench.places.left(bench.path)
    placed = Passage("0123", Mark(len(OLD), 2.0), len(OLD), bench.path, "new", local, "h", "t")
    bench.note_passage(placed)
    assert bench.taken_over("boot 2").passage == placed


def test_names_that_a_killed_process_gave_are_on_the_disk_before_they_count(
    bench: Bench, calls: list[str]
) -> None:
    journal = bench.open("boot 1")
    journal.update(bench.path, lambda e: replace(e, told=Told("renamed", len(OLD))))
    journal.close()
    calls.clear()
    bench.taken_over("boot 1")
    assert "sync_dir in" in calls


def test_a_folder_that_is_gone_has_no_names_to_be_synced(bench: Bench) -> None:
    journal = bench.open("boot 1")
    journal.update(bench.path, lambda e: replace(e, told=Told("renamed", len(OLD)), reach=0))
    journal.close()
    bench.file.unlink()
    bench.inbox.rmdir()
    bench.disk.before = fail_with(FileNotFoundError, "sync_dir", suffix="/in")
    assert bench.taken_over("boot 1").source is None


def test_the_record_survives_its_json() -> None:
    entry = Pulled("/in/a", "/a", reach=7, reach_print="abc")
    assert pulled_from_json(pulled_to_json(entry)) == entry
