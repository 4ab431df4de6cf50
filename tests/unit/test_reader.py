"""Reading a version: exactly its bytes, or a plain refusal."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.model import Identity, Piece, Version
from pysubtask.core.prints import print_of
from pysubtask.subtask.store import slices
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.reader import BytesLost, VersionReader
from pysubtask.subtask.store.sources import Sources
from tests.unit.core_fakes import HookedDisk, fail_with, make_version, nothing

DATA = bytes(range(97, 123))


class Bench:
    """A file of 26 letters, an outbox, and versions made of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "a.csv")
        Path(self.path).write_bytes(DATA)
        self.disk = HookedDisk()
        self.sources = Sources(self.disk)
        self.open_outbox()

    def open_outbox(self, *wanted: str) -> None:
        self.outbox = Outbox(self.disk, str(self.folder / "outbox"))
        self.outbox.open(wanted)

    def copy(self, start: int, end: int) -> Piece:
        name, _, digest = self.outbox.store([DATA[start:end]])
        return Piece(start, end, name, digest)

    def version(self, *pieces: Piece) -> Version:
        st_now = os.stat(self.path)
        kept = print_of(lambda at, n: DATA[at : at + n], "whole", len(DATA))
        assert kept is not None
        return make_version(
            1,
            len(DATA),
            pieces=pieces,
            print=kept,
            identity=Identity(st_now.st_dev, st_now.st_ino),
        )

    def reader(self, *pieces: Piece) -> VersionReader:
        return VersionReader(self.path, self.version(*pieces), self.outbox, self.sources)

    def piece_file(self, piece: Piece) -> Path:
        return self.folder / "outbox" / str(piece.name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _live(start: int, end: int) -> Piece:
    return Piece(start, end, None, "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.integers(1, 25), unique=True, max_size=5), st.data())
def test_any_range_of_any_mixture(bench: Bench, cuts: list[int], data: st.DataObject) -> None:
    edges = [0, *sorted(cuts), len(DATA)]
    pieces = [
        _live(start, end) if data.draw(st.booleans()) else bench.copy(start, end)
        for start, end in itertools.pairwise(edges)
    ]
    offset = data.draw(st.integers(0, len(DATA)))
    length = data.draw(st.integers(0, len(DATA) - offset))
    reader = bench.reader(*pieces)
    assert reader.read(offset, length) == DATA[offset : offset + length]
    reader.close()
    assert not bench.disk.open_handles


def test_a_handle_is_opened_once_and_closed(bench: Bench) -> None:
    piece = bench.copy(0, 10)
    reader = bench.reader(piece, _live(10, 26))
    opened: list[str] = []
    bench.disk.before = lambda operation, path: opened.append(operation)
    for at in range(0, 20, 4):
        reader.read(at, 4)
    assert opened.count("open_read") == 2
    reader.close()
    reader.close()
    assert not bench.disk.open_handles


def test_what_the_pieces_speak_of(bench: Bench) -> None:
    reader = bench.reader(_live(4, 10), _live(10, 20))
    assert reader.covers(4, 20)
    assert reader.covers(10, 12)
    assert reader.covers(7, 7)
    assert not reader.covers(3, 8)
    assert not reader.covers(12, 21)
    with pytest.raises(BytesLost, match="byte 3 "):
        reader.read(3, 2)
    with pytest.raises(BytesLost, match="byte 20 "):
        reader.read(18, 4)
    reader.close()


# -- bytes that are not the snapshot's ---------------------------------------------------------


@pytest.mark.parametrize("what", ["changed", "shorter", "gone"])
def test_a_file_that_is_not_what_it_was(bench: Bench, what: str) -> None:
    reader = bench.reader(_live(0, 26))
    if what == "changed":
        Path(bench.path).write_bytes(DATA.upper())
    elif what == "shorter":
        os.truncate(bench.path, 20)
    else:
        os.unlink(bench.path)
    with pytest.raises(BytesLost):
        reader.read(0, 5)
    reader.close()
    assert not bench.disk.open_handles


def test_a_held_file_that_was_rewritten(bench: Bench) -> None:
    bench.sources.hold(bench.path, 1, bench.disk.open_read(bench.path))
    reader = bench.reader(_live(0, 26))
    Path(bench.path).write_bytes(DATA.upper())
    with pytest.raises(BytesLost, match="not what its snapshot noted"):
        reader.read(0, 5)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_SLICE_BYTES", 5)


@pytest.mark.usefixtures("small_slices")
def test_a_file_that_shrinks_between_two_reads(bench: Bench) -> None:
    reader = bench.reader(_live(0, 26))
    assert reader.read(0, 5) == DATA[:5]
    os.truncate(bench.path, 7)
    with pytest.raises(BytesLost, match="not what its snapshot noted"):
        reader.read(5, 5)
    reader.close()


@pytest.mark.usefixtures("small_slices")
def test_what_changes_between_two_reads_is_told_where_it_is_read(bench: Bench) -> None:
    """Each part is compared with what it was when all of the file was hashed: a big one that
    somebody writes to can't be hashed again for each part, nor be kept in memory."""
    reader = bench.reader(_live(0, 26))
    assert reader.read(0, 7) == DATA[:7]
    with open(bench.path, "r+b") as file:
        file.seek(21)
        file.write(b"V")
    bench.disk.read_bytes = 0
    assert reader.read(7, 13) == DATA[7:20]
    assert bench.disk.read_bytes <= 15
    with pytest.raises(BytesLost, match="not what its snapshot noted"):
        reader.read(20, 2)
    reader.close()


def test_of_a_big_file_a_small_part_is_in_memory(bench: Bench) -> None:
    """A sixteenth of 10 GB, twice, would be the end of a child on a small machine."""
    data = DATA * 200_000
    Path(bench.path).write_bytes(data)
    kept = print_of(lambda at, n: data[at : at + n], "whole", len(data))
    assert kept is not None
    version = replace(bench.version(_live(0, len(data))), size=len(data), print=kept)
    reader = VersionReader(bench.path, version, bench.outbox, bench.sources)
    most_bytes, before_bytes = 0, 0

    def watch(operation: str, path: str) -> None:
        nonlocal most_bytes, before_bytes
        most_bytes = max(most_bytes, bench.disk.read_bytes - before_bytes)
        before_bytes = bench.disk.read_bytes

    bench.disk.before = watch
    assert reader.read(2_000_000, 1_000) == data[2_000_000:2_001_000]
    reader.close()
    watch("", "")
    assert most_bytes <= 1 << 20


def _appended_to(bench: Bench, data: bytes) -> VersionReader:
    """A reader of all of ``data`` in a file whose program promised to append only."""
    Path(bench.path).write_bytes(data)
    kept = print_of(lambda at, n: data[at : at + n], "ends", len(data))
    assert kept is not None
    version = replace(bench.version(_live(0, len(data))), size=len(data), print=kept)
    return VersionReader(bench.path, version, bench.outbox, bench.sources)


def test_a_file_that_is_copied_and_truncated_between_two_reads(bench: Bench) -> None:
    """On a slow link a file may be read for minutes: what is written into it after a copytruncate
    must not follow the old bytes (history 17012153941 of the simulator)."""
    data = DATA * 1_000
    reader = _appended_to(bench, data)
    assert reader.read(0, 5_000) == data[:5_000]
    Path(bench.path).write_bytes(data.upper() * 2)
    with pytest.raises(BytesLost, match="not what its snapshot noted"):
        reader.read(5_000, 5_000)
    reader.close()


def test_a_file_that_is_appended_to_between_two_reads(bench: Bench) -> None:
    data = DATA * 1_000
    reader = _appended_to(bench, data)
    assert reader.read(0, 5_000) == data[:5_000]
    with open(bench.path, "ab") as file:
        file.write(b"more")
    assert reader.read(5_000, 21_000) == data[5_000:]
    reader.close()


@pytest.mark.parametrize("found", [b"ABCDEFGHIJ", b"abcdefgh", b""])
def test_a_piece_of_an_earlier_process_is_checked(bench: Bench, found: bytes) -> None:
    """A loss of power may have taken a part of it (design §4, rules for the local disk)."""
    piece = bench.copy(0, 10)
    bench.open_outbox(str(piece.name))
    bench.piece_file(piece).write_bytes(found)
    reader = bench.reader(piece)
    with pytest.raises(BytesLost, match="not what the snapshot"):
        reader.read(0, 1)
    reader.close()
    assert not bench.disk.open_handles


def test_a_piece_of_an_earlier_process_that_is_whole(bench: Bench) -> None:
    piece = bench.copy(3, 10)
    bench.open_outbox(str(piece.name))
    reader = bench.reader(piece)
    assert reader.read(4, 5) == DATA[4:9]
    reader.close()


def test_a_piece_of_this_process_is_not_read_twice(bench: Bench) -> None:
    piece = bench.copy(0, 20)
    reader = bench.reader(piece)
    bench.disk.read_bytes = 0
    reader.read(0, 5)
    assert bench.disk.read_bytes == 5
    reader.close()


def test_a_piece_that_is_gone(bench: Bench) -> None:
    piece = bench.copy(0, 10)
    bench.piece_file(piece).unlink()
    reader = bench.reader(piece)
    with pytest.raises(BytesLost, match=r"\.piece"):
        reader.read(0, 1)
    reader.close()


def test_a_disk_that_refuses_is_no_loss(bench: Bench) -> None:
    """It may not refuse the next time: nothing is given up for it."""
    piece = bench.copy(0, 10)
    reader = bench.reader(piece)
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "read")
    with pytest.raises(OSError, match="Input/output"):
        reader.read(0, 1)
    reader.close()
    assert not bench.disk.open_handles
    bench.disk.before = nothing
    reader = bench.reader(piece)
    assert reader.read(0, 3) == DATA[:3]
    reader.close()
