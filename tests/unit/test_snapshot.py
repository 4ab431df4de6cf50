"""What a look makes of every kind of change, on the real disk (design: rules for looking)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pysubtask.core.model import Delivered, Piece, Stamp, Version
from pysubtask.subtask.intake.facts import Touch
from pysubtask.subtask.store.ledger import record_delivery
from tests.unit.core_fakes import HookedDisk, ManualClock, nothing, on_nth
from tests.unit.core_local import Local


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


def _put_in_place(local: Local, content: bytes) -> None:
    Path(local.path + ".new").write_bytes(content)
    os.replace(local.path + ".new", local.path)


def test_a_longer_copy_goes_on_though_the_file_of_before_had_grown_unseen(local: Local) -> None:
    """It holds all of that, too: nothing else has to be shown first (half a line, perhaps)."""
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.take()
    local.write(b"+thr", "ab")
    _put_in_place(local, b"one+two+three")
    local.take()
    assert [(v.number, v.size) for v in local.entry.versions] == [(1, 13)]
    assert local.content() == b"one+two+three"


def test_what_a_replaced_file_gained_unseen_is_kept_if_the_new_one_lacks_it(local: Local) -> None:
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.take()
    local.write(b"+three", "ab")
    _put_in_place(local, b"one+two+four, and more")
    local.take()
    assert local.content(1) == b"one+two+three"
    assert local.content(2) == b"one+two+four, and more"


def test_a_renamed_file_that_somebody_goes_on_writing_holds_nothing_up(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has not noticed the rotation."""
    local.write(b"one")
    local.take()
    local.write(b"+two", "ab")
    local.take()
    os.rename(local.path, local.path + ".1")
    local.write(b"new" * 1000)
    finish, times = local.snapshots._finish, 0

    def read_and_grow(*args: Any) -> bool:
        nonlocal times
        times += 1
        assert times < 10
        with open(local.path + ".1", "ab") as file:
            file.write(b"+more")
        return finish(*args)

    monkeypatch.setattr(local.snapshots, "_finish", read_and_grow)
    local.take()
    assert local.content(1).startswith(b"one+two+more")
    assert local.content(2) == b"new" * 1000


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


# -- superseding -------------------------------------------------------------------------------


def test_a_newer_whole_version_replaces_one_that_is_not_sent_yet(local: Local) -> None:
    for text in (b"one", b"two", b"three"):
        local.write(text)
        local.take("rewrite")
    assert [v.size for v in local.entry.versions] == [5]
    assert local.content() == b"three"
    assert not local.outbox_litter()


def after_an_unclean_boot(local: Local, written: bytes, left: bytes) -> None:
    local.write(written)
    local.take()
    local.write(left)
    local.snapshots.suspects.suspect({local.path}, unclean=True)


def keeps(local: Local) -> bool:
    """Whether the newest version sets aside what is at the destination."""
    return local.entry.sets_aside(local.current.number)


def test_shorter_after_an_unclean_boot_sets_the_remote_file_aside(local: Local) -> None:
    after_an_unclean_boot(local, b"one+two", b"one")
    local.take()
    assert keeps(local)
    assert local.path not in local.snapshots.suspects


def test_as_long_again_after_an_unclean_boot_sets_the_remote_file_aside(local: Local) -> None:
    """The program was quicker than the first look: what it has appended is not what was lost."""
    after_an_unclean_boot(local, b"one+two", b"one+three")
    local.take()
    assert keeps(local)


@pytest.mark.parametrize(
    ("left", "unclean", "kept"),
    [
        pytest.param(b"state 3", True, False, id="whole: it takes its place"),
        pytest.param(b"state", True, True, id="shorter: it may be what is left"),
        pytest.param(b"state", False, False, id="shorter, but the machine did not go down"),
    ],
)
def test_a_file_that_the_program_is_known_to_rewrite(
    local: Local, left: bytes, unclean: bool, kept: bool
) -> None:
    for text in (b"state 1", b"state 2", left):
        local.write(text)
        if text is not left:
            local.take()
    local.snapshots.suspects.suspect({local.path}, unclean=unclean)
    local.take()
    assert keeps(local) is kept


def test_what_is_to_be_kept_is_so_by_the_version_after_that_too(local: Local) -> None:
    """The one that was to keep it is given up for a newer one, before anything was sent."""
    after_an_unclean_boot(local, b"one+two", b"one")
    local.take()
    local.write(b"other")
    local.take()
    assert keeps(local)
    local.deliver_all()
    local.write(b"newest")
    local.take()
    assert not keeps(local)


def test_a_look_that_notes_nothing_ends_no_doubt(local: Local) -> None:
    """The program writes while the file is read: the next look is the first that counts."""
    local.write(b"one+two")
    local.take()
    local.write(b"one")
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.disk.before = on_nth("read", local.path, 2, lambda: local.write(b"ten"))
    outcome = local.take()
    assert outcome.result == "unstable"
    local.disk.before = nothing
    local.take()
    assert keeps(local)


def test_what_is_as_it_was_is_not_doubted(local: Local) -> None:
    local.write(b"rows")
    local.clock.show_real_time()
    local.clock.advance(100)
    local.take()
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    assert local.path not in local.snapshots.suspects


def test_the_same_rows_under_another_number_have_lost_nothing(local: Local) -> None:
    """FAT has new inode numbers after each mount, and so has a disk that was copied."""
    local.write(b"one+two")
    local.take("append")
    local.sources.close()
    os.rename(local.path, local.path + ".copied")
    local.write(b"one+two+three")
    os.unlink(local.path + ".copied")
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.take("append")
    assert local.current.number == 2
    assert not keeps(local)


def test_what_comes_back_from_the_archive_after_an_unclean_boot(local: Local) -> None:
    """Shorter, perhaps: nothing is noted of it that would tell."""
    local.write(b"one+two")
    local.take()
    local.deliver_all()
    local.ledger.update(local.path, lambda e: replace(e, versions=()))
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.write(b"one")
    local.take()
    assert keeps(local)


def test_what_is_to_be_kept_is_so_once(local: Local) -> None:
    """Of several versions that wait, all but the first would keep the one before, which is ours."""
    after_an_unclean_boot(local, b"one+two", b"one")
    local.deliver_all()
    local.take("append")
    first = local.current
    local.write(b"2")
    local.take("append")
    assert [local.entry.sets_aside(v.number) for v in local.entry.versions] == [True, True]
    done = Delivered(first.number, first.size)
    local.ledger.update(local.path, lambda e: record_delivery(e, done))
    assert not keeps(local)


def test_what_a_second_loss_of_power_took_is_kept_too(local: Local) -> None:
    """The first one's version has kept what it was to keep; it may be all that is left by now."""
    after_an_unclean_boot(local, b"one+two", b"one")
    local.take("append")
    first = local.current
    local.write(b"o")
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.take("append")
    local.write(b"new")
    local.take("append")
    second, third = local.entry.versions[-2:]
    for done, expected in ((first, [True, True]), (second, [False, False])):
        delivered = Delivered(done.number, done.size)
        entry = record_delivery(local.entry, delivered)
        assert [entry.sets_aside(v.number) for v in (second, third)] == expected


@pytest.mark.parametrize("growth", ["append", "auto", "rewrite"])
def test_what_is_to_be_kept_is_so_if_its_version_is_given_up(local: Local, growth: str) -> None:
    """Its bytes are gone; perhaps the process, too, before anybody looks again."""
    local.write(b"one+two")
    local.take(growth)
    local.deliver_all()
    local.write(b"one")
    local.snapshots.suspects.suspect({local.path}, unclean=True)
    local.take(growth)
    local.ledger.update(local.path, lambda e: replace(e, versions=()))
    local.open()
    local.write(b"new")
    local.take(growth)
    assert keeps(local)


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


def test_what_was_added_is_written_once_though_a_delivery_ends_meanwhile(local: Local) -> None:
    """It lets go of the piece that the next bytes would be added to, while the file is read."""
    local.write(b"first\n")
    local.take("auto")
    local.write(b"second\n", "ab")
    written: list[str] = []
    store, extend = local.ledger.outbox.store, local.ledger.outbox.extend
    reads = 0

    def deliver(operation: str, path: str) -> None:
        nonlocal reads
        if operation != "read" or path != local.path:
            return
        reads += 1
        if reads == 2:  # the new bytes are read, and all of it is about to be compared
            local.deliver_all()

    local.disk.before = deliver

    def counted(how: str, write: Any) -> Any:
        def call(*args: Any) -> Any:
            written.append(how)
            return write(*args)

        return call

    local.ledger.outbox.store = counted("store", store)  # type: ignore[method-assign]
    local.ledger.outbox.extend = counted("extend", extend)  # type: ignore[method-assign]
    assert local.take("auto").result == "taken"
    assert reads >= 2
    assert written == ["store"]
    assert local.content(start=6) == b"second\n"
