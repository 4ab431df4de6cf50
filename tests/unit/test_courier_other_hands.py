"""Other hands at the destination: first contact, consumers that take files away, conflicts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pysubtask.core.plan import Policy
from pysubtask.errors import LinkLost
from tests.unit.core_fakes import HookedDisk, ManualClock, nothing, on_nth
from tests.unit.core_local import Local
from tests.unit.core_remote import (
    BIG,
    KINDS,
    PARALLEL,
    Cut,
    Remote,
    WatchedServer,
    make_remote,
    numbered,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def _rotate(local: Local, data: bytes) -> None:
    os.rename(local.path, local.path + ".1")
    local.write(data)


def test_first_contact_sets_aside_what_is_not_ours(local: Local) -> None:
    remote = make_remote(local)
    remote.server.put_file("a.csv", b"theirs")
    local.write(b"ours")
    local.take()
    remote.settle()
    aside = [n for n in remote.server.names() if n.startswith("a.csv~")]
    assert len(aside) == 1
    assert remote.server.read_file(aside[0]) == b"theirs"
    assert remote.server.read_file("a.csv") == b"ours"


@KINDS
@pytest.mark.parametrize("size", [10, BIG])
@pytest.mark.parametrize("breaks", [False, True])
def test_a_file_that_comes_while_ours_is_sent_is_kept(
    local: Local, kind: str, size: int, breaks: bool
) -> None:
    """The look that found the name free may be hours and connections ago."""
    remote = make_remote(local, kind)

    def come(operation: str, path: str) -> None:
        if operation in ("put", "write"):
            remote.server.fault_before = nothing
            remote.server.put_file("a.csv", b"theirs")
            if breaks:
                raise LinkLost("cut by the test", operation=operation, path=path)

    remote.server.fault_before = come
    local.write(numbered(size))
    local.take()
    remote.step()
    local.clock.advance(7200)
    remote.settle()
    kept = [remote.server.read_file(n) for n in remote.server.names() if n.startswith("a.csv~")]
    puts = "put" in [name for name, _ in remote.server.requests]
    at_once = puts and not breaks  # no request comes between the look and the only one
    assert kept == ([] if at_once else [b"theirs"])
    assert remote.server.read_file("a.csv") == numbered(size)
    assert not remote.server.temps()


@KINDS
def test_our_own_beginning_that_comes_meanwhile_is_no_stranger(local: Local, kind: str) -> None:
    remote = make_remote(local, kind)
    ours = numbered(BIG)
    remote.server.fault_before = on_nth(
        "write", "", 1, lambda: remote.server.put_file("a.csv", ours[:5000])
    )
    local.write(ours)
    local.take()
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == ours


def test_what_a_put_left_is_not_put_again(local: Local) -> None:
    remote = make_remote(local, "sessions")
    remote.server.fault_after = Cut(2)
    local.write(b"ours")
    local.take()
    remote.settle()
    assert [name for name, _ in remote.server.requests].count("put") == 1
    assert remote.server.names() == ["a.csv"]


@KINDS
def test_a_name_that_was_free_an_hour_ago_is_looked_at_again(local: Local, kind: str) -> None:
    """A burst may hold a file back after the look, and the connection lives on."""
    remote = make_remote(local, kind, dead_time_secs=1e9)
    remote.server.fault_before = on_nth("stat", "", 1, lambda: remote.held.add(local.path))
    local.write(b"ours")
    local.take()
    remote.step()
    assert remote.server.names() == []
    local.clock.advance(3600)
    remote.server.put_file("a.csv", b"theirs")
    remote.held.clear()
    remote.settle()
    assert remote.connections == 1
    kept = [remote.server.read_file(n) for n in remote.server.names() if n.startswith("a.csv~")]
    assert kept == [b"theirs"]


@pytest.mark.parametrize("kind", ["sequential", "rename-only"])
def test_before_a_name_is_left_empty_the_journal_is_on_the_disk(local: Local, kind: str) -> None:
    """Else, after a loss of power, it would look as if a consumer had taken the file, and only
    what it had not been given would be sent (history 91895 of the simulator)."""
    remote = make_remote(local, kind, policy=Policy(on_remote_gone="continue"))
    remote.server.put_file("a.csv", b"theirs")
    unsynced = []

    def look(operation: str, path: str) -> None:
        if operation in ("rename", "remove") and path == "a.csv":
            unsynced.append(local.ledger.journal.sync_due())

    remote.server.fault_before = look
    local.write(b"ours")
    local.take()
    remote.settle()
    _rotate(local, b"another version of ours")
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"another version of ours"
    assert unsynced == [None] * (1 if kind == "sequential" else 2)  # set aside; removed


@pytest.mark.parametrize(
    "growth",
    [
        "auto",
        "append",
    ],
)
def test_first_contact_continues_a_prefix_of_ours(local: Local, growth: str) -> None:
    """A state folder that was lost must not cost the whole file again (design §4, the table)."""
    remote = make_remote(local)
    remote.server.put_file("a.csv", numbered(BIG))
    local.write(numbered(BIG + 100))
    local.take(growth)
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == numbered(BIG + 100)
    assert remote.server.written_bytes == 100


def test_first_contact_replaces_where_that_is_wanted(local: Local) -> None:
    remote = make_remote(local, policy=Policy(on_first_contact="replace"))
    remote.server.put_file("a.csv", b"theirs")
    local.write(b"ours")
    local.take()
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == b"ours"


def test_a_file_that_changes_while_it_is_compared_is_no_conflict(local: Local) -> None:
    remote = Remote(local, WatchedServer(replace(PARALLEL, max_read_bytes=1024)))
    local.write(numbered(BIG))
    local.take()
    remote.settle()
    remote.delivery.close()
    local.write(b"more", "ab")
    local.take()

    def change(operation: str, path: str) -> None:
        if operation == "read":
            local.write(numbered(BIG, 1))

    remote.server.fault_before = change
    remote.settle()
    assert local.entry.conflict_at is None
    assert remote.server.read_file("a.csv") == numbered(BIG) + b"more"


def test_what_is_left_of_ours_tells_another_hand(local: Local) -> None:
    """The file's beginning is gone here, and there a byte stands behind it that is not ours."""
    remote = make_remote(local)
    local.write(b"0123456789")
    local.take()
    remote.settle()
    remote.delivery.close()
    local.write(b"abcdef", "ab")
    local.take()
    local.write(b"new")
    remote.server.put_file("a.csv", b"not ours!!X")
    remote.step()
    assert remote.server.read_file("a.csv~10-16") == b"abcdef"
    assert local.entry.conflict_at is not None


def test_what_is_owed_is_not_written_behind_a_content_of_that_length_that_is_not_ours(
    local: Local,
) -> None:
    """A server that went down shows an older version, just as long, and ours is gone here (the
    sweep of the simulator: "edit", request 29)."""
    remote = make_remote(local)
    local.write(b"0123456789")
    local.take()
    remote.settle()
    remote.delivery.close()
    local.write(b"abcdef", "ab")
    local.take()
    local.write(b"new")
    local.clock.advance(2)
    remote.server.put_file("a.csv", b"older, 10b")
    remote.step()
    assert remote.server.read_file("a.csv~10-16") == b"abcdef"
    assert remote.server.read_file("a.csv") == b"older, 10b"


@KINDS
@pytest.mark.parametrize("growth", ["auto", "append"])
def test_after_a_consumer_the_pieces_joined_are_the_file(
    local: Local, kind: str, growth: str
) -> None:
    remote = make_remote(local, kind, policy=Policy(on_remote_gone="continue"))
    taken = []
    for n in range(6):
        local.write(numbered(5000, n), "ab")
        local.take(growth)
        remote.settle()
        if n % 2:
            taken.append(remote.server.move_away("a.csv"))
    assert b"".join(piece() for piece in taken) == Path(local.path).read_bytes()
    # where a file can't be continued, what the next consumer is owed goes once more as it grows
    assert remote.server.written_bytes == (45_000 if kind == "sessions" else 30_000)


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_a_file_that_is_gone_is_sent_again_whole(local: Local, growth: str) -> None:
    remote = make_remote(local)
    for n in range(4):
        local.write(numbered(5000, n), "ab")
        local.take(growth)
        remote.settle()
        if n % 2 == 0:
            remote.server.take_file("a.csv")
    assert remote.server.read_file("a.csv") == Path(local.path).read_bytes()


def test_sent_again_whole_though_the_file_was_replaced_by_a_longer_one(local: Local) -> None:
    """A longer file that begins alike was moved into place; its head must still be to be had."""
    remote = make_remote(local)
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
    remote = make_remote(local)
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
    remote = make_remote(local)
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
    remote = make_remote(local)
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


@pytest.mark.parametrize("nth_read", range(1, 8))
def test_a_file_that_is_truncated_while_it_is_compared(local: Local, nth_read: int) -> None:
    """What another hand put there is not appended to because our file ceased to be a source: the
    outbox still has bytes to compare."""
    remote = make_remote(local)
    local.write(b"ours 0\n")
    local.take()
    remote.settle()
    remote.delivery.close()  # what was seen over this connection counts no more
    remote.server.put_file("a.csv", b"theirs\n!")  # one byte more than ours
    local.write(b"ours 1\n", "ab")
    local.take()
    local.clock.advance(120)
    local.disk.before = on_nth("read", "a.csv", nth_read, lambda: os.truncate(local.path, 0))
    remote.step()
    local.disk.before = nothing
    remote.settle(4000)
    for name in remote.server.names():
        content = remote.server.read_file(name)
        assert content in (b"theirs\n!", b"ours 0\nours 1\n", b"ours 1\n"), (name, content)
