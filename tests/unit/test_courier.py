"""One file on its way: the plan carried out, broken at every request (promises 2, 3 and 4)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.plan import Policy
from pysubtask.errors import RemoteDenied, RemoteError, RemoteFull
from pysubtask.subtask.delivery import comparison
from tests.unit.core_fakes import (
    PARALLEL,
    RENAME_ONLY,
    TEMP_PREFIX,
    Cut,
    HookedDisk,
    Local,
    ManualClock,
    Remote,
    WatchedServer,
    nothing,
)

SEQUENTIAL = Capabilities(positioned_write=True, sequential=True, atomic_replace=True)
SERVERS = {"sequential": SEQUENTIAL, "parallel": PARALLEL, "rename-only": RENAME_ONLY}
KINDS = pytest.mark.parametrize("kind", list(SERVERS))
BIG = 300_000


def _data(size: int, seed: int = 0) -> bytes:
    """Bytes that are nowhere like themselves, so that a shift shows."""
    return b"".join(b"%07d\n" % (n + seed * 1_000_000) for n in range(size // 8 + 1))[:size]


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def _remote(local: Local, kind: str = "sequential", **changes: object) -> Remote:
    return Remote(local, WatchedServer(SERVERS[kind]), **changes)  # type: ignore[arg-type]


# -- the plain cases ---------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("size", [0, 1, 40_000, BIG])
def test_a_new_file_appears_whole(local: Local, kind: str, size: int) -> None:
    remote = _remote(local, kind)
    local.write(_data(size))
    local.take()
    remote.settle()
    assert remote.server.seen == [None, _data(size)]
    assert remote.server.names() == ["a.csv"]
    assert remote.server.written_bytes == size
    assert not local.outbox_litter()


@KINDS
@pytest.mark.parametrize("growth", ["auto", "append"])
def test_growth_is_appended_and_nothing_is_sent_twice(local: Local, kind: str, growth: str) -> None:
    remote = _remote(local, kind)
    local.write(_data(BIG))
    local.take(growth)
    remote.settle()
    for end in (BIG + 10, BIG + 1000):
        local.write(_data(BIG + 1000)[local.current.size : end], "ab")
        local.take(growth)
        remote.settle()
    assert remote.server.seen == [None, _data(BIG), _data(BIG + 10), _data(BIG + 1000)]
    assert remote.server.written_bytes == BIG + 1000


@KINDS
def test_one_write_into_the_visible_file_at_a_time(local: Local, kind: str) -> None:
    """Were the first of two refused and the second not, a reader would see a hole."""
    remote = _remote(local, kind)
    local.write(b"head")
    local.take("append")
    remote.settle()
    local.write(_data(BIG), "ab")
    local.take("append")
    remote.server.requests.clear()
    remote.settle()
    kinds = [name for name, path in remote.server.requests if path == "a.csv"]
    assert kinds.count("write") > 1
    assert ("write", "write") not in list(pairwise(kinds))


# -- broken at every request -------------------------------------------------------------------


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


A, B, C = _data(5000, 1), _data(BIG, 2), _data(6000, 3)
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
            assert n > 3
            return
    pytest.fail("it never ends")


@KINDS
@pytest.mark.parametrize("growth", ["append", "rewrite"])
def test_after_a_break_it_goes_on_near_the_break(local: Local, kind: str, growth: str) -> None:
    """Promise 4: at most 256 KiB again; with parallel workers what was on its way, 64 blocks."""
    remote = _remote(local, kind)
    total = 3_000_000
    if growth == "append":
        local.write(b"")
        local.take(growth)
        remote.settle()
    local.write(_data(total))
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
    assert remote.server.read_file("a.csv") == _data(total)
    again = 64 * 32_768 if kind == "parallel" else 256 * 1024
    assert remote.server.written_bytes <= total + 2 * again


# -- refusals ----------------------------------------------------------------------------------


def test_what_was_appended_before_a_refusal_is_not_sent_again(local: Local) -> None:
    """A full server refuses the last block again and again: only that block is tried again."""
    remote = _remote(local)
    local.write(b"head\n")
    local.take("append")
    remote.settle()
    local.write(_data(1_000_000), "ab")
    local.take("append")
    room = 900_000

    def full(operation: str, path: str) -> None:
        content = remote.server.read_file("a.csv")
        if operation == "write" and content is not None and len(content) > room:
            raise RemoteFull("no space left", operation=operation, path=path)

    remote.server.fault_before = full
    remote.step()
    for _ in range(5):
        local.clock.advance(300)
        remote.step()
    assert remote.delivery.errors
    assert remote.server.written_bytes < 1_300_000
    room = 10_000_000
    local.clock.advance(300)
    remote.settle()
    assert remote.server.read_file("a.csv") == b"head\n" + _data(1_000_000)


def test_permission_denied_holds_only_that_file(local: Local) -> None:
    remote = _remote(local)
    other = str(local.folder / "b.csv")
    Path(other).write_bytes(b"b")
    local.write(b"a")
    local.take()
    local.snapshots.take(other, "b.csv", "auto", None)

    def deny(operation: str, path: str) -> None:
        entry = local.ledger.get(local.path)
        temp = entry.upload.temp if entry is not None and entry.upload is not None else None
        if operation == "write" and path == temp:
            raise RemoteDenied("permission denied", operation=operation, path=path)

    remote.server.fault_before = deny
    remote.delivery.offer(other)
    remote.step()
    assert remote.server.read_file("b.csv") == b"b"
    assert list(remote.delivery.errors) == [local.path]
    assert "permission denied" in remote.delivery.errors[local.path]
    remote.server.fault_before = nothing
    remote.settle()
    assert remote.server.read_file("a.csv") == b"a"
    assert not remote.delivery.errors


@pytest.mark.parametrize("size", [10, BIG])
def test_missing_remote_folders_are_made(local: Local, size: int) -> None:
    remote = _remote(local, root="/in/box")
    local.write(_data(size))
    local.snapshots.take(local.path, "site/a.csv", "auto", None)
    remote.settle()
    assert remote.server.read_file("/in/box/site/a.csv") == _data(size)


def test_a_remote_folder_that_was_removed_meanwhile_is_made_again(local: Local) -> None:
    """Over the same connection: a consumer that tidies up must not stop the file."""
    remote = _remote(local)
    local.write(b"one")
    local.snapshots.take(local.path, "x/a.csv", "rewrite", None)
    remote.settle()
    remote.server.take_file("x/a.csv")
    remote.server.remove_folder("x")
    local.write(b"two")
    local.clock.advance(1)
    local.snapshots.take(local.path, "x/a.csv", "rewrite", None)
    remote.settle()
    assert remote.server.read_file("x/a.csv") == b"two"
    assert remote.connections == 1


# -- other hands at the destination ------------------------------------------------------------


def test_first_contact_sets_aside_what_is_not_ours(local: Local) -> None:
    remote = _remote(local)
    remote.server.put_file("a.csv", b"theirs")
    local.write(b"ours")
    local.take()
    remote.settle()
    aside = [n for n in remote.server.names() if n.startswith("a.csv~")]
    assert len(aside) == 1
    assert remote.server.read_file(aside[0]) == b"theirs"
    assert remote.server.read_file("a.csv") == b"ours"


@pytest.mark.parametrize(
    "growth",
    [
        "auto",
        "append",
    ],
)
def test_first_contact_continues_a_prefix_of_ours(local: Local, growth: str) -> None:
    """A state folder that was lost must not cost the whole file again (design §4, the table)."""
    remote = _remote(local)
    remote.server.put_file("a.csv", _data(BIG))
    local.write(_data(BIG + 100))
    local.take(growth)
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == _data(BIG + 100)
    assert remote.server.written_bytes == 100


def test_first_contact_replaces_where_that_is_wanted(local: Local) -> None:
    remote = _remote(local, policy=Policy(on_first_contact="replace"))
    remote.server.put_file("a.csv", b"theirs")
    local.write(b"ours")
    local.take()
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == b"ours"


@KINDS
@pytest.mark.parametrize("growth", ["auto", "append"])
def test_after_a_consumer_the_pieces_joined_are_the_file(
    local: Local, kind: str, growth: str
) -> None:
    remote = _remote(local, kind, policy=Policy(on_remote_gone="continue"))
    taken = []
    for n in range(6):
        local.write(_data(5000, n), "ab")
        local.take(growth)
        remote.settle()
        if n % 2:
            taken.append(remote.server.move_away("a.csv"))
    assert b"".join(piece() for piece in taken) == Path(local.path).read_bytes()
    assert remote.server.written_bytes == 30_000


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_a_file_that_is_gone_is_sent_again_whole(local: Local, growth: str) -> None:
    remote = _remote(local)
    for n in range(4):
        local.write(_data(5000, n), "ab")
        local.take(growth)
        remote.settle()
        if n % 2 == 0:
            remote.server.take_file("a.csv")
    assert remote.server.read_file("a.csv") == Path(local.path).read_bytes()


def test_sent_again_whole_though_the_file_was_replaced_by_a_longer_one(local: Local) -> None:
    """A longer file that begins alike was moved into place; its head must still be to be had."""
    remote = _remote(local)
    for text in (b"one\n", b"two\n"):
        local.write(text, "ab")
        local.take()
        remote.settle()
    Path(local.path + ".new").write_bytes(b"one\ntwo\nthree\n")
    os.replace(local.path + ".new", local.path)
    local.take()
    remote.settle()
    remote.server.take_file("a.csv")
    local.write(b"four\n", "ab")
    local.take()
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == b"one\ntwo\nthree\nfour\n"


def test_what_a_consumer_took_is_never_written_to_again(local: Local) -> None:
    """Promise 3, for the reader that moved the file away: a handle kept open still points at it.

    The new version is put in place under the same name; what is appended to it must go there.
    """
    remote = _remote(local)
    local.write(b"old 1\n")
    local.take()
    remote.settle()
    local.write(b"old 2\n", "ab")
    local.take()
    remote.settle()
    taken = remote.server.move_away("a.csv")
    _rotate(local, b"new 1\n")
    local.take()
    remote.settle()
    local.write(b"new 2\n", "ab")
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"new 1\nnew 2\n"
    assert taken() == b"old 1\nold 2\n"


def test_a_conflict_is_sent_whole_at_most_once_an_hour(local: Local) -> None:
    remote = _remote(local)
    local.write(b"ours 0\n")
    local.take("append")
    remote.settle()

    def again(n: int) -> None:
        remote.delivery.close()  # what was seen over this connection counts no more
        remote.server.put_file("a.csv", b"another hand's content, longer than all of ours " * 9)
        local.write(b"ours %d\n" % n, "ab")
        local.take("append")
        local.clock.advance(120)
        remote.step()

    again(1)
    assert remote.server.read_file("a.csv") == b"ours 0\nours 1\n"
    again(2)
    assert local.path in remote.delivery.errors
    assert "another hand" in remote.delivery.errors[local.path]
    local.clock.advance(3000)
    remote.step()
    assert remote.server.read_file("a.csv") != b"ours 0\nours 1\nours 2\n"
    local.clock.advance(700)
    remote.step()
    assert remote.server.read_file("a.csv") == b"ours 0\nours 1\nours 2\n"


def test_a_conflict_shows_as_the_state_of_the_link(local: Local) -> None:
    """Twice within an hour: state ``conflict`` (design §4)."""
    remote = _remote(local)
    local.write(b"ours\n")
    local.take("append")
    remote.settle()
    for _ in range(2):
        remote.delivery.close()
        remote.server.put_file("a.csv", b"another hand's content, longer than all of ours")
        local.write(b"more\n", "ab")
        local.take("append")
        remote.step()
    assert remote.delivery.link.link == "conflict"


def test_a_temporary_file_that_vanishes_leaves_no_hole(local: Local) -> None:
    """Somebody tidies our temporary file away while its upload is taken up again."""
    remote = _remote(local)
    data = _data(1_000_000)
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


# -- what can't be had any more ----------------------------------------------------------------


def test_a_tail_whose_head_is_lost_goes_to_a_name_of_its_own(local: Local) -> None:
    """Under the file's own name it would look like its beginning (promise 3)."""
    remote = _remote(local)
    local.write(b"head\n")
    local.take()
    remote.settle()
    local.write(b"tail\n", "ab")
    local.take()
    remote.server.take_file("a.csv")
    local.sources.close()
    local.write(b"new\n")
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"new\n"
    assert remote.server.read_file("a.csv~5-10") == b"tail\n"


@pytest.mark.parametrize(
    "fault",
    [
        "full",
        "shrank",
        "cut",
    ],
)
def test_covering_that_does_not_succeed_leaves_no_litter(
    local: Local, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Bytes copied to be sent again are gone once they are of no use (the disk is not ours)."""
    monkeypatch.setattr(comparison, "_COPY_BYTES", 1000)
    remote = _remote(local)
    total = 64_000 * 3 + 10
    local.write(_data(total))
    local.take("append")
    remote.settle()
    local.write(b"more", "ab")
    local.take("append")
    remote.server.take_file("a.csv")
    stores = 0

    def before(operation: str, path: str) -> None:
        nonlocal stores
        if operation != "open_append" or not path.endswith(".piece"):
            return
        stores += 1
        if stores == 3:
            if fault == "full":
                raise OSError(errno.ENOSPC, "No space left on device", path)
            if fault == "shrank":
                os.truncate(local.path, 130_000)
            else:
                remote.server.up = False

    local.disk.before = before
    remote.step()
    if fault == "cut":
        remote.delivery.close()  # as when another file's request finds the link broken
    local.disk.before = nothing
    assert stores >= 3
    assert not local.outbox_litter()


@pytest.mark.parametrize("source", ["the same", "another"])
def test_a_piece_that_was_damaged_is_never_sent(local: Local, source: str) -> None:
    """After a loss of power its digest tells; the source is read again (design §4)."""
    local.write(b"0123456789")
    local.take("rewrite")
    (name,) = local.outbox_files()
    (local.folder / "state" / "outbox" / name).write_bytes(b"0123056789")
    if source == "another":
        local.write(b"other")
    local.open()
    remote = _remote(local)
    remote.step()
    if source == "another":
        assert remote.looked_again == [local.path]
        assert remote.server.names() == []
        local.take("rewrite")
    remote.settle()
    whole = b"other" if source == "another" else b"0123456789"
    assert remote.server.seen == [None, whole]


def test_held_by_a_burst(local: Local) -> None:
    remote = _remote(local)
    remote.held.add(local.path)
    local.write(b"x")
    local.take()
    remote.step()
    assert remote.server.names() == []
    remote.held.clear()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"x"


def test_litter_that_may_not_be_removed_does_not_hold_up_the_file(local: Local) -> None:
    remote = _remote(local)
    local.write(_data(1_000_000))
    local.take("rewrite")
    remote.server.fault_before = Cut(15)
    remote.step()
    (temp,) = remote.server.temps()
    remote.server.put_file(temp, b"not what we wrote" * 100_000)

    def deny(operation: str, path: str) -> None:
        if operation == "remove":
            raise RemoteError("sticky folder", operation=operation, path=path)

    remote.server.fault_before = deny
    remote.step()
    local.clock.advance(5)
    remote.step()
    assert remote.server.read_file("a.csv") == _data(1_000_000)
    remote.server.fault_before = nothing
    remote.settle()
    assert not remote.server.temps()
