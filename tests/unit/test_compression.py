"""Whether a connection is compressed."""

from __future__ import annotations

import os

import pytest

from pysubtask.core import compression
from pysubtask.core.compression import CompressionChoice

ROWS = b"".join(b"2026-11-26T12:%02d:%02d,%d.%03d\n" % (n // 60, n % 60, n, n) for n in range(3000))
LAN, WAN = 0.0003, 0.05


def used(data: bytes, secs_per_mib: float, mib: int = 4) -> CompressionChoice:
    """After a connection that carried so much, so fast."""
    choice = CompressionChoice()
    at = 100.0
    pieces = [data[i : i + 50_000] for i in range(0, len(data), 50_000)]
    sent = 0
    while sent < mib << 20:
        for piece in pieces:
            took = secs_per_mib * len(piece) / (1 << 20)
            choice.sent([piece[:20], piece[20:]], at, at + took)
            at += took
            sent += len(piece)
    return choice


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("round_trip_secs", [LAN, WAN])
def test_a_setting_is_a_setting(setting: bool, round_trip_secs: float) -> None:
    choice = CompressionChoice(setting)
    choice.sent([os.urandom(100_000)], 0.0, 0.001)
    assert choice.decide(round_trip_secs) is setting


def test_before_anything_is_known_the_distance_tells() -> None:
    assert not CompressionChoice().decide(LAN)
    assert CompressionChoice().decide(WAN)


@pytest.mark.parametrize(
    ("data", "secs_per_mib", "compresses"),
    [(ROWS, 1.0, True), (ROWS, 0.01, False), (os.urandom(60_000), 1.0, False)],
    ids=["slow", "fast", "does not shrink"],
)
def test_what_was_seen_counts_for_more(data: bytes, secs_per_mib: float, compresses: bool) -> None:
    choice = used(data, secs_per_mib)
    assert choice.decide(LAN) is compresses
    assert choice.decide(WAN) is compresses


def test_the_ratio_and_the_rate() -> None:
    choice = used(ROWS, 0.5)
    assert choice.ratio is not None
    assert choice.ratio > 2
    assert choice.bytes_per_sec == pytest.approx((1 << 20) / 0.5, rel=0.01)


def test_a_fast_link_is_not_looked_at_any_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying how far the data shrink costs more than anything else that is done to them."""
    tried: list[int] = []
    monkeypatch.setattr(compression.zlib, "compress", lambda data, _level: tried.append(len(data)))
    choice = CompressionChoice()
    choice.ratio = 2.0
    choice.bytes_per_sec = 100e6
    for number in range(1000):
        choice.sent([ROWS], 100.0 + number / 1000, 100.0005 + number / 1000)
    assert not tried
    assert not choice.decide(LAN)


def test_a_trickle_says_nothing_about_the_rate() -> None:
    choice = CompressionChoice()
    for second in range(2000):
        choice.sent([ROWS[:1024]], float(second), second + 0.001)
    assert choice.bytes_per_sec is None
    assert choice.ratio is not None
    assert choice.decide(WAN)
