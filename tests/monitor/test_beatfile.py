"""Reading a heartbeat's content, whoever wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.config import build
from pysubtask.core.liveness import Beat, beat_text, expect_secs
from pysubtask.errors import SettingsError
from pysubtask.monitor.beatfile import MAX_INTERVAL_SECS, Facts, read_beat
from pysubtask.urls import parse_url


@pytest.mark.parametrize(
    ("content", "seconds", "ended"),
    [
        (b"300\n", 300, True),
        (b"300\r\n", 300, True),
        (b"0\n", 0, True),
        (b"1\n{}", 1, True),
        (b"300", 300, False),  # as the first pysubtask wrote it
        (b"3", 3, False),
        (b"2592000\n", 2_592_000, True),
        (b"007\n", 7, True),
    ],
)
def test_promises(content: bytes, seconds: int, ended: bool) -> None:
    reading = read_beat(content)
    assert (reading.interval_secs, reading.ended, reading.problem) == (seconds, ended, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b" 300\n",
        b"300 \n",
        b"+300\n",
        b"-300\n",
        b"3_600\n",
        b"3.5\n",
        b"1e3\n",
        b"0x10\n",
        "٣٠٠\n".encode(),
        "３００\n".encode(),
        b"2592001\n",
        b"9999999999\n",
        b"300\x00\n",
        b"\xef\xbb\xbf300\n",
        b"<script>\n",
        b"\x1b[2J300\n",
    ],
)
def test_no_promises(content: bytes) -> None:
    reading = read_beat(content)
    assert reading.interval_secs is None
    assert reading.problem


def test_the_facts_of_our_own_clients() -> None:
    beat = Beat(7, 1_800_000_000.5, 4096, 1_799_999_990.0, "login refused", "2.0.0")
    reading = read_beat(beat_text(75, beat))
    assert reading.interval_secs == 75
    assert reading.facts == Facts("2.0.0", 7, 1_800_000_000.5, 4096, 10.0, "login refused")


@pytest.mark.parametrize(
    "rest",
    [
        b"[" * 4000,
        b'{"a":' * 800,
        b'{"sequence": 1e999, "backlog_bytes": -1, "sent_at": NaN, "version": 7}',
        b'{"sequence": true, "backlog_bytes": 99999999999999999999, "sent_at": "now"}',
        b'{"sent_at": Infinity, "oldest_age_secs": -5, "last_error": ["x"]}',
        b"[1, 2]",
        b"null",
        b"\xff\xfe",
    ],
)
def test_facts_that_are_none(rest: bytes) -> None:
    reading = read_beat(b"60\n" + rest)
    assert reading.interval_secs == 60
    assert reading.facts == Facts()


def test_long_texts_are_cut() -> None:
    facts = read_beat(b'60\n{"last_error": "' + b"x" * 3000 + b'", "version": "' + b"y" * 99).facts
    assert facts == Facts()  # cut off JSON says nothing
    facts = read_beat(b'60\n{"last_error": "' + b"x" * 3000 + b'"}').facts
    assert facts.last_error == "x" * 160


@given(st.binary(max_size=5000))
def test_no_bytes_make_it_raise(content: bytes) -> None:
    reading = read_beat(content)
    assert (reading.interval_secs is None) == (reading.problem is not None)
    assert reading.interval_secs is None or 0 <= reading.interval_secs <= MAX_INTERVAL_SECS


def test_half_a_character_becomes_a_question_mark() -> None:
    """JSON may hold it, UTF-8 may not. Without, the API answers 500 for that client."""
    facts = read_beat(b'60\n{"last_error": "a\\ud800", "version": "\\udfff"}\n').facts
    assert (facts.last_error, facts.version) == ("a?", "?")


def test_the_longest_interval_that_may_be_set_is_taken() -> None:
    """Without, a client that beats once in 30 days is accepted there and never valid here."""
    build(
        "ftp", destination=parse_url("sftp://h/x"), keywords={"heartbeat_interval_secs": 2_073_600}
    )
    assert read_beat(beat_text(expect_secs(2_073_600.0), Beat(1, 1.0))).problem is None
    with pytest.raises(SettingsError):
        build(
            "ftp",
            destination=parse_url("sftp://h/x"),
            keywords={"heartbeat_interval_secs": 2_073_601},
        )
