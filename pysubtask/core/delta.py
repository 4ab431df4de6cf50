"""What of a new content the destination has already, found without asking it.

A :class:`Signer` makes a :class:`Signature` of a content as it is sent: a short hash of each block,
and now and then the first bytes of a block as they are, the *anchors*. When the file has another
content, :func:`find_delta` reads that, and says which ranges of it the old content has, where:
blocks that stand where they stood are found by their hashes; what an insertion or a deletion has
moved, by looking for the next anchors in the new content (a search for bytes, which Python does at
the speed of memory, where a hash rolling over each byte would take a minute) and by the hashes of
the blocks around them.

Nothing here is believed for good: a block counts as found when 48 bits of its hash agree, and
whoever uses the result checks that the destination still shows the old content. Pure but for the
``read_at`` that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pysubtask.blake import blake2b
from pysubtask.core.prints import ReadAt

__all__ = [
    "HASH_BYTES",
    "DeltaRule",
    "Kept",
    "Signature",
    "Signer",
    "anchor_bytes",
    "block_bytes_for",
    "find_delta",
]

HASH_BYTES = 6
ANCHOR_BYTES = 16
ANCHOR_EVERY_BLOCKS = 32
_MAX_BLOCKS_AT_FIRST = 262_144
_MAX_BLOCKS = 4 * _MAX_BLOCKS_AT_FIRST
_READ_BYTES = 1 << 20
_SEARCH_BYTES = 8 << 20
"""How far from where it stood a block that has moved is looked for, both ways."""
_SEARCH_AFTER_BLOCKS = 4
"""So many blocks in a row were not found: something has moved, most likely."""
_SEARCH_STEP_BYTES = 1 << 20
"""After a search in vain, the next comes so much later, and then twice as much, and so on."""
_ANCHORS_PER_SEARCH = 8
_TRIES_PER_ANCHOR = 32


@dataclass(frozen=True, slots=True)
class DeltaRule:
    """When a signature is made, and when something is copied by it."""

    block_bytes: int = 512
    """The least size of a block."""
    from_bytes: int = 1 << 20
    """A content has a signature made from this size on."""
    changed_from_bytes: int = 16 << 10
    """One of a file that was rewritten before, from this size on."""
    range_costs_bytes: int = 256
    """What asking for a copy costs on the link, both ways: shorter ranges are sent."""
    least_saved_bytes: int = 8 << 10
    """For less than this, the whole file is simpler and takes fewer round trips."""


def block_bytes_for(size: int, least: int = 512) -> int:
    """The size of a block for a content of ``size`` bytes: ``least`` up to 262,144 blocks, then in
    proportion, so that a signature has at most 1.5 MiB of hashes when it is made."""
    block = least
    while size > block * _MAX_BLOCKS_AT_FIRST:
        block *= 2
    return block


def _hash(block: bytes | memoryview) -> bytes:
    return blake2b(block, digest_size=HASH_BYTES).digest()


class Signer:
    """Makes the signature of a content whose bytes come bit by bit.

    It keeps nothing but the last part of a block: what comes of each bit is handed out.

    Args:
        block_bytes: as :func:`block_bytes_for` gives it.
        blocks: so many were handed out by another one before.
    """

    def __init__(self, block_bytes: int, blocks: int = 0) -> None:
        self.block_bytes = block_bytes
        self.blocks = blocks
        self._rest = b""

    @property
    def size(self) -> int:
        """How many bytes of the content it has taken."""
        return self.blocks * self.block_bytes + len(self._rest)

    @property
    def is_full(self) -> bool:
        """It takes no more: there are 1,048,576 blocks."""
        return self.blocks >= _MAX_BLOCKS

    def add(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the content's next bytes. Gives the hashes and the anchors of the blocks that they
        completed."""
        data = self._rest + data
        block = self.block_bytes
        end = len(data) - len(data) % block
        hashes, anchors = bytearray(), bytearray()
        for at in range(0, end, block):
            part = data[at : at + block]
            if self.blocks % ANCHOR_EVERY_BLOCKS == 0:
                anchors += part[:ANCHOR_BYTES]
            hashes += _hash(part)
            self.blocks += 1
        self._rest = data[end:]
        return bytes(hashes), bytes(anchors)


@dataclass(frozen=True, slots=True)
class Signature:
    """Hashes and anchors of the whole blocks at the beginning of a content.

    It may cover less than the content: the last part of a block, and what came after 1,048,576
    blocks, is unknown to it, and counts as changed.

    Raises:
        ValueError: there are not as many anchors as hashes ask for.
    """

    block_bytes: int
    hashes: bytes
    anchors: bytes

    def __post_init__(self) -> None:
        if len(self.hashes) % HASH_BYTES or len(self.anchors) != anchor_bytes(0, len(self)):
            raise ValueError("no signature: hashes and anchors do not fit together")

    def __len__(self) -> int:
        """How many blocks it knows."""
        return len(self.hashes) // HASH_BYTES

    def matches(self, number: int, block: bytes | memoryview) -> bool:
        """Whether ``block`` is the content's block of that number."""
        at = number * HASH_BYTES
        return 0 <= number < len(self) and self.hashes[at : at + HASH_BYTES] == _hash(block)

    def anchor(self, number: int) -> bytes:
        """The anchor of that number: the first bytes of block ``number * 32``."""
        return self.anchors[number * ANCHOR_BYTES : (number + 1) * ANCHOR_BYTES]

    def shortened(self, size: int) -> Signature:
        """What it says of the first ``size`` bytes."""
        blocks = min(len(self), size // self.block_bytes)
        return Signature(
            self.block_bytes,
            self.hashes[: blocks * HASH_BYTES],
            self.anchors[: anchor_bytes(0, blocks)],
        )


def anchor_bytes(blocks_before: int, blocks: int) -> int:
    """How many bytes of anchors come with ``blocks`` blocks that follow ``blocks_before``."""
    places = -(-(blocks_before + blocks) // ANCHOR_EVERY_BLOCKS)
    return (places - -(-blocks_before // ANCHOR_EVERY_BLOCKS)) * ANCHOR_BYTES


@dataclass(frozen=True, slots=True)
class Kept:
    """The new content's ``[start, end)`` stands in the old one from ``source``."""

    start: int
    end: int
    source: int


def find_delta(old: Signature, read_at: ReadAt, size: int) -> Iterator[Kept | None]:
    """The ranges of a new content of ``size`` bytes that the old one has, in order.

    Gives None every MiB or so, for whoever has something else to do meanwhile.
    """
    return _Search(old, read_at, size).run()


class _Search:
    """Walks through the old content's blocks; ``shift`` says where in the new one they should be.

    Where several in a row are not there, something may have been inserted or taken out, and the
    next anchors are looked for around that place.
    """

    def __init__(self, old: Signature, read_at: ReadAt, size: int) -> None:
        self._old = old
        self._read_at = read_at
        self._size = size
        self._buffer = memoryview(b"")
        self._buffer_at = 0
        self._done = 0
        """The new content's bytes before it are accounted for."""

    def run(self) -> Iterator[Kept | None]:
        old, block = self._old, self._old.block_bytes
        number = shift = missed = 0
        run_at: int | None = None
        search_at, search_step = 0, _SEARCH_STEP_BYTES
        told_at = 0
        while True:
            at = number * block + shift
            if number < len(old) and at + block <= self._size:
                if old.matches(number, self._get(at, block)):
                    if run_at is None:
                        run_at = at
                    number += 1
                    missed = 0
                    self._done = at + block
                    if self._done - told_at >= _READ_BYTES:
                        told_at = self._done
                        yield None
                    continue
                is_last = False
            else:
                is_last = True
            if run_at is not None:
                yield Kept(run_at, at, run_at - shift)
                run_at = None
            missed += 1
            number += 1
            if at - told_at >= _READ_BYTES:
                told_at = at
                yield None
            if not is_last and (missed < _SEARCH_AFTER_BLOCKS or at < search_at):
                continue
            found = self._find_moved(number, at)
            yield None
            if found is not None:
                number, shift = found
                missed = 0
                search_at, search_step = 0, _SEARCH_STEP_BYTES
            elif is_last:
                return
            else:
                search_at = at + search_step
                search_step *= 2

    def _get(self, start: int, length: int) -> memoryview:
        at = start - self._buffer_at
        if at < 0 or at + length > len(self._buffer):
            self._buffer = memoryview(self._read_at(start, max(length, _READ_BYTES)))
            self._buffer_at, at = start, 0
        return self._buffer[at : at + length]

    def _find_moved(self, number: int, near: int) -> tuple[int, int] | None:
        """A block of the old content, from about ``number`` on, that stands elsewhere now, and by
        how much it has moved; the first of those that moved with it."""
        old, block = self._old, self._old.block_bytes
        count = len(old.anchors) // ANCHOR_BYTES
        first = max(0, number - 2 * _SEARCH_AFTER_BLOCKS) // ANCHOR_EVERY_BLOCKS
        first = max(0, min(first, count - _ANCHORS_PER_SEARCH))
        start = max(self._done, near - _SEARCH_BYTES)
        end = min(near + _SEARCH_BYTES, self._size)
        if end - start < block:
            return None
        for place in range(first, min(first + _ANCHORS_PER_SEARCH, count)):
            anchor = old.anchor(place)
            if anchor.count(anchor[:1]) == len(anchor):
                continue  # a run of one byte stands everywhere
            found = place * ANCHOR_EVERY_BLOCKS
            for at in self._find(anchor, start, end):
                if at + block <= self._size and old.matches(found, self._get(at, block)):
                    return self._first_moved(found, at)
        return None

    def _first_moved(self, number: int, at: int) -> tuple[int, int]:
        old, block = self._old, self._old.block_bytes
        while number and at - block >= self._done:
            before = self._read_at(at - block, block)
            if not old.matches(number - 1, before):
                break
            number -= 1
            at -= block
        return number, at - number * block

    def _find(self, wanted: bytes, start: int, end: int) -> Iterator[int]:
        """The first places where those bytes stand in ``[start, end)``."""
        tries = 0
        while start < end:
            stop = min(start + _READ_BYTES, end)
            data = self._read_at(start, stop - start)
            at = data.find(wanted)
            while at >= 0 and tries < _TRIES_PER_ANCHOR:
                yield start + at
                tries += 1
                at = data.find(wanted, at + 1)
            if stop >= end or tries >= _TRIES_PER_ANCHOR:
                return
            start = stop - len(wanted) + 1
