"""Copies after a minute, as far as there is room; beyond that the file itself is delivered."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Upload
from pysubtask.subtask.intake.keeper import Keeper
from pysubtask.subtask.store.ledger import drop_superseded, record_delivery
from pysubtask.subtask.store.reader import BytesLost, VersionReader
from pysubtask.subtask.store.space import Space
from tests.unit.core_fakes import (
    LOG,
    HookedDisk,
    ManualClock,
    disk_full,
    fail_with,
    nothing,
    on_nth,
)
from tests.unit.core_local import Local
from tests.unit.core_remote import make_remote, numbered

MINUTE = 60.0


class Kept:
    """A file, its child's store with a limit, and the keeper."""

    def __init__(self, folder: Path, limit: int = 1 << 30) -> None:
        self.local = Local(folder, ManualClock(), HookedDisk())
        self.limit = limit
        self.looks: list[str] = []
        self.open()

    def open(self) -> None:
        local = self.local
        self.space = Space(
            local.disk,
            str(local.folder),
            local.ledger.outbox,
            outbox_max_bytes=self.limit,
            keep_free_bytes=0,
            log=LOG,
        )
        local.ledger.outbox.has_room = self.space.has_room
        self.keeper = Keeper(
            local.clock,
            local.ledger,
            local.sources,
            local.snapshots.rescue,
            self.space,
            log=LOG,
            changed=lambda: None,
            look=self.looks.append,
        )

    def append(self, data: bytes, growth: str = "append") -> None:
        self.local.write(data, "ab")
        assert self.local.take(growth).result == "taken"

    def minute(self) -> None:
        """The link has been down for another minute."""
        self.keeper.interval()
        self.local.clock.advance(MINUTE)
        self.keeper.interval()

    def names(self) -> list[str | None]:
        return [p.name for p in self.local.current.pieces]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_is_appended_stays_in_its_file_for_a_minute(kept: Kept) -> None:
    kept.append(b"one,")
    kept.keeper.interval()
    kept.local.clock.advance(MINUTE - 1)
    kept.keeper.interval()
    assert kept.names() == [None]
    kept.local.clock.advance(1)
    kept.keeper.interval()
    assert None not in kept.names()
    assert kept.local.content() == b"one,"


def test_a_growing_file_has_one_copy_that_grows(kept: Kept) -> None:
    """Else it would have as many pieces as snapshots, and each journal record all of them."""
    for number in range(20):
        kept.append(b"%d," % number)
        kept.append(b"%d;" % number)
        kept.minute()
    assert len(kept.names()) == 1
    assert len(kept.local.outbox_files()) == 1
    assert kept.local.content() == b"".join(b"%d,%d;" % (n, n) for n in range(20))
    (piece,) = kept.local.current.pieces
    assert piece.name is not None
    assert kept.local.ledger.outbox.is_whole(piece)
    kept.local.open()  # another process reads what this one wrote
    assert kept.local.content() == b"".join(b"%d,%d;" % (n, n) for n in range(20))


def test_a_file_that_changes_while_it_is_copied_is_not_copied(kept: Kept) -> None:
    kept.append(b"one," * 4000)
    kept.minute()
    kept.append(b"two,")
    kept.append(b"three,")
    before = kept.local.current.pieces

    def change(operation: str, path: str) -> None:
        if operation == "append" and path.endswith(".piece"):
            with open(kept.local.path, "r+b") as file:
                file.write(b"ONE")

    kept.local.disk.before = change
    kept.minute()
    assert kept.local.current.pieces == before
    assert len(kept.local.outbox_files()) == 1


def _deliver_one(kept: Kept, end: int) -> None:
    """The delivering thread records that the destination shows so much of the first version."""
    done = Delivered(1, end)
    kept.local.ledger.update(kept.local.path, lambda e: drop_superseded(record_delivery(e, done)))


def test_what_is_called_safe_is_copied_although_a_delivery_ended_meanwhile(kept: Kept) -> None:
    """The copy was of what that delivery had sent, too, and was thrown away. The program would
    have been told that it may truncate its file, and ``two,`` been lost."""
    kept.append(b"one,")
    kept.append(b"two,")

    def deliver() -> None:
        kept.local.disk.before = nothing
        _deliver_one(kept, 4)

    kept.local.disk.before = on_nth("append", ".piece", 1, deliver)
    assert kept.keeper.secure_all(kept.local.path)
    kept.local.write(b"")
    assert kept.local.content(1, 4) == b"two,"
    assert not kept.local.outbox_litter()


def test_what_could_not_be_copied_for_deliveries_is_not_called_safe(kept: Kept) -> None:
    """One ends each time that a copy is made: it is asked for again, and made in the end."""
    for _ in range(6):
        kept.append(b"row,")
    begun: list[str] = []

    def deliver(operation: str, path: str) -> None:
        if operation == "append" and path.endswith(".piece") and path not in begun:
            begun.append(path)
            _deliver_one(kept, 4 * len(begun))

    kept.local.disk.before = deliver
    assert not kept.keeper.secure_all(kept.local.path)
    kept.local.disk.before = nothing
    assert kept.keeper.secure_all(kept.local.path)
    kept.local.write(b"")
    assert kept.local.content(1, 12) == b"row,row,row,"
    assert not kept.local.outbox_litter()


def test_a_file_that_was_truncated_before_it_was_copied_has_nothing_left_to_keep(
    kept: Kept,
) -> None:
    """A program that waits is not kept waiting for what is gone."""
    kept.append(b"one,")
    kept.local.write(b"")
    assert kept.keeper.secure_all(kept.local.path)


def test_at_the_limit_nothing_is_copied_and_the_file_is_delivered(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=1000)
    data = numbered(900)
    kept.append(data)
    kept.minute()
    assert None not in kept.names()
    kept.append(data)
    kept.minute()
    assert kept.names()[1:] == [None]
    assert kept.space.full is not None
    remote = make_remote(kept.local)
    remote.settle()
    assert remote.server.read_file("a.csv") == data + data
    kept.keeper.interval()
    assert kept.space.full is None


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_at_the_limit_a_snapshot_is_a_look_without_a_copy(tmp_path: Path, growth: str) -> None:
    kept = Kept(tmp_path, limit=10)
    data = numbered(5000)
    kept.append(data, growth)
    assert kept.names() == [None]
    assert kept.local.outbox_files() == set()
    assert kept.local.content() == data
    kept.append(data, growth)
    assert set(kept.names()) == {None}
    assert kept.local.content() == data + data
    remote = make_remote(kept.local)
    remote.settle()
    assert remote.server.read_file("a.csv") == data + data
    assert all(seen is None or (data + data).startswith(seen) for seen in remote.server.seen)


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_a_file_that_changes_while_it_is_its_own_source_is_never_torn(
    tmp_path: Path, growth: str
) -> None:
    """Between any two requests to the server."""
    old, new = numbered(1_000_000), numbered(1_000_000, seed=1)
    for nth in range(1, 10, 2):
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        kept = Kept(folder, limit=10)
        kept.append(old, growth)
        remote = make_remote(kept.local)
        count = 0

        def change(operation: str, path: str, kept: Kept = kept, nth: int = nth) -> None:
            nonlocal count
            count += 1
            if count == nth:
                with open(kept.local.path, "r+b") as file:  # in place, the same size
                    file.write(new)

        remote.server.fault_before = change
        for _ in range(3):
            remote.settle()
            kept.local.take(growth)
        remote.settle()
        assert count >= nth
        assert remote.server.read_file("a.csv") == new
        for seen in remote.server.seen:
            assert seen in (None, b"", old, new), f"torn at request {nth}"


def test_a_reader_looks_again_after_each_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysubtask.subtask.store.slices._SLICE_BYTES", 500)
    kept = Kept(tmp_path, limit=10)
    kept.append(numbered(5000), "auto")
    local = kept.local
    reader = VersionReader(
        local.path, local.current, local.ledger.outbox, local.sources, now=local.clock.time
    )
    assert reader.read(0, 100) == numbered(5000)[:100]
    with open(local.path, "ab") as file:
        file.write(b"grown")
    assert reader.read(1000, 100) == numbered(5000)[1000:1100], "it still begins with the snapshot"
    with open(local.path, "r+b") as file:
        file.seek(2000)
        file.write(b"changed")
    with pytest.raises(BytesLost, match="not what its snapshot noted"):
        reader.read(2000, 100)
    reader.close()


def test_a_file_that_somebody_writes_to_is_not_hashed_for_each_reading(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=10)
    data = numbered(100_000)
    kept.append(data, "auto")
    local = kept.local
    reader = VersionReader(
        local.path, local.current, local.ledger.outbox, local.sources, now=local.clock.time
    )
    local.disk.read_bytes = 0
    read = b""
    for offset in range(0, 100_000, 500):
        read += reader.read(offset, 500)
        with open(local.path, "ab") as file:
            file.write(b"more")
    assert read == data
    assert local.disk.read_bytes <= 3 * 100_000
    reader.close()


def test_a_reader_does_not_read_it_all_each_time(tmp_path: Path) -> None:
    """Time stamps that are old enough to be believed say that nothing changed."""
    kept = Kept(tmp_path, limit=10)
    kept.append(numbered(100_000), "auto")
    local = kept.local
    reader = VersionReader(
        local.path, local.current, local.ledger.outbox, local.sources, now=local.clock.time
    )
    reader.read(0, 1000)
    local.disk.read_bytes = 0
    for offset in range(1000, 100_000, 1000):
        reader.read(offset, 1000)
    assert local.disk.read_bytes <= 2 * 100_000
    reader.close()


# -- rotation at the limit ---------------------------------------------------------------------


def _rotate(kept: Kept) -> None:
    os.rename(kept.local.path, kept.local.path + ".1")
    kept.local.write(b"the next file")
    kept.local.take("append")


def test_a_rotated_file_is_its_own_copy_at_the_limit(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=10)
    data = numbered(5000)
    kept.append(data)
    _rotate(kept)
    kept.minute()
    assert kept.local.outbox_files() == set()
    assert kept.local.content(1) == data
    kept.local.open()  # and for the next process
    kept.open()
    remote = make_remote(kept.local)
    remote.settle()
    assert [s for s in remote.server.seen if s] == [data, b"the next file"]


def test_a_deleted_one_is_held_as_far_as_there_is_room(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=6000)
    kept.append(numbered(4000))
    kept.minute()
    _rotate(kept)
    second = numbered(5000, seed=2)
    kept.append(second)
    os.rename(kept.local.path, kept.local.path + ".2")
    kept.local.write(b"the last file")
    kept.local.take("append")
    kept.minute()
    assert kept.space.full is not None
    assert kept.local.ledger.given_up_bytes == 0
    os.unlink(kept.local.path + ".2")
    kept.keeper.interval()
    assert kept.local.ledger.given_up_bytes == len(b"the next file" + second)
    assert kept.space.pinned_bytes == 0
    assert not kept.local.sources.is_held(kept.local.path, 2)
    remote = make_remote(kept.local)
    remote.settle()
    assert [s for s in remote.server.seen if s] == [numbered(4000), b"the last file"]


class Deleted(Kept):
    """Two files that were deleted and begun anew, with room for one of them. The one that is owed
    first is the one that was written last."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, limit=6000)
        self.local.ledger.outbox.has_room = lambda size: False
        self.late, self.early = (str(folder / name) for name in ("late.csv", "early.csv"))
        self.look_at_new(self.late, b"owed first")
        self.look_at_new(self.early, numbered(4000))
        self.look_at_new(self.early, b"next")
        self.look_at_new(self.late, numbered(4000, seed=1))
        self.look_at_new(self.late, b"next")
        assert list(self.local.ledger.owed) == [self.late, self.early]
        self.keeper.interval()
        self.local.clock.advance(MINUTE)

    def look_at_new(self, path: str, data: bytes) -> None:
        """The file is deleted, begun anew, and looked at."""
        if os.path.exists(path):
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(data)
        self.local.clock.advance(10)
        name = os.path.basename(path)
        assert self.local.snapshots.take(path, name, "append", None).result == "taken"

    def kept_of(self, path: str) -> bool:
        entry = self.local.ledger.get(path)
        assert entry is not None
        return any(version.size == 4000 for version in entry.versions)


@pytest.fixture
def deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deleted:
    kept = Deleted(tmp_path)
    monkeypatch.setattr(kept.keeper, "secure", lambda path, number: False)  # the disk refuses
    return kept


def test_the_latest_is_given_up_whatever_file_it_is_of(deleted: Deleted) -> None:
    deleted.keeper.interval()
    assert deleted.kept_of(deleted.early)
    assert not deleted.kept_of(deleted.late)


def test_one_whose_upload_has_begun_is_given_up_last(deleted: Deleted) -> None:
    def begin(entry: Entry) -> Entry:
        return replace(entry, upload=Upload(entry.versions[1].number, 4000, "temp"))

    deleted.local.ledger.update(deleted.late, begin)
    deleted.keeper.interval()
    assert deleted.kept_of(deleted.late)
    assert not deleted.kept_of(deleted.early)


def test_one_that_is_being_read_stays_for_its_room_would_not_be_had(deleted: Deleted) -> None:
    entry = deleted.local.ledger.get(deleted.late)
    assert entry is not None
    with deleted.local.sources.borrow(deleted.late, entry.versions[1]):
        deleted.keeper.interval()
        assert deleted.kept_of(deleted.late)
        assert not deleted.kept_of(deleted.early)


def test_a_deleted_one_that_fits_is_copied_and_let_go(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=6000)
    kept.append(numbered(4000))
    kept.minute()
    _rotate(kept)
    os.unlink(kept.local.path + ".1")
    kept.minute()
    assert not kept.local.sources.is_held(kept.local.path, 1)
    assert kept.local.content(1) == numbered(4000)
    assert kept.local.ledger.given_up_bytes == 0


def test_one_that_was_deleted_without_an_event_takes_no_room_once_it_is_delivered(
    kept: Kept,
) -> None:
    """Of a file server no events come: the room of a growing file would be had at the next start
    only."""
    local = kept.local
    kept.append(numbered(4000))
    local.write(b"the last row", "ab")
    os.unlink(local.path)
    kept.keeper.interval()
    assert not kept.looks, "it is owed, and goes on to be"
    local.deliver_all()
    kept.keeper.interval()
    assert kept.looks == [local.path]
    assert local.take("append").result == "missing"
    assert local.content(start=4000) == b"the last row"
    local.deliver_all()
    kept.keeper.interval()
    local.take("append")
    assert not local.sources.is_held(local.path, 1)
    assert not local.disk.open_handles


def test_one_that_was_begun_anew_has_a_look_to_come(kept: Kept) -> None:
    """The program says when there is something to see."""
    kept.append(b"one,")
    kept.local.deliver_all()
    os.unlink(kept.local.path)
    kept.local.write(b"half a r")
    kept.keeper.interval()
    assert not kept.looks


def test_one_that_the_same_content_has_replaced_takes_no_room(kept: Kept) -> None:
    """A program saves what it had read, unchanged: the version stays the same."""
    local = kept.local
    kept.append(b"setting = 1", "auto")
    kept.append(b"\n", "auto")
    local.deliver_all()
    with open(local.path + ".new", "wb") as file:
        file.write(b"setting = 1\n")
    os.replace(local.path + ".new", local.path)
    local.take("auto")
    kept.keeper.interval()
    assert local.current.number == 1
    assert all(handle.stat().links for handle in local.disk.open_handles)


def test_an_earlier_one_that_is_delivered_is_let_go_of(kept: Kept) -> None:
    local = kept.local
    local.ledger.outbox.has_room = lambda size: False
    kept.append(b"one,")
    os.rename(local.path, local.path + ".1")
    local.write(b"the next")
    local.take("append")
    os.unlink(local.path + ".1")
    kept.keeper.interval()
    assert local.sources.is_held(local.path, 1)
    local.deliver_all()
    kept.keeper.interval()
    assert not kept.looks
    assert not local.sources.is_held(local.path, 1)
    assert local.sources.is_held(local.path, 2)


def test_a_disk_that_refuses_is_asked_again_in_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(tmp_path)
    kept.append(b"one,")
    kept.local.disk.before = fail_with(disk_full, "append", suffix=".piece")
    kept.minute()
    assert not kept.keeper.secure(kept.local.path, 1), "a program that waits is not told that it is"
    caplog.clear()
    for _ in range(10):
        kept.local.clock.advance(2)
        kept.keeper.interval()
    assert not caplog.records
    kept.local.disk.before = nothing
    kept.minute()
    assert None not in kept.names()


def test_a_disk_that_refuses_is_not_asked_at_each_question(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that waits for its snapshot asks several times a second: the disk would be written
    to, and the log, for as long as it refuses."""
    kept.append(b"one,")
    kept.local.disk.before = fail_with(disk_full, "append", suffix=".piece")
    for _ in range(100):
        assert not kept.keeper.secure_all(kept.local.path)
        kept.local.clock.advance(0.1)
    assert len(caplog.records) == 2
    kept.local.disk.before = nothing
    kept.local.clock.advance(5)
    assert kept.keeper.secure_all(kept.local.path)


def test_copies_that_the_journal_could_not_note_are_removed(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.append(numbered(1000))
    kept.local.disk.before = fail_with(disk_full, "append", suffix="journal")
    for _ in range(3):
        kept.minute()
        assert kept.local.ledger.outbox.held_bytes == 0
        assert not kept.local.outbox_files()
    kept.local.disk.before = nothing
    kept.minute()
    assert None not in kept.names()


def _put_another_in_a_bad_block(kept: Kept) -> str:
    """A copy of another file that can neither be synced nor read."""
    name, _, _ = kept.local.ledger.outbox.store([b"other file's bytes"])

    def refuse(operation: str, path: str) -> None:
        if operation in ("sync", "open_read") and path.endswith(name):
            raise OSError(errno.EIO, "Input/output error")

    kept.local.disk.before = refuse
    return name


def test_a_copy_in_a_bad_block_does_not_keep_other_files_from_being_copied(kept: Kept) -> None:
    _put_another_in_a_bad_block(kept)
    kept.append(b"one,")
    kept.local.ledger.make_durable()
    kept.minute()
    assert None not in kept.names()
    assert kept.keeper.secure_all(kept.local.path)


def test_nor_from_being_rotated(kept: Kept) -> None:
    kept.append(b"one,")
    _put_another_in_a_bad_block(kept)
    kept.local.ledger.make_durable()
    _rotate(kept)
    assert kept.local.content(1) == b"one,"
    assert kept.local.content(2) == b"the next file"


def test_a_copy_in_a_bad_block_is_not_written_again_for_each_delivery(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    name = _put_another_in_a_bad_block(kept)
    refuse = kept.local.disk.before
    reads: list[str] = []

    def count(operation: str, path: str) -> None:
        if operation == "open_read" and path.endswith(name):
            reads.append(path)
        refuse(operation, path)

    kept.local.disk.before = count
    began = kept.local.clock.now
    for number in range(100):
        kept.append(b"%d," % number)
        kept.local.ledger.make_durable()
    minutes = (kept.local.clock.now - began) / MINUTE
    assert len(reads) < 15
    assert len(caplog.records) <= minutes + 2


def test_what_was_read_for_a_search_is_let_go_though_there_is_no_other_search(kept: Kept) -> None:
    kept.append(b"one,")
    os.unlink(kept.local.path)
    kept.local.clock.show_real_time()
    kept.local.clock.advance(3)
    listings = kept.local.sources._renamed._listings
    with (
        pytest.raises(FileNotFoundError),
        kept.local.sources.borrow(str(kept.local.folder / "b.csv"), kept.local.current),
    ):
        pass
    assert listings
    kept.local.clock.advance(11)
    kept.keeper.interval()
    assert not listings
