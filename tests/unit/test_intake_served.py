"""When a touch counts as served, what a clean stop removes, and what a new start looks at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.signals import notify_path
from pysubtask.subtask.intake.facts import Outcome
from tests.unit.core_fakes import nothing
from tests.unit.intake_fakes import Bench

SECOND = 1_000_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.step()
    return bench


# -- whether a touch is served -----------------------------------------------------------------


def test_served_means_the_snapshot_is_taken(bench: Bench) -> None:
    path = bench.path("a.csv")
    assert not bench.intake.is_touch_served(path, 5)
    bench.write("a.csv", b"one")
    ns = bench.touch("a.csv")
    assert not bench.intake.is_touch_served(path, ns)
    bench.step()
    assert bench.intake.is_touch_served(path, ns)
    bench.run(1)
    bench.write("a.csv", b"+two")
    ns = bench.touch("a.csv", hint=False)
    assert not bench.intake.is_touch_served(path, ns)
    bench.step()  # asking was enough to have it looked at
    assert bench.taken() == b"one+two"
    assert bench.intake.is_touch_served(path, ns)


def test_a_later_touch_that_is_not_served_yet(bench: Bench) -> None:
    first = bench.touch("a.csv")
    bench.run(1)
    bench.touch("a.csv", hint=False)
    assert not bench.intake.is_touch_served(bench.path("a.csv"), first)
    bench.run(1)
    assert bench.intake.is_touch_served(bench.path("a.csv"), first)


@pytest.mark.parametrize("result", ["failed", "unstable"])
def test_a_look_that_did_not_succeed_serves_nothing(bench: Bench, result: str) -> None:
    error = OSError(28, "No space left on device")
    bench.answer = lambda target: Outcome(result, error)  # type: ignore[arg-type]
    ns = bench.touch("a.csv")
    for _ in range(5):
        bench.run(1)
        assert not bench.intake.is_touch_served(bench.path("a.csv"), ns)
    bench.answer = lambda target: None
    bench.run(30)
    assert bench.intake.is_touch_served(bench.path("a.csv"), ns)


@pytest.mark.parametrize(
    "asked_after_secs",
    [
        0.0,
        0.002,
        1.0,
        1.9,
    ],
)
def test_where_stamps_are_coarse_it_is_served_after_the_second_look(
    bench: Bench, asked_after_secs: float
) -> None:
    """The stamp that the program asks about is finer than the one that the file system keeps."""
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    path = bench.path("a.csv")
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    bench.run(asked_after_secs)
    bench.write("a.csv", b"+two")
    ns = bench.touch("a.csv")
    bench.step()
    while not bench.intake.is_touch_served(path, ns):
        bench.run(0.1)
        assert len(bench.looks) < 20
    assert bench.taken() == b"one+two"


def test_a_touch_served_by_an_earlier_process(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    ns = bench.touch("a.csv")
    bench.run(1)
    bench.open()
    assert bench.intake.is_touch_served(bench.path("a.csv"), ns)


@pytest.mark.parametrize("name", ["b.csv", "folder/a.csv", "outgoing/.hidden"])
def test_what_is_not_watched_is_never_served(bench: Bench, name: str) -> None:
    assert not bench.intake.is_touch_served(bench.path(name), 1)
    assert bench.intake.remote_path(bench.path(name)) is None


# -- looking at everything (flush, stop) -------------------------------------------------------


def test_a_flush_is_done_when_everything_notified_was_looked_at(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    done = bench.intake.look_at_all(bench.clock.now)
    assert done()
    assert bench.taken() == b"data"


@pytest.mark.parametrize("result", ["failed", "unstable"])
def test_a_flush_waits_for_a_look_that_did_not_succeed(bench: Bench, result: str) -> None:
    error = OSError(28, "No space left on device")
    bench.answer = lambda target: Outcome(result, error)  # type: ignore[arg-type]
    bench.touch("a.csv")
    bench.step()
    done = bench.intake.look_at_all(bench.clock.now)
    assert len(bench.looks) == 2, "it is tried at once"
    bench.run(5)
    assert not done()
    bench.answer = lambda target: None
    bench.run(20)
    assert done()


def test_a_flush_does_not_wait_for_what_is_notified_later(bench: Bench) -> None:
    """Else a program that notifies all the time would wait for ever."""
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    done = bench.intake.look_at_all(bench.clock.now)
    bench.touch("a.csv")
    assert done()
    bench.answer = lambda target: Outcome("failed", OSError(5, "broken"))
    bench.step()
    assert done()


# -- a clean stop removes what was served --------------------------------------------------------


def _notify_files(bench: Bench) -> list[str]:
    return sorted(p.name for p in bench.folder.rglob("*") if ("notify" in p.name and p.is_file())
                  or p.name.startswith(".pysubtask"))  # fmt: skip


@pytest.mark.parametrize("place", ["beside", "state"])
def test_served_touches_are_removed_at_the_end(bench: Bench, place: str) -> None:
    bench.write("a.csv", b"data")
    if place == "beside":
        bench.touch("a.csv")
    else:
        bench.touch_fallback("a.csv")
        bench.intake.hint(None)
    bench.run(1)
    assert len(_notify_files(bench)) == 1
    bench.intake.remove_served_touches()
    assert _notify_files(bench) == []


def test_served_touches_in_both_places_are_removed_at_the_end(bench: Bench) -> None:
    bench.touch("a.csv")
    bench.touch_fallback("a.csv")
    bench.intake.hint(None)
    bench.run(1)
    bench.intake.remove_served_touches()
    assert _notify_files(bench) == []


@pytest.mark.parametrize("seen", [False, True], ids=["not seen", "seen, and its look failed"])
def test_a_touch_that_was_not_served_stays(bench: Bench, seen: bool) -> None:
    bench.touch("a.csv")
    bench.run(1)
    bench.answer = lambda target: Outcome("failed", OSError(5, "broken"))
    bench.touch("a.csv", hint=False)
    if seen:
        bench.intake.hint(None)
        bench.step()
    bench.intake.remove_served_touches()
    assert _notify_files(bench) == ["a.csv.notify"]


@pytest.mark.parametrize("operation", ["rename", "remove"])
def test_a_touch_that_races_with_the_removal_is_served_by_the_next_process(
    bench: Bench, operation: str
) -> None:
    """A ``.notify`` is removed only when its touch was served; never one unread (design §5)."""
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.run(1)
    raced = False

    def race(called: str, path: str) -> None:
        nonlocal raced
        if called == operation and not raced:
            raced = True
            bench.write("a.csv", b"+two")
            bench.touch("a.csv", hint=False)

    bench.disk.before = race
    bench.intake.remove_served_touches()
    bench.disk.before = nothing
    assert raced
    assert _notify_files(bench) == ["a.csv.notify"]
    bench.open()
    bench.run(1)
    assert bench.taken() == b"one+two"


def test_after_the_removal_the_next_process_finds_nothing_new_but_looks(bench: Bench) -> None:
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.run(10)
    bench.intake.remove_served_touches()
    bench.open()
    bench.forget()
    bench.run(60)
    assert len(bench.looks) <= 2
    assert bench.taken() == b"one"
    bench.forget()
    bench.run(60)
    assert bench.looks == []


# -- starting ----------------------------------------------------------------------------------


def test_a_touch_made_while_nothing_ran_is_served(bench: Bench) -> None:
    bench.touch("a.csv")
    bench.run(1)
    bench.write("a.csv", b"data")
    bench.touch("a.csv", hint=False)
    bench.open()
    bench.step()
    assert bench.taken() == b"data"


def test_a_file_that_changed_while_nothing_ran_is_looked_at_without_a_touch(bench: Bench) -> None:
    """Every start compares each path in the journal with the file (design §4)."""
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.run(10)
    bench.write("a.csv", b"+two")
    bench.open()
    bench.step()
    assert bench.taken() == b"one+two"


def test_a_second_look_that_died_with_its_process_is_repeated(bench: Bench) -> None:
    """A touch served less than a tick ago: another may have come that left the same stamp."""
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    os.unlink(bench.path("a.csv"))
    bench.open()
    bench.step()
    bench.write("a.csv", b"two")
    bench.touch("a.csv")
    bench.run(3)
    assert bench.taken() == b"two"


def test_a_file_that_did_not_change_is_not_read_again(bench: Bench) -> None:
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.run(10)
    bench.open()
    bench.disk.read_bytes = 0
    bench.forget()
    bench.run(60)
    assert bench.looks == []
    assert bench.disk.read_bytes == 0
    bench.open()
    assert bench.ready == ["a.csv"], "what is owed is offered again"


def test_a_snapshot_that_is_no_good_is_taken_again_whatever_its_stamps_say(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    bench.run(10)
    bench.ledger.update(bench.path("a.csv"), lambda e: replace(e, versions=()))
    bench.intake.hint_look(bench.path("a.csv"))
    bench.intake.hint_look("/nobody/watches/this")
    bench.step()
    assert bench.taken() == b"data"


# -- what can't be seen, or not yet -------------------------------------------------------------


def test_a_touch_that_another_master_took_away_is_looked_for(bench: Bench) -> None:
    """It may have served its own snapshot, not ours."""
    path = bench.path("a.csv")
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.run(1)
    os.unlink(notify_path(path))
    bench.run(15)
    bench.write("a.csv", b"+two")
    ns = bench.touch("a.csv", hint=False)
    os.unlink(notify_path(path))
    assert not bench.intake.is_touch_served(path, ns)
    bench.run(1)
    assert bench.taken() == b"one+two"
    assert bench.intake.is_touch_served(path, ns)
    bench.forget()
    bench.run(30)
    assert not bench.looks  # once is enough


def test_a_renamed_file_does_not_wait_for_its_second_look(bench: Bench) -> None:
    """Where stamps are coarse that is 2 s away: time enough for the next rotation."""
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    path = bench.path("a.csv")
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    for content in (b"two", b"three"):
        os.rename(path, f"{path}.{content.decode()}")
        bench.write("a.csv", content)
        bench.intake.hint(path, complete=True, gone=True)  # renamed, written anew, closed
        bench.step()
        assert bench.taken() == content
    bench.forget()
    bench.write("a.csv", b" and more")
    assert not bench.intake.hint(path)  # its .notify will tell
    bench.intake.hint(path, gone=True)  # by now another, or the same again
    bench.step()
    assert not bench.looks


def test_where_stamps_are_coarse_a_stop_leaves_a_touch_that_may_hide_another(bench: Bench) -> None:
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    bench.intake.remove_served_touches()
    assert os.path.exists(notify_path(bench.path("a.csv")))
    bench.run(5)
    bench.intake.remove_served_touches()
    assert not os.path.exists(notify_path(bench.path("a.csv")))
