"""Copying what is owed out of a file that is going, or has gone, another way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from pysubtask.core.model import Entry, Piece, Version
from pysubtask.core.prints import new_hash
from pysubtask.core.space import live_runs
from pysubtask.seams.disk import ReadHandle
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["Rescue", "chunks"]

_CHUNK_BYTES = 1 << 20
_MOST_COPIES = 3
"""A copy is made so often because deliveries end meanwhile."""


def chunks(handle: ReadHandle, start: int, end: int) -> Iterator[bytes]:
    """The bytes ``[start, end)`` of an open file, a MiB at a time; fewer if it ends before."""
    while start < end:
        data = handle.read_at(start, min(_CHUNK_BYTES, end - start))
        if not data:
            return
        yield data
        start += len(data)


def _each_hashed(
    handle: ReadHandle, pieces: tuple[Piece, ...], digests: list[str]
) -> Iterator[bytes]:
    """The bytes of the pieces, one after the other; the digest of each goes to ``digests``."""
    for piece in pieces:
        state = new_hash()
        for chunk in chunks(handle, piece.start, piece.end):
            state.update(chunk)
            yield chunk
        digests.append(state.hexdigest())


@dataclass(frozen=True, slots=True)
class _Copy:
    old: tuple[Piece, ...]
    """What the piece takes the place of."""
    piece: Piece
    is_exact: bool
    """It is what the snapshot saw."""
    is_new: bool
    """It is a file of its own in the outbox."""


class Rescue:
    """Keeps the bytes of a version safe from what happens to its file."""

    def __init__(self, ledger: Ledger, sources: Sources, log: logging.Logger) -> None:
        self._ledger = ledger
        self._sources = sources
        self._log = log

    def mark_growing(self, path: str, number: int) -> None:
        """The version is delivered to its end before a newer one takes its place."""

        def mark(e: Entry) -> Entry:
            version = e.version(number)
            return e if version is None else e.with_version(replace(version, growing=True))

        self._ledger.update(path, mark)

    def copy_live_pieces(self, path: str, number: int, handle: ReadHandle) -> bool:
        """Copy what is owed of a version from the file into the outbox, where there is room.

        Returns:
            False if there is a copy that could not be noted, since each time a delivery ended
            meanwhile: it may help to ask again.

        Raises:
            OSError: the disk refused; the file stays the source.
        """
        return any(self._copy_once(path, number, handle) for _ in range(_MOST_COPIES))

    def _copy_once(self, path: str, number: int, handle: ReadHandle) -> bool:
        """False if what was to be replaced by a copy had changed when the copy was there."""
        entry = self._ledger.get(path)
        version = entry.version(number) if entry is not None else None
        runs = live_runs(version.pieces) if version is not None else []
        if version is None or not runs or not is_same_content(handle, version):
            return True
        copies: list[_Copy] = []
        try:
            for before, run in runs:
                if self._ledger.outbox.has_room(run[-1].end - run[0].start):
                    copies.append(self._copy_run(handle, before, run))
            if not copies:
                return True
            # the file was safer than a copy that the power may take
            self._ledger.outbox.sync({c.piece.name for c in copies if c.piece.name is not None})
            same = is_same_content(handle, version)
            noted = True
            while copies:
                copy = copies[0]
                fits = same and copy.is_exact
                if not (fits and self._swap(path, number, copy.old, copy.piece)):
                    self._discard(copy)
                    noted = noted and not fits
                del copies[0]
            return noted
        except OSError:
            for copy in copies:
                self._discard(copy)
            raise

    def _discard(self, copy: _Copy) -> None:
        if copy.is_new and copy.piece.name is not None:
            self._ledger.outbox.discard([copy.piece.name])

    def _copy_run(self, handle: ReadHandle, before: Piece | None, run: tuple[Piece, ...]) -> _Copy:
        """Copy pieces that follow each other, to the end of the copy before them where that can
        be: else a growing file would have a piece for each of its snapshots."""
        outbox = self._ledger.outbox
        digests: list[str] = []
        data = _each_hashed(handle, run, digests)
        end = run[-1].end
        if (
            before is not None
            and before.name is not None
            and outbox.may_extend(before.name, before.end - before.start)
        ):
            size, digest = outbox.extend(before.name, data)
            synced = outbox.synced(before.name)
            piece = Piece(before.start, before.start + size, before.name, digest, *synced)
            old: tuple[Piece, ...] = (before, *run)
        else:
            name, size, digest = outbox.store(data)
            piece = Piece(run[0].start, run[0].start + size, name, digest)
            old = run
        same = all(p.digest in ("", d) for p, d in zip(run, digests, strict=True))
        return _Copy(old, piece, piece.end == end and same, is_new=old is run)

    def read_again(self, path: str, version: Version, lost: list[Piece]) -> None:
        """Pieces of a version are gone: take them from the file, if it still has the content.

        If it has not, the version is left as it is, and whoever delivers it reports the loss.
        """
        try:
            with self._sources.borrow(path, version) as handle:
                if is_same_content(handle, version):
                    for piece in lost:
                        live = Piece(piece.start, piece.end, None, piece.digest)
                        self._swap(path, version.number, (piece,), live)
                    self.copy_live_pieces(path, version.number, handle)
        except OSError as error:
            self._log.warning("read %s again for a lost copy: %s", path, error)

    def _swap(self, path: str, number: int, old: tuple[Piece, ...], new: Piece) -> bool:
        """Put one piece in the place of those; nothing, and False, if they are not all there any
        more."""
        used = False

        def swap(e: Entry) -> Entry:
            nonlocal used
            version = e.version(number)
            if version is None or any(p not in version.pieces for p in old):
                return e
            used = True
            kept = (new if p == old[0] else p for p in version.pieces if p not in old[1:])
            return e.with_version(replace(version, pieces=tuple(kept)))

        self._ledger.update(path, swap)
        return used
