"""When a child counts as stuck: from its last sign of life, whatever the clocks do."""

from __future__ import annotations

import pytest

from pysubtask.master._pulse import Pulse

WALL = 1_700_000_000.0


def ns(wall: float) -> int:
    return round(wall * 1e9)


def test_the_time_runs_from_the_sign_not_from_the_look() -> None:
    pulse = Pulse(15.0, 100.0, ns(WALL))
    pulse.look(115.0, 15.0, ns(WALL + 1), WALL + 15)
    assert pulse.moved == pytest.approx(101.0)
    pulse.look(130.0, 15.0, ns(WALL + 1), WALL + 30)
    assert (pulse.moved, pulse.looked) == (pytest.approx(101.0), 130.0)


@pytest.mark.parametrize("step", [-86_400.0, -3600.0, -5.0, 3600.0, 86_400.0])
def test_a_clock_that_was_set_between_sign_and_look_kills_nobody(step: float) -> None:
    """The child lives: its sign is taken to be as late as the look."""
    pulse = Pulse(15.0, 100.0, ns(WALL))
    pulse.look(115.0, 15.0, ns(WALL + 10), WALL + 15 + step)
    assert 100.0 <= pulse.moved <= 115.0
    assert pulse.moved == 115.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_does_not_hide_a_stuck_child(step: float) -> None:
    pulse = Pulse(15.0, 100.0, ns(WALL))
    for n in range(1, 5):
        pulse.look(100.0 + 15 * n, 15.0, ns(WALL), WALL + 15 * n + step)
    assert pulse.looked - pulse.moved == 60.0


def test_a_master_that_was_stopped_itself_gives_the_child_its_time_again() -> None:
    pulse = Pulse(15.0, 100.0, ns(WALL))
    pulse.look(190.0, 15.0, ns(WALL), WALL + 90)
    assert pulse.moved == 190.0
    quick = Pulse(0.25, 100.0, ns(WALL))
    quick.look(102.0, 0.25, ns(WALL), WALL + 2)
    assert quick.moved == 102.0
    quick.look(102.9, 0.25, ns(WALL), WALL + 2.9)  # a busy machine: no more than late
    assert quick.moved == 102.0


def test_without_the_file_nobody_is_stuck() -> None:
    pulse = Pulse(15.0, 100.0, ns(WALL))
    for n in range(1, 20):
        pulse.look(100.0 + 15 * n, 15.0, None, WALL + 15 * n)
    assert pulse.moved == pulse.looked
