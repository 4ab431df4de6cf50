"""Bursts hold back a file, and let it go by themselves (``burstmode``; core rule: test_burst)."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from pysubtask.core.burst import BurstRule, ByteRule, Rule
from tests.unit.intake_fakes import Bench


def _play(bench: Bench, touches: list[float], until: float) -> float:
    """Write and notify at these seconds; gives when it began."""
    began = bench.clock.now
    for n, at in enumerate(touches):
        bench.run(began + at - bench.clock.now)
        bench.write("a.csv", b"%d" % n)
        bench.touch("a.csv")
        bench.step()
    bench.run(began + until - bench.clock.now)
    return began


def _transfer(tmp_path: Path) -> Bench:
    """As for a subtask that delivers: the snapshot is taken at once, ``ready`` waits."""
    bench = Bench(tmp_path, burstmode=True)
    bench.step()
    return bench


def _hooks(tmp_path: Path) -> Bench:
    """As for a subtask with hooks: the look itself waits."""
    bench = Bench(tmp_path, burstmode=True, hold_looks=True)
    bench.step()
    return bench


def _ready_at(bench: Bench) -> list[float]:
    """Have the times noted at which the file is let go."""
    at: list[float] = []
    bench.intake._ready = bench.intake._looks._ready = lambda path: at.append(bench.clock.now)
    return at


def _distinct(times: list[float], began: float) -> list[float]:
    """When, in seconds from the beginning; second looks (within a tick) left out."""
    found: list[float] = []
    for at in sorted(times):
        if not found or at - began - found[-1] > 0.05:
            found.append(round(at - began, 2))
    return found


def test_delivery_waits_and_the_snapshots_do_not(tmp_path: Path) -> None:
    bench = _transfer(tmp_path)
    ready = _ready_at(bench)
    began = _play(bench, [0.0, 0.5, 0.75, 1.5], 1.6)
    assert bench.taken() == b"0123"
    assert bench.intake.held_by_burst(bench.path("a.csv"))
    assert bench.intake.look_at_all(bench.clock.now)(), "what was notified has its snapshot"
    bench.run(20)
    assert not bench.intake.held_by_burst(bench.path("a.csv"))
    assert _distinct(ready, began) == [0.0, 0.5, 2.5]


def test_a_burst_that_goes_on_and_on_lets_go_every_five_seconds(tmp_path: Path) -> None:
    bench = _transfer(tmp_path)
    ready = _ready_at(bench)
    began = _play(bench, [n / 2 for n in range(30)], 30)
    times = _distinct(ready, began)
    assert times[:3] == [0.0, 0.5, 6.0]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 6.0


def test_the_rule_that_counts_bytes_knows_the_size(tmp_path: Path) -> None:
    bench = Bench(tmp_path, burstmode=True, burst_rule=ByteRule(100, 3.0))
    bench.step()
    ready = _ready_at(bench)
    began = bench.clock.now
    for at, added in [(0.0, 10), (0.25, 10), (0.5, 150), (0.75, 10)]:
        bench.run(began + at - bench.clock.now)
        bench.write("a.csv", b"." * added)
        bench.touch("a.csv")
        bench.step()
    bench.run(20)
    assert _distinct(ready, began) == [0.0, 0.5, 2.25]


def test_without_burstmode_nothing_is_held(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    ready = _ready_at(bench)
    began = _play(bench, [0.0, 0.25, 0.5, 0.75], 1.0)
    assert _distinct(ready, began) == [0.0, 0.25, 0.5, 0.75]


def test_hooks_wait_themselves(tmp_path: Path) -> None:
    bench = _hooks(tmp_path)
    began = _play(bench, [0.0, 0.5, 0.75], 20)
    assert _distinct([look.at for look in bench.looks], began) == [0.0, 0.5, 1.75]
    assert bench.taken() == b"012"


def test_hooks_wait_until_the_burst_is_over(tmp_path: Path) -> None:
    bench = _hooks(tmp_path)
    began = _play(bench, [0.0, 0.5, 0.75, 1.5, 2.25], 20)
    assert _distinct([look.at for look in bench.looks], began) == [0.0, 0.5, 3.25]
    assert bench.taken() == b"01234"


def test_hooks_that_wait_are_not_served(tmp_path: Path) -> None:
    bench = _hooks(tmp_path)
    _play(bench, [0.0, 0.5], 0.6)
    bench.write("a.csv", b"2")
    ns = bench.touch("a.csv")
    bench.step()
    assert bench.intake.waits_for_look(bench.path("a.csv"))
    assert not bench.intake.is_touch_served(bench.path("a.csv"), ns)
    bench.run(2)
    assert bench.intake.is_touch_served(bench.path("a.csv"), ns)


@pytest.mark.parametrize("hold_looks", [False, True])
@pytest.mark.parametrize("seen", [False, True], ids=["touch not seen yet", "touch seen"])
def test_a_flush_lets_everything_go(tmp_path: Path, hold_looks: bool, seen: bool) -> None:
    bench = _hooks(tmp_path) if hold_looks else _transfer(tmp_path)
    _play(bench, [0.0, 0.5, 0.75], 0.8)
    bench.write("a.csv", b"3")
    bench.touch("a.csv", hint=seen)
    if seen:
        bench.step()
    bench.forget()
    bench.intake.release_all(bench.clock.now)
    done = bench.intake.look_at_all(bench.clock.now)
    assert done()
    assert bench.taken() == b"0123"
    assert bench.ready
    assert not bench.intake.held_by_burst(bench.path("a.csv"))


@pytest.mark.parametrize("rule", [BurstRule(), ByteRule(100, 3.0)])
@pytest.mark.parametrize("notifies", [1, 2, 5])
def test_files_of_a_folder_are_forgotten_after_their_bursts(
    tmp_path: Path, rule: Rule, notifies: int
) -> None:
    """Or memory would grow with each name that was ever notified."""
    bench = Bench(tmp_path, burstmode=True, burst_rule=rule)
    for number in range(5):
        for _ in range(notifies):
            bench.write(f"outgoing/{number}", b"x")
            bench.touch(f"outgoing/{number}")
            bench.run(0.1)
        os.unlink(bench.path(f"outgoing/{number}.notify"))
    bench.run(0.5)
    assert len(bench.intake._targets.all()) > 1, "more may come of them"
    bench.run(30)
    assert [target.path for target in bench.intake._targets.all()] == [bench.path("a.csv")]


@pytest.mark.parametrize("rule", [BurstRule(2.0, 1000, 5.0), ByteRule(100, 3.0)])
def test_a_file_that_is_notified_again_and_again_is_waited_for_once(
    tmp_path: Path, rule: Rule
) -> None:
    """Each of its looks would add a time at which to forget it, and each of those the next one."""
    bench = Bench(tmp_path, burstmode=True, burst_rule=rule)
    bench.step()
    planned: list[int] = []
    for number in range(100):
        bench.write("outgoing/x", b"x" * 200 * (number + 1))
        bench.touch("outgoing/x")
        bench.step()
        bench.run(0.5)
        planned.append(len(bench.intake._looks._due))
    assert max(planned) <= 3
    assert bench.intake._looks._order < 5 * 100
    os.unlink(bench.path("outgoing/x.notify"))
    bench.run(30)
    assert [target.path for target in bench.intake._targets.all()] == [bench.path("a.csv")]


def test_files_of_a_folder_have_bursts_of_their_own(tmp_path: Path) -> None:
    bench = _transfer(tmp_path)
    for name in ("outgoing/x", "outgoing/y"):
        bench.write(name, b"1")
    for _ in range(4):
        bench.touch("outgoing/x")
        bench.step()
        bench.run(0.3)
    bench.touch("outgoing/y")
    bench.step()
    assert bench.intake.held_by_burst(bench.path("outgoing/x"))
    assert not bench.intake.held_by_burst(bench.path("outgoing/y"))
    bench.run(10)
    assert not bench.intake.held_by_burst(bench.path("outgoing/x"))
    assert bench.taken("outgoing/x") == bench.taken("outgoing/y") == b"1"
