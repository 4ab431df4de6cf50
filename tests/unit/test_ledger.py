"""Journal and outbox change together: no piece goes before its record, none stays after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Piece, Upload, Version
from pysubtask.subtask.store.ledger import Ledger, drop_superseded, record_delivery
from tests.unit.core_fakes import (
    HookedDisk,
    ManualClock,
    disk_full,
    fail_with,
    make_entry,
    make_version,
    nothing,
    on_nth,
)
from tests.unit.core_local import Local


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def _owe(local: Local, data: bytes = b"0123456789") -> str:
    """Owe a version whose bytes lie in the outbox; gives the piece's name."""
    name, size, digest = local.ledger.outbox.store([data])
    version = make_version(1, size, pieces=[Piece(0, size, name, digest)])
    local.ledger.update(local.path, lambda e: replace(e, versions=(version,)), remote="a.csv")
    return name


def _let_go(entry: Entry) -> Entry:
    return replace(entry, versions=(), delivered=Delivered(1, 10))


# -- what is in doubt --------------------------------------------------------------------------


def test_what_became_owed_while_a_doubt_was_settled_stays_owed(local: Local) -> None:
    """The destination was asked, and meanwhile the file grew."""
    local.write(b"some")
    local.take()
    local.deliver_all()
    local.ledger.doubt(local.entry)
    assert local.path in local.ledger.owed
    local.write(b" more", "ab")
    local.take()
    local.ledger.verified(local.path)
    assert local.ledger.owed == {local.path: 5}
    local.deliver_all()
    assert local.ledger.owed == {}


# -- pieces and records ------------------------------------------------------------------------


def test_a_piece_goes_only_after_its_record_is_on_the_disk(local: Local) -> None:
    """Design §4, rules for the local disk."""
    name = _owe(local)
    local.ledger.update(local.path, _let_go)
    assert local.outbox_files() == {name}
    order: list[str] = []
    local.disk.before = lambda operation, path: order.append(operation)
    local.ledger.journal.sync()
    assert local.outbox_files() == set()
    assert order.index("sync") < order.index("remove")


def test_a_piece_that_is_delivered_while_it_is_added_to_is_no_trouble(local: Local) -> None:
    """The look finds that its entry has changed, and copies what came into a piece of its own."""
    local.write(b"one,")
    local.take()
    local.write(b"x" * (3 << 20), "ab")

    def deliver() -> None:
        local.disk.before = nothing
        done = Delivered(1, 4)
        local.ledger.update(local.path, lambda e: drop_superseded(record_delivery(e, done)))
        local.ledger.make_durable()  # as the delivering thread does before it renames

    local.disk.before = on_nth("append", ".piece", 2, deliver)
    assert local.take().result == "taken"
    assert local.content(None, 4) == b"x" * (3 << 20)
    assert not local.outbox_litter()


def test_a_damaged_journal_on_a_full_disk_costs_no_copy(local: Local) -> None:
    """Moved away before the new one is there, it would leave the next start without any: nothing
    would be owed, and the only copy of what the program has truncated since be removed."""
    name = _owe(local)
    journal = local.folder / "state" / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"\n", b"\n\0\0\0\0\n", 1))
    local.disk.before = fail_with(disk_full, "write_whole", suffix="journal")
    with pytest.raises(OSError, match="No space left"):
        local.open()
    local.disk.before = nothing
    local.open()
    assert local.ledger.owed == {local.path: 10}
    assert local.outbox_files() == {name}


def test_a_piece_stays_while_the_disk_refuses_the_record(local: Local) -> None:
    name = _owe(local)
    local.disk.before = fail_with(disk_full, "append", "sync")
    local.ledger.update(local.path, _let_go, must=False)
    local.ledger.journal.sync()
    assert local.outbox_files() == {name}
    local.disk.before = nothing
    local.open()  # as after a kill: the record was never written
    assert local.content() == b"0123456789"


def test_a_piece_reaches_the_disk_while_the_disk_refuses_the_record_without_it(
    local: Local,
) -> None:
    """Else, after a loss of power, the journal would rely on a piece that is gone (history 4034 of
    the simulator)."""
    name = _owe(local)
    local.disk.before = fail_with(disk_full, "append")
    local.ledger.update(local.path, _let_go, must=False)
    synced = []

    def before(operation: str, path: str) -> None:
        if operation == "sync":
            synced.append(Path(path).name)
        if operation == "append":
            raise disk_full()

    local.disk.before = before
    local.ledger.journal.sync()
    assert synced == [name, "journal"]


def test_a_piece_that_the_journal_let_go_of_need_not_reach_the_disk(local: Local) -> None:
    _owe(local)
    local.ledger.update(local.path, _let_go)
    synced = []
    local.disk.before = lambda operation, path: (
        synced.append(Path(path).name) if operation == "sync" else None
    )
    local.ledger.journal.sync()
    assert synced == ["journal"]


def test_a_change_that_must_be_written_and_is_not_lets_go_of_nothing(local: Local) -> None:
    name = _owe(local)
    local.disk.before = fail_with(disk_full, "append")
    with pytest.raises(OSError, match="No space left"):
        local.ledger.update(local.path, _let_go)
    local.disk.before = nothing
    local.ledger.journal.sync()
    assert local.outbox_files() == {name}
    assert local.ledger.owed == {local.path: 10}


def test_what_is_kept_in_another_piece_of_the_entry_stays(local: Local) -> None:
    name = _owe(local)

    def more(entry: Entry) -> Entry:
        return entry.with_version(replace(entry.versions[0], growing=False))

    local.ledger.update(local.path, more)
    local.ledger.journal.sync()
    assert local.outbox_files() == {name}


def test_the_outbox_opens_with_the_pieces_of_every_entry(local: Local) -> None:
    name = _owe(local)
    local.ledger.outbox.store([b"nobody's"])
    local.open()
    assert local.outbox_files() == {name}
    assert local.content() == b"0123456789"


# -- what is owed ------------------------------------------------------------------------------


def test_what_is_owed_is_known_and_found_again(local: Local) -> None:
    _owe(local)
    assert local.ledger.owed == {local.path: 10}
    local.open()
    assert local.ledger.owed == {local.path: 10}
    local.ledger.update(local.path, _let_go)
    assert local.ledger.owed == {}


def test_an_upload_to_be_finished_is_owed(local: Local) -> None:
    _owe(local)
    upload = Upload(version=1, size=10, temp="t")
    local.ledger.update(local.path, lambda e: replace(_let_go(e), upload=upload))
    assert local.ledger.owed == {local.path: 0}


def _meanwhile(
    ledger: Ledger, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> threading.Thread:
    """Have the other thread act just when this one notes what is owed, having changed an entry."""
    note = ledger._note_owed
    other = threading.Thread(target=action, daemon=True)

    def noted(entry: Entry) -> None:
        if other.ident is None:
            other.start()
            other.join(0.2)  # it can't, while this change is not finished
        note(entry)

    monkeypatch.setattr(ledger, "_note_owed", noted)
    return other


def test_a_snapshot_taken_while_a_delivery_is_recorded_is_owed(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else flush() and stop() would say that all was delivered."""
    _owe(local)
    newer = make_version(2, 7)
    other = _meanwhile(
        local.ledger,
        lambda: local.ledger.update(local.path, lambda e: e.with_version(newer)),
        monkeypatch,
    )
    done = Delivered(1, 10)
    local.ledger.update(local.path, lambda e: record_delivery(e, done), must=False)
    other.join(5)
    assert local.entry.next_owed == newer
    assert local.ledger.owed == {local.path: 7}


def test_a_delivery_recorded_while_a_snapshot_is_noted_is_no_longer_owed(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else status() would show pending bytes for ever."""
    _owe(local)
    done = Delivered(1, 12)
    other = _meanwhile(
        local.ledger,
        lambda: local.ledger.update(local.path, lambda e: record_delivery(e, done)),
        monkeypatch,
    )
    local.ledger.update(local.path, lambda e: e.with_version(make_version(1, 12)))
    other.join(5)
    assert local.entry.next_owed is None
    assert local.ledger.owed == {}


# -- what the delivering thread does during a sync ---------------------------------------------


def _during_the_sync(local: Local, action: Callable[[], object]) -> None:
    """Run a sync; the action comes while the pieces are brought to the disk."""
    waiting = [action]

    def before(operation: str, path: str) -> None:
        if operation == "sync" and path.endswith(".piece") and waiting:
            waiting.pop()()

    local.disk.before = before
    local.ledger.journal.sync()
    local.disk.before = nothing
    assert not waiting


def test_a_piece_let_go_of_during_a_sync_goes_with_the_next_one(local: Local) -> None:
    """A slow card makes syncs long; the disk must not stay full because of it (promise 1)."""
    _owe(local)
    _during_the_sync(local, lambda: local.ledger.update(local.path, _let_go))
    due = local.ledger.journal.sync_due()
    assert due is not None
    assert due <= local.clock.now + 5
    local.ledger.journal.sync()
    assert local.outbox_files() == set()


def test_a_piece_stored_during_a_sync_reaches_the_disk_with_the_next_one(local: Local) -> None:
    """Power loss costs at most the last ``sync_secs`` (5 s)."""
    _owe(local)

    def cover() -> None:
        name, size, digest = local.ledger.outbox.store([b"more"])
        piece = Piece(0, size, name, digest)
        version = make_version(2, size, pieces=[piece])
        local.ledger.update(local.path, lambda e: e.with_version(version))

    _during_the_sync(local, cover)
    assert local.ledger.journal.sync_due() is not None
    synced: list[str] = []
    local.disk.before = lambda operation, path: (
        synced.append(path.rpartition("/")[2]) if operation == "sync" else None
    )
    local.ledger.journal.sync()
    assert local.current.pieces[0].name in synced


# -- superseding -------------------------------------------------------------------------------


def _whole(number: int, size: int = 10) -> Version:
    return make_version(number, size, growing=False)


def _growing(number: int, size: int = 10) -> Version:
    return make_version(number, size)


@pytest.mark.parametrize(
    ("versions", "delivered", "upload", "kept"),
    [
        pytest.param([], None, None, [], id="none"),
        pytest.param([_whole(1)], Delivered(1, 10), None, [1], id="the current one stays"),
        pytest.param([_whole(1), _whole(2)], None, None, [2], id="a newer whole version"),
        pytest.param([_growing(1), _whole(2)], None, None, [1, 2], id="owed to its end"),
        pytest.param([_growing(1), _whole(2), _whole(3)], None, None, [1, 3], id="in the middle"),
        pytest.param(
            [_growing(1), _whole(2)], Delivered(1, 4), None, [1, 2], id="a part of it is there"
        ),
        pytest.param([_growing(1), _whole(2)], Delivered(1, 10), None, [2], id="all of it is"),
        pytest.param([_growing(1), _whole(2)], Delivered(2, 3), None, [2], id="a newer one is"),
        pytest.param([_growing(1, 0), _whole(2)], None, None, [2], id="an empty one"),
        pytest.param([_whole(1), _whole(2)], None, 1, [1, 2], id="one whose upload has begun"),
        pytest.param([_whole(1), _whole(2), _whole(3)], None, 1, [1, 3], id="but not the next"),
    ],
)
def test_which_versions_are_kept(
    versions: list[Version], delivered: Delivered | None, upload: int | None, kept: list[int]
) -> None:
    """Promise 2: one is skipped only for a newer one that is whole; one begun is finished."""
    entry = make_entry(*versions, delivered=delivered)
    if upload is not None:
        entry = replace(entry, upload=Upload(version=upload, size=10, temp="t"))
    assert [v.number for v in drop_superseded(entry).versions] == kept


def test_a_delivery_lets_go_of_the_bytes_that_are_there() -> None:
    pieces = [Piece(0, 4, "a", ""), Piece(4, 8, "b", ""), Piece(8, 10, None, "")]
    entry = make_entry(make_version(1, 10, pieces=pieces), make_version(2, 5))
    after = record_delivery(entry, Delivered(1, 6))
    assert after.versions[0].pieces == (pieces[1], pieces[2])
    assert after.versions[1] == entry.versions[1]
    assert record_delivery(entry, Delivered(1, 8)).versions[0].pieces == (pieces[2],)
    assert record_delivery(entry, Delivered(1, 10)).versions[0].pieces == ()


def test_a_delivery_of_a_newer_version_lets_go_of_the_older_ones() -> None:
    entry = make_entry(make_version(1), make_version(2), make_version(3))
    after = record_delivery(entry, Delivered(2, 10))
    assert [v.number for v in after.versions] == [2, 3]
    assert after.delivered == Delivered(2, 10)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=5),
    st.data(),
)
def test_no_byte_that_must_be_seen_is_dropped(
    made: list[tuple[int, bool]], data: st.DataObject
) -> None:
    versions = [make_version(n, size, growing=g) for n, (size, g) in enumerate(made, 1)]
    delivered = None
    is_known = data.draw(st.booleans())
    if versions and is_known:
        last = data.draw(st.sampled_from(versions))
        delivered = Delivered(last.number, data.draw(st.integers(0, last.size)))
    before = make_entry(*versions, delivered=delivered)
    after = drop_superseded(before)
    assert after.versions[-1:] == before.versions[-1:]
    for version in before.versions[:-1]:
        there = delivered is not None and (
            version.number < delivered.version
            or (version.number == delivered.version and version.size <= delivered.size)
        )
        must_be_seen = version.growing and version.size > 0 and not there
        assert (version in after.versions) == must_be_seen
    assert drop_superseded(after) == after
