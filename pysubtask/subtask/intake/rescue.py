"""Copying what is owed out of a file that is going, or has gone, another way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from pysubtask.core.model import Entry, Piece, Version
from pysubtask.seams.disk import ReadHandle
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["Rescue", "chunks"]

_CHUNK_BYTES = 1 << 20


def chunks(handle: ReadHandle, start: int, end: int) -> Iterator[bytes]:
    """The bytes ``[start, end)`` of an open file, a MiB at a time; fewer if it ends before."""
    while start < end:
        data = handle.read_at(start, min(_CHUNK_BYTES, end - start))
        if not data:
            return
        yield data
        start += len(data)


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

    def copy_live_pieces(self, path: str, number: int, handle: ReadHandle) -> None:
        """Copy what is owed of a version from the file into the outbox.

        Raises:
            OSError: the disk refused; the file stays the source.
        """
        entry = self._ledger.get(path)
        version = entry.version(number) if entry is not None else None
        live = [p for p in version.pieces if p.name is None] if version is not None else []
        if version is None or not live or not is_same_content(handle, version):
            return
        copies = []
        for piece in live:
            name, size, digest = self._ledger.outbox.store(chunks(handle, piece.start, piece.end))
            copies.append(Piece(piece.start, piece.start + size, name, digest))
        self._ledger.outbox.sync()  # the file was safer than a copy that the power may take
        same = is_same_content(handle, version)
        for piece, copy in zip(live, copies, strict=True):
            if same and copy.end == piece.end and piece.digest in ("", copy.digest):
                self._swap(path, number, piece, copy)
            elif copy.name is not None:
                self._ledger.outbox.discard([copy.name])

    def read_again(self, path: str, version: Version, lost: list[Piece]) -> None:
        """Pieces of a version are gone: take them from the file, if it still has the content.

        If it has not, the version is left as it is, and whoever delivers it reports the loss.
        """
        try:
            with self._sources.borrow(path, version) as handle:
                if is_same_content(handle, version):
                    for piece in lost:
                        live = Piece(piece.start, piece.end, None, piece.digest)
                        self._swap(path, version.number, piece, live)
                    self.copy_live_pieces(path, version.number, handle)
        except OSError as error:
            self._log.warning("read %s again for a lost copy: %s", path, error)

    def _swap(self, path: str, number: int, old: Piece, new: Piece) -> None:
        used = False

        def swap(e: Entry) -> Entry:
            nonlocal used
            version = e.version(number)
            if version is None or old not in version.pieces:
                return e
            used = True
            pieces = tuple(new if p == old else p for p in version.pieces)
            return e.with_version(replace(version, pieces=pieces))

        self._ledger.update(path, swap)
        if not used and new.name is not None:
            self._ledger.outbox.discard([new.name])
