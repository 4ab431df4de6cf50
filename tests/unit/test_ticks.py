"""How coarse time stamps are, told from themselves (design §4, rules for looking)."""

from __future__ import annotations

import pytest

from pysubtask.core.model import Stamp
from pysubtask.core.ticks import COARSE_TICK_SECS, FINE_TICK_SECS, tick_secs

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("stamp", "tick"),
    [
        pytest.param(Stamp(7 * SECOND + 1, 7 * SECOND + 2), FINE_TICK_SECS, id="nanoseconds"),
        pytest.param(Stamp(7 * SECOND + 4_000_000, 7 * SECOND), FINE_TICK_SECS, id="4 ms jiffies"),
        pytest.param(Stamp(7 * SECOND, 7 * SECOND + 1), FINE_TICK_SECS, id="utime() to a second"),
        pytest.param(Stamp(7 * SECOND, 7 * SECOND), COARSE_TICK_SECS, id="ext3, HFS+"),
        pytest.param(Stamp(8 * SECOND, 6 * SECOND), COARSE_TICK_SECS, id="FAT"),
        pytest.param(Stamp(-8 * SECOND, 0), COARSE_TICK_SECS, id="before 1970"),
    ],
)
def test_the_tick_of_a_stamp(stamp: Stamp, tick: float) -> None:
    assert tick_secs(stamp) == tick


def test_the_ticks_cover_the_file_systems_they_stand_for() -> None:
    """FAT keeps every 2 s; kernels before 6.13 stamp with up to 10 ms (CONFIG_HZ=100)."""
    assert COARSE_TICK_SECS > 2.0
    assert FINE_TICK_SECS > 0.010
