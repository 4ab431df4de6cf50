"""When a source is looked at, and how changes are heard of."""

from __future__ import annotations

import logging
import math
import threading
import time

import pytest

from pysubtask.errors import LinkLost
from pysubtask.settings import Settings
from pysubtask.subtask.pull.pace import Pace
from pysubtask.subtask.pull.watching import ChangeWatch

LOG = logging.getLogger("test")


class Waiter:
    """Waits until it is told what to answer; its close() does not end that."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.waits = 0
        self.answers: list[bool | Exception] = []
        self.closed = False

    def answer(self, *answers: bool | Exception) -> None:
        self.answers += answers
        self.answered.set()

    def wait(self) -> bool:
        self.waits += 1
        if not self.answers:
            self.answered.clear()
            assert self.answered.wait(30)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


class Bench:
    """A pace, and what wakes its thread."""

    def __init__(self, **settings: float) -> None:
        self.woken = threading.Event()
        self.changes = ChangeWatch("x://y", self.woken.set, LOG)
        self.pace = Pace(Settings(**settings), self.changes)  # type: ignore[arg-type]

    def round(self, now: float, waiter: Waiter | None = None, *, new: bool = False) -> bool:
        self.pace.begin_round(now)
        return self.pace.end_round(now, found_new=new, make_waiter=lambda: waiter)

    def hear(self, now: float) -> None:
        assert self.woken.wait(10)
        self.woken.clear()
        self.pace.hear(now, in_round=False)


def test_looks_become_rarer_while_nothing_is_new() -> None:
    bench = Bench(pull_interval_secs=10, pull_max_interval_secs=30)
    waits = []
    for new in (False, False, False, False, True, False):
        assert bench.round(100.0, new=new)
        waits.append(bench.pace.next_look - 100)
    assert waits == [15, 22.5, 30, 30, 10, 15]


def test_what_settles_keeps_a_round_open_and_what_was_refused_does_not() -> None:
    bench = Bench(pull_interval_secs=10)
    bench.pace.begin_round(100.0)
    bench.pace.retry(103.0)
    assert bench.pace.end_round(100.0, found_new=False, make_waiter=lambda: None)
    assert bench.pace.next_look == 103.0
    bench.pace.begin_round(103.0)
    bench.pace.retry(109.0)
    bench.pace.settle("a", 105.0)
    assert not bench.pace.end_round(103.0, found_new=False, make_waiter=lambda: None)
    assert bench.pace.next_look == 105.0
    assert bench.pace.unsettled == {"a"}
    bench.pace.begin_round(105.0)
    assert not bench.pace.unsettled


def test_nothing_is_polled_while_somebody_waits() -> None:
    bench, waiter = Bench(pull_interval_secs=10, dead_time_milli=60_000), Waiter()
    bench.round(100.0, waiter)
    assert bench.pace.next_look == 100 + 3600
    assert bench.pace.rest_at(100.0) == 160.0
    waiter.answer(False, True)
    bench.hear(100.4)
    assert waiter.waits == 2
    assert bench.pace.next_look == 101.0  # a second after the last look
    bench.round(101.0, None)
    assert bench.pace.next_look == 111 + 5
    assert bench.pace.rest_at(101.0) == math.inf


def test_a_change_that_is_heard_of_in_a_round_is_looked_at_after_it() -> None:
    bench, waiter = Bench(pull_interval_secs=10), Waiter()
    bench.round(100.0, waiter)
    bench.pace.begin_round(200.0)
    waiter.answer(True)
    assert bench.woken.wait(10)
    bench.pace.hear(200.1, in_round=True)
    later = Waiter()
    bench.pace.end_round(205.0, found_new=True, make_waiter=lambda: later)
    assert bench.pace.next_look == 205.0
    assert later.waits == 0


def test_whoever_waits_goes_on_over_rounds() -> None:
    bench, waiter, later = Bench(), Waiter(), Waiter()
    bench.round(100.0, waiter)
    bench.round(110.0, later)
    assert later.waits == 0
    waiter.answer(True)
    bench.hear(111.0)
    assert bench.pace.next_look == 111.0


def test_failures_fall_back_to_looking_until_there_is_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench, waiter = Bench(pull_interval_secs=10, pull_max_interval_secs=10), Waiter()
    bench.round(100.0, waiter)
    for now in (130.0, 150.0):
        waiter.answer(LinkLost("it broke"))
        bench.hear(now)
        assert bench.pace.next_look <= now + 10
        waiter = Waiter()
        bench.round(now + 10, waiter)
        assert bench.pace.next_look == now + 20  # not trusted yet
    assert caplog.text.count("it broke; looking instead") == 1
    waiter.answer(False)
    deadline = time.monotonic() + 10
    while waiter.waits < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    bench.round(170.0, Waiter())
    assert bench.pace.next_look == 170 + 3600
    waiter.answer(True)


def test_it_is_closed_at_once_whatever_waits() -> None:
    bench, waiter = Bench(), Waiter()
    bench.round(100.0, waiter)
    began = time.monotonic()
    bench.changes.close()
    assert time.monotonic() - began < 1
    assert waiter.closed
    waiter.answer(True)
    bench.round(110.0, Waiter())
    assert bench.changes.take() is None
    assert not bench.changes.is_trusted
