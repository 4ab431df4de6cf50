"""The burst rule as a table: when does data go? (README of the original; docs of ``burstmode``)"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.burst import (
    Burst,
    BurstRule,
    ByteRule,
    Rule,
    advance,
    forgettable_at,
    notified,
)

RULE = BurstRule(start_trigger_secs=1.0, start_trigger_count=2, expire_secs=5.0)


def _releases(times: list[float], rule: BurstRule, until: float) -> list[float]:
    """When data goes: notifies at ``times``, and somebody who looks at every ``release_at``."""
    burst = Burst()
    gone = []
    for at in [*times, until]:
        while burst.release_at is not None and burst.release_at < at:
            released_at = burst.release_at
            burst, go = advance(burst, released_at)
            assert go
            gone.append(released_at)
        if at is not until:
            burst, go = notified(burst, at, rule)
            if go:
                gone.append(at)
    return gone


@pytest.mark.parametrize(
    ("times", "goes"),
    [
        pytest.param([0.0], [0.0], id="one notify goes at once"),
        pytest.param([0.0, 2.0, 4.0], [0.0, 2.0, 4.0], id="slow ones go at once"),
        pytest.param([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], id="exactly the trigger apart is slow"),
        pytest.param([0.0, 0.5], [0.0, 0.5], id="one quick one is no burst yet"),
        pytest.param([0.0, 0.5, 0.75], [0.0, 0.5, 1.75], id="two quick ones: a burst; it ends"),
        pytest.param(
            [0.0, 0.5, 0.75, 1.5, 2.25], [0.0, 0.5, 3.25], id="it lasts as long as they are quick"
        ),
        pytest.param(
            [0.0, 0.5, 0.75, 3.0], [0.0, 0.5, 1.75, 3.0], id="a slow one after a burst goes at once"
        ),
        pytest.param([0.0, 0.5, 1.5, 2.0], [0.0, 0.5, 1.5, 2.0], id="a slow one starts the count"),
        pytest.param(
            [n / 2 for n in range(16)],
            [0.0, 0.5, 6.0, 8.5],
            id="it expires, and the next quick ones make another",
        ),
    ],
)
def test_when_data_goes(times: list[float], goes: list[float]) -> None:
    assert _releases(times, RULE, 100.0) == goes


@pytest.mark.parametrize("rule", [RULE, ByteRule(100, 3.0)])
def test_after_a_while_the_next_notify_is_treated_like_the_first(rule: Rule) -> None:
    """So nothing has to be kept until then; nor before, if data waits."""
    burst = Burst()
    assert forgettable_at(burst, rule) == -math.inf
    for now in (10.0, 10.25, 10.5, 10.75):
        burst, goes = notified(burst, now, rule, 10)
        assert (forgettable_at(burst, rule) is None) == (burst.release_at is not None)
    assert burst.release_at is not None
    burst, goes = advance(burst, burst.release_at)
    at = forgettable_at(burst, rule)
    assert goes
    assert at is not None
    assert at > 10.75
    assert notified(burst, at, rule, 20)[1]


steps = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 6.0]), min_size=1, max_size=60)
rules = st.builds(
    BurstRule,
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(1, 4),
    st.sampled_from([0.5, 1.0, 5.0]),
)


@given(steps, rules, st.booleans())
def test_no_data_waits_longer_than_the_burst_may_last(
    gaps: list[float], rule: BurstRule, late: bool
) -> None:
    """Whatever comes, and however late somebody looks: each notify's data goes in time.

    ``late``: nobody looked in between; the next notify finds that the burst is over.
    """
    burst = Burst()
    now = 0.0
    waiting_since: float | None = None
    for gap in gaps:
        now += gap
        if not late:
            while burst.release_at is not None and burst.release_at <= now:
                burst, go = advance(burst, burst.release_at)
                assert go
                waiting_since = None
        overdue = burst.release_at is not None and burst.release_at <= now
        burst, go = notified(burst, now, rule)
        if go:
            waiting_since = None
        else:
            assert not overdue, "what waited for the burst's end was not let go"
            waiting_since = now if waiting_since is None else waiting_since
            assert burst.release_at is not None
            assert burst.release_at <= waiting_since + rule.expire_secs
            assert burst.release_at <= now + rule.start_trigger_secs
        assert (burst.release_at is None) == go


@given(steps, rules)
def test_time_alone_changes_nothing_before_the_release(gaps: list[float], rule: BurstRule) -> None:
    burst = Burst()
    now = 0.0
    for gap in gaps:
        now += gap
        burst, _ = notified(burst, now, rule)
        if burst.release_at is not None and burst.release_at > now:
            middle = (now + burst.release_at) / 2
            assert advance(burst, middle) == (burst, False)
        else:
            assert advance(burst, now + 1000.0)[1] is (burst.release_at is not None)


# --- the rule that counts bytes -----------------------------------------------------------------

BYTES = ByteRule(full_bytes=1000, max_delay_secs=5.0)


def _went(notifies: list[tuple[float, int]], rule: Rule, until: float = 100.0) -> list[float]:
    """When data goes; ``notifies``: the time and the file's size."""
    burst = Burst()
    gone = []
    for at, size in [*notifies, (until, -1)]:
        while burst.release_at is not None and burst.release_at < at:
            released_at = burst.release_at
            burst, go = advance(burst, released_at)
            assert go
            gone.append(released_at)
        if size >= 0:
            burst, go = notified(burst, at, rule, size)
            if go:
                gone.append(at)
    return gone


@pytest.mark.parametrize(
    ("notifies", "goes"),
    [
        pytest.param([(0.0, 10)], [0.0], id="the first goes at once"),
        pytest.param(
            [(0.0, 10), (6.0, 20), (12.0, 30)], [0.0, 6.0, 12.0], id="what comes seldom, too"
        ),
        pytest.param(
            [(0.0, 10), (0.5, 20), (1.0, 30)], [0.0, 4.0], id="others wait for six usual gaps"
        ),
        pytest.param(
            [(n / 2, 10 + n) for n in range(12)], [0.0, 5.5], id="but no longer than promised"
        ),
        pytest.param(
            [(0.0, 10), (0.5, 600), (0.75, 1010), (1.0, 1020)],
            [0.0, 0.75, 2.875],
            id="enough to fill a transfer goes at once",
        ),
        pytest.param(
            [(0.0, 500), (0.5, 600), (0.75, 20)], [0.0, 0.75], id="a new file goes at once"
        ),
    ],
)
def test_when_data_goes_by_bytes(notifies: list[tuple[float, int]], goes: list[float]) -> None:
    assert _went(notifies, BYTES) == goes


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 6.0]), st.integers(0, 2000)),
        min_size=1,
        max_size=60,
    ),
    st.builds(ByteRule, st.sampled_from([1, 1000]), st.sampled_from([0.0, 1.0, 5.0])),
)
def test_no_byte_waits_longer_than_promised(steps: list[tuple[float, int]], rule: ByteRule) -> None:
    now, size = 0.0, 0
    notifies = []
    for gap, added in steps:
        now, size = now + gap, size + added
        notifies.append((now, size))
    goes = _went(notifies, rule, now + 100)
    for at, _ in notifies:
        assert any(at <= gone <= at + rule.max_delay_secs for gone in goes)
