"""A connection that is slow, silent or broken: what its jobs hear of it, and when it is dead."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.errors import LinkLost
from pysubtask.subtask.delivery.engine import (
    BULK,
    SMALL,
    URGENT,
    Job,
    call,
)
from pysubtask.transports.contract import Stat, Write
from tests.unit.engine_fakes import Bench, fixed_window


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- deadlines ---------------------------------------------------------------------------------


def test_a_transport_may_ask_to_be_called(bench: Bench) -> None:
    """Else what it holds back would wait until an acknowledgement is overdue."""
    bench.spawn(bench.asking("a"))
    overdue = bench.engine.run()
    bench.line.due_at = bench.clock.now + 5
    assert bench.engine.run() == bench.clock.now + 5
    bench.line.due_at = math.inf
    assert bench.engine.run() == overdue


def test_nothing_awaited_no_deadline(bench: Bench) -> None:
    bench.clock.advance(10_000)
    assert bench.engine.run() is None


def test_a_link_without_any_answer_is_dead_after_the_time_allowed(bench: Bench) -> None:
    bench.clock.advance(5000)  # an idle connection is none that does not answer
    bench.spawn(bench.asking("a"))
    began = bench.clock.now
    due = bench.engine.run()
    assert due is not None
    assert began + 60 <= due < began + 61
    bench.clock.now = due - 0.01
    assert bench.engine.run() == due
    bench.clock.now = due
    with pytest.raises(LinkLost, match="no acknowledgement for 60 s"):
        bench.engine.run()


def test_the_bytes_in_flight_are_given_their_time() -> None:
    """A KiB a second: the slowest link that is not yet a dead one."""
    bench = Bench(fixed_window(60_000))
    bench.spawn(bench.writing("a", [50_000]))
    due = bench.engine.run()
    assert due == pytest.approx(bench.clock.now + 60 + 50_128 / 1024)


def test_progress_postpones_the_deadline(bench: Bench) -> None:
    bench.spawn(bench.writing("a", [100] * 5))
    bench.engine.run()
    for _ in range(4):
        bench.clock.advance(50)
        bench.line.answer("a")
        due = bench.engine.run()
        assert due is not None
        assert due > bench.clock.now + 60
    bench.clock.advance(62)
    with pytest.raises(LinkLost, match="no acknowledgement"):
        bench.engine.run()


def test_one_request_that_is_never_answered_among_many_that_are(bench: Bench) -> None:
    """A stuck worker of a server: its file would wait for ever, and its bytes fill the window."""
    bench.spawn(bench.asking("stuck"))
    bench.spawn(bench.asking(*"x" * 100))
    began = bench.clock.now
    bench.engine.run()

    def go_on() -> None:
        for _ in range(100):
            bench.clock.advance(10)
            bench.line.answer("x")
            bench.engine.run()

    with pytest.raises(LinkLost, match="no acknowledgement"):
        go_on()
    assert 600 <= bench.clock.now - began < 620


# -- a connection that breaks ------------------------------------------------------------------


def test_what_arrives_together_with_the_break_reaches_the_jobs_first(bench: Bench) -> None:
    """What was acknowledged need not be sent again (promise 4)."""
    bench.spawn(bench.asking("a", "next"))
    bench.spawn(bench.asking("b"))
    bench.engine.run()
    bench.line.answer("b", b"2")
    bench.line.answer("a", b"1")
    bench.line.breaks = True
    with pytest.raises(LinkLost, match="hung up"):
        bench.engine.run()
    assert bench.log == [("b", b"2"), ("a", b"1")]
    assert bench.ends == [None]  # b's job is done, and nothing of it is in doubt
    assert "next" not in bench.line.paths()


def test_a_break_while_sending(bench: Bench) -> None:
    bench.line.broken_for_sending = True
    bench.spawn(bench.asking("a"))
    with pytest.raises(LinkLost):
        bench.engine.run()
    bench.engine.abandon()
    assert bench.engine.jobs == 0
    assert bench.ends == []


def test_an_answer_that_nobody_asked_for_is_a_broken_connection(bench: Bench) -> None:
    bench.line.answers.append((99, None))
    with pytest.raises(LinkLost, match="never sent"):
        bench.engine.run()


def test_a_second_answer_to_one_request_too(bench: Bench) -> None:
    bench.spawn(bench.asking("a"))
    bench.engine.run()
    bench.line.answer("a")
    bench.line.answers.append(bench.line.answers[0])
    with pytest.raises(LinkLost, match="never sent"):
        bench.engine.run()
    assert bench.log == [("a", None)]


def test_abandoned_jobs_are_closed_and_nobody_is_told(bench: Bench) -> None:
    """They end where they are; what they hold open is closed there."""
    closed: list[str] = []

    def job(name: str) -> Job:
        try:
            yield from call(Stat(name))
        finally:
            closed.append(name)

    bench.spawn(job("a"))
    bench.spawn(job("b"))
    bench.engine.run()
    bench.spawn(job("never begun"))
    bench.engine.abandon()
    assert sorted(closed) == ["a", "b"]
    assert bench.ends == []
    assert bench.engine.jobs == 0
    bench.engine.abandon()


# -- whatever the order ------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from([URGENT, SMALL, BULK]), st.lists(st.integers(0, 3000),
                  max_size=6)), min_size=1, max_size=8
    ),
    st.integers(1, 6000),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_every_job_ends_and_hears_everything_once(
    jobs: list[tuple[int, list[int]]], limit_bytes: int, rng: object
) -> None:
    """Whatever the window, the priorities and the order of the answers."""
    bench = Bench(fixed_window(limit_bytes))
    for n, (priority, sizes) in enumerate(jobs):
        bench.spawn(bench.writing(str(n), sizes), priority)
    bench.engine.run()
    while open_requests := sorted(set(bench.line.sent) - bench.line.answered):
        weight = sum(128 + len(r.data) for t, r in bench.line.sent.items()
                     if t in open_requests and isinstance(r, Write))  # fmt: skip
        assert weight == bench.window.in_flight_bytes
        assert len(open_requests) == 1 or weight <= bench.window.limit_bytes
        ticket = rng.choice(open_requests)  # type: ignore[attr-defined]
        bench.line.answer(bench.line.sent[ticket].path)
        bench.engine.run()
    assert bench.ends == [None] * len(jobs)
    assert sorted(bench.log, key=str) == sorted(bench.line.sent, key=str)
    assert bench.engine.acked_bytes == sum(sum(sizes) for _, sizes in jobs)


# -- turns -------------------------------------------------------------------------------------


def test_no_answer_is_lost_when_a_turn_ends_in_the_middle_of_them(bench: Bench) -> None:
    """Between two turns new offers, and a stop, are seen; what has arrived is heard as well."""
    for name in "abcdef":
        bench.spawn(bench.asking(name))
    bench.engine.run()
    assert not bench.engine.has_more
    for name in "abcdef":
        bench.line.answer(name)
    bench.clock.reading_takes_secs = 0.03  # a busy machine: a turn is two looks at the clock
    turns = 0
    while bench.engine.jobs:
        bench.engine.run()
        turns += 1
        assert turns < 20
    assert turns > 1
    assert bench.log == [(name, None) for name in "abcdef"]
    assert bench.ends == [None] * 6


def test_a_turn_ends_though_there_is_always_more_to_do(bench: Bench) -> None:
    def endless() -> Job:
        while True:
            bench.clock.advance(0.001)
            yield None

    bench.spawn(endless())
    began = bench.clock.now
    bench.engine.run()
    assert bench.engine.has_more
    assert 0.05 <= bench.clock.now - began < 0.06
    bench.engine.abandon()
