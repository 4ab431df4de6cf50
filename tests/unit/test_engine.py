"""Many jobs over one connection: who sends when, who hears what, and when the link is dead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.flow import Window
from pysubtask.errors import LinkLost, RemoteDenied, RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import (
    BULK,
    SMALL,
    URGENT,
    Engine,
    Job,
    Send,
    Wait,
    call,
    flight,
)
from pysubtask.transports.contract import Read, Request, Result, Stat, Write
from tests.unit.core_fakes import ManualClock


class Line:
    """A transport that answers when the test says so, in the order that it says."""

    capabilities = Capabilities(positioned_write=True, sequential=True, atomic_replace=True)

    def __init__(self) -> None:
        self.sent: dict[int, Request] = {}
        self.answered: set[int] = set()
        self.answers: list[tuple[int, Result]] = []
        self.breaks = False
        self.broken_for_sending = False

    def connect(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to close."""

    def submit(self, ticket: int, request: Request) -> None:
        if self.broken_for_sending:
            raise LinkLost("broken")
        self.sent[ticket] = request

    def collect(self) -> Iterator[tuple[int, Result]]:
        while self.answers:
            yield self.answers.pop(0)
        if self.breaks:
            raise LinkLost("the server hung up")

    def paths(self) -> list[str]:
        """What has been sent so far."""
        return [request.path for request in self.sent.values()]

    def answer(self, path: str, result: Result = None) -> None:
        """Answer the oldest unanswered request for a path."""
        ticket = next(t for t, r in self.sent.items() if r.path == path and t not in self.answered)
        self.answered.add(ticket)
        self.answers.append((ticket, result))


class Bench:
    """An engine over such a line; what its jobs heard is in ``log``."""

    def __init__(self, window: Window | None = None, timeout_secs: float = 60.0) -> None:
        self.clock = ManualClock()
        self.line = Line()
        self.window = window or Window()
        self.engine = Engine(self.line, self.clock, self.window, ack_timeout_secs=timeout_secs)
        self.log: list[object] = []
        self.ends: list[Exception | None] = []

    def spawn(self, job: Job, priority: int = SMALL) -> None:
        self.engine.spawn(job, priority=priority, done=self.ends.append)

    def asking(self, *paths: str) -> Job:
        """Asks one thing after the other."""
        for path in paths:
            result = yield from call(Stat(path))
            self.log.append((path, result))

    def writing(self, path: str, sizes: list[int]) -> Job:
        """Writes blocks without waiting, then waits for all."""
        tickets, offset = [], 0
        for size in sizes:
            tickets.append((yield Send(Write(path, offset, b"x" * size))))
            offset += size
        for ticket in tickets:
            yield Wait(ticket)
            self.log.append(ticket)


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


def _fixed(limit_bytes: int) -> Window:
    return Window(min_bytes=limit_bytes)


def test_writes_are_pipelined_as_far_as_the_window_reaches() -> None:
    bench = Bench(_fixed(10_000))
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


def test_a_request_larger_than_the_window_leaves_alone() -> None:
    bench = Bench(_fixed(1000))
    bench.spawn(bench.writing("a", [5000, 5000]))
    bench.engine.run()
    assert len(bench.line.sent) == 1
    bench.line.answer("a")
    bench.engine.run()
    assert len(bench.line.sent) == 2


def test_what_is_read_counts_as_what_is_written() -> None:
    bench = Bench(_fixed(10_000))

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
    bench = Bench(_fixed(4000))
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
    bench = Bench(_fixed(4000))
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
    bench = Bench(_fixed(2000))
    for name in "abc":
        bench.spawn(bench.writing(name, [1500, 1500]))
    for _ in range(6):
        bench.engine.run()
        bench.line.answer(bench.line.paths()[-1])
    bench.engine.run()
    assert bench.line.paths() == ["a", "a", "b", "c", "b", "c"]


# -- deadlines ---------------------------------------------------------------------------------


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
    bench = Bench(_fixed(60_000))
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
    bench = Bench(_fixed(limit_bytes))
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
