"""How repeated looks share the time: a row of places, some spare, and a longest wait."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.pace import LONGEST_WAIT_SECS, RECENT_SECS, Pace


def _pace(look_secs: float) -> Pace:
    """One that has seen many looks of this length."""
    pace = Pace()
    for _ in range(200):
        pace.took(look_secs)
    return pace


def test_a_file_that_was_not_looked_at_of_late_never_waits() -> None:
    pace = _pace(0.004)
    for n in range(1000):
        assert pace.book(100.0, None) == 100.0
        assert pace.book(100.0, 100.0 - RECENT_SECS - n) == 100.0
    assert pace.book(100.0, 99.9) == 100.0  # and takes nobody's place


def test_one_file_ten_times_a_second_never_waits() -> None:
    pace = _pace(0.0005)
    for n in range(1, 100):
        assert pace.book(n / 10, (n - 1) / 10) == n / 10


def test_what_was_not_used_of_late_may_be_used_at_once() -> None:
    pace = _pace(0.0001)  # a place every 2 ms
    at_once = [pace.book(100.0, 99.9) for _ in range(60)].count(100.0)
    assert 24 <= at_once <= 27


def test_many_files_take_a_share_of_the_time() -> None:
    """200 files that change all the time: a look takes 0.1 ms, so each has its turn every 0.4 s."""
    pace = _pace(0.0001)
    turns = dict.fromkeys(range(200), 0.0)
    looks = 0
    for _ in range(2000):
        number = min(turns, key=turns.__getitem__)
        now = turns[number]
        if now > 10:
            break
        looks += 1
        turns[number] = pace.book(now, now - 0.01)
        assert turns[number] <= now + 0.45
    assert 0.03 < looks * 0.0001 / min(turns.values()) < 0.06


def test_those_that_wait_go_in_groups() -> None:
    pace = _pace(0.0005)
    turns = [pace.book(100.0, 99.9) for _ in range(60)]
    waiting = [turn for turn in turns if turn > 100.0]
    assert waiting == sorted(waiting)
    assert all(turn * 50 == round(turn * 50) for turn in waiting)
    assert len(set(waiting)) < len(waiting) / 1.5


def test_a_long_look_is_no_measure_of_the_others() -> None:
    pace = _pace(30.0)
    first, second = (pace.book(100.0, 99.9) for _ in range(2))
    assert (first, second) == (100.0, 100.06)


times = st.lists(
    st.tuples(st.floats(0, 0.3), st.floats(0, 2), st.floats(-1, 60)), min_size=1, max_size=200
)


@given(times)
def test_nobody_waits_longer_than_a_second(calls: list[tuple[float, float, float]]) -> None:
    pace = Pace()
    now = 1000.0
    for passed, ago, took in calls:
        now += passed
        turn = pace.book(now, now - ago)
        assert now <= turn <= now + LONGEST_WAIT_SECS
        assert math.isfinite(turn)
        pace.took(took)
