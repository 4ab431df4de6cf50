"""Watched folders: which files are data, and when one is complete (design §4, §5)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from pysubtask.subtask.intake.facts import Outcome
from tests.unit.core_fakes import fail_with, nothing
from tests.unit.intake_fakes import SETTLE_SECS, TIMER_SECS, Bench

NAME = "outgoing/x.dat"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(1)
    return bench


def _event(bench: Bench, name: str = NAME, *, complete: bool = False) -> bool:
    return bench.intake.hint(bench.path(name), complete)


# -- what is data ------------------------------------------------------------------------------


def test_what_is_there_at_the_start_is_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(NAME, b"data")
    bench.run(SETTLE_SECS + 0.1)
    assert bench.taken(NAME) == b"data"
    assert bench.intake.remote_path(bench.path(NAME)) == "box/x.dat"


def test_whatever_its_name(bench: Bench) -> None:
    for name in ("\udcff\udc80", "ä", "a b", "a\nb", "notify", "x.notify.txt", "-rf"):
        bench.write(f"outgoing/{name}", name.encode(errors="surrogateescape"))
    bench.run(TIMER_SECS + SETTLE_SECS + 0.1)
    assert sorted(set(bench.names())) == sorted(
        f"outgoing/{name}"
        for name in ("\udcff\udc80", "ä", "a b", "a\nb", "notify", "x.notify.txt", "-rf")
    )


@pytest.mark.parametrize("event", [True, False])
def test_hidden_and_own_names_are_none_of_ours(tmp_path: Path, event: bool) -> None:
    bench = Bench(tmp_path, own_names=lambda path: path.endswith("_subtask.log.txt"))
    names = [".hidden", ".pysubtask-0123456789abcdef", "y.heartbeat", "a_subtask.log.txt"]
    for name in names:
        bench.write(f"outgoing/{name}", b"x")
        if event:
            _event(bench, f"outgoing/{name}", complete=True)
    bench.run(60)
    assert bench.looks == []


def test_subfolders_and_what_is_no_file_are_none_of_ours(bench: Bench) -> None:
    (bench.outgoing / "sub").mkdir()
    bench.write("outgoing/sub/x.dat", b"x")
    os.mkfifo(bench.outgoing / "fifo")
    os.symlink("nowhere", bench.outgoing / "dangling")
    for name in ("sub", "sub/x.dat", "fifo", "dangling"):
        _event(bench, f"outgoing/{name}", complete=True)
    bench.run(60)
    assert bench.looks == []


def test_events_elsewhere_wake_nobody(bench: Bench) -> None:
    assert not bench.intake.hint(bench.path("b.csv"))
    assert not bench.intake.hint(bench.path("outgoing/sub/x.dat"))
    assert bench.intake.hint(bench.path(NAME))
    assert bench.intake.hint(None)


# -- when a file is complete -------------------------------------------------------------------


@pytest.mark.parametrize("event", [True, False])
def test_without_a_sign_it_has_to_rest_for_a_second(bench: Bench, event: bool) -> None:
    bench.run(TIMER_SECS - 1.5)
    bench.write(NAME, b"da")
    for _ in range(40):
        bench.run(0.25)
        bench.write(NAME, b"ta")
        if event:
            _event(bench)
        assert bench.looks == []
    bench.run(SETTLE_SECS + (0 if event else TIMER_SECS))
    assert bench.taken(NAME) == b"da" + b"ta" * 40


@pytest.mark.parametrize(
    "name",
    ["edge.heartbeat", "x.arrived", "edge.heartbeat.4711.tmp", "x.notify.4-c.tmp"],
)
def test_what_is_ours_in_a_watched_folder_is_no_data(bench: Bench, name: str) -> None:
    """Half-written, too, as a killed process leaves it."""
    bench.write(f"outgoing/{name}", b"512 bytes")
    bench.write("outgoing/4711.tmp", b"data")
    bench.run(TIMER_SECS + 2 * SETTLE_SECS)
    assert {look.name for look in bench.looks} == {"outgoing/4711.tmp"}


def test_its_writer_closed_it(bench: Bench) -> None:
    """Closed after writing, or renamed in: nobody waits."""
    bench.write(NAME, b"data")
    _event(bench, complete=True)
    bench.step()
    assert bench.taken(NAME) == b"data"


def test_closed_while_it_was_settling(bench: Bench) -> None:
    bench.write(NAME, b"da")
    _event(bench)
    bench.run(0.5)
    bench.write(NAME, b"ta")
    _event(bench)
    _event(bench, complete=True)
    _event(bench)
    bench.step()
    assert bench.taken(NAME) == b"data"


def test_its_notify_is_touched(bench: Bench) -> None:
    bench.write(NAME, b"data")
    _event(bench)
    bench.touch(NAME)
    bench.step()
    assert bench.taken(NAME) == b"data"


def test_a_touch_is_found_without_events(bench: Bench) -> None:
    bench.write(NAME, b"data")
    bench.run(TIMER_SECS + SETTLE_SECS)
    bench.forget()
    bench.write(NAME, b"+more")
    ns = bench.touch(NAME, hint=False)
    bench.run(TIMER_SECS)
    assert bench.taken(NAME) == b"data+more"
    assert bench.intake.is_touch_served(bench.path(NAME), ns)


def test_one_that_was_rewritten_during_its_look_is_still_one_that_was_notified(
    bench: Bench,
) -> None:
    """A stop waits for it, though a scan finds that it has just been changed."""
    unstable = [Outcome("unstable")]
    bench.answer = lambda target: unstable.pop() if unstable else None
    bench.write(NAME, b"data")
    bench.touch(NAME, hint=False)
    bench.intake.hint(None)
    bench.step()
    assert len(bench.looks) == 1
    bench.write(NAME, b"+more")
    bench.intake.hint(None)
    bench.step()
    done = bench.intake.look_at_all(bench.clock.now)
    assert done()
    assert bench.taken(NAME) == b"data+more", "not before it was looked at again"


def test_a_file_that_settles_does_not_keep_a_stop_waiting(bench: Bench) -> None:
    """Nobody said that it is complete; one that was notified is waited for."""
    bench.write(NAME, b"da")
    _event(bench)
    bench.step()
    assert bench.intake.waits_for_look(bench.path(NAME))
    assert bench.intake.look_at_all(bench.clock.now)()
    assert bench.looks == []
    bench.touch(NAME, hint=False)
    bench.intake.hint(None)
    assert bench.intake.look_at_all(bench.clock.now)()
    assert bench.taken(NAME) == b"da"


def test_a_change_later_on_is_found(bench: Bench) -> None:
    bench.write(NAME, b"data")
    bench.run(TIMER_SECS + SETTLE_SECS)
    bench.write(NAME, b"+more")
    bench.run(TIMER_SECS + SETTLE_SECS)
    assert bench.taken(NAME) == b"data+more"


def test_rest_costs_no_looks(bench: Bench) -> None:
    bench.write(NAME, b"data")
    bench.run(TIMER_SECS + SETTLE_SECS + 5)
    bench.forget()
    bench.disk.read_bytes = 0
    bench.run(3600)
    assert bench.looks == []
    assert bench.disk.read_bytes == 0


def test_a_look_that_fails_is_repeated(bench: Bench) -> None:
    error = PermissionError(13, "Permission denied")
    bench.answer = lambda target: Outcome("failed", error)
    bench.write(NAME, b"data")
    _event(bench, complete=True)
    bench.run(5)
    assert len(bench.looks) == 2
    assert bench.intake.errors() == {bench.path(NAME): "Permission denied"}
    assert bench.intake.waits_for_look(bench.path(NAME))
    bench.answer = lambda target: None
    bench.run(10)
    assert bench.taken(NAME) == b"data"
    assert bench.intake.errors() == {}


def test_a_file_that_went_before_it_settled(bench: Bench) -> None:
    bench.write(NAME, b"data")
    _event(bench)
    bench.step()
    os.unlink(bench.path(NAME))
    bench.run(30)
    assert bench.taken(NAME) is None
    assert bench.intake.errors() == {}
    assert not bench.intake.waits_for_look(bench.path(NAME))


def test_a_file_that_is_deleted_later_is_looked_at_once_more(bench: Bench) -> None:
    """What the child still holds open is read to its end."""
    bench.write(NAME, b"data")
    _event(bench, complete=True)
    bench.run(5)
    bench.forget()
    os.unlink(bench.path(NAME))
    _event(bench)
    bench.run(60)
    assert bench.names() == [NAME]


# -- many files --------------------------------------------------------------------------------


def test_5000_files_in_one_folder(tmp_path: Path) -> None:
    """All are looked at once, in steps that leave room for others, and then cost nothing."""
    bench = Bench(tmp_path)
    for n in range(5000):
        (bench.outgoing / f"{n}.dat").touch()
    bench.answer = lambda target: None if target.path.endswith("/7.dat") else Outcome("taken")
    bench.step()
    bench.clock.advance(SETTLE_SECS)
    steps = 0
    while len(bench.looks) < 5000:
        before = len(bench.looks)
        due = bench.step()
        assert len(bench.looks) - before <= 256
        assert due <= bench.clock.now or len(bench.looks) == 5000, "there is more to do now"
        steps += 1
        assert steps < 50
    assert len(set(bench.names())) == 5000
    assert bench.taken("outgoing/7.dat") == b""


def test_a_flush_of_5000_files_is_done_when_each_was_looked_at(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.answer = lambda target: Outcome("taken")
    for n in range(5000):
        _event(bench, f"outgoing/{n}.dat", complete=True)
        (bench.outgoing / f"{n}.dat").touch()
    done = bench.intake.look_at_all(bench.clock.now)
    while not done():
        before = len(bench.looks)
        bench.step()
        assert 0 < len(bench.looks) - before <= 256
    assert len(set(bench.names())) == 5000


def test_a_file_that_was_taken_is_forgotten_until_it_changes(tmp_path: Path) -> None:
    """A folder that files pass through for years must not fill the memory."""
    bench = Bench(tmp_path)
    for n in range(20):
        bench.write(f"outgoing/{n}.dat", b"x")
        _event(bench, f"outgoing/{n}.dat", complete=True)
    bench.run(30)
    assert len(bench.looks) >= 20
    assert not [t for t in bench.intake._targets.all() if "outgoing" in t.path]


def test_a_slow_folder_is_scanned_more_rarely(bench: Bench) -> None:
    """At most a hundredth of the time (a network mount, 100,000 files)."""

    def slow(operation: str, path: str) -> None:
        if operation == "scan" and path == str(bench.outgoing):
            bench.clock.advance(2.0)

    bench.disk.before = slow
    bench.disk.scans.clear()
    bench.run(1000)
    assert 3 <= bench.disk.scans.count(str(bench.outgoing)) <= 6


def test_slow_folders_share_that_time(bench: Bench) -> None:
    one = str(bench.outgoing)
    other = one + "2"
    os.mkdir(other)
    folders = bench.intake._targets.folders
    folders[other] = msgspec.structs.replace(folders[one], path=other)

    def slow(operation: str, path: str) -> None:
        if operation == "scan" and path in folders:
            bench.clock.advance(2.0)

    bench.disk.before = slow
    bench.run(1000)  # both are read once, and know what that takes
    bench.disk.scans.clear()
    bench.run(6000)
    assert 12 <= sum(bench.disk.scans.count(path) for path in folders) <= 24


def test_a_slow_folder_does_not_hold_up_a_quick_one(bench: Bench) -> None:
    one = str(bench.outgoing)
    other = one + "2"
    os.mkdir(other)
    folders = bench.intake._targets.folders
    folders[other] = msgspec.structs.replace(folders[one], path=other)

    def slow(operation: str, path: str) -> None:
        if operation == "scan" and path == other:
            bench.clock.advance(20.0)

    bench.disk.before = slow
    bench.run(100)
    bench.disk.scans.clear()
    bench.run(1000)
    assert bench.disk.scans.count(one) == 1000 / TIMER_SECS
    assert bench.disk.scans.count(other) <= 1


def test_a_folder_that_can_not_be_read_is_read_later(bench: Bench) -> None:
    bench.write(NAME, b"data")
    bench.disk.before = fail_with(lambda: OSError(116, "Stale file handle"), "scan")
    bench.run(3 * TIMER_SECS)
    assert bench.looks == []
    bench.disk.before = nothing
    bench.run(TIMER_SECS + SETTLE_SECS)
    assert bench.taken(NAME) == b"data"


def test_the_real_thing_is_quick(tmp_path: Path) -> None:
    """One scan of 2,000 known files: no file is opened, and it takes a fraction of a second."""
    bench = Bench(tmp_path)
    for n in range(2000):
        (bench.outgoing / f"{n}.dat").touch()
    bench.answer = lambda target: Outcome("unchanged")
    opened: list[str] = []
    bench.disk.before = lambda operation, path: (
        opened.append(path) if operation == "open_read" else None
    )
    began = time.perf_counter()
    bench.step()
    assert time.perf_counter() - began < 2.0
    assert opened == []
