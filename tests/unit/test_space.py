"""How much copies may take, and where what is owed lies (design §4, Rules for the local disk)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.liveness import Beat, beat_text
from pysubtask.core.model import Delivered, Piece, Upload
from pysubtask.core.space import Held, held, limit_of, live_runs, room, without_source
from pysubtask.status import FileStatus, Status, size_words
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.space import Space
from tests.unit.core_fakes import LOG, HookedDisk, make_entry, make_version

MIB = 1 << 20


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "free", "held_bytes", "limit"),
    [
        (None, 400, 0, 100),
        (None, 300, 100, 100),  # what the outbox holds does not shrink it from start to start
        (None, 0, 0, 0),
        (7, 400, 0, 7),
        (0, 400, 0, 0),
    ],
)
def test_a_quarter_of_what_is_free_at_the_start(
    configured: int | None, free: int, held_bytes: int, limit: int
) -> None:
    assert limit_of(configured, free, held_bytes) == limit


@pytest.mark.parametrize(
    ("limit", "taken", "keep", "free", "size", "which"),
    [
        (100, 0, 50, 1000, 100, "outbox"),
        (100, 40, 50, 1000, 60, "outbox"),
        (100, 140, 50, 1000, 0, "outbox"),
        (100, 0, 50, 80, 30, "disk"),
        (100, 0, 50, 50, 0, "disk"),
        (100, 0, 50, 10, 0, "disk"),
        (100, 0, 0, 10, 10, "disk"),
    ],
)
def test_the_nearer_limit_counts(
    limit: int, taken: int, keep: int, free: int, size: int, which: str
) -> None:
    found = room(limit, taken, keep, free)
    assert (found.size, found.limit) == (size, which)


# -- where the bytes are -----------------------------------------------------------------------

A, B = "a.piece", "b.piece"


def _pieces(*parts: tuple[int, int, str | None]) -> tuple[Piece, ...]:
    return tuple(Piece(start, end, name, "") for start, end, name in parts)


@pytest.mark.parametrize(
    ("parts", "delivered", "copied", "in_file"),
    [
        ([(0, 10, None)], None, 0, 10),
        ([(0, 10, A)], None, 10, 0),
        ([(0, 6, A), (6, 10, None)], None, 6, 4),
        ([(0, 6, A), (6, 10, None)], Delivered(1, 4), 2, 4),
        ([(0, 6, A), (6, 10, None)], Delivered(1, 8), 0, 2),
        ([(0, 6, A), (6, 10, None)], Delivered(2, 1), 0, 0),
        ([], None, 0, 0),
    ],
)
def test_what_is_held_where(
    parts: list[tuple[int, int, str | None]],
    delivered: Delivered | None,
    copied: int,
    in_file: int,
) -> None:
    version = make_version(1, 10, pieces=_pieces(*parts))
    assert held(make_entry(version, delivered=delivered)) == Held(copied, in_file)
    assert Held(1, 2) + Held(3, 4) == Held(4, 6)


def test_runs_of_pieces_that_only_the_file_has() -> None:
    pieces = _pieces(
        (0, 2, None), (2, 4, None), (4, 6, A), (6, 7, None), (7, 8, None), (8, 9, B), (10, 11, None)
    )
    assert live_runs(pieces) == [
        (None, pieces[:2]),
        (pieces[2], pieces[3:5]),
        (None, pieces[6:]),
    ]
    assert live_runs(_pieces((0, 1, A))) == []
    assert live_runs(()) == []


_SOURCES = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([None, A, B])), min_size=1, max_size=8
)


@given(_SOURCES)
def test_runs_are_all_of_them(parts: list[tuple[int, str | None]]) -> None:
    ends = list(itertools.accumulate(size for size, _ in parts))
    pieces = _pieces(
        *((end - size, end, name) for end, (size, name) in zip(ends, parts, strict=True))
    )
    runs = live_runs(pieces)
    assert [p for _, run in runs for p in run] == [p for p in pieces if p.name is None]
    for before, run in runs:
        assert before is None or (before.name is not None and before.end == run[0].start)


@given(_SOURCES, st.integers(0, 40))
def test_a_file_that_is_gone_costs_what_was_not_copied(
    parts: list[tuple[int, str | None]], done: int
) -> None:
    ends = list(itertools.accumulate(size for size, _ in parts))
    pieces = _pieces(
        *((end - size, end, name) for end, (size, name) in zip(ends, parts, strict=True))
    )
    done = min(done, ends[-1])
    version = make_version(3, ends[-1], pieces=pieces)
    newer = make_version(4, 5)
    entry = make_entry(version, newer, delivered=Delivered(3, done) if done else Delivered(2, 100))
    shorter, lost = without_source(entry, 3)
    assert shorter.pending_bytes + lost == entry.pending_bytes
    assert shorter.version(4) == newer
    left = shorter.version(3)
    if left is not None:
        assert done < left.size <= ends[-1]
        assert all(p.name is not None for p in left.pieces)
        assert left.available_from <= done or left.available_from == 0
    assert without_source(shorter, 99) == (shorter, 0)


def test_an_upload_of_it_is_given_up_too() -> None:
    entry = make_entry(make_version(1, 10), make_version(2, 5))
    upload = Upload(1, 10, "temp")
    shorter, lost = without_source(
        type(entry)(entry.path, entry.remote, versions=entry.versions, upload=upload), 1
    )
    assert (shorter.upload, shorter.litter, lost) == (None, ("temp",), 10)


def test_an_upload_in_one_request_leaves_no_litter() -> None:
    entry = replace(make_entry(make_version(1, 10)), upload=Upload(1, 10, ""))
    shorter, _ = without_source(entry, 1)
    assert (shorter.upload, shorter.litter) == (None, ())


# -- asking ------------------------------------------------------------------------------------


class Bench:
    def __init__(self, folder: Path, limit: int | None, keep: int = 0, free: int = 1000) -> None:
        self.disk = HookedDisk()
        self.disk.free_bytes = lambda path: self.free  # type: ignore[method-assign]
        self.free = free
        self.outbox = Outbox(self.disk, str(folder / "outbox"))
        self.outbox.open([])
        self.changes = 0
        self.space = Space(
            self.disk,
            str(folder),
            self.outbox,
            outbox_max_bytes=limit,
            keep_free_bytes=keep,
            log=LOG,
            changed=self._changed,
        )
        self.space.open()

    def _changed(self) -> None:
        self.changes += 1


def test_it_is_told_once_until_there_is_room_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", LOG.name)
    bench = Bench(tmp_path, 100)
    name, _, _ = bench.outbox.store([b"x" * 60])
    assert bench.space.has_room(40)
    assert bench.space.full is None
    assert not bench.space.has_room(41)
    assert not bench.space.has_room(50)
    assert bench.space.full == (
        "the outbox is full with 60 B of 100 B (outbox_max_bytes): new data are not copied and "
        "must stay in their files until delivered"
    )
    bench.space.review(is_needed=True)
    assert bench.space.full is not None
    assert len(caplog.records) == bench.changes == 1
    bench.outbox.discard([name])
    bench.space.review(is_needed=True)
    assert bench.space.full is None
    assert bench.changes == 2
    assert caplog.messages[-1] == "there is room for copies in the outbox again"


def test_nobody_minds_a_limit_when_nothing_is_owed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10)
    assert not bench.space.has_room(100)
    bench.space.review(is_needed=False)
    assert bench.space.full is None


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10_000, keep=500)
    assert bench.space.has_room(500)
    bench.free = 900
    assert not bench.space.has_room(401)
    assert "less than 500 B would be left of the local disk (keep_free_bytes)" in str(
        bench.space.full
    )
    assert bench.space.over_bytes() == 0
    bench.free = 450
    assert bench.space.over_bytes() == 50


def test_deleted_files_that_are_held_open_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 100)
    bench.space.pinned_bytes = 70
    assert bench.space.has_room(30)
    assert not bench.space.has_room(31)
    bench.space.pinned_bytes = 130
    assert bench.space.over_bytes() == 30


def test_a_disk_that_can_not_tell_how_full_it_is_stops_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, None, keep=500)

    def fail(path: str) -> int:
        raise OSError(38, "Function not implemented")

    bench.disk.free_bytes = fail  # type: ignore[method-assign]
    bench.space.open()
    assert bench.space.has_room(1 << 40)
    assert bench.space.over_bytes() == 0


# -- saying ------------------------------------------------------------------------------------


def test_status_says_what_is_held_where() -> None:
    status = Status(
        link="retrying",
        pending_bytes=10 * MIB,
        copied_bytes=6 * MIB,
        only_in_files_bytes=4 * MIB,
        deleted_bytes=MIB,
        outbox_bytes=6 * MIB,
        outbox_limit_bytes=6 * MIB,
        outbox_full="the outbox is full",
        given_up_bytes=2 * MIB,
        files={"a.csv": FileStatus(size_bytes=1, pending_bytes=1, copied_bytes=1)},
    )
    text = str(status)
    assert (
        "pending: 10.0 MiB: 6.0 MiB copied to the outbox, 3.0 MiB in their files only, "
        "1.0 MiB in deleted files that are held open" in text
    )
    assert "the outbox is full" in text
    assert "given up: 2.0 MiB (see the log)" in text
    assert Status.from_plain(status.to_plain()) == status
    assert "outbox" not in str(Status(link="resting"))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert size_words(size) == words


def test_the_heartbeat_says_it_too() -> None:
    beat = Beat(1, 10.0, note="the outbox is full " + "x" * 200)
    text = beat_text(60, beat)
    assert len(text) == 512
    assert b'"note":"the outbox is full x' in text
    assert b"note" not in beat_text(60, Beat(1, 10.0))
    crowded = Beat(1, 1e10, 1 << 60, 5.0, "ü" * 160, "2.0.0", "ü" * 110)
    assert len(beat_text(60, crowded)) == 512
