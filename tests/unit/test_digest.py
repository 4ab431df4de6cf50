"""Which deliveries are told one by one, and which are summed up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.digest import (
    FULL_LINES,
    LINES_A_MINUTE,
    LONGEST_INTERVAL_SECS,
    MAX_GROUPS,
    REST,
    Arrival,
    Digest,
)


def one(group: str = "a.csv", name: str = "a.csv", size: int = 10, behind: float = 0.1) -> Arrival:
    return Arrival(group, name, size, 0.01, behind)


class Book:
    """A digest, and what it said: the size of what was told in full, the times of a summary."""

    def __init__(self) -> None:
        self.digest = Digest()
        self.now = 0.0
        self.said: list[str] = []

    def note(self, arrival: Arrival) -> None:
        told = self.digest.note(self.now, arrival)
        if told is not None:
            self.said.append(f"{told.group} {told.name}")

    def pass_time(self, secs: float) -> None:
        self.now += secs
        for summary in self.digest.summaries(self.now):
            self.said.append(f"{summary.group} ×{summary.times} {summary.size_bytes}")


@pytest.mark.parametrize(
    ("gap_secs", "count", "said"),
    [
        pytest.param(1.0, 1, ["a.csv a.csv"], id="one"),
        pytest.param(1.0, FULL_LINES, ["a.csv a.csv"] * FULL_LINES, id="the first in full"),
        pytest.param(
            1.0, 10, ["a.csv a.csv"] * FULL_LINES + ["a.csv ×7 70"], id="then one summary"
        ),
        pytest.param(61.0, 5, ["a.csv a.csv"] * 5, id="seldom: all in full"),
        pytest.param(
            1.0,
            400,
            ["a.csv a.csv"] * FULL_LINES + ["a.csv ×57 570", "a.csv ×120 1200", "a.csv ×220 2200"],
            id="busy: ever longer intervals",
        ),
    ],
)
def test_one_file(gap_secs: float, count: int, said: list[str]) -> None:
    book = Book()
    for _ in range(count):
        book.note(one())
        book.pass_time(gap_secs)
    book.pass_time(2000)
    assert book.said == said


def test_after_a_quiet_time_it_begins_anew() -> None:
    book = Book()
    for _ in range(10):
        book.note(one())
    book.pass_time(60)
    book.pass_time(120)
    book.said.clear()
    book.note(one())
    assert book.said == ["a.csv a.csv"]


def test_a_folder_is_one_group_and_counts_its_files() -> None:
    digest = Digest()
    for n in range(5000):
        digest.note(0.0, one("outgoing", f"outgoing/{n % 800}.bin", behind=n / 1000))
    (summary,) = digest.summaries(60.0)
    assert (summary.times, summary.files) == (5000 - FULL_LINES, 800)
    assert summary.size_bytes == 10 * (5000 - FULL_LINES)
    assert summary.behind_secs == pytest.approx(4.999)


def test_thousands_of_declared_files_share_the_lines_of_a_minute() -> None:
    digest = Digest()
    told = [digest.note(0.0, one(f"{n}", f"{n}")) for n in range(5000)]
    assert sum(t is not None for t in told) == LINES_A_MINUTE
    (summary,) = digest.summaries(60.0)
    assert (summary.group, summary.times) == (REST, 5000 - LINES_A_MINUTE)
    assert len(digest._groups) <= MAX_GROUPS + 1


def test_the_end_tells_what_was_not_told_yet() -> None:
    digest = Digest()
    for _ in range(FULL_LINES + 2):
        digest.note(0.0, one())
    assert digest.summaries(1.0) == []
    (summary,) = digest.summaries(1.0, everything=True)
    assert (summary.times, summary.span_secs) == (2, 1.0)
    assert digest.summaries(2.0, everything=True) == []


def test_nothing_noted_nothing_due() -> None:
    digest = Digest()
    assert digest.due() == math.inf
    digest.note(5.0, one())
    assert digest.due() == 65.0
    assert digest.summaries(65.0) == []
    assert digest.due() == math.inf


def test_a_million_notifies_make_no_million_lines() -> None:
    """At any rate: in an hour, a day, a month."""
    for rate in (300.0, 12.0, 0.4):
        book = Book()
        for _ in range(100_000):
            book.note(one())
            book.pass_time(1 / rate)
        hours = book.now / 3600
        assert len(book.said) <= FULL_LINES + 5 + hours * 3600 / LONGEST_INTERVAL_SECS


@given(
    st.lists(
        st.tuples(st.floats(0, 200), st.sampled_from("abcdef"), st.integers(0, 100)), max_size=60
    )
)
def test_everything_is_told_once(events: list[tuple[float, str, int]]) -> None:
    """Bytes and times add up, whatever comes when."""
    digest, now = Digest(), 0.0
    times = size = 0
    for gap, group, size_bytes in events:
        now += gap
        told = digest.note(now, one(group, group, size_bytes))
        if told is not None:
            times, size = times + 1, size + told.size_bytes
        for summary in digest.summaries(now):
            times, size = times + summary.times, size + summary.size_bytes
    for summary in digest.summaries(now, everything=True):
        times, size = times + summary.times, size + summary.size_bytes
    assert (times, size) == (len(events), sum(e[2] for e in events))
