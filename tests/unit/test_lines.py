"""``records="lines"``: whole lines at the destination, and the rest in time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.subtask.delivery.lines import _last_line_end
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import (
    KINDS,
    POSITIONED,
    SERVERS,
    Cut,
    Remote,
    WatchedServer,
    make_remote,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def append(local: Local, remote: Remote, data: bytes, growth: str = "auto") -> None:
    local.write(data, "ab")
    local.clock.now -= 10  # a look takes no time here
    local.take(growth)
    remote.step()


@KINDS
@pytest.mark.parametrize("growth", ["auto", "append"])
def test_an_unfinished_line_waits(local: Local, kind: str, growth: str) -> None:
    remote = make_remote(local, kind, has_lines=True)
    for data, published in [
        (b"one\ntw", b"one\n"),
        (b"o", b"one\n"),
        (b"\nthree\n", b"one\ntwo\nthree\n"),
        (b"four", b"one\ntwo\nthree\n"),
    ]:
        append(local, remote, data, growth)
        assert remote.server.read_file("a.csv") == published
    local.clock.advance(4.9)
    assert remote.lines.due()[0] == []
    local.clock.advance(0.2)
    assert remote.lines.due()[0] == [local.path]
    remote.step()
    assert remote.server.read_file("a.csv") == b"one\ntwo\nthree\nfour"
    assert all(seen is None or seen.endswith((b"\n", b"four")) for seen in remote.server.seen)


@KINDS
def test_what_needs_several_requests_comes_in_whole_lines(local: Local, kind: str) -> None:
    """A reader looks between two of them (the realm "options" of the simulator)."""
    remote = make_remote(local, kind, has_lines=True)
    append(local, remote, b"begin\n")
    lines = b"".join(b"%d,%s\n" % (n, b"x" * (n % 700)) for n in range(700))
    append(local, remote, lines)
    remote.settle()
    assert remote.server.read_file("a.csv") == b"begin\n" + lines
    assert len(lines) > 4 * 32_768
    assert all(seen is None or seen.endswith(b"\n") for seen in remote.server.seen)


@POSITIONED
@pytest.mark.parametrize("more", [b"", b"f"])
@pytest.mark.parametrize("restarts", [False, True])
def test_half_a_line_that_arrived_unconfirmed_is_nobody_elses(
    local: Local, kind: str, more: bytes, restarts: bool
) -> None:
    """A flush let it go, and the link broke before the answer."""
    remote = make_remote(local, kind, has_lines=True)
    append(local, remote, b"begin\n")
    local.write(b"one\nhal", "ab")
    local.take()
    remote.lines.release(local.path, local.current.number, local.current.size)
    remote.server.fault_after = Cut(1)
    remote.step()
    assert remote.server.read_file("a.csv") == b"begin\none\nhal"
    assert local.entry.delivered is not None
    assert local.entry.delivered.size == 6
    if restarts:
        remote.restart()
    if more:
        append(local, remote, more)
    for _ in range(10):
        remote.step()
        local.clock.advance(1)
    assert remote.server.seen[-1] == b"begin\none\nhal" + more
    assert all(a == (b or b"")[: len(a or b"")] for a, b in pairwise(remote.server.seen[1:]))
    assert local.entry.conflict_at is None


@KINDS
def test_half_a_line_of_ours_is_no_stranger(local: Local, kind: str) -> None:
    """The journal was lost, and with it what had been let go."""
    remote = make_remote(local, kind, has_lines=True)
    remote.server.put_file("a.csv", b"begin\none\nhal")
    append(local, remote, b"begin\none\nhalf", "append")
    for _ in range(10):
        remote.step()
        local.clock.advance(1)
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == b"begin\none\nhalf"


def test_the_first_line_of_a_file(local: Local) -> None:
    remote = make_remote(local, has_lines=True)
    append(local, remote, b"begi")
    assert remote.server.names() == []
    append(local, remote, b"nning\n")
    assert remote.server.read_file("a.csv") == b"beginning\n"


@POSITIONED
def test_what_nobody_can_read_there_counts_for_no_half_line(local: Local, kind: str) -> None:
    """A drop box has somebody else's file under the name, as long as a part of ours."""
    server = WatchedServer(replace(SERVERS[kind], readable=False))
    remote = Remote(local, server, has_lines=True)
    server.put_file("a.csv", b"foreign")
    append(local, remote, b"one\nunfinished")
    assert server.read_file("a.csv") == b"one\n"


def test_an_empty_file_has_no_unfinished_line(local: Local) -> None:
    remote = make_remote(local, has_lines=True)
    append(local, remote, b"")
    assert remote.server.read_file("a.csv") == b""


def test_a_flush_does_not_wait(local: Local) -> None:
    remote = make_remote(local, has_lines=True)
    append(local, remote, b"one\ntwo")
    remote.lines.release(local.path, local.current.number, local.current.size)
    remote.step()
    assert remote.server.read_file("a.csv") == b"one\ntwo"
    append(local, remote, b" and more")
    assert remote.server.read_file("a.csv") == b"one\ntwo", "that came after it"


def test_the_end_of_a_rotated_file_waits_for_nothing(local: Local) -> None:
    remote = make_remote(local, has_lines=True)
    append(local, remote, b"one\ntwo")
    Path(local.path).rename(local.path + ".1")
    append(local, remote, b"new\n")
    assert b"one\ntwo" in remote.server.seen
    assert remote.server.read_file("a.csv") == b"new\n"


def test_a_line_longer_than_a_read(local: Local) -> None:
    remote = make_remote(local, has_lines=True)
    append(local, remote, b"short\n" + b"x" * 200_000)
    assert remote.server.read_file("a.csv") == b"short\n"
    append(local, remote, b"\n")
    assert remote.server.read_file("a.csv") == b"short\n" + b"x" * 200_000 + b"\n"


@given(st.binary(max_size=50).map(lambda b: b.replace(b"z", b"\n")), st.integers(0, 50))
def test_where_the_last_line_ends(content: bytes, start: int) -> None:
    start = min(start, len(content))
    end = _last_line_end(start, len(content), lambda at, length: content[at : at + length])
    assert start <= end <= len(content)
    assert end == start or content[end - 1] == 10
    assert b"\n" not in content[end:]
