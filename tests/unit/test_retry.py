"""How long to wait before the next try (design §5, "Retry")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.retry import RetryRule, file_wait_secs, link_wait_secs, refusal_wait_secs

DEFAULT = RetryRule()


def _link_waits(rule: RetryRule, count: int) -> list[float]:
    return [link_wait_secs(n, rule) for n in range(1, count + 1)]


def test_the_link_five_tries_3_s_apart_then_30_s_for_ever() -> None:
    a_round = [3.0, 3.0, 3.0, 3.0, 30.0]
    assert _link_waits(DEFAULT, 15) == a_round * 3
    assert link_wait_secs(5_000_000, DEFAULT) == 30.0


@pytest.mark.parametrize(
    ("rule", "waits"),
    [
        pytest.param(RetryRule(tries=1), [30, 30, 30], id="no short waits"),
        pytest.param(RetryRule(tries=0), [30, 30, 30], id="nonsense is one try"),
        pytest.param(RetryRule(2, 1.0, 10.0, growth=2.0), [1, 10, 1, 20, 1, 40], id="growth"),
        pytest.param(RetryRule(1, 1.0, 10.0, 3.0, 50.0), [10, 30, 50, 50], id="but not beyond"),
        pytest.param(
            RetryRule(1, 1.0, 100.0, 3.0, 50.0), [100, 100], id="never less than the long wait"
        ),
        pytest.param(RetryRule(1, 1.0, 8.0, growth=0.5), [8, 4, 2], id="shrinking is allowed"),
    ],
)
def test_the_link_by_rule(rule: RetryRule, waits: list[float]) -> None:
    assert _link_waits(rule, len(waits)) == waits


def test_a_refused_login_ever_more_slowly() -> None:
    waits = [refusal_wait_secs(n) for n in range(1, 9)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert refusal_wait_secs(10**6) == 900


def test_fail2ban_is_not_provoked() -> None:
    """Its default: 5 failures within 10 minutes (fail2ban, jail.conf: maxretry, findtime)."""
    at = [0.0]
    for n in range(1, 20):
        at.append(at[-1] + refusal_wait_secs(n))
    assert all(later - earlier > 600 or n < 5 for n, (earlier, later) in
               enumerate(zip(at, at[5:], strict=False), 5))  # fmt: skip


def test_a_refused_file_ever_more_slowly() -> None:
    waits = [file_wait_secs(n, DEFAULT) for n in range(1, 10)]
    assert waits == [3, 6, 12, 24, 48, 96, 192, 300, 300]
    assert file_wait_secs(10**6, DEFAULT) == 300


@given(
    st.integers(1, 10**7),
    st.builds(
        RetryRule,
        st.integers(0, 20),
        st.floats(0.1, 60),
        st.floats(0.1, 3600),
        st.floats(1, 10),
        st.floats(1, 7200),
    ),
)
def test_every_wait_is_bounded(failures: int, rule: RetryRule) -> None:
    wait = link_wait_secs(failures, rule)
    longest = max(rule.short_wait_secs, rule.long_wait_secs, rule.max_wait_secs)
    assert min(rule.short_wait_secs, rule.long_wait_secs) <= wait <= longest
    assert 0 < file_wait_secs(failures, rule) <= 300
    assert 30 <= refusal_wait_secs(failures) <= 900
