"""Fingerprints: which bytes they read, and what they can tell apart."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.model import Print, PrintKind
from pysubtask.core.prints import (
    END_BYTES,
    SAMPLE_BYTES,
    SAMPLES,
    ReadAt,
    choose_kind,
    continue_whole,
    digest_of,
    print_of,
    ranges,
)

KINDS: list[PrintKind] = ["whole", "samples", "ends"]
kinds = st.sampled_from(KINDS)
MIB = 1 << 20


def _reader(data: bytes) -> ReadAt:
    return lambda offset, length: data[offset : offset + length]


@pytest.mark.parametrize(
    ("growth", "size", "kind"),
    [
        ("append", 0, "ends"),
        ("append", 10**9, "ends"),
        ("rewrite", 10**9, "whole"),
        ("auto", 100, "whole"),
        ("auto", 101, "samples"),
    ],
)
def test_the_kind_for_a_promise(growth: str, size: int, kind: str) -> None:
    assert choose_kind(growth, size, verify_up_to_bytes=100) == kind


@given(kinds, st.integers(0, 3 * MIB))
def test_ranges_lie_in_the_content_and_hold_its_ends(kind: PrintKind, size: int) -> None:
    found = list(ranges(kind, size))
    assert all(offset >= 0 and length > 0 and offset + length <= size for offset, length in found)
    assert all(length <= MIB for _, length in found)
    if size:
        assert found[0][0] == 0
        assert sum(found[-1]) == size
    if kind == "whole" or size <= 2 * END_BYTES:
        assert sum(length for _, length in found) == size
        ends = [offset + length for offset, length in found]
        assert [offset for offset, _ in found] == [0, *ends][: len(found)]


def test_samples_are_the_head_the_tail_and_16_places_between() -> None:
    size = 100 * MIB
    found = list(ranges("samples", size))
    assert len(found) == SAMPLES + 2 == 18
    assert sum(length for _, length in found) <= 18 * max(END_BYTES, SAMPLE_BYTES)
    middles = [offset for offset, _ in found[1:-1]]
    assert middles == sorted(middles)
    gaps = [b - a for a, b in itertools.pairwise(middles)]
    assert max(gaps) - min(gaps) <= 1


@given(kinds, st.binary(max_size=3 * END_BYTES), st.binary(max_size=50))
def test_a_print_speaks_of_the_beginning_only(kind: PrintKind, data: bytes, more: bytes) -> None:
    """So that one of a shorter content can be checked against the grown one."""
    first = print_of(_reader(data), kind, len(data))
    assert first == print_of(_reader(data + more), kind, len(data))
    assert first is not None
    assert (first.kind, first.size) == (kind, len(data))


@given(kinds, st.binary(max_size=2 * END_BYTES), st.integers(1, 100))
def test_a_shorter_content_has_no_print(kind: PrintKind, data: bytes, missing: int) -> None:
    assert print_of(_reader(data), kind, len(data) + missing) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, END_BYTES - 1, -END_BYTES, -1])
def test_a_change_in_the_ends_shows(kind: PrintKind, at: int) -> None:
    data = bytearray(b"x" * 50_000)
    before = print_of(_reader(bytes(data)), kind, len(data))
    data[at] = 0
    assert print_of(_reader(bytes(data)), kind, len(data)) != before


@pytest.mark.parametrize(("kind", "shows"), [("whole", True), ("samples", False), ("ends", False)])
def test_a_change_between_the_samples_shows_only_in_a_whole_print(
    kind: PrintKind, shows: bool
) -> None:
    data = bytearray(b"x" * MIB)
    before = print_of(_reader(bytes(data)), kind, MIB)
    data[END_BYTES + SAMPLE_BYTES + 10] = 0
    assert (print_of(_reader(bytes(data)), kind, MIB) != before) == shows


@given(st.binary(max_size=300), st.data())
def test_growth_is_checked_and_printed_in_one_reading(data: bytes, draw: st.DataObject) -> None:
    size = draw.draw(st.integers(0, len(data)))
    before = print_of(_reader(data), "whole", size)
    assert before is not None
    found = continue_whole(_reader(data), before, len(data))
    assert found == (print_of(_reader(data), "whole", len(data)), digest_of(data[size:]))


def test_growth_over_several_reads() -> None:
    data = b"".join(b"%07d\n" % n for n in range(2 * MIB // 8 + 2))  # nowhere like itself
    before = print_of(_reader(data), "whole", MIB + 3)
    assert before is not None
    found = continue_whole(_reader(data), before, len(data))
    assert found is not None
    assert found[0] == Print("whole", len(data), digest_of(data))
    assert found[1] == digest_of(data[MIB + 3 :])


def test_what_does_not_begin_alike_or_ends_too_soon_is_no_growth() -> None:
    before = print_of(_reader(b"head"), "whole", 4)
    assert before is not None
    assert continue_whole(_reader(b"heap+tail"), before, 9) is None
    assert continue_whole(_reader(b"head+tai"), before, 9) is None
    assert continue_whole(_reader(b"hea"), before, 9) is None


def test_a_whole_print_is_the_digest_of_the_bytes() -> None:
    """Pieces of the outbox and prints are compared with each other."""
    assert print_of(_reader(b"bytes"), "whole", 5) == Print("whole", 5, digest_of(b"bytes"))
