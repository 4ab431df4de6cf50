"""The window: enough to fill the link, and no more (promise 4; heartbeats get their turn)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.flow import Sent, Window

MOST = 262_144
KIB = 1024


def _run_link(window: Window, bytes_per_sec: float, round_trip_secs: float, secs: float) -> float:
    """Keep a link of that rate full for a while. Gives the longest time that a request took."""
    now, free_at, longest = 0.0, 0.0, 0.0
    waiting: list[tuple[float, Sent]] = []
    while now < secs:
        size = window.chunk_bytes(MOST)
        if window.has_room(size):
            free_at = max(free_at, now) + size / bytes_per_sec
            waiting.append((free_at + round_trip_secs, window.sent(now, size)))
            continue
        at, sent = waiting.pop(0)
        now = max(now, at)
        longest = now - sent.at
        window.acked(now, sent)
    return longest


def test_before_anything_is_known_it_is_careful() -> None:
    window = Window()
    assert window.limit_bytes == 64 * KIB
    assert window.chunk_bytes(MOST) == 32 * KIB
    assert window.chunk_bytes(1000) == 1000
    assert Window(min_bytes=5000).limit_bytes == 5000


def test_one_request_may_always_be_in_flight() -> None:
    window = Window()
    assert window.has_room(10**9)
    sent = window.sent(0.0, 10**9)
    assert not window.has_room(1)
    window.acked(1.0, sent)
    assert window.has_room(10**9)


def test_what_is_in_flight_is_counted() -> None:
    window = Window()
    first, second = window.sent(0.0, 40 * KIB), window.sent(0.0, 20 * KIB)
    assert window.in_flight_bytes == 60 * KIB
    assert window.has_room(4 * KIB)
    assert not window.has_room(4 * KIB + 1)
    window.acked(1.0, first)
    assert window.in_flight_bytes == 20 * KIB
    window.acked(2.0, second)
    assert window.in_flight_bytes == 0


@pytest.mark.parametrize(
    ("bytes_per_sec", "round_trip_secs"),
    [
        pytest.param(100e6, 0.0005, id="LAN"),
        pytest.param(5e6, 0.3, id="long and fat"),
        pytest.param(1e6, 0.6, id="satellite"),
        pytest.param(100e3, 0.05, id="slow"),
        pytest.param(10e3, 0.2, id="very slow"),
    ],
)
def test_it_fills_the_link_but_no_more_than_two_seconds_of_it(
    bytes_per_sec: float, round_trip_secs: float
) -> None:
    window = Window()
    longest = _run_link(window, bytes_per_sec, round_trip_secs, 60.0)
    assert window.limit_bytes >= min(bytes_per_sec * round_trip_secs, window.max_bytes)
    assert window.chunk_bytes(MOST) <= max(4 * KIB, bytes_per_sec * 1.05)
    assert longest <= 2.5 + round_trip_secs  # what a heartbeat may have to wait for


@pytest.mark.parametrize("round_trip_secs", [0.01, 0.05, 0.1, 0.2])
def test_it_finds_a_fast_link_with_a_delay_within_seconds(round_trip_secs: float) -> None:
    """Were a request as large as the window, each would wait for the answer to the last."""
    window = Window()
    _run_link(window, 12.5e6, round_trip_secs, 4.0)
    assert window.limit_bytes >= 12.5e6 * round_trip_secs
    assert window.acked_bytes >= 0.7 * 4 * 12.5e6


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 30)), min_size=1, max_size=40),
    st.integers(KIB, 10**6),
)
def test_the_limits_hold_whatever_the_link_does(
    requests: list[tuple[int, float]], min_bytes: int
) -> None:
    window = Window(min_bytes=min_bytes, max_bytes=10**6)
    now = 0.0
    for size, took in requests:
        sent = window.sent(now, size)
        now += took
        window.acked(now, sent)
        assert 0 < window.limit_bytes <= max(10**6, min_bytes)
        assert 1 <= window.chunk_bytes(MOST) <= MOST
        assert window.chunk_bytes(MOST) >= 4 * KIB or window.limit_bytes >= 8 * KIB
    assert window.in_flight_bytes == 0


def test_a_link_that_is_quicker_than_its_ends_has_more_than_one_request_on_its_way() -> None:
    """Loopback: 0.1 ms for a small request, while a server takes milliseconds for a large one."""
    window = Window()
    _run_link(window, 100e6, 0.0001, 1.0)
    assert window.limit_bytes >= 10 * MOST
    assert window.limit_bytes <= 0.1 * 100e6  # a heartbeat waits for no more than this


def test_it_fills_a_link_that_nobody_knows_within_few_round_trips() -> None:
    """12.5 MB/s and 100 ms hold 1.25 MB: from 64 KiB on, four times as much with each of them."""
    window = Window()
    _run_link(window, 12.5e6, 0.1, 0.45)
    assert window.limit_bytes >= 1_250_000
    window = Window()
    _run_link(window, 12.5e6, 0.1, 5.0)
    assert window.limit_bytes <= 2.6 * 1_250_000


def test_a_request_that_takes_two_round_trips_lets_the_window_grow() -> None:
    """Small files: each is opened first, and its bytes leave half a request's life later."""
    window = Window()
    now = 0.0
    for _ in range(8):
        left = []
        while window.has_room(1152, trips=2):
            left.append(window.sent(now, 1152, trips=2))
        now += 0.1
        for sent in left:
            window.acked(now, sent)
        now += 0.0005
        window.acked(now + 0.05, window.sent(now, 128))  # a round trip is half of that
        now += 0.05
    assert window.in_flight_bytes == 0
    assert window.limit_bytes > 1_000_000


def test_small_answers_say_nothing_of_the_rate() -> None:
    """A STAT that takes 1 s does not make it a link of 128 bytes a second."""
    window = Window()
    window.acked(1.0, window.sent(0.0, 128))
    assert window.chunk_bytes(MOST) == 32 * KIB
    assert window.limit_bytes == 64 * KIB


def test_a_link_that_became_slower_is_believed_after_a_while() -> None:
    window = Window()
    _run_link(window, 30e6, 0.01, 5.0)
    assert window.chunk_bytes(MOST) == MOST
    now = 5.0
    for _ in range(30):
        sent = window.sent(now, 10_000)
        now += 1.0
        window.acked(now, sent)
    assert window.chunk_bytes(MOST) == 10_000
    assert window.limit_bytes == 20_000


def test_the_best_of_the_last_ten_seconds_counts() -> None:
    """A moment's slowness changes nothing; after 10 s the link is what it is by then."""
    window = Window()
    window.acked(101.0, window.sent(100.0, 30_000))
    assert window.chunk_bytes(MOST) == 30_000
    window.acked(109.0, window.sent(105.0, 20_000))
    assert window.chunk_bytes(MOST) == 30_000
    window.acked(116.0, window.sent(114.0, 20_000))
    assert window.chunk_bytes(MOST) == 10_000


def _send_alone(
    window: Window, bytes_per_sec: float, latency_secs: float, total: int
) -> tuple[float, list[float]]:
    """Send so much over a link, one request after the other; the time, and that of each."""
    now, took = 0.0, []
    window.acked(latency_secs, window.sent(0.0, 128))
    left = total
    while left > 0:
        size = min(left, window.lone_chunk_bytes(8 << 20))
        left -= size
        took.append(latency_secs + size / bytes_per_sec)
        sent = window.sent(now, size)
        now += took[-1]
        window.acked(now, sent)
    return now, took


@pytest.mark.parametrize("latency_secs", [0.02, 0.3, 1.5])
@pytest.mark.parametrize("bytes_per_sec", [5_000, 20_000, 100_000])
def test_requests_one_by_one_fill_a_slow_link(latency_secs: float, bytes_per_sec: int) -> None:
    """A latency of more than a second must not make them smaller and smaller."""
    total = 200 * bytes_per_sec
    now, took = _send_alone(Window(), bytes_per_sec, latency_secs, total)
    assert now < 2.5 * total / bytes_per_sec
    # the first one is sent before anything is known; then about a second, or as the latency is
    assert max(took[1:]) < max(3.2 + 3 * latency_secs, 17_000 / bytes_per_sec + latency_secs)


def test_a_link_that_becomes_slow_gets_smaller_requests() -> None:
    window = Window()
    _send_alone(window, 10_000_000, 0.05, 100_000_000)
    assert window.lone_chunk_bytes(8 << 20) > 2 << 20
    _, took = _send_alone(window, 50_000, 0.05, 20_000_000)
    assert took[-2] < 2.5


def test_a_request_is_a_small_share_of_what_the_link_has_carried() -> None:
    """It may have to be sent again as a whole: a connection proves itself first."""
    window, now = Window(), 0.0
    for _ in range(400):
        size = window.lone_chunk_bytes(1 << 30)
        assert size <= max(256 * KIB, window.acked_bytes // 32)
        sent = window.sent(now, size)
        now += size / 50e6
        window.acked(now, sent)
    assert window.lone_chunk_bytes(1 << 30) > 4096 * KIB
    assert window.lone_chunk_bytes(1000) == 1000
