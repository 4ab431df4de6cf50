"""Clocks that are set: the monitor's, and a file server's."""

from __future__ import annotations

import pytest

from pysubtask.monitor.rule import Flag
from pysubtask.monitor.words import flag_words
from tests.monitor.fakes import START, World


def test_the_clients_own_clock_is_only_flagged() -> None:
    world = World()
    world.beat(sent_at=START - 4000)
    world.look()
    assert (world.state(), world.client().flags) == ("up", (Flag.CLOCK_SKEW,))
    assert "behind the server's" in flag_words(world.client())["clock_skew"]
    world.beat(sent_at=START - 30)  # delivery takes its time
    world.look()
    assert world.client().flags == ()


@pytest.mark.parametrize("step", [3600.0, -3600.0, 86_400.0])
def test_a_clock_that_is_set_flips_nobody(step: float) -> None:
    world = World()
    world.beat("alive")
    world.beat("dead", secs=10)
    world.look()
    world.run(100, beats=["alive"])
    assert (world.state("alive"), world.state("dead")) == ("up", "down")
    age = world.now - (world.client("dead").beat_at or 0)
    world.now += step
    changes = world.look(5)
    assert changes.step_secs == pytest.approx(step)
    assert not changes.flips
    world.look(5)
    assert (world.state("alive"), world.state("dead")) == ("up", "down")
    assert world.now - (world.client("dead").beat_at or 0) == pytest.approx(age + 10)
    world.run(55)
    assert world.state("alive") == "late"  # its beat keeps its age
    world.beat("alive")
    world.look(5)
    assert (world.state("alive"), world.client("alive").flags) == ("up", ())
    assert world.told() == ["down"]


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_beat_just_before_the_clock_was_set_has_its_age_too(step: float) -> None:
    world = World()
    world.beat()
    world.look()
    world.run(50)
    world.now += 2
    world.monotonic += 2
    world.beat()  # stamped by the old clock, seen by the new one
    world.now += step
    world.look(3)
    world.run(30)
    assert (world.state(), world.client().flags) == ("up", ())
    assert world.now - (world.client().beat_at or 0) == pytest.approx(33, abs=5)
    world.run(40)
    assert world.state() == "late"


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_pardon_lasts_as_long_as_it_was_meant_to(step: float) -> None:
    """Else a client that is dead stays late for a day, or one that is not is down at once."""
    world = World()
    for name in ("edge", "other"):
        world.beat(name)
    world.look()
    world.error = "can't be read"
    world.run(300)
    world.error = None
    world.look(5)
    world.now += step
    world.run(80)
    assert world.state() == "late"
    world.run(30)
    assert world.state() == "down"


def test_a_clock_that_is_set_archives_nobody() -> None:
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    del world.files["a"]
    world.look(5)
    world.now += 40 * 86_400
    world.run(60, beats="bc")
    assert world.state("a") == "gone"


def test_a_clock_that_is_set_makes_no_loss_believed() -> None:
    world = World()
    for name in "abc":
        world.beat(name, secs=86_400 * 30)
    world.look()
    world.files.clear()
    world.look(5)
    world.now += 7200
    world.run(60)
    assert world.state("a") == "unknown"
    world.now -= 86_400
    world.run(3600)
    assert world.state("a") == "gone"


def test_who_comes_due_while_the_clock_is_set_waits_for_one_look() -> None:
    world = World()
    world.beat()
    world.look()
    world.look(58)
    world.now += 3600
    world.look(5)
    assert world.state() == "up"
    world.look(5)
    assert world.state() == "late"


def test_a_file_server_whose_clock_is_behind_is_measured() -> None:
    world = World()
    world.beat("a", secs=60)
    world.look()
    for _ in range(5):
        world.now += 10
        world.monotonic += 10
        world.beat("a", secs=60, mtime=world.now - 500, ctime=world.now - 500)
        world.look(0.5)
    assert world.fleet.offset == pytest.approx(500.5, abs=1)
    assert (world.state("a"), world.client("a").flags) == ("up", ())


def test_a_file_server_whose_clock_is_set_back_makes_nobody_down() -> None:
    """All its clients would be called dead for as long as it takes to measure the new error."""
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    behind, states = 0.0, set()
    for turn in range(40):
        behind = 600.0 if turn >= 10 else 0.0
        for name in "abc":
            world.beat(name, secs=75, mtime=world.now - behind, ctime=world.now - behind)
        for _ in range(12):
            world.look(5)
            states |= {world.state(name) for name in "abc"}
    assert states == {"up"}
    assert world.fleet.offset == pytest.approx(605)
    world.now -= 3600  # now the monitor's own is: that of the server is ahead by so much less
    world.look(5)
    assert world.fleet.offset == pytest.approx(605 - 3600)


def test_a_file_that_was_away_and_comes_back_is_as_old_as_it_says() -> None:
    """A folder that was moved away and back again is no beat of anybody's."""
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    del world.files["a"]
    world.run(300, beats="bc")
    assert world.state("a") == "gone"
    world.beat("a", mtime=world.now - 250, ctime=world.now - 250)
    world.look(5)
    assert world.state("a") == "down"
