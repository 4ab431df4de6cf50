"""How what is to be sent is cut into SSH packets and pipes."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.compression import CompressionChoice
from pysubtask.errors import LinkLost
from pysubtask.transports import sockets
from pysubtask.transports.sftp import process
from pysubtask.transports.sftp.ssh import _pieces, _SshChannel


@given(st.lists(st.binary(max_size=50)), st.integers(1, 40))
def test_pieces_are_full_and_lose_nothing(parts: list[bytes], most: int) -> None:
    pieces = list(_pieces(parts, most))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == most for piece in pieces[:-1])
    assert all(0 < len(piece) <= most for piece in pieces)


@pytest.mark.parametrize("has_writev", [True, False])
def test_a_pipe_that_takes_a_part_gets_the_rest(
    has_writev: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_writev:
        monkeypatch.delattr(os, "writev", raising=False)
    elif not hasattr(os, "writev"):
        pytest.skip("this system has no writev")
    sent = [b"head", os.urandom(300_000), b"", b"h", os.urandom(200_000)]
    source, sink = os.pipe()
    got = bytearray()

    def read() -> None:
        while data := os.read(source, 10_000):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(sink, "wb", buffering=0) as pipe:
        process._widen(pipe)
        parts: list[bytes | memoryview] = list(sent)
        while parts:
            process._write_some(pipe, parts)
    reader.join(10)
    os.close(source)
    assert bytes(got) == b"".join(sent)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only the test moves."""
    now = [0.0]
    for module in (sockets, process):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Dripping:
    """A channel, or a socket, whose other side opens its window by a byte every five seconds."""

    closed = False

    def __init__(self, now: list[float], most: int = 1) -> None:
        self._now, self._most = now, most

    def settimeout(self, timeout_secs: float) -> None:
        """Nothing waits here."""

    def send(self, data: bytes) -> int:
        self._now[0] += 5
        return min(self._most, len(data))


def _ssh_channel(channel: Dripping) -> _SshChannel:
    made = object.__new__(_SshChannel)
    made._channel = channel  # type: ignore[assignment]
    made._send_timeout_secs = 30.0
    made._piece_bytes = 32_704
    made._compression = CompressionChoice(False)
    made.close = lambda: None  # type: ignore[method-assign]
    return made


def test_a_window_that_opens_byte_by_byte_ends_the_connection(seconds: list[float]) -> None:
    """Else a server could hold delivery in one send for days: the watchdog would end the subtask
    as stuck, again and again, and the log never say why."""
    with pytest.raises(LinkLost, match="only 7 bytes could be sent in 35 s"):
        _ssh_channel(Dripping(seconds)).send(bytes(2048))


def test_a_slow_link_that_gets_on_is_left_alone(seconds: list[float]) -> None:
    _ssh_channel(Dripping(seconds, most=6_000)).send(bytes(600_000))
    assert seconds[0] > 500


def test_a_packet_that_goes_out_byte_by_byte_ends_the_connection(seconds: list[float]) -> None:
    """The TCP window, below paramiko's loop that sends the rest of a packet."""
    sock = sockets.PatientSocket(Dripping(seconds), 30.0)  # type: ignore[arg-type]
    data = bytes(2048)

    def send_all() -> None:
        rest = data
        while rest:
            rest = rest[sock.send(rest) :]

    with pytest.raises(ConnectionAbortedError, match="bytes could be sent in"):
        send_all()
    assert sock.error
    assert seconds[0] < 60


def test_a_pipe_that_drains_byte_by_byte_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    """The same with ``ssh_command``, where each byte renewed the limit."""
    channel = object.__new__(process._ProcessChannel)
    channel._send_timeout_secs = 30.0
    channel._broken = False
    channel._unsent_bytes = process._MOST_UNSENT_BYTES + 1_000
    channel._give_up = _raise_link_lost  # type: ignore[method-assign]

    class Room:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *args: object) -> None:
            pass

        def wait(self, timeout_secs: float) -> None:
            seconds[0] += 5
            channel._unsent_bytes -= 1

    channel._room = Room()  # type: ignore[assignment]
    with pytest.raises(LinkLost, match="only 7 bytes could be sent in 35 s"):
        channel.send(b"x")


def _raise_link_lost(words: str) -> None:
    raise LinkLost(words)
