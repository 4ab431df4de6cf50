"""The main loop on a clock that only moves while it sleeps."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pysubtask.errors import StateError
from pysubtask.signals import read_json, write_json
from pysubtask.status import Link, Status
from pysubtask.subtask.context import Context
from pysubtask.subtask.shell.events import Hint
from pysubtask.subtask.shell.lifeline import HardExit
from pysubtask.subtask.shell.main import merge_sys_path
from pysubtask.subtask.shell.runner import MAX_FAILURES, Runner, StopBy, StopFlag
from pysubtask.subtask.shell.statusfile import SignOfLife, StatusFile
from pysubtask.subtask.waker import Waker
from tests.unit.shell_fakes import (
    FailingDisk,
    FakeClock,
    FakeSubtask,
    make_handover,
    make_state,
    quiet_log,
)

ID = "0123456789abcdef"


class FakeEvents:
    def __init__(self) -> None:
        self.alive = True
        self.watched: list[str] = []
        self.missing: set[str] = set()
        self.closed = False

    def watch(self, folder: str) -> bool:
        if folder in self.missing or not self.alive:
            return False
        if folder not in self.watched:
            self.watched.append(folder)
        return True

    def unwatch(self, folder: str) -> None:
        if folder in self.watched:
            self.watched.remove(folder)

    def close(self) -> None:
        self.closed = True


class FakeWaker(Waker):
    """Sleeping moves the clock; a script may act at each time it has reached."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self.sleeps: list[float] = []
        self.script: list[tuple[float, Callable[[], None]]] = []
        self.limit = 10_000

    def at(self, secs: float, action: Callable[[], None]) -> None:
        self.script.append((1000.0 + secs, action))
        self.script.sort(key=lambda entry: entry[0])

    def wait(self, timeout_secs: float) -> bool:
        assert len(self.sleeps) < self.limit, "it does not rest"
        if super().wait(0):
            return True
        began = self._clock.now
        until = began + max(0.0, timeout_secs)
        while self.script and self.script[0][0] <= until:
            when, action = self.script.pop(0)
            self._clock.now = max(self._clock.now, when)
            action()
            if super().wait(0):
                self.sleeps.append(self._clock.now - began)
                return True
        self._clock.now = until
        self.sleeps.append(self._clock.now - began)
        return False


class World:
    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.layout = make_state(tmp_path)
        self.clock = FakeClock()
        self.clock.wall = time.time() - self.clock.now
        self.disk = FailingDisk()
        self.subtask = FakeSubtask(self.clock)
        self.waker = FakeWaker(self.clock)
        self.stops = StopFlag(self.waker.wake)
        self.events = FakeEvents()
        self.armed: list[tuple[float, int]] = []
        hard_exit = HardExit()
        hard_exit.arm = lambda secs, code: self.armed.append((secs, code))  # type: ignore[method-assign]
        log = quiet_log()
        self.status_file = StatusFile(
            self.layout.status,
            self.subtask.status,
            disk=self.disk,
            clock=self.clock,
            log=log,
        )
        handover = make_handover(tmp_path, **settings)
        sign = SignOfLife(
            self.layout.alive, handover.settings.watchdog_secs / 4, clock=self.clock, log=log
        )
        context = Context(
            handover=handover,
            layout=self.layout,
            disk=self.disk,
            clock=self.clock,
            log=log,
            wake=self.waker.wake,
            status_changed=self.status_changed,
        )
        self.hint: Hint | None = None
        self.runner = Runner(
            context,
            self.subtask,
            stops=self.stops,
            waker=self.waker,
            status_file=self.status_file,
            sign_of_life=sign,
            open_events=self.open_events,
            hard_exit=hard_exit,
        )

    def open_events(self, hint: Hint) -> FakeEvents:
        self.hint = hint
        return self.events

    def status_changed(self) -> None:
        if self.status_file.changed():
            self.waker.wake()

    def stop_at(self, secs: float, by: StopBy = "signal") -> None:
        self.waker.at(secs, lambda: self.stops.set(by))

    def ask_at(self, secs: float, *, hinted: bool = True, **question: Any) -> None:
        path = self.layout.ask_path(ID)

        def ask() -> None:
            write_json(path, question)
            if hinted:
                assert self.hint is not None
                self.hint(path, True)

        self.waker.at(secs, ask)

    def stop_file_at(self, secs: float, by: str, token: str, *, hinted: bool = True) -> None:
        def write() -> None:
            write_json(self.layout.stop, {"by": by, "pid": 1, "token": token})
            if hinted:
                assert self.hint is not None
                self.hint(self.layout.stop, True)

        self.waker.at(secs, write)

    @property
    def elapsed(self) -> float:
        return round(self.clock.now - 1000.0, 6)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_steps_when_the_subtask_wants_to(world: World) -> None:
    world.subtask.interval_secs = 7.0
    times: list[float] = []
    world.subtask.on_step = lambda: times.append(world.elapsed)
    world.stop_at(30.0)
    assert world.runner.run() == 0
    assert world.subtask.calls == ["start", "stop"]
    assert {0.0, 7.0} <= set(times)
    assert world.elapsed == 30.0
    assert world.events.closed


def test_rest_is_one_wakeup_each_timer_interval(world: World) -> None:
    world.subtask.interval_secs = 3600.0
    world.stop_at(600.0)
    world.runner.run()
    assert len(world.waker.sleeps) <= 600 / 2 + 600 / 15 + 5
    assert world.disk.writes <= 2  # status.json at the start and the end


def test_a_long_timer_makes_fewer_wakeups(tmp_path: Path) -> None:
    world = World(tmp_path, timer_interval_secs=3600.0, watchdog_secs=0.0)
    world.subtask.interval_secs = 3600.0
    world.stop_at(3000.0)
    world.runner.run()
    assert len(world.waker.sleeps) <= 3000 / 30 + 3


def test_wake_brings_a_step_at_once(world: World) -> None:
    world.waker.at(0.5, world.waker.wake)
    times: list[float] = []
    world.subtask.on_step = lambda: times.append(world.elapsed)
    world.stop_at(1.0)
    world.runner.run()
    assert 0.5 in times


@pytest.mark.parametrize(
    ("by", "code", "budget_secs"),
    [("signal", 0, 10.0), ("orphan", 0, 10.0), ("takeover", 3, 3.0), ("master", 0, 9.5)],
)
def test_reasons_to_stop(world: World, by: StopBy, code: int, budget_secs: float) -> None:
    world.stop_at(5.0, by)
    assert world.runner.run() == code
    assert world.subtask.stopped_until == pytest.approx(world.clock.now + budget_secs)
    margin_secs = 1.0 if by == "takeover" else 2.5  # before the newcomer kills it, after 5 s
    assert world.armed == [(budget_secs + margin_secs, code)]


def test_stop_file_of_the_master(world: World) -> None:
    world.stop_file_at(1.0, "master", "ours")
    assert world.runner.run() == 0
    assert world.elapsed == 1.0
    assert not os.path.exists(world.layout.stop)


def test_stop_file_is_found_without_events(world: World) -> None:
    world.events.alive = False
    world.stop_file_at(1.0, "master", "ours", hinted=False)
    assert world.runner.run() == 0
    assert world.elapsed <= 3.0


def test_stop_file_for_another_child_is_passed_over(world: World) -> None:
    world.stop_file_at(1.0, "master", "another")
    world.stop_at(9.0)
    world.runner.run()
    assert world.elapsed == 9.0


def test_a_request_that_comes_after_a_signal_stays(world: World) -> None:
    """It tells the master that the child, which was leaving, may not have seen what was notified
    last: removed, it would say that all of that was delivered."""
    world.stop_at(1.0, "signal")
    stopped = world.subtask.stop

    def stop(deadline: float) -> bool:
        write_json(world.layout.stop, {"by": "master", "pid": 1, "token": "ours"})
        return stopped(deadline)

    world.subtask.stop = stop  # type: ignore[method-assign]
    assert world.runner.run() == 0
    assert os.path.exists(world.layout.stop)


def test_take_over(world: World) -> None:
    world.stop_file_at(1.0, "takeover", "another")
    assert world.runner.run() == 3
    assert world.elapsed == 1.0
    assert os.path.exists(world.layout.stop)  # the newcomer removes it


def test_a_signal_only_hurries_the_stop_file(world: World) -> None:
    world.stop_file_at(1.0, "takeover", "another", hinted=False)
    world.stop_at(1.1, "signal")
    assert world.runner.run() == 3


def test_take_over_while_stopping(world: World) -> None:
    stop = world.subtask.stop

    def slow(deadline: float) -> bool:
        write_json(world.layout.stop, {"by": "takeover", "pid": 1, "token": "another"})
        assert world.hint is not None
        world.hint(world.layout.stop, True)
        return stop(deadline)

    world.subtask.stop = slow  # type: ignore[method-assign]
    world.stop_at(1.0, "orphan")
    world.runner.run()
    assert world.armed == [(12.5, 0), (3.0, 3)]


def test_a_stop_that_fails(world: World) -> None:
    world.subtask.stop_error = RuntimeError("no")
    world.stop_at(1.0, "master")
    assert world.runner.run() == 1
    assert read_json(world.layout.status) is not None


def test_flush(world: World) -> None:
    world.ask_at(1.0, ask="flush")

    def deliver() -> None:
        world.subtask.delivered = True
        world.waker.wake()

    world.waker.at(5.0, deliver)
    answered: list[float] = []

    def look() -> None:
        if os.path.exists(world.layout.answer_path(ID)):
            answered.append(world.elapsed)

    world.waker.at(4.9, look)
    world.waker.at(5.001, look)
    world.stop_at(6.0)
    world.runner.run()
    assert answered == [5.001]


def test_a_flush_is_answered_after_the_status_that_shows_it(world: World) -> None:
    """Even if it was written less than a fifth of a second ago, or can't be made at all."""
    world.ask_at(1.0, ask="flush")

    def deliver(link: Link) -> None:
        world.subtask.shown = Status(link=link)
        world.subtask.delivered = link == "resting"
        world.status_changed()
        world.waker.wake()

    shown: list[str] = []

    def look() -> None:
        assert os.path.exists(world.layout.answer_path(ID))
        shown.append((read_json(world.layout.status) or {})["link"])

    world.waker.at(4.99, lambda: deliver("retrying"))
    world.waker.at(5.0, lambda: deliver("resting"))
    world.waker.at(5.001, look)
    world.stop_at(6.0)
    world.runner.run()
    assert shown == ["resting"]


def test_a_status_that_can_not_be_made_holds_up_no_answer(world: World) -> None:
    def broken() -> Status:
        raise ZeroDivisionError

    world.status_file._make = broken
    world.ask_at(1.0, ask="status", path="/a")
    world.stop_at(2.0)
    world.runner.run()
    assert read_json(world.layout.answer_path(ID)) == {"file": None}


def test_flush_brings_a_step_at_once(world: World) -> None:
    times: list[float] = []
    world.subtask.on_step = lambda: times.append(world.elapsed)
    world.ask_at(0.7, ask="flush")
    world.stop_at(1.0)
    world.runner.run()
    assert 0.7 in times


def test_flush_that_the_stop_fulfils_is_answered(world: World) -> None:
    world.ask_at(1.0, ask="flush")
    stop = world.subtask.stop

    def deliver(deadline: float) -> bool:
        world.subtask.delivered = True
        return stop(deadline)

    world.subtask.stop = deliver  # type: ignore[method-assign]
    world.stop_at(2.0)
    world.runner.run()
    assert read_json(world.layout.answer_path(ID)) == {"ok": True}


def test_questions_are_found_without_events(world: World) -> None:
    world.events.alive = False
    world.ask_at(1.0, hinted=False, ask="status", path="/a")
    world.stop_at(3.5)
    world.runner.run()
    assert read_json(world.layout.answer_path(ID)) == {"file": None}


def test_a_failing_step_is_tried_again_with_patience(world: World) -> None:
    world.subtask.failures = [RuntimeError("no") for _ in range(MAX_FAILURES - 1)]
    times: list[float] = []
    world.subtask.on_step = lambda: times.append(world.elapsed)
    for secs in range(100):
        world.waker.at(secs / 3, world.waker.wake)  # hints do not shorten the wait
    world.stop_at(200.0)
    assert world.runner.run() == 0
    assert times[:8] == pytest.approx([0, 1, 3, 7, 15, 31, 61, 91])


def test_steps_that_fail_for_ever_end_the_child(world: World) -> None:
    world.subtask.failures = [ZeroDivisionError() for _ in range(1000)]
    world.stop_at(3600.0)
    with pytest.raises(ZeroDivisionError):
        world.runner.run()
    assert world.subtask.steps == MAX_FAILURES
    assert world.events.closed


def test_the_same_exception_again_ends_the_child(world: World) -> None:
    world.subtask.failures = [ZeroDivisionError()] * 1000
    with pytest.raises(ZeroDivisionError):
        world.runner.run()
    assert world.subtask.steps == 2


def test_a_full_disk_is_waited_for(world: World) -> None:
    world.subtask.failures = [OSError(errno.ENOSPC, "No space left on device")] * 100
    world.stop_at(4000.0)
    assert world.runner.run() == 0
    assert world.subtask.failures == []


@pytest.mark.parametrize("inside", [True, False])
def test_a_start_that_fails(world: World, inside: bool) -> None:
    path = world.layout.journal if inside else "/elsewhere"

    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    world.subtask.start = fail  # type: ignore[method-assign]
    with pytest.raises(StateError if inside else OSError, match="Input/output error"):
        world.runner.run()
    assert world.events.closed


def test_a_lost_state_folder_ends_it_at_once(world: World) -> None:
    world.subtask.failures = [StateError("journal lost")]
    with pytest.raises(StateError):
        world.runner.run()
    assert world.subtask.steps == 1


def test_status_that_cannot_be_made_ends_nothing(world: World) -> None:
    def broken() -> Status:
        raise ZeroDivisionError

    world.status_file._make = broken
    world.waker.at(1.0, world.status_changed)
    world.stop_at(2.0)
    assert world.runner.run() == 0


def test_status_is_written_soon_after_a_change(world: World) -> None:
    def change() -> None:
        world.subtask.shown = Status(link="retrying")
        world.status_changed()

    world.waker.at(1.0, change)
    seen: list[Any] = []
    world.waker.at(1.3, lambda: seen.append(read_json(world.layout.status)))
    world.stop_at(2.0)
    world.runner.run()
    assert seen[0]["link"] == "retrying"


def test_hints_go_to_the_subtask_but_for_the_state_folder(world: World) -> None:
    hints = [
        ("/data/a.notify", True),
        (world.layout.status, True),
        (world.layout.alive, False),
        (world.layout.answer_path(ID), True),
        (world.layout.state_dir, False),
        (world.layout.requests, False),
        (os.path.join(world.layout.notify_dir, "x.notify"), False),
    ]
    world.subtask.watch = ["/data", world.layout.notify_dir]

    def tell() -> None:
        assert world.hint is not None
        world.subtask.hints.clear()
        for path, complete in hints:
            world.hint(path, complete)
        world.hint(None)

    world.waker.at(3.0, tell)
    world.stop_at(3.5)
    world.runner.run()
    assert world.subtask.hints == [hints[0], hints[-1], (None, False)]


def test_folders_are_followed(world: World) -> None:
    world.subtask.watch = ["/data", "/missing"]
    world.events.missing.add("/missing")

    def grow() -> None:
        assert world.layout.requests in world.events.watched
        assert "/missing" not in world.events.watched
        world.subtask.watch = ["/missing"]
        world.events.missing.clear()
        world.subtask.hints.clear()

    world.waker.at(5.0, grow)
    world.stop_at(9.0)
    world.runner.run()
    assert set(world.events.watched) == {
        world.layout.state_dir,
        world.layout.requests,
        "/missing",
    }
    assert world.subtask.hints == [(None, False)]  # once: what came before the watch stood


def test_sign_of_life(world: World) -> None:
    def age() -> None:
        os.utime(world.layout.alive, (1, 1))

    seen: list[float] = []
    world.waker.at(1.0, age)
    world.waker.at(14.0, lambda: seen.append(os.stat(world.layout.alive).st_mtime))
    world.waker.at(17.1, lambda: seen.append(os.stat(world.layout.alive).st_mtime))
    world.stop_at(18.0)
    world.runner.run()
    assert seen[0] == 1
    assert seen[1] > 1


def test_waker_counts_calls_as_one() -> None:
    waker = Waker()
    for _ in range(3):
        waker.wake()
    assert waker.wait(0)
    assert not waker.wait(0)
    thread = threading.Timer(0.05, waker.wake)
    thread.start()
    began = time.monotonic()
    assert waker.wait(5)
    assert time.monotonic() - began < 2
    thread.join()


def test_hard_exit_takes_the_earliest_end() -> None:
    codes: list[int] = []
    left = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    hard_exit = HardExit(leave)
    hard_exit.arm(60, 1)
    hard_exit.arm(0.05, 2)
    hard_exit.arm(30, 3)
    assert left.wait(5)
    assert codes == [2]


def test_module_search_path() -> None:
    own = ["/lib/python", "/lib/site-packages"]
    master = ["", "/script", "/lib/site-packages", "/plugin.zip"]
    assert merge_sys_path(own, master, "/work") == [*own, "/work", "/script", "/plugin.zip"]
