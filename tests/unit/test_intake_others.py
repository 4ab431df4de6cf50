"""Two subtasks on one file: a ``.notify`` that another one served and removed hides no touch."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pysubtask.signals import blank_mark, make_blank_notify, notify_path
from tests.unit.intake_fakes import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    make_blank_notify(notify_path(bench.path("a.csv")))
    bench.step()
    assert not bench.looks
    return bench


def served_by_another(bench: Bench, *, made_anew: bool) -> None:
    """The file changes, is touched, and another subtask serves that and stops; its master may
    have started again since."""
    bench.write("a.csv", b"x")
    bench.touch("a.csv", hint=False)
    os.unlink(notify_path(bench.path("a.csv")))
    if made_anew:
        time.sleep(0.02)  # longer than the tick of the clock that stamps files
        make_blank_notify(notify_path(bench.path("a.csv")))


@pytest.mark.parametrize("made_anew", [False, True])
def test_while_we_were_busy(bench: Bench, made_anew: bool) -> None:
    served_by_another(bench, made_anew=made_anew)
    bench.run(20)
    assert bench.taken() == b"x"
    bench.forget()
    bench.run(20)
    assert not bench.looks


@pytest.mark.parametrize("made_anew", [False, True])
def test_while_we_were_away(bench: Bench, made_anew: bool) -> None:
    served_by_another(bench, made_anew=made_anew)
    bench.open()
    bench.run(20)
    assert bench.taken() == b"x"
    bench.forget()
    bench.open()
    bench.run(20)
    assert not bench.looks


@pytest.mark.parametrize("made_anew", [False, True])
def test_after_a_touch_that_we_had_seen(bench: Bench, made_anew: bool) -> None:
    bench.write("a.csv", b"y")
    bench.touch("a.csv")
    bench.run(20)
    bench.forget()
    served_by_another(bench, made_anew=made_anew)
    bench.run(20)
    assert bench.taken() == b"yx"


def test_a_blank_one_that_nobody_touched_asks_for_nothing(bench: Bench) -> None:
    bench.write("a.csv", b"x")
    for _ in range(3):
        bench.open()
        bench.run(10)
    assert not bench.looks
    os.unlink(bench.layout.blanks)
    bench.open()
    bench.run(10)
    assert not bench.looks


def test_notes_that_are_damaged_are_no_harm(bench: Bench) -> None:
    for text in ("", "[1]", '{"a": "b"}', "{"):
        Path(bench.layout.blanks).write_text(text)
        bench.open()
        bench.run(20)
    assert not bench.looks


@pytest.mark.parametrize("touched_before", [False, True])
@pytest.mark.parametrize("made_anew", [False, True])
def test_before_the_first_look(tmp_path: Path, touched_before: bool, made_anew: bool) -> None:
    bench = Bench(tmp_path)
    notify = notify_path(bench.path("a.csv"))
    make_blank_notify(notify)
    if touched_before:
        os.utime(notify)
    seen = {bench.path("a.csv"): blank_mark(notify)}
    served_by_another(bench, made_anew=made_anew)
    bench.open(seen)
    bench.run(20)
    assert bench.taken() == b"x"
    bench.forget()
    bench.open(seen)  # it crashed, and its master tells again what it saw first
    bench.run(20)
    bench.forget()
    bench.run(20)
    assert not bench.looks


@pytest.mark.parametrize("touched", [False, True])
def test_what_the_master_saw_is_still_so(tmp_path: Path, touched: bool) -> None:
    bench = Bench(tmp_path)
    notify = notify_path(bench.path("a.csv"))
    bench.write("a.csv", b"x")
    make_blank_notify(notify)
    if touched:
        os.utime(notify)
    bench.open({bench.path("a.csv"): blank_mark(notify)})
    bench.run(20)
    assert bool(bench.looks) == touched


def test_where_the_master_could_make_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("a.csv", b"x")
    mark = blank_mark(notify_path(bench.path("a.csv")))
    assert mark is None
    bench.open({bench.path("a.csv"): mark})
    bench.run(20)
    assert not bench.looks


def test_a_touch_between_one_that_vanished_and_a_blank_one(bench: Bench) -> None:
    notify = notify_path(bench.path("a.csv"))
    os.unlink(notify)
    bench.run(20)
    bench.forget()
    served_by_another(bench, made_anew=True)
    bench.run(20)
    assert bench.taken() == b"x"


def test_one_that_is_just_being_made_is_read_again(tmp_path: Path) -> None:
    """``make_blank_notify`` gives it two names for a moment."""
    bench = Bench(tmp_path)
    notify = notify_path(bench.path("a.csv"))
    make_blank_notify(notify)
    seen = {bench.path("a.csv"): blank_mark(notify)}
    served_by_another(bench, made_anew=True)
    os.link(notify, notify + "2")
    bench.open(seen)
    bench.run(5)
    os.unlink(notify + "2")
    bench.run(20)
    assert bench.taken() == b"x"


@pytest.mark.parametrize("burstmode", [False, True])
def test_in_a_folder_a_blank_one_that_comes_and_goes_is_forgotten(
    tmp_path: Path, burstmode: bool
) -> None:
    bench = Bench(tmp_path, burstmode=burstmode)
    path = bench.path("outgoing/a.dat")
    bench.write("outgoing/a.dat", b"x")
    bench.run(5)
    bench.touch("outgoing/a.dat")
    for change in (os.unlink, make_blank_notify, os.unlink):
        bench.run(20)
        change(notify_path(path))
        bench.intake.hint(notify_path(path))
    bench.run(40)
    bench.forget()
    assert bench.intake.is_settled(path)
    bench.run(20)
    assert not bench.looks
