"""What a look makes of every kind of change, on the real disk (design: rules for looking)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pysubtask.core.model import Piece, Stamp, Version
from pysubtask.subtask.intake.snapshot import Touch
from tests.unit.core_fakes import (
    HookedDisk,
    Local,
    ManualClock,
    disk_full,
    fail_with,
    nothing,
    on_nth,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def _keep_times(path: str, st: os.stat_result) -> None:
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


# -- the kinds of change -----------------------------------------------------------------------


@pytest.mark.parametrize("growth", ["auto", "append", "rewrite"])
def test_the_first_look_takes_all_there_is(local: Local, growth: str) -> None:
    local.write(b"0123456789")
    assert local.take(growth).result == "taken"
    assert local.content() == b"0123456789"
    assert local.entry.next_owed == local.current
    assert local.current.growing == (growth == "append")


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_growth_continues_the_version(local: Local, growth: str) -> None:
    local.write(b"head\n")
    local.take(growth)
    local.write(b"tail\n", "ab")
    assert local.take(growth).result == "taken"
    assert (local.current.number, local.current.growing) == (1, True)
    assert local.content() == b"head\ntail\n"


def test_growth_is_a_new_version_where_the_program_rewrites(local: Local) -> None:
    local.write(b"head\n")
    local.take("rewrite")
    local.write(b"tail\n", "ab")
    local.take("rewrite")
    assert (local.current.number, local.current.growing) == (2, False)
    assert local.content() == b"head\ntail\n"


def test_nothing_changed(local: Local) -> None:
    local.write(b"x")
    local.take()
    before = local.entry
    assert local.take().result == "unchanged"
    assert local.entry == before


def test_a_touch_is_served_even_if_nothing_changed(local: Local) -> None:
    local.write(b"x")
    local.take()
    assert local.take(touch=Touch(Stamp(5, 6), 7.0)).result == "unchanged"
    assert (local.entry.served, local.entry.notified_at) == (Stamp(5, 6), 7.0)


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_truncation_begins_a_version_and_the_old_one_stays_owed(local: Local, growth: str) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    if growth == "append":
        # the program waits for its snapshot to be safe before it truncates: notify(wait_secs=…)
        with local.sources.borrow(local.path, local.current) as handle:
            local.snapshots.rescue.copy_live_pieces(local.path, 1, handle)
    local.write(b"new")
    local.take(growth)
    assert [v.number for v in local.entry.versions] == [1, 2]
    assert local.content(1) == b"one+two"
    assert local.content(2) == b"new"


def test_truncation_to_nothing_is_seen(local: Local) -> None:
    local.write(b"some")
    local.take()
    local.write(b"")
    assert local.take().result == "taken"
    assert (local.current.number, local.current.size) == (2, 0)
    assert local.content() == b""


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_rotation_by_rename_reads_the_old_file_to_its_end(local: Local, growth: str) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    local.write(b"+three", "ab")
    os.rename(local.path, local.path + ".1")
    local.write(b"new")
    local.take(growth)
    assert local.content(1) == b"one+two+three"
    assert local.content(2) == b"new"


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_a_rename_is_followed_by_a_new_process(local: Local, growth: str) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    local.write(b"+three", "ab")
    os.rename(local.path, local.path + ".1")
    local.open()
    local.write(b"new")
    local.take(growth)
    assert local.content(1) == b"one+two+three"
    assert local.content(2) == b"new"


def test_a_rename_is_followed_though_the_new_file_begins_like_the_old_one(local: Local) -> None:
    """Every CSV file begins with the same header line: a head alone does not tell (design §4)."""
    header = b"time,value\n"
    local.write(header)
    local.take()
    local.write(b"1,1\n", "ab")
    local.take()
    local.deliver_all()
    with open(local.path, "ab") as writer:
        os.rename(local.path, local.path + ".1")
        local.write(header + b"1,1\n3,3\n")
        writer.write(b"2,2\n")
    local.take()
    assert [(v.number, v.size) for v in local.entry.versions] == [(1, 19), (2, 19)]
    assert local.content(1, start=15) == b"2,2\n"
    assert local.content(2) == header + b"1,1\n3,3\n"


def test_a_rename_is_followed_after_the_first_snapshot(local: Local) -> None:
    """Promise 2: before its snapshot, data survives a rename; also the first time."""
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    os.rename(local.path, local.path + ".1")
    local.write(b"new")
    local.take()
    assert local.content(1) == b"one+two"
    assert local.content(2) == b"new"


def test_copytruncate_keeps_what_was_seen(local: Local) -> None:
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.take()
    Path(local.path + ".1").write_bytes(Path(local.path).read_bytes())
    os.truncate(local.path, 0)
    local.write(b"fresh and long enough", "ab")
    local.take()
    assert local.content(1) == b"one+two"
    assert local.content(2) == b"fresh and long enough"


def test_a_rewrite_of_the_same_size_with_the_old_mtime_is_seen(local: Local) -> None:
    local.write(b"aaaa")
    local.take()
    st = os.stat(local.path)
    local.write(b"bbbb")
    _keep_times(local.path, st)
    assert local.take().result == "taken"
    assert local.content() == b"bbbb"


def test_an_edit_inside_is_seen_though_the_file_grew(local: Local) -> None:
    local.write(b"aaaa")
    local.take()
    local.write(b"abaa+more")
    local.take()
    assert local.current.number == 2
    assert local.content() == b"abaa+more"


def test_a_replaced_file_is_seen_whatever_its_times(local: Local) -> None:
    local.write(b"aaaa")
    local.take()
    st = os.stat(local.path)
    Path(local.path + ".new").write_bytes(b"bbbb")
    _keep_times(local.path + ".new", st)
    os.replace(local.path + ".new", local.path)
    assert local.take().result == "taken"
    assert local.content() == b"bbbb"


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_an_inode_that_is_used_again_is_no_continuation(local: Local, growth: str) -> None:
    """ext4 gives the inode of a deleted file to the next one: inode alone loses data."""
    local.write(b"old content")
    local.take(growth)
    ino = os.stat(local.path).st_ino
    local.sources.close()
    os.unlink(local.path)
    local.write(b"another content, longer")
    if os.stat(local.path).st_ino != ino:
        local.ledger.update(
            local.path,
            lambda e: e.with_version(_with_ino(e.versions[-1], os.stat(local.path).st_ino)),
        )
    local.take(growth)
    assert local.current.number == 2
    assert local.content(2) == b"another content, longer"


def _with_ino(version: Version, ino: int) -> Version:
    return replace(version, identity=replace(version.identity, ino=ino))


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_a_deleted_file_that_is_held_open_is_read_to_its_end(local: Local, growth: str) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    with open(local.path, "ab") as writer:
        os.unlink(local.path)
        writer.write(b"+last words")
        writer.flush()
        assert local.take(growth).result == "missing"
    assert local.content() == b"one+two+last words"


def test_a_missing_file_serves_its_touch(local: Local) -> None:
    assert local.take(touch=Touch(Stamp(5, 6), 7.0)).result == "missing"
    assert local.entry.served == Stamp(5, 6)
    assert local.entry.next_owed is None


def test_a_file_that_is_no_file_fails_and_says_so(local: Local) -> None:
    os.mkfifo(local.path)
    outcome = local.take()
    assert outcome.result == "failed"
    assert outcome.error is not None
    assert outcome.error.errno == errno.EINVAL


# -- what is read and held ---------------------------------------------------------------------


def test_the_held_handle_is_the_file_that_has_the_version(local: Local) -> None:
    """A longer file that begins alike is moved into place: the version's bytes are in the new one.

    What is borrowed must be able to give every byte of it (to send it again as a whole).
    """
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.take()
    Path(local.path + ".new").write_bytes(b"one+two+three")
    os.replace(local.path + ".new", local.path)
    local.take()
    assert local.current.number == 1
    with local.sources.borrow(local.path, local.current) as handle:
        assert handle.read_at(0, 100) == b"one+two+three"


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_no_handle_is_left_open(local: Local, growth: str) -> None:
    for text in (b"one", b"+two", b"+three"):
        local.write(text, "ab")
        local.take(growth)
    local.write(b"new")
    local.take(growth)
    os.unlink(local.path)
    local.take(growth)
    local.sources.close()
    assert not local.disk.open_handles


def test_append_copies_nothing_while_it_only_grows(local: Local) -> None:
    for text in (b"one", b"+two", b"+three"):
        local.write(text, "ab")
        local.take("append")
    assert not local.outbox_files()
    assert all(p.name is None for p in local.current.pieces)


def test_append_reads_only_what_is_new(local: Local) -> None:
    local.write(b"x" * 1_000_000)
    local.take("append")
    local.write(b"y" * 1000, "ab")
    local.disk.read_bytes = 0
    local.take("append")
    assert local.disk.read_bytes < 20_000


def test_many_small_growths_are_few_pieces(local: Local) -> None:
    for _ in range(200):
        local.write(b"line\n", "ab")
        local.take("append")
    assert len(local.current.pieces) <= 65
    assert local.content() == b"line\n" * 200


def test_the_settled_flag_needs_more_than_a_tick(local: Local) -> None:
    local.write(b"x")
    local.clock = ManualClock()
    local.open()
    local.snapshots.take(local.path, "a.csv", "auto", None)
    assert not local.current.settled
    local.take()
    assert local.current.settled


# -- while it is written -----------------------------------------------------------------------


@contextmanager
def _writes_during(local: Local, nth_read: int, data: bytes, mode: str = "wb") -> Iterator[None]:
    """The program writes before the ``nth`` read of the file; afterwards if there is none."""
    done = False

    def act() -> None:
        nonlocal done
        done = True
        local.write(data, mode)

    local.disk.before = on_nth("read", "a.csv", nth_read, act)
    try:
        yield
    finally:
        local.disk.before = nothing
        if not done:
            act()


def _is_prefix(content: bytes, *wholes: bytes) -> bool:
    return any(whole.startswith(content) for whole in wholes)


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
@pytest.mark.parametrize("nth_read", [1, 2, 3])
@pytest.mark.parametrize("new", [b"BBBBBBBB", b"BB", b"BBBBBBBBBBBBBBBB"])
def test_a_version_that_is_rewritten_while_it_is_read_is_never_mixed(
    local: Local, growth: str, nth_read: int, new: bytes
) -> None:
    local.write(b"AAAAAAAA")
    with _writes_during(local, nth_read, new):
        outcome = local.take(growth)
    if outcome.result == "taken":
        assert _is_prefix(local.content(), b"AAAAAAAA", new)
    local.take(growth)
    assert local.content() == new
    assert not local.outbox_litter()


@pytest.mark.parametrize("nth_read", range(1, 6))
@pytest.mark.parametrize("new", [b"BBBBBBBB", b"BBBBBBBBBBBBBBBB", b"AAAABBBBB"])
def test_growth_that_turns_into_a_rewrite_while_it_is_read_is_never_mixed(
    local: Local, nth_read: int, new: bytes
) -> None:
    """Promise 3: one whole version, or an exact prefix; never the old head and the new tail."""
    local.write(b"AAAA")
    local.take()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, new):
        local.take()
    assert _is_prefix(local.content(), b"AAAAaaaa", new)
    local.take()
    assert local.content() == new


@pytest.mark.parametrize("nth_read", [1, 2, 3])
def test_growth_while_it_is_read_is_taken(local: Local, nth_read: int) -> None:
    local.write(b"AAAA")
    local.take()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, b"more", "ab"):
        assert local.take().result == "taken"
    assert local.content() in (b"AAAAaaaa", b"AAAAaaaamore")
    assert local.current.growing


def test_a_rewriter_that_never_rests_is_taken_at_last(local: Local) -> None:
    local.write(b"AAAAAAAA")
    with _writes_during(local, 2, b"BBBBBBBB"):
        assert local.take("rewrite").result == "unstable"
    assert local.ledger.get(local.path) is None
    with _writes_during(local, 2, b"CCCCCCCC"):
        assert local.take("rewrite", final=True).result == "taken"


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
@pytest.mark.parametrize(
    "nth_read",
    [
        1,
        2,
    ],
)
def test_what_was_taken_at_last_is_mended_once_it_rests(
    local: Local, growth: str, nth_read: int
) -> None:
    """A torn snapshot may be sent with a warning; the next look must see that it was torn."""
    local.write(b"AAAAAAAA")
    with _writes_during(local, nth_read, b"BBBBBBBB"):
        assert local.take(growth, final=True).result == "taken"
    local.take(growth)
    assert local.content() == b"BBBBBBBB"


@pytest.mark.parametrize(
    "growth",
    [
        "auto",
        "rewrite",
        "append",
    ],
)
def test_bytes_that_are_not_the_snapshots_are_never_sent(local: Local, growth: str) -> None:
    """A file that was truncated and outgrew its snapshot: the old version is itself, or lost."""
    local.verify_up_to_bytes = 10  # longer pieces of the file itself have no digest
    local.open()
    local.write(b"old " * 10)
    local.take(growth)
    local.write(b"more " * 10, "ab")
    local.take(growth)
    old = b"old " * 10 + b"more " * 10
    new = b"new content " * 50
    local.write(new)
    local.take(growth)
    assert local.content() == new
    for version in local.entry.versions[:-1]:
        try:
            found = local.content(version.number)
        except Exception as error:
            assert type(error).__name__ == "BytesLost"  # noqa: PT017
        else:
            assert found == old


# -- a disk that refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("growth", "where"),
    [
        ("auto", "journal"),
        ("auto", ".piece"),
        ("rewrite", "journal"),
        ("rewrite", ".piece"),
        ("append", "journal"),
        ("append", ".piece"),
    ],
)
def test_a_full_disk_loses_nothing_and_leaves_no_litter(
    local: Local, growth: str, where: str
) -> None:
    """Promise 1: pysubtask never fills the disk. A refused look cleans up."""
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.disk.before = fail_with(disk_full, "append", suffix=where)
    results = [local.take(growth).result for _ in range(3)]
    if growth == "append" and where == ".piece":  # copies nothing
        assert results == ["taken", "unchanged", "unchanged"]
    else:
        assert results == ["failed"] * 3
    assert not local.outbox_litter()
    local.disk.before = nothing
    local.take(growth)
    assert local.content() == b"one+two"
    local.open()
    assert local.content() == b"one+two"


@pytest.mark.parametrize("growth", ["auto", "append"])
@pytest.mark.parametrize(
    "there",
    [True, False],
)
def test_a_full_disk_at_rotation_fails_the_look_and_the_old_version_waits(
    local: Local, growth: str, there: bool
) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    local.write(b"+three", "ab")
    os.rename(local.path, local.path + ".1")
    if there:
        local.write(b"new")
    local.disk.before = fail_with(disk_full, "append", "write_whole", suffix="")
    outcome = local.take(growth)
    assert outcome.result == "failed"
    assert outcome.error is not None
    assert outcome.error.errno == errno.ENOSPC
    local.disk.before = nothing
    local.take(growth)
    assert local.content(1) == b"one+two+three"
    if there:
        assert local.content(2) == b"new"
    assert not local.outbox_litter()


@pytest.mark.parametrize("nth_read", [1, 2, 3])
def test_unstable_looks_leave_no_litter(local: Local, nth_read: int) -> None:
    local.write(b"AAAA")
    local.take()
    local.deliver_all()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, b"BBBBBBBB"):
        local.take()
    assert not local.outbox_litter()


# -- superseding -------------------------------------------------------------------------------


def test_a_newer_whole_version_replaces_one_that_is_not_sent_yet(local: Local) -> None:
    for text in (b"one", b"two", b"three"):
        local.write(text)
        local.take("rewrite")
    assert [v.size for v in local.entry.versions] == [5]
    assert local.content() == b"three"
    assert not local.outbox_litter()


def test_shorter_after_an_unclean_boot_sets_the_remote_file_aside(local: Local) -> None:
    local.write(b"one+two")
    local.take()
    local.snapshots.suspects = {local.path}
    local.write(b"one")
    local.take()
    assert local.current.set_aside_remote
    assert local.path not in local.snapshots.suspects


def test_a_piece_let_go_of_while_it_is_added_to_is_copied_again(local: Local) -> None:
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.disk.before = on_nth("append", ".piece", 1, local.deliver_all)
    local.take()
    assert local.entry.next_owed is not None
    piece: Piece = local.current.pieces[-1]
    assert (piece.start, piece.end) == (3, 7)
    assert local.current.available_from == 3
