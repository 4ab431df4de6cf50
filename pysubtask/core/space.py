"""How much of the local disk copies may take, and where the bytes that are owed are: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec.structs import replace

from pysubtask.core.model import Entry, Piece, Print, Version

__all__ = ["Held", "Limit", "Room", "held", "limit_of", "live_runs", "room", "without_source"]

Limit: TypeAlias = Literal["outbox", "disk"]
"""Which limit is reached: ``outbox_max_bytes`` or ``keep_free_bytes``."""

_SHARE = 4


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes may be copied now, and what limits them."""

    size: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Held:
    """Where the bytes lie that are owed of a file."""

    copied_bytes: int = 0
    """In the outbox: safe from whatever happens to the file."""
    only_in_files_bytes: int = 0
    """In the file itself, wherever it has been renamed to."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.copied_bytes + self.only_in_files_bytes

    def __add__(self, other: Held) -> Held:
        return Held(
            self.copied_bytes + other.copied_bytes,
            self.only_in_files_bytes + other.only_in_files_bytes,
        )

    def __sub__(self, other: Held) -> Held:
        return Held(
            self.copied_bytes - other.copied_bytes,
            self.only_in_files_bytes - other.only_in_files_bytes,
        )


def limit_of(configured: int | None, free_bytes: int, held_bytes: int) -> int:
    """``outbox_max_bytes``: by default a quarter of what is free at the start.

    What the outbox holds then counts as free, so that the limit does not shrink from start to
    start.
    """
    return (free_bytes + held_bytes) // _SHARE if configured is None else configured


def room(limit_bytes: int, taken_bytes: int, keep_free_bytes: int, free_bytes: int) -> Room:
    """What may be copied when ``taken_bytes`` of the limit are taken."""
    in_outbox = max(0, limit_bytes - taken_bytes)
    on_disk = max(0, free_bytes - keep_free_bytes)
    return Room(in_outbox, "outbox") if in_outbox <= on_disk else Room(on_disk, "disk")


def held(entry: Entry) -> Held:
    """Where the bytes are that the destination does not show yet."""
    done = entry.delivered
    copied = in_files = 0
    for version in entry.versions:
        start = 0
        if done is not None and version.number <= done.version:
            if version.number < done.version:
                continue
            start = done.size
        for piece in version.pieces:
            size = max(0, piece.end - max(start, piece.start))
            if piece.name is None:
                in_files += size
            else:
                copied += size
    return Held(copied, in_files)


def live_runs(pieces: tuple[Piece, ...]) -> list[tuple[Piece | None, tuple[Piece, ...]]]:
    """The runs of pieces whose bytes only the file has, each with the copy that ends where it
    begins, if there is one."""
    runs: list[tuple[Piece | None, tuple[Piece, ...]]] = []
    before: Piece | None = None
    run: list[Piece] = []
    for piece in (*pieces, None):
        if piece is not None and piece.name is None and (not run or run[-1].end == piece.start):
            run.append(piece)
            continue
        if run:
            fits = before is not None and before.end == run[0].start
            runs.append((before if fits else None, tuple(run)))
            before, run = None, []
        if piece is not None and piece.name is None:
            run = [piece]
        else:
            before = piece
    return runs


def without_source(entry: Entry, number: int) -> tuple[Entry, int]:
    """The entry when the file that held a version is gone for good, and how many bytes that costs.

    What of its beginning was copied, or delivered, stays.
    """
    version = entry.version(number)
    if version is None:
        return entry, 0
    done = entry.delivered
    start = end = done.size if done is not None and done.version == number else 0
    kept = []
    for piece in version.pieces:
        if piece.name is None or piece.start > end:
            break
        kept.append(piece)
        end = max(end, piece.end)
    left: list[Version] = []
    for other in entry.versions:
        if other.number != number:
            left.append(other)
        elif end > start:
            nothing = Print("whole", end, "")
            left.append(replace(version, size=end, pieces=tuple(kept), print=nothing))
    shorter = replace(entry, versions=tuple(left))
    if entry.upload is not None and entry.upload.version == number:
        shorter = shorter.without_upload()
    return shorter, version.size - end
