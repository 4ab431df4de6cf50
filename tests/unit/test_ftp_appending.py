"""APPE as the last resort: only when the file's size has held still, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from pysubtask.errors import LinkLost, RemoteError, RemoteNotFound
from pysubtask.transports.ftp.appending import Appending, Quiet
from tests.unit.core_fakes import ManualClock


class FakeServer:
    """Transfers and files in one; ``lost``: the next APPE takes so many bytes and breaks."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: int | None = None
        self.removed = False

    def store(self, path: str, data: memoryview, *, append: bool = False) -> int:
        if not append:
            self.data.clear()
        if self.lost is not None:
            self.data += data[: self.lost]
            self.lost = None
            raise LinkLost("cut")
        self.data += data
        return len(data)

    def fetch(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def remove(self, path: str) -> None:
        self.removed = True


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def appending(server: Any, clock: ManualClock, quiet: Quiet, *, readable: bool = True) -> Appending:
    return Appending(server, server, clock, quiet, readable=readable)


def test_after_a_break_the_size_is_seen_twice(server: FakeServer, clock: ManualClock) -> None:
    quiet = Quiet()
    first = appending(server, clock, quiet)
    first.begin("a", memoryview(b"abc"))
    assert first.write("a", 3, memoryview(b"def"), 3, temp=False) == 3  # known to be quiet
    server.lost = 2
    with pytest.raises(LinkLost):
        first.write("a", 6, memoryview(b"ghi"), 6, temp=False)
    assert server.data == b"abcdefgh"
    again = appending(server, clock, quiet)
    for secs in (0.0, 5.0, 4.9):
        clock.advance(secs)
        with pytest.raises(RemoteError, match="held still for 10 s"):
            again.write("a", 6, memoryview(b"ghi"), 8, temp=False)
    clock.advance(0.2)
    assert again.write("a", 6, memoryview(b"ghi"), 8, temp=False) == 3
    assert server.data == b"abcdefghi"
    assert again.write("a", 9, memoryview(b"j"), 9, temp=False) == 1  # at once


def test_that_it_held_still_before_the_break_does_not_count(
    server: FakeServer, clock: ManualClock
) -> None:
    server.data[:] = b"abc"
    quiet = Quiet()
    first = appending(server, clock, quiet)
    with pytest.raises(RemoteError, match="held still"):
        first.write("a", 3, memoryview(b"def"), 3, temp=False)
    clock.advance(10)
    server.lost = 0
    with pytest.raises(LinkLost):
        first.write("a", 3, memoryview(b"def"), 3, temp=False)
    again = appending(server, clock, quiet)
    with pytest.raises(RemoteError, match="held still"):
        again.write("a", 3, memoryview(b"def"), 3, temp=False)
    clock.advance(10)
    assert again.write("a", 3, memoryview(b"def"), 3, temp=False) == 3


def test_a_size_that_moves_begins_the_wait_anew(server: FakeServer, clock: ManualClock) -> None:
    one = appending(server, clock, Quiet())
    server.data[:] = b"abc"
    with pytest.raises(RemoteError):
        one.write("a", 3, memoryview(b"d"), 3, temp=False)
    clock.advance(11)
    server.data[:] = b"abcd"
    with pytest.raises(RemoteError):
        one.write("a", 4, memoryview(b"e"), 4, temp=False)
    clock.advance(9)
    with pytest.raises(RemoteError):
        one.write("a", 4, memoryview(b"e"), 4, temp=False)
    clock.advance(2)
    assert one.write("a", 4, memoryview(b"e"), 4, temp=False) == 1
    assert server.data == b"abcde"


def test_what_is_there_is_not_sent_again(server: FakeServer, clock: ManualClock) -> None:
    one = appending(server, clock, Quiet(secs=0))
    server.data[:] = b"abcdef"
    assert one.write("a", 2, memoryview(b"cd"), 6, temp=False) == 2
    assert one.write("a", 4, memoryview(b"efgh"), 6, temp=False) == 4
    assert server.data == b"abcdefgh"


def test_no_mix(server: FakeServer, clock: ManualClock) -> None:
    one = appending(server, clock, Quiet(secs=0))
    server.data[:] = b"abc"
    with pytest.raises(RemoteError, match="differ"):
        one.write("a", 1, memoryview(b"XX"), 3, temp=False)
    assert not server.removed
    with pytest.raises(RemoteNotFound):
        one.write("a", 1, memoryview(b"XX"), 3, temp=True)
    assert server.removed
    assert server.data == b"abc"


def test_a_rename_carries_what_is_known(server: FakeServer, clock: ManualClock) -> None:
    one = appending(server, clock, Quiet())
    one.begin("temp", memoryview(b"abc"))
    one.renamed("temp", "a")
    assert one.write("a", 3, memoryview(b"d"), 3, temp=False) == 1
    one.renamed("unknown", "a")
    with pytest.raises(RemoteError, match="held still"):
        one.write("a", 4, memoryview(b"e"), 4, temp=False)
