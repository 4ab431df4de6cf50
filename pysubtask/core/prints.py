"""Fingerprints of contents: which bytes they read, and how they are put together.

Pure but for the ``read_at`` that is passed in. A fingerprint always speaks of the first ``size``
bytes, so that one taken of a shorter content can be checked against the grown one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pysubtask.blake import blake2b
from pysubtask.core.model import Print, PrintKind

__all__ = ["ReadAt", "choose_kind", "continue_whole", "digest_of", "new_hash", "print_of", "ranges"]

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, length)``; fewer bytes only at the end."""

END_BYTES = 4096
SAMPLE_BYTES = 4096
SAMPLES = 16
_CHUNK_BYTES = 1 << 20


def new_hash() -> blake2b:
    """The hash used throughout: 128 bits, to tell changes apart, not to resist an attacker."""
    return blake2b(digest_size=16)


def digest_of(data: bytes) -> str:
    """The hex digest of some bytes."""
    return blake2b(data, digest_size=16).hexdigest()


def choose_kind(growth: str, size: int, verify_up_to_bytes: int) -> PrintKind:
    """Which fingerprint to keep for a content of ``size`` bytes.

    ``append``: the program promised not to change what it wrote, so the ends tell rotation and
    inode reuse. ``rewrite``: all of it was copied anyway. ``auto``: all of it up to the limit.
    """
    if growth == "append":
        return "ends"
    if growth == "rewrite" or size <= verify_up_to_bytes:
        return "whole"
    return "samples"


def ranges(kind: PrintKind, size: int) -> Iterator[tuple[int, int]]:
    """The ``(offset, length)`` ranges that a fingerprint of that kind reads, in order."""
    if kind == "whole" or size <= 2 * END_BYTES:
        offset = 0
        while offset < size:
            yield offset, min(_CHUNK_BYTES, size - offset)
            offset += _CHUNK_BYTES
        return
    yield 0, END_BYTES
    if kind == "samples":
        span = size - 2 * END_BYTES
        for place in range(SAMPLES):
            offset = END_BYTES + span * place // SAMPLES
            yield offset, min(SAMPLE_BYTES, size - offset)
    yield size - END_BYTES, END_BYTES


def print_of(read_at: ReadAt, kind: PrintKind, size: int) -> Print | None:
    """The fingerprint of the first ``size`` bytes; None if there are not that many."""
    state = new_hash()
    for offset, length in ranges(kind, size):
        data = read_at(offset, length)
        if len(data) < length:
            return None
        state.update(data)
    return Print(kind, size, state.hexdigest())


def continue_whole(read_at: ReadAt, before: Print, size: int) -> tuple[Print, str] | None:
    """Check a ``whole`` print and make the one for ``size`` bytes in one reading.

    Gives the new print and the digest of the bytes after ``before.size``; None if the content does
    not begin with what ``before`` saw, or is shorter.
    """
    state, tail = new_hash(), new_hash()
    for start, end in ((0, before.size), (before.size, size)):
        for offset, length in ranges("whole", end - start):
            data = read_at(start + offset, length)
            if len(data) < length:
                return None
            state.update(data)
            if start:
                tail.update(data)
        if end == before.size and state.hexdigest() != before.digest:
            return None
    if not before.size:
        tail = state
    return Print("whole", size, state.hexdigest()), tail.hexdigest()
