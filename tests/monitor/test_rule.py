"""The rule, as a table and as properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.monitor.rule import TABLE, Evidence, State, judge

BEAT = 1000.0
USUAL: dict[str, Any] = {"beat_at": BEAT, "interval_secs": 60, "grace_secs": 30.0}


@pytest.mark.parametrize(
    ("now", "state", "online"),
    [
        (1000, "up", True),
        (1060, "up", True),  # offline when now is *greater* than the sum
        (1060.001, "late", False),
        (1090, "late", False),
        (1090.001, "down", False),
        (1e9, "down", False),
        (900, "up", True),
    ],
)
def test_offline_when_now_is_past_modified_time_and_seconds(
    now: float, state: str, online: bool
) -> None:
    verdict = judge(Evidence(now=now, **USUAL))
    assert (verdict.state, verdict.online) == (state, online)


@pytest.mark.parametrize(
    ("changes", "state", "online"),
    [
        ({"interval_secs": None}, "new", None),
        ({"beat_at": None}, "new", None),
        ({"interval_secs": 0}, "stopped", False),
        ({"blind": True}, "unknown", None),
        ({"blind": True, "interval_secs": 0}, "unknown", None),
        ({"paused": True}, "paused", False),
        ({"paused": True, "blind": True}, "paused", None),
        ({"present": False}, "gone", False),
        ({"present": False, "blind": True}, "unknown", None),
        ({"present": False, "gone_secs": 99.0, "archive_secs": 100.0}, "gone", False),
        ({"present": False, "gone_secs": 100.0, "archive_secs": 100.0}, "archived", False),
        ({"present": True, "gone_secs": 100.0, "archive_secs": 100.0}, "down", False),
        ({"pardon_until": 5000.0}, "late", False),
        ({"pardon_until": 4999.0}, "down", False),
        ({"grace_secs": 0.0}, "down", False),
    ],
)
def test_other_states_at_5000(changes: dict[str, Any], state: str, online: bool | None) -> None:
    verdict = judge(Evidence(now=5000.0, **{**USUAL, **changes}))
    assert (verdict.state, verdict.online) == (state, online)


def test_every_state_has_its_row_and_its_meaning() -> None:
    assert {row.state for row in TABLE} == set(State)
    assert all(row.meaning for row in TABLE)


times = st.floats(0, 4e9)
evidence = st.builds(
    Evidence,
    now=times,
    present=st.booleans(),
    beat_at=st.none() | times,
    interval_secs=st.none() | st.integers(0, 2_592_000),
    blind=st.booleans(),
    paused=st.booleans(),
    gone_secs=st.floats(0, 1e8),
    grace_secs=st.floats(0, 1e6),
    archive_secs=st.floats(1, 1e8),
    pardon_until=st.none() | times,
)


@given(evidence)
def test_online_is_the_rule_and_nothing_else(given: Evidence) -> None:
    verdict = judge(given)
    if given.blind or given.interval_secs is None or given.beat_at is None:
        assert verdict.online is None
    elif given.interval_secs == 0:
        assert verdict.online is False
    else:
        assert verdict.online is not (given.now > given.beat_at + given.interval_secs)


@given(evidence, st.floats(0, 1e7))
def test_time_alone_only_makes_it_worse(given: Evidence, later: float) -> None:
    order = [State.UP, State.LATE, State.DOWN]
    before = judge(given).state
    after = judge(
        Evidence(
            given.now + later,
            given.present,
            given.beat_at,
            given.interval_secs,
            given.blind,
            given.paused,
            0.0,
            given.grace_secs,
            float("inf"),
            given.pardon_until,
        )
    ).state
    if before in order:
        assert order.index(after) >= order.index(before)


@given(evidence)
def test_who_is_up_is_online_and_who_is_down_is_not(given: Evidence) -> None:
    verdict = judge(given)
    expected = {State.UP: True, State.LATE: False, State.DOWN: False, State.UNKNOWN: None}
    if verdict.state in expected:
        assert verdict.online is expected[verdict.state]
