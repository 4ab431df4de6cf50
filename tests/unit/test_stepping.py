"""The thread that delivers: what counts as its sign of life, and how long it may give none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pysubtask.settings import Settings
from pysubtask.subtask.stepping import LifeClock, StepThread, Turns, stuck_after_secs
from pysubtask.subtask.waker import Waker
from tests.unit.core_fakes import ManualClock, nothing

LIMIT_SECS = 30.0


class OneStep:
    """A single step, that does what it is told."""

    def __init__(self, does: Callable[[], None]) -> None:
        self._does = does
        self.ended = threading.Event()

    def step(self) -> float:
        self._does()
        self.ended.set()
        return 1e9

    def retry_now(self) -> None: ...

    def prepare(self) -> None: ...

    def close(self) -> None: ...


class Working:
    """A thread in a step that ends when :attr:`go_on` is set, and asks for the time if told to."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.clock = ManualClock()
        self.life = LifeClock(self.clock)
        self.inside, self.ask, self.asked, self.go_on = (threading.Event() for _ in range(4))
        self.stepping = OneStep(self._work)
        self.thread = StepThread(
            "delivery",
            self.life,
            self.stepping,
            Waker(),
            stuck_after_secs=LIMIT_SECS,
            turns=turns,
            crashed=nothing,
            log=logging.getLogger("test"),
        )

    def _work(self) -> None:
        self.inside.set()
        while not self.go_on.is_set():
            if self.ask.wait(0.01):
                self.ask.clear()
                self.life.monotonic()
                self.asked.set()


@pytest.fixture
def working() -> Iterator[Working]:
    with _started(Working()) as made:
        yield made


@contextmanager
def _started(made: Working) -> Iterator[Working]:
    made.thread.start()
    try:
        assert made.inside.wait(10)
        yield made
    finally:
        made.go_on.set()
        assert made.stepping.ended.wait(10)
        assert made.thread.stop(made.thread.crash)


def test_a_step_without_a_sign_of_life_is_stuck(working: Working) -> None:
    working.clock.advance(LIMIT_SECS - 1)
    working.thread.check()
    working.clock.advance(2)
    with pytest.raises(RuntimeError, match="delivery has not moved for 31 s"):
        working.thread.check()


def test_whoever_asks_for_the_time_gets_on(working: Working) -> None:
    for _ in range(5):
        working.clock.advance(LIMIT_SECS - 1)
        working.thread.check()
        working.ask.set()
        assert working.asked.wait(10)
        working.asked.clear()
    working.clock.advance(LIMIT_SECS + 1)
    with pytest.raises(RuntimeError, match="has not moved"):
        working.thread.check()


def test_another_thread_that_asks_for_the_time_says_nothing_of_this_one(working: Working) -> None:
    working.clock.advance(LIMIT_SECS + 1)
    working.life.monotonic()
    with pytest.raises(RuntimeError, match="has not moved"):
        working.thread.check()


def test_between_steps_nothing_is_stuck(working: Working) -> None:
    working.go_on.set()
    assert working.stepping.ended.wait(10)
    while working.thread.is_in_step:
        threading.Event().wait(0.001)
    working.clock.advance(1000 * LIMIT_SECS)
    working.thread.check()


def test_the_main_thread_goes_first_while_it_has_a_backlog() -> None:
    turns = Turns()
    turns.claim(backlog=True)
    made = Working(turns)
    made.thread.start()
    try:
        assert not made.inside.wait(0.1)
        turns.claim(backlog=False)
        assert made.inside.wait(10)
    finally:
        made.go_on.set()
        assert made.thread.stop(None)


def test_a_backlog_without_end_leaves_some_time_to_the_others() -> None:
    turns = Turns()
    turns.claim(backlog=True)
    with _started(Working(turns)):  # waits for its first step
        pass


@pytest.mark.parametrize(
    ("settings", "secs"),
    [
        ({}, 60.0),
        ({"watchdog_secs": 600.0}, 600.0),
        ({"watchdog_secs": 0.0}, 60.0),
        # a transport may wait for so long by itself
        ({"watchdog_secs": 5.0, "reply_timeout_secs": 90.0}, 95.0),
        (
            {"watchdog_secs": 5.0, "connect_timeout_secs": 8.0, "login_timeout_secs": 60.0},
            73.0,
        ),
    ],
)
def test_the_limit_follows_the_settings(settings: dict[str, float], secs: float) -> None:
    assert stuck_after_secs(Settings(**settings)) == secs  # type: ignore[arg-type]
