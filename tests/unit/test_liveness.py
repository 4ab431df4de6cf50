"""The heartbeat's content: what older readers, and monitors, rely on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.liveness import Beat, beat_text, expect_secs


@given(
    st.integers(0, 2_592_000),
    st.integers(0, 1 << 60),
    st.floats(0, 1e12),
    st.none() | st.floats(0, 1e12),
    st.none() | st.text(max_size=400),
)
def test_first_line_is_the_number_and_the_size_never_changes(
    expect: int, sequence: int, sent_at: float, oldest_at: float | None, error: str | None
) -> None:
    beat = Beat(sequence, sent_at, 1 << 50, oldest_at, error, "2.0.0")
    text = beat_text(expect, beat)
    assert len(text) == 512
    assert text.endswith(b"\n")
    first, second, rest = text.decode("ascii").split("\n")
    assert first == str(expect)
    assert rest == ""
    facts = json.loads(second)
    assert facts["sequence"] == sequence
    assert facts["backlog_bytes"] == 1 << 50
    assert (facts["oldest_age_secs"] is None) == (oldest_at is None)


@pytest.mark.parametrize(("interval", "expected"), [(1, 11), (30, 40), (60, 75), (600, 750)])
def test_the_allowance_is_a_quarter_and_at_least_ten_seconds(interval: int, expected: int) -> None:
    assert expect_secs(interval) == expected
