"""Which touch makes a look due, when it is repeated, and when it counts as served (promise 2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.core.ticks import COARSE_TICK_SECS, FINE_TICK_SECS
from pysubtask.signals import make_blank_notify, notify_path
from pysubtask.subtask.intake.facts import Outcome
from tests.unit.intake_fakes import TIMER_SECS, Bench

SECOND = 1_000_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.step()
    return bench


# -- touches -----------------------------------------------------------------------------------


def test_a_declared_file_waits_for_its_first_touch(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.intake.hint(bench.path("a.csv"))
    bench.run(60)
    assert bench.looks == []
    assert bench.taken() is None


def test_a_touch_is_served_at_once(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    bench.step()
    assert bench.taken() == b"data"
    assert bench.ready == ["a.csv"]
    (look,) = bench.looks
    assert look.touch is not None


def test_without_events_the_timer_finds_it(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv", hint=False)
    assert bench.step() == bench.clock.now + TIMER_SECS
    assert bench.looks == []
    bench.run(TIMER_SECS)
    assert bench.taken() == b"data"


def test_a_touch_that_is_older_than_the_one_served_counts(bench: Bench) -> None:
    """It differs: never "is newer" (the clock may have been set back)."""
    bench.touch("a.csv")
    bench.run(5)
    bench.forget()
    bench.write("a.csv", b"data")
    os.utime(notify_path(bench.path("a.csv")), ns=(SECOND * 10**9, SECOND * 10**9 + 5))
    bench.intake.hint(notify_path(bench.path("a.csv")))
    bench.step()
    assert bench.taken() == b"data"


def test_a_touch_of_the_same_time_differs_in_its_ctime(bench: Bench) -> None:
    ns = bench.touch("a.csv")
    bench.run(5)
    bench.write("a.csv", b"data")
    os.utime(notify_path(bench.path("a.csv")), ns=(ns, ns))
    bench.intake.hint(notify_path(bench.path("a.csv")))
    bench.step()
    assert bench.taken() == b"data"


def test_a_notify_that_vanishes_counts_as_a_touch(bench: Bench) -> None:
    bench.touch("a.csv")
    bench.run(5)
    bench.forget()
    bench.write("a.csv", b"data")
    os.unlink(notify_path(bench.path("a.csv")))
    bench.run(TIMER_SECS)
    assert bench.taken() == b"data"
    bench.forget()
    bench.run(60)
    assert bench.looks == []


def test_a_notify_that_was_made_and_not_touched_is_none(bench: Bench) -> None:
    """``start()`` makes them, so that a touch needs no space later."""
    bench.write("a.csv", b"data")
    make_blank_notify(notify_path(bench.path("a.csv")))
    bench.run(60)
    assert bench.looks == []
    bench.touch("a.csv")
    bench.step()
    assert bench.taken() == b"data"


def test_each_touch_has_its_look_and_those_that_come_meanwhile_share_one(bench: Bench) -> None:
    bench.write("a.csv", b"1")
    bench.touch("a.csv")
    bench.touch("a.csv")
    bench.step()
    bench.write("a.csv", b"2")
    bench.touch("a.csv")
    bench.step()
    assert bench.names() == ["a.csv"] * 2
    assert bench.taken() == b"12"


def test_a_touch_for_a_file_that_is_not_there_is_served(bench: Bench) -> None:
    ns = bench.touch("a.csv")
    bench.run(1)
    assert bench.intake.is_touch_served(bench.path("a.csv"), ns)
    assert bench.intake.errors() == {}


# -- touches in the state folder ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "outgoing/b.csv", "outgoing/\udcff.csv"])
@pytest.mark.parametrize("event", [True, False])
def test_a_touch_in_the_state_folder(bench: Bench, name: str, event: bool) -> None:
    """Where none can lie beside the file (read-only folder, name too long)."""
    bench.write(name, b"data")
    ns = bench.touch_fallback(name)
    if event:
        bench.intake.hint(bench.layout.fallback_notify_path(bench.path(name)))
        bench.step()
    else:
        bench.run(TIMER_SECS)
    assert bench.taken(name) == b"data"
    bench.run(1)
    assert bench.intake.is_touch_served(bench.path(name), ns)


def test_both_places_count(bench: Bench) -> None:
    for n in range(4):
        bench.write("a.csv", b"%d" % n)
        if n % 2:
            bench.touch_fallback("a.csv")
        else:
            bench.touch("a.csv")
        bench.intake.hint(None)
        bench.step()
        assert bench.taken() == b"0123"[: n + 1]


@pytest.mark.parametrize("content", [b"", b"/nobody/watches/this.csv", b"\xff\x00"])
def test_rubbish_in_the_state_folder_is_passed_over(bench: Bench, content: bytes) -> None:
    (Path(bench.layout.notify_dir) / "0123.notify").write_bytes(content)
    bench.intake.hint(bench.layout.notify_dir + "/0123.notify")
    bench.run(TIMER_SECS)
    assert bench.looks == []


def test_blank_in_both_places_is_no_touch(bench: Bench) -> None:
    """The folder was read-only at an earlier start, and is not any more."""
    bench.write("a.csv", b"data")
    path = bench.path("a.csv")
    make_blank_notify(notify_path(path))
    make_blank_notify(bench.layout.fallback_notify_path(path), content=os.fsencode(path))
    bench.run(TIMER_SECS)
    assert bench.looks == []


# -- the second look ---------------------------------------------------------------------------


def test_one_more_look_when_the_first_came_within_a_tick(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    bench.step()
    began = bench.clock.now
    bench.run(60)
    first, second = (look.at for look in bench.looks)
    assert first == began
    assert FINE_TICK_SECS < second - began < FINE_TICK_SECS + 0.01


def test_a_second_touch_with_the_stamp_of_the_first_is_not_lost(bench: Bench) -> None:
    """FAT keeps 2 s: a program that writes and notifies twice within them (promise 2)."""
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    assert bench.taken() == b"one"
    bench.clock.advance(0.5)
    bench.write("a.csv", b"+two")
    bench.touch("a.csv")
    bench.step()
    bench.run(COARSE_TICK_SECS + 0.1)
    assert bench.taken() == b"one+two"


def test_a_rewrite_of_the_same_size_within_a_tick_is_not_lost(bench: Bench) -> None:
    """Nothing in the stamps or the size tells: only the second look does."""
    bench.disk.stamp_ns = int(bench.clock.time() // 2 * 2) * SECOND
    bench.write("a.csv", b"one")
    bench.touch("a.csv")
    bench.step()
    bench.write("a.csv", b"ONE", "wb")
    bench.touch("a.csv")
    bench.run(COARSE_TICK_SECS + 2.2)
    assert bench.taken() == b"ONE"


def test_rest_costs_no_looks(bench: Bench) -> None:
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    bench.run(10)
    bench.forget()
    bench.disk.read_bytes = 0
    bench.run(3600)
    assert bench.looks == []
    assert bench.disk.read_bytes == 0


# -- looks that fail ---------------------------------------------------------------------------


def test_a_look_that_fails_is_repeated_ever_more_slowly_and_says_why(bench: Bench) -> None:
    error = PermissionError(13, "Permission denied")
    bench.answer = lambda target: Outcome("failed", error)
    bench.touch("a.csv")
    began = bench.clock.now
    bench.run(120)
    assert [look.at - began for look in bench.looks] == [0, 3, 9, 21, 45, 93]
    assert all(look.touch is not None for look in bench.looks)
    assert bench.intake.error_of(bench.path("a.csv")) == "Permission denied"
    assert bench.intake.waits_for_look(bench.path("a.csv"))
    assert bench.ready == []
    bench.answer = lambda target: None
    bench.write("a.csv", b"data")
    bench.run(100)
    assert bench.taken() == b"data"
    assert bench.intake.errors() == {}
    assert bench.ready
    assert not bench.intake.waits_for_look(bench.path("a.csv"))


def test_a_touch_hurries_a_look_that_failed(bench: Bench) -> None:
    bench.answer = lambda target: Outcome("failed", OSError(5, "Input/output error"))
    bench.touch("a.csv")
    bench.run(20)
    bench.forget()
    bench.touch("a.csv")
    bench.step()
    assert bench.names() == ["a.csv"]


def test_one_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path, files=("a.csv", "b.csv"))
    bench.answer = lambda target: (
        Outcome("failed", OSError(5, "broken")) if target.path.endswith("a.csv") else None
    )
    bench.write("b.csv", b"data")
    bench.touch("a.csv")
    bench.touch("b.csv")
    bench.step()
    assert bench.taken("b.csv") == b"data"
    assert list(bench.intake.errors()) == [bench.path("a.csv")]


def test_a_look_that_raises_comes_again(bench: Bench) -> None:
    def fail(target: object) -> Outcome:
        raise ZeroDivisionError

    bench.answer = fail
    bench.write("a.csv", b"data")
    bench.touch("a.csv")
    with pytest.raises(ZeroDivisionError):
        bench.step()
    bench.answer = lambda target: None
    bench.run(3.1)
    assert bench.taken() == b"data"
    assert bench.looks[-1].touch is not None


def test_a_file_that_is_being_written_is_looked_at_soon_again_and_at_last_taken(
    bench: Bench,
) -> None:
    bench.answer = lambda target: Outcome("unstable")
    bench.touch("a.csv")
    began = bench.clock.now
    bench.run(12.5)
    ats = [round(look.at - began, 3) for look in bench.looks]
    assert ats[:5] == [0, 0.2, 0.7, 1.7, 2.7]
    assert [look.final for look in bench.looks] == [at >= 10 for at in ats]
    assert any(look.final for look in bench.looks)
