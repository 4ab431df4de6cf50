"""One file on its way, broken at every request: nothing torn, nothing lost, little sent twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec import structs

from pysubtask.errors import LinkLost, RemoteDenied
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import (
    BIG,
    KINDS,
    POSITIONED,
    SERVERS,
    TEMP_PREFIX,
    Cut,
    Remote,
    WatchedServer,
    make_remote,
    numbered,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


@dataclass
class Story:
    """Local changes, one after the other, and what a reader may see meanwhile."""

    changes: list[Callable[[Local], None]]
    wholes: list[bytes]
    prefixes_of: list[bytes]
    growth: str = "auto"
    name: str = "a.csv"
    there: bytes | None = None

    def allows(self, content: bytes) -> bool:
        return (
            content in self.wholes
            or content == self.there
            or any(whole.startswith(content) for whole in self.prefixes_of)
        )


def _rotate(local: Local, data: bytes) -> None:
    os.rename(local.path, local.path + ".1")
    local.write(data)


A, B, C = numbered(5000, 1), numbered(BIG, 2), numbered(6000, 3)
STORIES = {
    "new": Story([lambda lo: lo.write(B)], [B], []),
    "empty": Story([lambda lo: lo.write(b"")], [b""], []),
    "grow": Story(
        [lambda lo: lo.write(B[:5000]), lambda lo: lo.write(B[5000:], "ab")],
        [],
        [B],
        growth="append",
    ),
    "rewrite": Story([lambda lo: lo.write(A), lambda lo: lo.write(B)], [A, B], [], "rewrite"),
    "rotate": Story(
        [
            lambda lo: lo.write(A[:100]),
            lambda lo: lo.write(A[100:], "ab"),
            lambda lo: _rotate(lo, C[:500]),
            lambda lo: lo.write(C[500:], "ab"),
        ],
        [],
        [A, C],
    ),
    "set aside": Story([lambda lo: lo.write(A)], [A], [], there=b"somebody else's"),
    "folders": Story([lambda lo: lo.write(B)], [B], [], name="x/y/a.csv"),
}


def _play(folder: Path, story: Story, kind: str, cut: Cut, where: str, *, kill: bool) -> Remote:
    """Play a story with one cut, and perhaps the process killed at that moment."""
    folder.mkdir()
    local = Local(folder, ManualClock(), HookedDisk())
    server = WatchedServer(SERVERS[kind], story.name)
    if story.there is not None:
        server.put_file(story.name, story.there)
        server.seen[:] = [story.there]
    if where == "before":
        server.fault_before = cut
    else:
        server.fault_after = cut
    remote = Remote(local, server)
    for change in story.changes:
        change(local)
        local.clock.advance(10)
        local.snapshots.take(local.path, story.name, story.growth, None)
        cut_before = cut.done
        remote.step()
        if kill and cut.done and not cut_before:
            remote.restart()
        remote.settle()
    return remote


@KINDS
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
@pytest.mark.parametrize("story", list(STORIES))
def test_cut_at_every_request(
    tmp_path: Path, story: str, kind: str, where: str, kill: bool
) -> None:
    told = STORIES[story]
    final = (told.prefixes_of or told.wholes)[-1]
    for n in range(1, 200):
        cut = Cut(n)
        remote = _play(tmp_path / str(n), told, kind, cut, where, kill=kill)
        server = remote.server
        assert server.read_file(told.name) == final, n
        assert not server.temps(), n
        others = [x for x in server.names() if x != told.name]
        if told.there is None:
            assert not others, n
        else:
            assert [server.read_file(x) for x in others] == [told.there], n
        first = server.seen.index(next(c for c in server.seen if c is not None))
        for content in server.seen[first:]:
            if content is None:
                assert kind == "rename-only" or told.there is not None, n
            else:
                assert told.allows(content), (n, content[:80])
        if not cut.done:
            assert n > 2
            return
    pytest.fail("it never ends")


@pytest.mark.parametrize("breaks", [1, 2])
@pytest.mark.parametrize("size", [BIG, 5000])
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
def test_what_was_written_before_a_break_is_synced_after_it(
    local: Local, kill: bool, size: int, breaks: int
) -> None:
    """Else it takes its place while its bytes are still in the cache of a mount (histories
    6000000072 and, of a small file, 6000090304 of the simulator)."""
    remote = Remote(local, WatchedServer(replace(SERVERS["sequential"], fsync=True)))
    broken: list[str] = []

    def cut(operation: str, path: str) -> None:
        if operation == "finish" and len(broken) < breaks:
            broken.append(path)
            raise LinkLost("cut", operation="test")
        if operation == "rename":
            assert remote.server.synced == broken[:1]

    remote.server.fault_before = cut
    local.write(numbered(size))
    local.take("rewrite")
    for _ in range(breaks):
        remote.step()
        if kill:
            remote.restart()
    remote.settle()
    assert remote.server.read_file("a.csv") == numbered(size)
    assert remote.server.synced == broken[:1]
    assert broken == broken[:1] * breaks


def test_of_a_small_file_that_left_in_one_flight_the_bytes_are_compared(local: Local) -> None:
    """A server that went down may show a size whose bytes it has lost."""
    remote = Remote(local, WatchedServer(SERVERS["sequential"]))

    def cut(operation: str, path: str) -> None:
        if operation == "rename":
            remote.server.fault_before = lambda operation, path: None
            remote.server.reach(path)(0, bytes(5000))
            raise LinkLost("cut", operation="test")

    remote.server.fault_before = cut
    local.write(numbered(5000))
    local.take("rewrite")
    remote.settle()
    assert [seen for seen in remote.server.seen if seen] == [numbered(5000)]


@KINDS
@pytest.mark.parametrize("growth", ["append", "rewrite"])
def test_after_a_break_it_goes_on_near_the_break(local: Local, kind: str, growth: str) -> None:
    """Promise 4: at most 256 KiB again; with parallel workers what was on its way, 64 blocks."""
    remote = make_remote(local, kind)
    total = 3_000_000
    if growth == "append":
        local.write(b"")
        local.take(growth)
        remote.settle()
    local.write(numbered(total))
    local.take(growth)
    writes = 0

    def cut(operation: str, path: str) -> None:
        nonlocal writes
        writes += operation == "write"
        if operation == "write" and writes in (20, 50):
            Cut(1)(operation, path)

    remote.server.fault_before = cut
    remote.settle()
    assert writes > 50
    assert remote.server.read_file("a.csv") == numbered(total)
    again = 64 * 32_768 if kind == "parallel" else 256 * 1024
    assert remote.server.written_bytes <= total + 2 * again


@POSITIONED
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
def test_what_arrives_late_meets_no_other_version(local: Local, kind: str, kill: bool) -> None:
    """A write into a file that was there before us is still on its way when the program truncates
    its file (history 7000005208 of the simulator)."""
    remote = make_remote(local, kind)
    server = remote.server
    server.put_file("a.csv", A[:8])
    late = server.reach("a.csv")
    sent: list[str] = []

    def delay(operation: str, path: str) -> None:
        if operation == "write":
            sent.append(path)
            raise LinkLost("cut", operation="test")

    def arrive(operation: str, path: str) -> None:
        if operation == "write":
            late(8, A[8:])

    server.fault_before = delay
    local.write(A)
    local.take()
    remote.step()
    assert sent == ["a.csv"]
    if kill:
        remote.restart()
    server.fault_before = arrive
    now = A[:8] + C[:500]
    local.write(now)
    local.take()
    remote.settle()
    assert server.read_file("a.csv") == now
    assert all(content in (None, A[:8], A, now) for content in server.seen)


def test_a_temporary_file_that_vanishes_leaves_no_hole(local: Local) -> None:
    """Somebody tidies our temporary file away while its upload is taken up again."""
    remote = make_remote(local)
    data = numbered(1_000_000)
    local.write(data)
    local.take("rewrite")
    remote.server.fault_before = Cut(15)
    remote.step()
    assert remote.server.temps()
    tidied = False

    def tidy(operation: str, path: str) -> None:
        nonlocal tidied
        if operation == "write" and not tidied and TEMP_PREFIX in path:
            tidied = True
            remote.server.take_file(path)

    remote.server.fault_before = tidy
    remote.settle()
    assert tidied
    assert remote.server.seen == [None, data]


def test_what_can_not_be_read_for_a_moment_does_not_pass_for_what_was_to_come(
    local: Local,
) -> None:
    """The server went down, and lost a new version whose rename was not answered; what it shows is
    the one before, of the same size (history 5015308975 of the simulator)."""
    remote = make_remote(local)
    server = remote.server
    one, two = b"state 1", b"state 2"
    local.write(one)
    local.take()
    remote.settle()

    def cut(operation: str, path: str) -> None:
        if operation == "rename":
            raise LinkLost("cut", operation="test")

    def deny(operation: str, path: str) -> None:
        if operation == "read":
            raise RemoteDenied("permission denied", operation=f"read {path}")

    server.fault_before = cut
    local.write(two)
    local.take()
    remote.step()
    (temp,) = server.temps()
    server.take_file(temp)
    server.fault_before = deny
    remote.settle()
    local.write(b", more", "ab")
    local.take()
    remote.settle()
    assert server.read_file("a.csv") == two + b", more"
    assert all(content in (None, one, two, two + b", more") for content in server.seen)


def test_a_link_that_nobody_needs_any_more_is_not_said_to_be_tried_again(local: Local) -> None:
    remote = make_remote(local)

    def cut(operation: str, path: str) -> None:
        raise LinkLost("cut", operation="test")

    remote.server.fault_before = cut
    local.write(b"rows")
    local.take()
    remote.step()
    assert remote.delivery.link.link == "retrying"
    nothing_owed = {"versions": (), "litter": ()}
    local.ledger.update(local.path, lambda e: structs.replace(e.without_upload(), **nothing_owed))
    remote.delivery.step()
    assert (remote.delivery.link.link, remote.delivery.link.last_error) == ("resting", None)
