"""Files that change all the time share the looks; who waits for one does not wait for a turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from pysubtask.subtask.intake.facts import Outcome
from pysubtask.subtask.intake.target import Target
from tests.unit.intake_fakes import Bench

NAMES = tuple(f"{number}.csv" for number in range(40))
LOOK_SECS = 0.001


def _busy(tmp_path: Path, growth: str = "append", *, hold_looks: bool = False) -> Bench:
    """40 files that have just been looked at; a look takes a millisecond, so a turn comes every
    20 ms."""
    bench = Bench(tmp_path, files=NAMES, growth=growth, hold_looks=hold_looks)

    def look(target: Target) -> Outcome | None:
        bench.clock.now += LOOK_SECS
        return None

    bench.answer = look
    bench.step()
    for _ in range(8):  # so that what a look takes is known
        for name in NAMES:
            bench.write(name, b"one line\n")
            bench.touch(name)
        bench.run(1.5)
    _notify_all(bench)
    bench.run(0.2)
    bench.forget()
    return bench


def _notify_all(bench: Bench) -> None:
    for name in NAMES:
        bench.write(name, b"one line more\n")
        bench.touch(name)


def test_many_notifies_are_looked_at_by_turns(tmp_path: Path) -> None:
    bench = _busy(tmp_path)
    for _ in range(20):
        _notify_all(bench)
        bench.run(0.1)
    assert 0.3 < len(bench.looks) * LOOK_SECS * 10 < 1.3  # 5 % of two seconds, of 40 % without
    bench.run(2.0)
    assert {name: bench.taken(name) for name in NAMES} == {
        name: (bench.folder / name).read_bytes() for name in NAMES
    }


@pytest.mark.parametrize(
    ("growth", "hold_looks"),
    [
        pytest.param("auto", False, id="a snapshot is a copy"),
        pytest.param("rewrite", False, id="a snapshot is the whole file"),
        pytest.param("append", True, id="a look is a hook of the user's"),
    ],
)
def test_where_a_look_must_come_soon_it_does(tmp_path: Path, growth: str, hold_looks: bool) -> None:
    bench = _busy(tmp_path, growth, hold_looks=hold_looks)
    _notify_all(bench)
    bench.step()
    assert set(bench.names()) == set(NAMES)


def test_whoever_waits_for_a_snapshot_has_it_at_once(tmp_path: Path) -> None:
    bench = _busy(tmp_path)
    _notify_all(bench)
    ns = bench.touch(NAMES[-1])
    bench.step()
    last = bench.path(NAMES[-1])
    assert len(bench.looks) < 20
    assert bench.intake.waits_for_look(last)
    assert not bench.intake.is_touch_served(last, ns)
    bench.step()
    assert bench.intake.is_touch_served(last, ns)
    assert bench.taken(NAMES[-1]) == (bench.folder / NAMES[-1]).read_bytes()


def test_a_flush_looks_at_all_of_them_at_once(tmp_path: Path) -> None:
    bench = _busy(tmp_path)
    _notify_all(bench)
    bench.step()
    began = bench.clock.now
    bench.intake.release_all(began)
    looked = bench.intake.look_at_all(began)
    bench.step()
    assert looked()
    assert bench.clock.now - began < 0.1


def test_a_turn_is_booked_once(tmp_path: Path) -> None:
    """However often a file is notified while it waits, it takes one place in the row."""
    bench = _busy(tmp_path)
    for _ in range(50):
        _notify_all(bench)
        bench.step()
    bench.forget()
    bench.run(1.0)
    assert len(set(bench.names())) == len(NAMES)


def test_what_was_quiet_for_a_second_is_looked_at_at_once(tmp_path: Path) -> None:
    bench = _busy(tmp_path)
    bench.run(1.5)
    bench.forget()
    _notify_all(bench)
    bench.step()
    assert set(bench.names()) == set(NAMES)
