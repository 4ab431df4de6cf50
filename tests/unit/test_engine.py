"""Many jobs over one connection: who sends when, and who hears what."""

from __future__ import annotations

import pytest

from pysubtask.errors import RemoteDenied, RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import (
    BULK,
    SMALL,
    URGENT,
    Answers,
    Job,
    Send,
    Wait,
    call,
    flight,
)
from pysubtask.transports.contract import Read, Stat, Write
from tests.unit.engine_fakes import Bench, fixed_window


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- jobs --------------------------------------------------------------------------------------


def test_a_job_hears_the_answer_to_its_question(bench: Bench) -> None:
    bench.spawn(bench.asking("a", "b"))
    bench.engine.run()
    assert bench.line.paths() == ["a"]
    bench.line.answer("a", b"1")
    bench.engine.run()
    assert bench.line.paths() == ["a", "b"]
    assert bench.engine.jobs == 1
    bench.line.answer("b", b"2")
    assert bench.engine.run() is None
    assert bench.log == [("a", b"1"), ("b", b"2")]
    assert bench.ends == [None]
    assert bench.engine.jobs == 0


def test_jobs_share_the_line(bench: Bench) -> None:
    for name in "abc":
        bench.spawn(bench.asking(name + "1", name + "2"))
    bench.engine.run()
    assert bench.line.paths() == ["a1", "b1", "c1"]
    for name in "ca":
        bench.line.answer(name + "1", name.encode())
    bench.engine.run()
    assert bench.line.paths() == ["a1", "b1", "c1", "c2", "a2"]
    assert bench.log == [("c1", b"c"), ("a1", b"a")]


def test_requests_of_a_flight_leave_together_and_may_be_answered_in_any_order(
    bench: Bench,
) -> None:
    def job() -> Job:
        results = yield from flight(Stat("a"), Stat("b"), Stat("c"))
        bench.log.append(results)

    bench.spawn(job())
    bench.engine.run()
    assert bench.line.paths() == ["a", "b", "c"]
    refused = RemoteDenied("no")
    bench.line.answer("c", b"3")
    bench.line.answer("b", refused)
    bench.engine.run()
    assert bench.log == []
    bench.line.answer("a", b"1")
    bench.engine.run()
    assert bench.log == [[b"1", refused, b"3"]]
    assert bench.ends == [None]


def test_a_job_that_is_ended_can_see_what_has_come(bench: Bench) -> None:
    """While it waits for another answer."""

    def job() -> Job:
        answers = yield Answers()
        first = yield Send(Stat("a"))
        second = yield Send(Stat("b"))
        try:
            yield Wait(second)
        finally:
            bench.log.append((answers.get(first), second in answers))

    bench.spawn(job())
    bench.engine.run()
    bench.line.answer("a", b"1")
    bench.engine.run()
    bench.line.answer("b", RemoteDenied("no"))
    bench.engine.run()
    assert bench.log == [(b"1", False)]


def test_a_refusal_is_raised_in_the_job_which_may_go_on(bench: Bench) -> None:
    def job() -> Job:
        try:
            yield from call(Stat("a"))
        except RemoteNotFound as error:
            bench.log.append(error.message)
        yield from bench.asking("b")

    bench.spawn(job())
    bench.engine.run()
    bench.line.answer("a", RemoteNotFound("nothing there"))
    bench.engine.run()
    bench.line.answer("b", b"2")
    bench.engine.run()
    assert bench.log == ["nothing there", ("b", b"2")]
    assert bench.ends == [None]


@pytest.mark.parametrize("error", [RemoteDenied("no"), OSError(5, "Input/output error")])
def test_a_job_that_ends_with_an_error_harms_no_other(bench: Bench, error: Exception) -> None:
    def job() -> Job:
        yield None
        raise error

    bench.spawn(job())
    bench.spawn(bench.asking("a"))
    bench.engine.run()
    assert bench.ends == [error]
    assert bench.engine.jobs == 1
    bench.line.answer("a")
    bench.engine.run()
    assert bench.ends == [error, None]


def test_a_mistake_in_a_job_is_not_hidden(bench: Bench) -> None:
    """It ends the process, and the master starts another."""

    def job() -> Job:
        yield None
        raise ZeroDivisionError

    bench.spawn(job())
    with pytest.raises(ZeroDivisionError):
        bench.engine.run()
    bench.engine.abandon()
    assert bench.ends == []


def test_a_pause_lets_the_others_run(bench: Bench) -> None:
    def long() -> Job:
        for n in range(3):
            bench.log.append(n)
            yield None

    bench.spawn(long())
    bench.spawn(long())
    bench.engine.run()
    assert bench.log == [0, 0, 1, 1, 2, 2]
    assert bench.ends == [None, None]


def test_a_job_spawned_by_the_end_of_another_runs_at_once(bench: Bench) -> None:
    bench.engine.spawn(
        bench.asking(), priority=SMALL, done=lambda error: bench.spawn(bench.asking("next"))
    )
    bench.engine.run()
    assert bench.line.paths() == ["next"]


def test_answers_to_a_job_that_is_gone_are_passed_over_but_counted(bench: Bench) -> None:
    def job() -> Job:
        yield Send(Write("a", 0, b"12345"))
        yield Send(Stat("b"))
        raise RemoteError("changed its mind")

    bench.spawn(job())
    bench.engine.run()
    assert len(bench.ends) == 1
    assert bench.window.in_flight_bytes > 5
    bench.line.answer("b")
    bench.line.answer("a")
    assert bench.engine.run() is None
    assert bench.window.in_flight_bytes == 0
    assert bench.engine.acked_bytes == bench.engine.sent_bytes == 5


# -- the window --------------------------------------------------------------------------------


def test_writes_are_pipelined_as_far_as_the_window_reaches() -> None:
    bench = Bench(fixed_window(10_000))
    bench.spawn(bench.writing("a", [2000] * 8), BULK)
    bench.engine.run()
    assert len(bench.line.sent) == 4  # 4 × (2000 + 128); a fifth would be 10,640
    bench.line.answer("a")
    bench.engine.run()
    assert len(bench.line.sent) > 4
    assert bench.log == []  # the job goes on sending before it waits
    while bench.line.answered != set(bench.line.sent):
        bench.line.answer("a")
        bench.engine.run()
    assert bench.log == list(range(1, 9))
    assert bench.ends == [None]
    assert bench.engine.acked_bytes == 16_000


def test_nothing_is_sent_behind_what_was_refused() -> None:
    """All of it would have to be sent again: the file has a hole where that write belongs."""
    bench = Bench(fixed_window(3 * 2128))

    def job() -> Job:
        for n in range(8):
            yield Send(Write("a", n * 2000, bytes(2000)), unless_refused=True)

    bench.spawn(job(), BULK)
    bench.engine.run()
    bench.line.answer("a", RemoteDenied("no"))
    bench.engine.run()
    assert len(bench.line.sent) == 3
    assert [type(end) for end in bench.ends] == [RemoteDenied]


def test_a_request_larger_than_the_window_leaves_alone() -> None:
    bench = Bench(fixed_window(1000))
    bench.spawn(bench.writing("a", [5000, 5000]))
    bench.engine.run()
    assert len(bench.line.sent) == 1
    bench.line.answer("a")
    bench.engine.run()
    assert len(bench.line.sent) == 2


def test_what_is_read_counts_as_what_is_written() -> None:
    bench = Bench(fixed_window(10_000))

    def job() -> Job:
        results = yield from flight(*(Read("a", n, 4000) for n in range(4)))
        bench.log.append(len(results))

    bench.spawn(job())
    bench.engine.run()
    assert len(bench.line.sent) == 2
    for _ in range(4):
        bench.line.answer("a", b"x" * 4000)
        bench.engine.run()
    assert bench.log == [4]
    assert bench.engine.acked_bytes == 16_000
    assert bench.engine.sent_bytes == 0


def test_the_urgent_goes_first_and_the_bulk_last() -> None:
    bench = Bench(fixed_window(4000))
    bench.spawn(bench.writing("bulk", [3000] * 3), BULK)
    bench.engine.run()
    bench.spawn(bench.writing("small", [3000]), SMALL)
    bench.spawn(bench.writing("urgent", [3000]), URGENT)
    bench.engine.run()
    assert bench.line.paths() == ["bulk"]
    for _ in range(4):
        last = bench.line.paths()[-1]
        bench.line.answer(last)
        bench.engine.run()
    assert bench.line.paths() == ["bulk", "urgent", "small", "bulk", "bulk"]


def test_no_small_bulk_request_slips_past_an_urgent_one_that_waits_for_room() -> None:
    """Else a stream of them could keep a heartbeat waiting for ever."""
    bench = Bench(fixed_window(4000))
    bench.spawn(bench.writing("first", [1000]), BULK)
    bench.engine.run()
    bench.spawn(bench.writing("urgent", [3500]), URGENT)
    bench.spawn(bench.writing("bulk", [10]), BULK)
    bench.engine.run()
    assert bench.line.paths()[:2] != ["first", "bulk"]
    bench.line.answer("first")
    bench.engine.run()
    assert bench.line.paths()[1] == "urgent"


def test_requests_of_one_priority_leave_in_the_order_in_which_they_came() -> None:
    bench = Bench(fixed_window(2000))
    for name in "abc":
        bench.spawn(bench.writing(name, [1500, 1500]))
    for _ in range(6):
        bench.engine.run()
        bench.line.answer(bench.line.paths()[-1])
    bench.engine.run()
    assert bench.line.paths() == ["a", "a", "b", "c", "b", "c"]
