"""Bytes of a version that are not where the journal says: read again, or given up and told."""

from __future__ import annotations

from msgspec.structs import replace

from pysubtask.core.model import Entry, Piece, Print, Version
from pysubtask.core.space import held
from pysubtask.subtask.delivery.session import Session
from pysubtask.subtask.store.reader import BytesLost
from pysubtask.subtask.store.sources import is_same_content

__all__ = ["LostBytes"]


class LostBytes:
    """What a job does about them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def has_changed(self, path: str, version: Version) -> bool:
        """Whether its bytes are elsewhere by now (copied, just before the file was truncated); or
        there was no room to keep it, or its end: that is no loss of what is left, nor of the
        versions behind it."""
        entry = self._session.ledger.get(path)
        now = None if entry is None else entry.version(version.number)
        return now is None or now.size < version.size or now.pieces != version.pieces

    def read_source_again(self, path: str, number: int) -> bool:
        """A piece of the outbox is gone or damaged: is the watched file still what it was?

        Raises:
            OSError: the disk does not say; it may the next time.
        """
        entry = self._session.ledger.get(path)
        version = None if entry is None else entry.version(number)
        if version is None or all(p.name is None for p in version.pieces):
            return False
        try:
            with self._session.sources.borrow(path, version) as handle:
                if not is_same_content(handle, version):
                    return False
        except FileNotFoundError:
            return False
        whole = Piece(version.available_from, version.size, None, "")

        def change(e: Entry) -> Entry:
            now = e.version(version.number)
            if now is None or now.size != version.size:
                return e
            return e.with_version(replace(now, pieces=(whole,)))

        self._session.ledger.update(path, change, must=False)
        return True

    def give_up_version(self, path: str, number: int, error: BytesLost) -> None:
        """The bytes of a version are gone: say so, and look at the file anew."""
        entry = self._session.ledger.get(path)
        version = None if entry is None else entry.version(number)
        if entry is None or version is None:
            return
        self._session.log.error("deliver %s: %s; the file is read again", path, error)

        shorter = self._what_is_left(entry, version)
        if version.growing:
            left = replace(entry, versions=() if shorter is None else (shorter,))
            owed = held(replace(entry, versions=(version,))).total_bytes
            self._session.ledger.given_up_bytes += max(0, owed - held(left).total_bytes)

        def drop(e: Entry) -> Entry:
            kept = []
            for v in e.versions:
                left = shorter if v.number == version.number else v
                if left is not None:
                    kept.append(left)
            return replace(e, versions=tuple(kept)).without_upload()

        self._session.ledger.update(path, drop, must=False)
        self._session.hooks.look_again(path)

    def _what_is_left(self, entry: Entry, version: Version) -> Version | None:
        """Of a growing version what the outbox still has: its beginning, or else its end."""
        if not version.growing:
            return None
        done = entry.delivered
        same = done is not None and done.version == version.number
        start = done.size if done is not None and same else 0
        kept = self._first_pieces(version, start)
        size = max((p.end for p in kept), default=0)
        if size <= start:
            kept, size = self._last_pieces(version), version.size
        if not kept or kept == version.pieces:
            return None
        return replace(version, size=size, pieces=kept, print=Print("whole", size, ""))

    def _first_pieces(self, version: Version, end: int) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        for piece in version.pieces:
            if piece.name is None or piece.start > end:
                break
            whole = self._session.ledger.outbox.whole_part(piece)
            if whole is not None:
                pieces.append(whole)
                end = max(end, whole.end)
            if whole is not piece:
                break
        return tuple(pieces)

    def _last_pieces(self, version: Version) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        low = version.size
        for piece in reversed(version.pieces):
            outbox = self._session.ledger.outbox
            if piece.name is None or piece.end < low or not outbox.is_whole(piece):
                break
            pieces.insert(0, piece)
            low = min(low, piece.start)
        return tuple(pieces)
