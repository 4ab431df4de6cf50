"""Which old files move to the archive, and into which folder (design §5, Archive)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.aging import Found, day_folder, decide, is_old, is_ours, numbered

EPOCH = datetime(1970, 1, 1)


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


def berlin(secs: float) -> datetime:
    """Central European time of 2026: summer time from 29 March to 25 October, each 01:00 UTC."""
    summer = utc(2026, 3, 29, 1) <= secs < utc(2026, 10, 25, 1)
    return EPOCH + timedelta(seconds=secs, hours=2 if summer else 1)


def local(*parts: int, fold: int = 0) -> float:
    """Unix seconds of a Berlin wall clock time; ``fold=1``: the second of two."""
    wanted = datetime(*parts)  # type: ignore[misc,arg-type]
    found = [
        secs
        for offset in (2, 1)
        if berlin(secs := (wanted - EPOCH).total_seconds() - offset * 3600) == wanted
    ]
    return found[min(fold, len(found) - 1)]


@pytest.mark.parametrize(
    ("changed", "now", "old"),
    [
        # an ordinary week
        (local(2026, 11, 20, 12), local(2026, 11, 23, 12), False),
        (local(2026, 11, 20, 12), local(2026, 11, 23, 12, 0, 1), True),
        (local(2026, 11, 20, 12), local(2026, 11, 23, 11, 59, 59), False),
        # spring forward within the three days: 71 hours have passed at the same wall clock time
        (local(2026, 3, 27, 12), local(2026, 3, 30, 12), False),
        (local(2026, 3, 27, 12), local(2026, 3, 30, 12, 0, 1), True),
        (local(2026, 3, 27, 1, 30), local(2026, 3, 30, 1, 30, 1), True),
        # fall back within them: 73 hours
        (local(2026, 10, 23, 12), local(2026, 10, 26, 11, 59), False),
        (local(2026, 10, 23, 12), local(2026, 10, 26, 12, 0, 1), True),
        # changed in the hour that comes twice
        (local(2026, 10, 25, 2, 30), local(2026, 10, 28, 2, 30, 1), True),
        (local(2026, 10, 25, 2, 30, fold=1), local(2026, 10, 28, 2, 30, 1), True),
        (local(2026, 10, 25, 2, 30, fold=1), local(2026, 10, 28, 2, 29), False),
        # looked at in that hour
        (local(2026, 10, 22, 2, 15), local(2026, 10, 25, 2, 30), True),
        (local(2026, 10, 22, 2, 15), local(2026, 10, 25, 2, 10, fold=1), False),
        # a clock that stands wrong
        (local(2026, 11, 20, 12), 0.0, False),
        (local(2030, 1, 1, 0), local(2026, 11, 20, 12), False),
        (0.0, local(2026, 11, 20, 12), True),
    ],
)
def test_three_days_by_the_clock_on_the_wall(changed: float, now: float, old: bool) -> None:
    assert is_old(changed, now=now, days=3.0, to_local=berlin) == old


def test_a_date_that_no_calendar_has_is_not_old() -> None:
    for changed in (1e18, -1e18):
        assert not is_old(changed, now=utc(2026, 1, 1), days=3, to_local=datetime.fromtimestamp)


def test_parts_of_a_day() -> None:
    assert is_old(0.0, now=3601, days=1 / 24, to_local=berlin)
    assert not is_old(0.0, now=3600, days=1 / 24, to_local=berlin)
    assert is_old(0.0, now=0.1, days=0, to_local=berlin)


@pytest.mark.parametrize(
    ("changed", "folder"),
    [
        (local(2026, 11, 26, 12), ("202611", "26")),
        (local(2026, 1, 2, 3), ("202601", "02")),
        (local(2026, 12, 31, 23, 59, 59), ("202612", "31")),
        (utc(2026, 12, 31, 23, 0), ("202701", "01")),  # local midnight, not UTC's
        (utc(2026, 3, 28, 22, 59, 59), ("202603", "28")),
        (utc(2026, 3, 28, 23), ("202603", "29")),
        (utc(2026, 3, 29, 21, 59, 59), ("202603", "29")),  # a day of 23 hours
        (utc(2026, 3, 29, 22), ("202603", "30")),
        (utc(2026, 10, 24, 22), ("202610", "25")),
        (utc(2026, 10, 25, 22, 59, 59), ("202610", "25")),  # a day of 25 hours
        (utc(2026, 10, 25, 23), ("202610", "26")),
        (0.0, ("197001", "01")),
    ],
)
def test_the_folder_is_the_local_day(changed: float, folder: tuple[str, str]) -> None:
    assert day_folder(changed, berlin) == folder


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # POSIX: no time zone files needed
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(sys.platform == "win32", reason="tzset: POSIX")
@pytest.mark.usefixtures("in_berlin")
def test_the_machine_s_own_local_time_is_such_a_clock() -> None:
    for secs in range(int(utc(2026, 3, 28)), int(utc(2026, 10, 27)), 1800):
        assert datetime.fromtimestamp(secs) == berlin(secs)


# -- which files -------------------------------------------------------------------------------

OLD = Found("a.csv", mtime=0.0)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (OLD, "moves"),
        (Found("a.csv", 0.0, is_owed=True), "waits"),
        (Found("a.csv", 0.0, is_plain=False), "stays"),
        (Found("a.csv", 0.0, is_declared=True), "stays"),
        (Found("a.csv", 0.0, is_declared=True, is_owed=True), "stays"),
        (Found("ftp_subtask.log.txt", 0.0, is_own_log=True), "stays"),
        (Found("a.csv", 10 * 86_400.0), "stays"),
        (Found("a.csv", 10 * 86_400.0, is_owed=True), "stays"),
        (Found("a.csv.notify", 0.0), "stays"),
        (Found("host.heartbeat", 0.0), "stays"),
        (Found("host.heartbeat.4711.tmp", 0.0), "stays"),
        (Found("status.json.4711-00c0ffee.tmp", 0.0), "stays"),
        (Found(".pysubtask-0123456789abcdef", 0.0), "stays"),
        (Found(".hidden", 0.0), "stays"),
        (Found("a.tmp", 0.0), "moves"),
        (Found("notify", 0.0), "moves"),
        (Found("\udcff\udc80", 0.0), "moves"),
    ],
)
def test_what_becomes_of_a_file(found: Found, verdict: str) -> None:
    assert decide(found, now=11 * 86_400.0, days=3, to_local=berlin) == verdict


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("a.csv", 0, "a.csv"),
        ("a.csv", 1, "a_1.csv"),
        ("a.tar.gz", 2, "a.tar_2.gz"),
        ("README", 1, "README_1"),
        ("a.csv.1", 1, "a.csv_1.1"),
        ("dots...", 1, "dots.._1."),
        ("\udcff.csv", 10, "\udcff_10.csv"),
        ("n" * 251 + ".csv", 1, "n" * 249 + "_1.csv"),
        ("ü" * 125 + ".csv", 1, "ü" * 124 + "_1.csv"),
        ("a." + "x" * 253, 1, "a." + "x" * 251 + "_1"),
    ],
)
def test_names_that_are_taken(name: str, number: int, expected: str) -> None:
    assert numbered(name, number) == expected


_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255
).filter(lambda name: len(name.encode()) <= 255 and not name.startswith("."))


@given(_NAMES, st.integers(0, 999), st.integers(0, 999))
def test_numbered_names_fit_and_differ(name: str, one: int, other: int) -> None:
    assert len(os.fsencode(numbered(name, one))) <= 255
    assert "/" not in numbered(name, one)
    assert (numbered(name, one) == numbered(name, other)) == (one == other)
    if not is_ours(name):
        assert not numbered(name, one).startswith(".")
