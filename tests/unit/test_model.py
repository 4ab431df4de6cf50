"""What is known of a file: what is owed of it, and its record in the journal."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.model import (
    Delivered,
    Entry,
    Identity,
    Piece,
    Print,
    Stamp,
    Upload,
    Version,
    entry_from_json,
    entry_to_json,
)
from tests.unit.core_fakes import make_entry, make_version

# -- the record --------------------------------------------------------------------------------

raw_bytes = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)  # as PEP 383 carries them
names = st.text(st.characters(codec="utf-8") | raw_bytes, max_size=12)
ns = st.integers(-(2**63), 2**63 - 1)
sizes = st.integers(0, 2**53)
times = st.floats(0, 4e9)
digests = st.text("0123456789abcdef", max_size=32)
stamps = st.builds(Stamp, ns, ns)
prints = st.builds(Print, st.sampled_from(["whole", "samples", "ends"]), sizes, digests)
pieces = st.builds(Piece, sizes, sizes, st.none() | names, digests)
versions = st.builds(
    Version,
    number=st.integers(1, 2**31),
    size=sizes,
    growing=st.booleans(),
    identity=st.builds(Identity, sizes, st.integers(0, 2**64 - 1)),
    stamp=stamps,
    settled=st.booleans(),
    print=prints,
    pieces=st.lists(pieces, max_size=4).map(tuple),
    taken_at=times,
    may_grow=st.booleans(),
)
uploads = st.builds(
    Upload,
    version=st.integers(1, 99),
    size=sizes,
    temp=names,
    base=sizes,
    acked=sizes,
    stage=st.sampled_from(["sending", "sent", "swapping"]),
    set_aside=st.booleans(),
    tail=st.booleans(),
    conflict=st.booleans(),
)
entries = st.builds(
    Entry,
    path=names,
    remote=names,
    served=st.none() | stamps,
    notified_at=st.none() | times,
    versions=st.lists(versions, max_size=3).map(tuple),
    delivered=st.none()
    | st.builds(Delivered, st.integers(1, 99), sizes, sizes, st.none() | times, times),
    upload=st.none() | uploads,
    litter=st.lists(names, max_size=3).map(tuple),
    conflict_at=st.none() | times,
    last_number=st.integers(0, 99),
    doubts=st.lists(st.integers(1, 99), max_size=3).map(tuple),
)


@given(entries)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    """As bytes on the disk; names that are not UTF-8 too (lone surrogates)."""
    text = json.dumps(entry_to_json(entry)).encode("ascii")
    assert entry_from_json(json.loads(text)) == entry


def test_a_delivery_is_a_short_line() -> None:
    """One is written for each delivery, and an SD card wears out (about 300 bytes)."""
    entry = make_entry(make_version(7, 123_456), delivered=Delivered(7, 123_456, 0, 1.7e9, 1.7e9))
    assert len(json.dumps(entry_to_json(entry))) < 300


def _record(**changes: Any) -> dict[str, Any]:
    entry = Entry("/a", "a", versions=(make_version(),), delivered=Delivered(1, 5))
    return {**entry_to_json(entry), **changes}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"p": "/a"},
        _record(p=5),
        _record(r=None),
        _record(s=[1]),
        _record(s=7),
        _record(v=[[1, 2, 3]]),
        _record(v=5),
        _record(d=[]),
        _record(u=["x"]),
    ],
)
def test_what_is_no_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        entry_from_json(record)


def test_a_version_that_was_to_keep_something_as_it_was_written_before() -> None:
    """Each said so. The first may have arrived, and the next have been flagged for itself."""
    record = entry_to_json(make_entry(make_version(2), make_version(3), make_version(4)))
    for version in record["v"][1:]:
        version[2] |= 4
    entry = entry_from_json(record)
    assert [entry.sets_aside(v.number) for v in entry.versions] == [False, True, True]
    arrived = entry_from_json({**record, "d": [3, 10, 0, None, 0.0]})
    assert arrived.sets_aside(4)
    assert entry_from_json(entry_to_json(entry)) == entry


def test_what_is_not_said_is_the_harmless_case() -> None:
    """A version may grow, and an upload is a plain one."""
    version = make_version()
    assert version.may_grow
    upload = Upload(version=1, size=5, temp="t")
    assert (upload.stage, upload.base, upload.acked) == ("sending", 0, 0)
    assert (upload.set_aside, upload.tail, upload.conflict) == (False, False, False)


# -- what is owed ------------------------------------------------------------------------------

ONE, TWO, THREE = make_version(1, 10), make_version(2, 20), make_version(3, 30)
BEHEADED = make_version(1, 10, pieces=[Piece(6, 10, None, "")])
UPLOAD = Upload(version=8, size=5, temp="t")


@pytest.mark.parametrize(
    ("kept", "delivered", "owed", "pending"),
    [
        pytest.param((), None, None, 0, id="nothing known"),
        pytest.param((), Delivered(3, 5), None, 0, id="given up"),
        pytest.param((ONE,), None, 1, 10, id="new"),
        pytest.param((make_version(1, 0),), None, 1, 0, id="new and empty: its name is owed"),
        pytest.param((ONE,), Delivered(1, 10), None, 0, id="all there"),
        pytest.param((ONE,), Delivered(1, 4), 1, 6, id="grew"),
        pytest.param((ONE,), Delivered(1, 4, base=2), 1, 6, id="grew, a new one begun"),
        pytest.param((ONE, TWO), Delivered(1, 10), 2, 20, id="replaced"),
        pytest.param((ONE, TWO), Delivered(1, 4), 1, 26, id="rotated: the old one's end first"),
        pytest.param((TWO, THREE), None, 2, 50, id="the oldest first"),
        pytest.param((ONE, TWO), Delivered(2, 20), None, 0, id="the older one counts no more"),
        pytest.param((TWO,), Delivered(5, 1), None, 0, id="an older one than what is there"),
        pytest.param((BEHEADED,), None, 1, 4, id="its beginning is gone"),
        pytest.param((BEHEADED,), Delivered(1, 2), 1, 4, id="what follows what is there is gone"),
        pytest.param((BEHEADED,), Delivered(1, 8), 1, 2, id="what was gone is there"),
        pytest.param((ONE,), Delivered(1, 12), None, 0, id="more is there than is known"),
    ],
)
def test_what_is_owed(
    kept: tuple[Version, ...], delivered: Delivered | None, owed: int | None, pending: int
) -> None:
    entry = make_entry(*kept, delivered=delivered)
    assert (entry.next_owed.number if entry.next_owed else None) == owed
    assert entry.pending_bytes == pending
    assert entry.current == (kept[-1] if kept else None)


@given(st.lists(versions, max_size=4, unique_by=lambda v: v.number), st.data())
def test_bytes_are_owed_only_by_a_version_that_is_owed(
    found: list[Version], data: st.DataObject
) -> None:
    kept = sorted(found, key=lambda v: v.number)
    numbers = [v.number for v in kept] or [1]
    delivered = data.draw(st.none() | st.builds(Delivered, st.sampled_from(numbers), sizes))
    entry = make_entry(*kept, delivered=delivered)
    if entry.pending_bytes:
        assert entry.next_owed is not None
    if entry.next_owed is not None:
        assert all(
            v.number >= entry.next_owed.number or (delivered and v.number <= delivered.version)
            for v in kept
        )


@pytest.mark.parametrize(
    ("entry", "number"),
    [
        pytest.param(make_entry(), 1, id="the first"),
        pytest.param(make_entry(ONE, THREE), 4, id="after those that are kept"),
        pytest.param(make_entry(delivered=Delivered(5, 1)), 6, id="after the delivered one"),
        pytest.param(Entry("/a", "a", upload=UPLOAD), 9, id="after the one on its way"),
        pytest.param(Entry("/a", "a", last_number=3), 4, id="after those that left no trace"),
    ],
)
def test_the_next_number_was_never_used(entry: Entry, number: int) -> None:
    assert entry.next_number == number


# -- versions and pieces -----------------------------------------------------------------------


def _pieces(*ends: tuple[int, int]) -> tuple[Piece, ...]:
    return tuple(Piece(start, end, None, "") for start, end in ends)


@pytest.mark.parametrize(
    ("ranges", "start"),
    [
        pytest.param([], 10, id="nothing"),
        pytest.param([(0, 10)], 0, id="all of it"),
        pytest.param([(4, 10)], 4, id="its end"),
        pytest.param([(0, 4), (4, 10)], 0, id="in a row"),
        pytest.param([(0, 3), (4, 10)], 4, id="a gap"),
        pytest.param([(0, 6), (4, 10)], 0, id="overlapping"),
        pytest.param([(0, 9)], 10, id="the end is missing"),
        pytest.param([(0, 2), (2, 5), (7, 10)], 7, id="a gap before the last"),
    ],
)
def test_from_where_bytes_are_to_be_had(ranges: list[tuple[int, int]], start: int) -> None:
    assert make_version(1, 10, pieces=_pieces(*ranges)).available_from == start


@given(st.lists(st.integers(0, 9), max_size=5))
def test_from_there_on_every_byte_is_in_a_piece(cuts: list[int]) -> None:
    edges = sorted({*cuts, 10})
    version = make_version(1, 10, pieces=_pieces(*itertools.pairwise(edges)))
    low = version.available_from
    for at in range(low, 10):
        assert any(p.start <= at < p.end for p in version.pieces)
    assert not any(p.start <= low - 1 < p.end for p in version.pieces)


def test_a_version_is_replaced_in_its_place_or_appended() -> None:
    entry = make_entry(ONE, TWO)
    larger = make_version(1, 11)
    assert entry.with_version(larger).versions == (larger, TWO)
    assert entry.with_version(THREE).versions == (ONE, TWO, THREE)
    assert entry.version(2) == TWO
    assert entry.version(9) is None
    assert entry.versions == (ONE, TWO)


def test_the_outbox_files_of_an_entry() -> None:
    first = make_version(1, 4, pieces=[Piece(0, 2, "x.piece", ""), Piece(2, 4, None, "")])
    second = make_version(2, 4, pieces=[Piece(0, 4, "y.piece", "")])
    assert make_entry(first, second).outbox_names() == {"x.piece", "y.piece"}


@pytest.mark.parametrize(("delivered", "size"), [(Delivered(1, 9), 9), (Delivered(1, 9, 5), 4)])
def test_the_remote_file_has_what_was_not_taken(delivered: Delivered, size: int) -> None:
    assert delivered.remote_size == size


def test_an_upload_with_a_token_or_in_segments_is_kept() -> None:
    for upload in (
        replace(UPLOAD, token="t0ken", acked=3, reach=5),
        replace(UPLOAD, temp="", segment=True),
    ):
        entry = Entry("/w/a.csv", "a.csv", upload=upload)
        assert entry_from_json(json.loads(json.dumps(entry_to_json(entry)))) == entry
    old = entry_to_json(Entry("/w/a.csv", "a.csv", upload=UPLOAD))
    assert len(old["u"]) == 9  # as before there were tokens
