"""One file on its way: the plan carried out, refused, and what can't be had any more."""

from __future__ import annotations

import dataclasses
import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.plan import Policy
from pysubtask.core.space import without_source
from pysubtask.errors import RemoteDenied, RemoteFull
from pysubtask.subtask.delivery import comparison
from pysubtask.testing import MemoryTransport
from tests.unit.core_fakes import HookedDisk, ManualClock, disk_full, fail_with, nothing
from tests.unit.core_local import Local
from tests.unit.core_remote import (
    BIG,
    KINDS,
    POSITIONED,
    TEMP_PREFIX,
    Cut,
    Remote,
    make_remote,
    numbered,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


# -- the plain cases ---------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("size", [0, 1, 40_000, BIG])
def test_a_new_file_appears_whole(local: Local, kind: str, size: int) -> None:
    remote = make_remote(local, kind)
    local.write(numbered(size))
    local.take()
    remote.settle()
    assert remote.server.seen == [None, numbered(size)]
    assert remote.server.names() == ["a.csv"]
    assert remote.server.written_bytes == size
    assert not local.outbox_litter()


@POSITIONED
@pytest.mark.parametrize("growth", ["auto", "append"])
def test_growth_is_appended_and_nothing_is_sent_twice(local: Local, kind: str, growth: str) -> None:
    remote = make_remote(local, kind)
    local.write(numbered(BIG))
    local.take(growth)
    remote.settle()
    for end in (BIG + 10, BIG + 1000):
        local.write(numbered(BIG + 1000)[local.current.size : end], "ab")
        local.take(growth)
        remote.settle()
    assert remote.server.seen == [None, numbered(BIG), numbered(BIG + 10), numbered(BIG + 1000)]
    assert remote.server.written_bytes == BIG + 1000


@POSITIONED
def test_one_write_into_the_visible_file_at_a_time(local: Local, kind: str) -> None:
    """Were the first of two refused and the second not, a reader would see a hole."""
    remote = make_remote(local, kind)
    local.write(b"head")
    local.take("append")
    remote.settle()
    local.write(numbered(BIG), "ab")
    local.take("append")
    remote.server.requests.clear()
    remote.settle()
    kinds = [name for name, path in remote.server.requests if path == "a.csv"]
    assert kinds.count("write") > 1
    assert ("write", "write") not in list(pairwise(kinds))


# -- refusals ----------------------------------------------------------------------------------


def test_what_was_appended_before_a_refusal_is_not_sent_again(local: Local) -> None:
    """A full server refuses the last block again and again: only that block is tried again."""
    remote = make_remote(local)
    local.write(b"head\n")
    local.take("append")
    remote.settle()
    local.write(numbered(1_000_000), "ab")
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
    assert remote.server.read_file("a.csv") == b"head\n" + numbered(1_000_000)


class _TakesAPart:
    """A server that acknowledges each write, of which it takes what its disk has room for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        takes_all = MemoryTransport.write

        def write(
            transport: MemoryTransport, path: str, offset: int, data: bytes, *, create: bool
        ) -> None:
            part = data[: self.room]
            self.room -= len(part)
            takes_all(transport, path, offset, part, create=create)

        monkeypatch.setattr(MemoryTransport, "write", write)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("size", "room"), [(5_000, 3_000), (500_000, 3_000), (500_000, 499_000)])
def test_a_new_version_of_which_a_part_was_taken_does_not_take_its_place(
    local: Local, monkeypatch: pytest.MonkeyPatch, sequential: bool, size: int, room: int
) -> None:
    remote = make_remote(local)
    remote.server.capabilities = dataclasses.replace(
        remote.server.capabilities, sequential=sequential, short_writes=True
    )
    disk = _TakesAPart(monkeypatch, room)
    local.write(numbered(size))
    local.take("rewrite")
    for _ in range(3):
        remote.step()
        local.clock.advance(100)
    assert "likely its disk is full" in (remote.delivery.error_of(local.path) or "")
    disk.room = 10_000_000
    remote.settle()
    assert remote.server.seen == [None, numbered(size)]


def test_an_append_of_which_nothing_was_taken_waits(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = make_remote(local)
    local.write(b"head\n")
    local.take("append")
    remote.settle()
    disk = _TakesAPart(monkeypatch, 1_000)
    local.write(numbered(5_000), "ab")
    local.take("append")
    remote.server.requests.clear()
    remote.step()
    assert "likely its disk is full" in (remote.delivery.error_of(local.path) or "")
    assert len(remote.server.requests) < 20
    disk.room = 10_000_000
    local.clock.advance(100)
    remote.settle()
    assert remote.server.read_file("a.csv") == b"head\n" + numbered(5_000)


def test_permission_denied_holds_only_that_file(local: Local) -> None:
    remote = make_remote(local)
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
    remote = make_remote(local, root="/in/box")
    local.write(numbered(size))
    local.snapshots.take(local.path, "site/a.csv", "auto", None)
    remote.settle()
    assert remote.server.read_file("/in/box/site/a.csv") == numbered(size)


def test_a_remote_folder_that_was_removed_meanwhile_is_made_again(local: Local) -> None:
    """Over the same connection: a consumer that tidies up must not stop the file."""
    remote = make_remote(local)
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


# -- what can't be had any more ----------------------------------------------------------------


def test_a_version_given_up_while_it_is_sent_takes_no_other_with_it(local: Local) -> None:
    """There was no room to keep the file that was deleted; the next one has a copy."""
    local.write(numbered(3_000_000))
    local.take("append")
    os.unlink(local.path)
    local.ledger.outbox.has_room = lambda size: False
    local.write(b"the next file")
    local.take("append")
    local.ledger.outbox.has_room = lambda size: True
    with local.sources.borrow(local.path, local.current) as handle:
        local.snapshots.rescue.copy_live_pieces(local.path, 2, handle)
    assert None not in [piece.name for piece in local.current.pieces]
    remote = make_remote(local, "sessions")

    def give_up(operation: str, path: str) -> None:
        if operation == "begin" and local.entry.version(1) is not None:
            local.ledger.update(local.path, lambda e: without_source(e, 1)[0])
            local.sources.release(local.path, 1)
            local.sources.release(local.path, 2)
            os.unlink(local.path)

    remote.server.fault_before = give_up
    remote.settle()
    assert local.entry.version(1) is None
    assert remote.server.read_file("a.csv") == b"the next file"


def deliver_head_and_take_tail(local: Local, remote: Remote) -> None:
    local.write(b"head\n")
    local.take()
    remote.settle()
    local.write(b"tail\n", "ab")
    local.take()


def test_a_tail_whose_head_is_lost_goes_to_a_name_of_its_own(local: Local) -> None:
    """Under the file's own name it would look like its beginning (promise 3)."""
    remote = make_remote(local)
    deliver_head_and_take_tail(local, remote)
    remote.server.take_file("a.csv")
    local.sources.close()
    local.write(b"new\n")
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"new\n"
    assert remote.server.read_file("a.csv~5-10") == b"tail\n"


@KINDS
def test_a_tail_that_a_loss_of_power_sends_again(local: Local, kind: str) -> None:
    """It has arrived before, as has what was written later, and the journal lost both. The one is
    replaced, also where servers rename to free names only; the other may be all that is left."""
    remote = make_remote(local, kind, policy=Policy(unclean_boot=True))
    deliver_head_and_take_tail(local, remote)
    remote.server.put_file("a.csv~5-10", b"tail\n")
    remote.server.put_file("a.csv", b"what came later\n")
    remote.restart()
    local.sources.close()
    local.write(b"newest\n")
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv~5-10") == b"tail\n"
    assert remote.server.read_file("a.csv") == b"newest\n"
    (kept,) = [name for name in remote.server.names() if name.endswith("Z")]
    assert remote.server.read_file(kept) == b"what came later\n"


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
    remote = make_remote(local)
    total = 64_000 * 3 + 10
    local.write(numbered(total))
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
    remote = make_remote(local)
    remote.step()
    if source == "another":
        assert remote.looked_again == [local.path]
        assert remote.server.names() == []
        local.take("rewrite")
    remote.settle()
    whole = b"other" if source == "another" else b"0123456789"
    assert remote.server.seen == [None, whole]


def test_what_a_lost_version_was_to_keep_is_kept_by_the_next(local: Local) -> None:
    """It was to set aside what a loss of power has left at the destination only."""
    remote = make_remote(local)
    local.write(b"row 1\nrow 2\n")
    local.take()
    remote.settle()
    local.write(b"row 1\n")
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.take()
    for name in local.outbox_files():
        (local.folder / "state" / "outbox" / name).unlink()
    local.sources.close()
    local.write(b"row 3\n")
    remote.step()
    assert remote.looked_again == [local.path]
    local.take()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"row 3\n"
    (kept,) = [name for name in remote.server.names() if name.endswith("Z")]
    assert remote.server.read_file(kept) == b"row 1\nrow 2\n"


@pytest.mark.parametrize("unclean_boot", [True, False])
def test_what_came_after_the_journal_s_last_note_is_kept(local: Local, unclean_boot: bool) -> None:
    """The newer version had arrived, and more of it, which the disk here has lost."""
    remote = make_remote(local, policy=Policy(unclean_boot=unclean_boot))
    local.write(b"old\n")
    local.take()
    remote.settle()
    local.write(b"new 1\nnew 2\n")
    local.take()
    remote.server.put_file("a.csv", b"new 1\nnew 2\nnew 3\n")
    remote.restart()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"new 1\nnew 2\n"
    kept = [name for name in remote.server.names() if name.endswith("Z")]
    assert [remote.server.read_file(name) for name in kept] == (
        [b"new 1\nnew 2\nnew 3\n"] * unclean_boot
    )


def test_a_disk_that_fails_for_a_moment_loses_nothing(local: Local) -> None:
    """Neither the copy nor the file can be read now: that says nothing of what they hold."""
    local.write(b"0123456789")
    local.take("rewrite")
    local.open()
    remote = make_remote(local)
    disk = local.disk
    assert isinstance(disk, HookedDisk)
    disk.before = fail_with(lambda: OSError(errno.EIO, "Input/output error"), "open_read")
    remote.step()
    assert not remote.looked_again
    assert "Input/output error" in (remote.delivery.error_of(local.path) or "")
    local.write(b"other")
    disk.before = nothing
    local.clock.advance(60)
    remote.settle()
    assert remote.server.seen == [None, b"0123456789"]


def test_copies_that_the_journal_could_not_note_are_removed(local: Local) -> None:
    remote = make_remote(local, dead_time_secs=1e9)
    local.write(numbered(100_000))
    local.take()
    remote.settle()
    remote.server.take_file("a.csv")
    local.write(b"more\n", "ab")
    local.take()
    held_bytes = local.ledger.outbox.held_bytes
    local.disk.before = fail_with(disk_full, "append", suffix="journal")
    for _ in range(3):
        remote.step()
        local.clock.advance(3600)
        assert local.ledger.outbox.held_bytes == held_bytes
    local.disk.before = nothing
    remote.settle()
    assert not local.outbox_litter()
    assert remote.server.read_file("a.csv") == numbered(100_000) + b"more\n"


def test_copies_that_have_no_version_any_more_are_no_beginning(local: Local) -> None:
    remote = make_remote(local, dead_time_secs=1e9)
    local.write(numbered(100_000))
    local.take()
    remote.settle()
    local.write(b"more\n", "ab")
    local.take()
    courier, version = remote.delivery._courier, local.current
    assert courier is not None
    assert version.available_from == 100_000
    cover = courier._comparison.cover(local.path, version, 0)
    next(cover)
    local.ledger.update(local.path, lambda e: replace(e, versions=()))
    with pytest.raises(StopIteration) as ended:
        next(cover)
    assert ended.value.value == 100_000
    assert not local.outbox_litter()


def test_held_by_a_burst(local: Local) -> None:
    remote = make_remote(local)
    remote.held.add(local.path)
    local.write(b"x")
    local.take()
    remote.step()
    assert remote.server.names() == []
    remote.held.clear()
    remote.settle()
    assert remote.server.read_file("a.csv") == b"x"


def test_what_was_copied_meanwhile_is_sent_from_there(local: Local) -> None:
    """A job that began before the bytes were copied, and the file truncated, reads the copy."""
    data = numbered(1_000_000)
    remote = make_remote(local)
    local.write(data)
    local.take("append")
    remote.server.fault_before = Cut(8)
    remote.step()
    local.open()
    remote.server.fault_before = nothing
    remote = Remote(local, remote.server)

    def copied_and_truncated(operation: str, path: str) -> None:
        if operation != "stat" or not path.startswith(TEMP_PREFIX):
            return
        remote.server.fault_before = nothing
        with local.sources.borrow(local.path, local.current) as handle:
            local.snapshots.rescue.copy_live_pieces(local.path, local.current.number, handle)
        local.write(b"new\n")
        local.take("append")

    remote.server.fault_before = copied_and_truncated
    remote.settle()
    assert remote.server.seen == [None, data, b"new\n"]


def test_what_was_begun_of_a_file_that_is_gone_is_removed(local: Local) -> None:
    """Nothing may ever be sent of that file again."""
    remote = make_remote(local)
    local.write(numbered(1_000_000))
    local.take("append")
    remote.server.fault_before = Cut(8)
    remote.step()
    assert remote.server.temps()
    os.unlink(local.path)
    local.open()
    remote.server.fault_before = nothing
    remote = Remote(local, remote.server)
    remote.settle()
    assert remote.looked_again == [local.path]
    assert not remote.server.temps()
