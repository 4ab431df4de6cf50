"""What changed inside a content: what is found is true, and what moved is found."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.delta import (
    ANCHOR_EVERY_BLOCKS,
    HASH_BYTES,
    Kept,
    Signature,
    Signer,
    anchor_bytes,
    block_bytes_for,
    find_delta,
)

MIB = 1 << 20
RNG = random.Random(20261126)
BIG = RNG.randbytes(2 * MIB)


def sign(content: bytes, block: int = 1024, piece: int = 10_000) -> Signature:
    """The signature of a content that comes in pieces."""
    signer = Signer(block)
    hashes, anchors = bytearray(), bytearray()
    for at in range(0, len(content), piece):
        more_hashes, more_anchors = signer.add(content[at : at + piece])
        hashes += more_hashes
        anchors += more_anchors
    assert signer.size == len(content)
    return Signature(block, bytes(hashes), bytes(anchors))


def delta(old: bytes, new: bytes, block: int = 1024) -> list[Kept]:
    """What is found, checked: in order, and the same bytes in both."""
    found = []
    at = 0
    for kept in find_delta(sign(old, block), lambda o, n: new[o : o + n], len(new)):
        if kept is None:
            continue
        assert at <= kept.start < kept.end <= len(new)
        source_end = kept.source + kept.end - kept.start
        assert old[kept.source : source_end] == new[kept.start : kept.end]
        at = kept.end
        found.append(kept)
    return found


def missing(new: bytes, found: list[Kept]) -> int:
    """How many bytes would have to be sent."""
    return len(new) - sum(k.end - k.start for k in found)


# -- what is found is true -----------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([b"a", b"bb" * 9, b"abc" * 20, b"\0" * 70, b"x"]), max_size=40),
    st.lists(st.sampled_from([b"a", b"bb" * 9, b"abc" * 20, b"\0" * 70, b"y"]), max_size=40),
    st.sampled_from([16, 32]),
)
def test_every_range_stands_in_the_old_content(
    old: list[bytes], new: list[bytes], block: int
) -> None:
    """Contents that are full of repetitions, where a search is most easily misled."""
    delta(b"".join(old), b"".join(new), block)


@given(st.data())
def test_edits_of_all_kinds(data: st.DataObject) -> None:
    old = BIG[: 40 * 1024]
    new = bytearray(old)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(new)))
        gone = data.draw(st.integers(0, 3000))
        new[at : at + gone] = RNG.randbytes(data.draw(st.integers(0, 3000)))
    delta(old, bytes(new), 64)


# -- and enough is found -------------------------------------------------------------------------


def test_the_same() -> None:
    assert delta(BIG, BIG) == [Kept(0, len(BIG), 0)]


def _overwritten(old: bytes) -> bytes:
    new = bytearray(old)
    for at in (5000, 1_000_001, len(old) - 6000):
        new[at : at + 4096] = RNG.randbytes(4096)
    return bytes(new)


@pytest.mark.parametrize(
    ("change", "changed_bytes", "places"),
    [
        (_overwritten, 3 * 4096, 3),
        (lambda old: b"0123456789" + old, 10, 1),
        (lambda old: old[:700_001] + b"inserted" * 100 + old[700_001:], 800, 1),
        (lambda old: old[5000:], 0, 1),
        (lambda old: old[:100_000] + old[900_000:], 0, 1),
        (lambda old: old[: MIB + 1], 0, 1),
        (lambda old: old + b"more" * 5000, 20_000, 1),
        (lambda old: old[:3000] + RNG.randbytes(MIB) + old[3000:], MIB, 1),
        (lambda old: old[2000:MIB] + b"!" + old[MIB + 5 :], 1, 3),
    ],
    ids="blocks front middle cut-front cut-middle cut-end appended large several".split(),
)
def test_little_more_than_the_change_is_sent(
    change: Callable[[bytes], bytes], changed_bytes: int, places: int
) -> None:
    """A block more at each side of a change: a quarter more for three changed blocks of 4 KiB."""
    new = change(BIG)
    assert missing(new, delta(BIG, new, 512)) <= changed_bytes + places * 2 * 512


def test_rows_of_text_after_a_longer_header() -> None:
    rows = [
        f"2026-11-26T{n % 24:02d}:{n % 60:02d},{n * 37 % 1000 / 10},ok\n" for n in range(30_000)
    ]
    old = ("time,value\n" + "".join(rows)).encode()
    new = ("time,value,state\n" + "".join(rows)).encode()
    assert missing(new, delta(old, new)) <= 2048


def test_nothing_in_common() -> None:
    assert delta(BIG, RNG.randbytes(len(BIG))) == []


def test_nothing_to_compare_with() -> None:
    assert delta(b"", BIG) == []
    assert delta(b"short", b"short") == [], "less than a block is not worth asking for"
    assert delta(BIG, b"") == []


def test_zeros_everywhere() -> None:
    """A run of one byte says nothing about where it belongs: it is compared where it stood."""
    assert missing(bytes(MIB), delta(bytes(MIB), bytes(MIB))) == 0


def test_others_may_run_meanwhile() -> None:
    breaks = sum(
        kept is None for kept in find_delta(sign(BIG), lambda o, n: BIG[o : o + n], 2 * MIB)
    )
    assert breaks >= 2


# -- signatures ----------------------------------------------------------------------------------


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_a_signature_does_not_depend_on_the_pieces(content: bytes, piece: int) -> None:
    assert sign(content, 16, piece) == sign(content, 16, len(content) or 1)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_part_of_a_signature(size: int, part: int) -> None:
    content = BIG[:size]
    assert sign(content, 32).shortened(part) == sign(content[:part], 32)


def test_a_signature_can_be_gone_on_with() -> None:
    first = sign(BIG[: 1024 * 5])
    signer = Signer(1024, blocks=5)
    hashes, anchors = signer.add(BIG[1024 * 5 : 1024 * 40])
    whole = Signature(1024, first.hashes + hashes, first.anchors + anchors)
    assert whole == sign(BIG[: 1024 * 40])
    assert anchor_bytes(5, 35) == len(anchors)


def test_hashes_and_anchors_belong_together() -> None:
    good = sign(BIG)
    for hashes, anchors in (
        (good.hashes[:-1], good.anchors),
        (good.hashes[: -HASH_BYTES * ANCHOR_EVERY_BLOCKS], good.anchors),
        (good.hashes, good.anchors + bytes(16)),
    ):
        with pytest.raises(ValueError, match="fit together"):
            Signature(1024, hashes, anchors)


@pytest.mark.parametrize(
    ("size", "block"),
    [(0, 512), (128 * MIB, 512), (128 * MIB + 1, 1024), (10 << 30, 65_536)],
)
def test_the_size_of_a_block(size: int, block: int) -> None:
    assert block_bytes_for(size) == block


def test_a_content_that_grows_for_ever_has_a_signature_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pysubtask.core.delta._MAX_BLOCKS", 10)
    signer = Signer(16)
    while not signer.is_full:
        signer.add(b"0123456789")
    assert signer.blocks == 10
