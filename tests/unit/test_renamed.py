"""Searches for renamed files: a folder that is at rest is read once for many of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.model import Identity, Piece, Version
from pysubtask.core.prints import print_of
from pysubtask.subtask.store.sources import Sources
from tests.unit.core_fakes import ManualClock, make_version, on_nth
from tests.unit.intake_fakes import Bench as IntakeBench
from tests.unit.intake_fakes import StampingDisk


class Bench:
    """A folder with files that were looked at, and how often it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.disk = StampingDisk()
        self.sources = Sources(self.disk, now=self.clock.time)
        self.versions = {name: self.look_at(name) for name in ("a", "b", "c")}

    def look_at(self, name: str) -> Version:
        """A version all of which was delivered or copied."""
        path = self.folder / name
        data = name.encode() * 10
        path.write_bytes(data)
        st = path.stat()
        kept = print_of(lambda at, n: data[at : at + n], "whole", len(data))
        assert kept is not None
        identity = Identity(st.st_dev, st.st_ino)
        return make_version(1, len(data), identity=identity, print=kept, pieces=())

    def find(self, name: str, version: Version | None = None) -> bytes | None:
        try:
            borrowed = self.sources.borrow(str(self.folder / name), version or self.versions[name])
            with borrowed as handle:
                return handle.read_at(0, 100)
        except FileNotFoundError:
            return None

    def pass_secs(self, secs: float) -> None:
        self.clock.show_real_time()
        self.clock.advance(secs)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_folder_at_rest_is_read_once(bench: Bench) -> None:
    """Of 10,000 files that a consumer has deleted, each would have all the others looked at."""
    os.unlink(bench.folder / "a")
    os.unlink(bench.folder / "b")
    os.rename(bench.folder / "c", bench.folder / "c.1")
    bench.pass_secs(3)
    assert [bench.find(name) for name in "abc"] == [None, None, b"c" * 10]
    assert len(bench.disk.scans) == 1


def test_a_folder_that_has_changed_is_read_again(bench: Bench) -> None:
    os.unlink(bench.folder / "a")
    bench.pass_secs(3)
    assert bench.find("a") is None
    os.rename(bench.folder / "b", bench.folder / "b.1")
    assert bench.find("b") == b"b" * 10
    assert len(bench.disk.scans) == 2


def test_one_that_has_just_changed_may_change_again_with_the_same_time(bench: Bench) -> None:
    os.unlink(bench.folder / "a")
    bench.pass_secs(1)
    bench.disk.stamp_ns = int((bench.clock.time() - 1) * 1e9)  # a coarse clock
    assert bench.find("a") is None
    os.rename(bench.folder / "b", bench.folder / "b.1")
    assert bench.find("b") == b"b" * 10


def test_a_reading_is_not_believed_for_long(bench: Bench) -> None:
    """Not all file servers tell soon of what another client does."""
    os.unlink(bench.folder / "a")
    bench.pass_secs(3)
    bench.disk.stamp_ns = int((bench.clock.time() - 3) * 1e9)
    assert bench.find("a") is None
    os.rename(bench.folder / "b", bench.folder / "b.1")
    bench.clock.advance(11)
    assert bench.find("b") == b"b" * 10


def test_readings_are_not_kept_for_long(bench: Bench) -> None:
    """Of folders with very many files; the process lives for months."""
    folders = [bench.folder / f"sub{number}" for number in range(5)]
    for folder in folders:
        folder.mkdir()
        (folder / "other").write_bytes(b"x")
    os.unlink(bench.folder / "a")
    bench.pass_secs(3)
    for folder in folders:
        assert bench.find(f"{folder.name}/a", bench.versions["a"]) is None
    listings = bench.sources._renamed._listings
    assert list(listings) == [str(folder) for folder in folders[-2:]]
    bench.clock.advance(6)
    assert bench.find("a") is None
    bench.clock.advance(6)
    bench.sources.tidy()
    assert list(listings) == [str(bench.folder)]
    bench.clock.advance(6)
    bench.sources.tidy()
    assert not listings


@pytest.mark.parametrize("stamp_ns", [1, 1_000_000_000])
def test_what_is_owed_from_its_file_is_looked_for_whatever_the_times_say(
    bench: Bench, stamp_ns: int
) -> None:
    """A file system whose folders' times stand still."""
    bench.disk.stamp_ns = stamp_ns
    os.unlink(bench.folder / "a")
    bench.pass_secs(3)
    assert bench.find("a") is None
    os.rename(bench.folder / "b", bench.folder / "b.1")
    owed = replace(bench.versions["b"], pieces=(Piece(0, 10, None, ""),))
    assert bench.find("b", owed) == b"b" * 10


def test_what_was_renamed_since_the_folder_was_read_is_looked_for_again(bench: Bench) -> None:
    os.rename(bench.folder / "a", bench.folder / "a.1")
    bench.pass_secs(3)
    assert bench.find("a") == b"a" * 10

    def again() -> None:
        os.rename(bench.folder / "a.1", bench.folder / "a.2")

    bench.disk.before = on_nth("open_read", "a.1", 1, again)
    assert bench.find("a") == b"a" * 10


@pytest.mark.parametrize("again", [False, True])
def test_many_files_that_are_gone_are_searched_for_in_one_reading(
    tmp_path: Path, again: bool
) -> None:
    """At each start, too: a program that deletes what was delivered would wait for minutes."""
    bench = IntakeBench(tmp_path)
    for number in range(40):
        bench.write(f"outgoing/{number}", b"%d" % number)
    bench.run(15)
    for number in range(0, 40, 2):
        os.unlink(bench.path(f"outgoing/{number}"))
    bench.clock.show_real_time()
    bench.clock.advance(3)
    if again:
        bench.open()
    else:
        for number in range(0, 40, 2):
            bench.intake.hint(bench.path(f"outgoing/{number}"), False, True)
    bench.forget()
    bench.disk.scans.clear()
    bench.step()
    assert len(bench.looks) == 20
    searches = [folder for folder in bench.disk.scans if folder == str(bench.outgoing)]
    assert len(searches) <= 2, "the watched folder itself, and the search"


def test_in_a_watched_folder_the_other_data_files_are_not_looked_at(tmp_path: Path) -> None:
    """None of them is what another was renamed to. Where 100 of 10,000 files are replaced in a
    second, each search would look at all of them; what was hidden is found all the same."""
    bench = IntakeBench(tmp_path)
    for number in range(20):
        bench.write(f"outgoing/{number}", b"%d" % number)
    bench.run(15)
    bench.write("outgoing/7", b"+the last row")
    os.rename(bench.path("outgoing/7"), bench.path("outgoing/.done"))
    bench.intake.hint(bench.path("outgoing/7"), False, True)
    bench.disk.scanned = 0
    bench.step()
    assert bench.taken("outgoing/7") == b"7+the last row"
    assert bench.disk.scanned == 1


def test_a_file_that_was_replaced_is_searched_for_once(tmp_path: Path) -> None:
    """Though it might have gone on in its copy: each search reads the whole folder."""
    bench = IntakeBench(tmp_path)
    bench.write("outgoing/a", b"one")
    bench.run(15)
    bench.write("outgoing/.new", b"another")
    os.replace(bench.path("outgoing/.new"), bench.path("outgoing/a"))
    bench.intake.hint(bench.path("outgoing/a"), True)
    bench.disk.scans.clear()
    bench.step()
    assert bench.taken("outgoing/a") == b"another"
    assert len(bench.disk.scans) <= 1
