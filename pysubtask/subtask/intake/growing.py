"""The same version, longer: noting what was added to a file since its last snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from pysubtask.blake import blake2b
from pysubtask.core.model import Entry, Identity, Piece, Print, Stamp, Version
from pysubtask.core.prints import choose_kind, continue_whole, new_hash, print_of
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import FileStat, ReadHandle
from pysubtask.subtask.intake.facts import Clash, Outcome, Touch, seen_facts, with_served
from pysubtask.subtask.intake.rescue import chunks
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import is_same_content

__all__ = ["Growing", "piece_in_file"]

_MAX_LIVE_PIECES = 64
_HELD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Added:
    """What was copied of a file's new end; ``extended``: to the end of an older piece."""

    piece: Piece
    tail_digest: str
    extended: bool


class Growing:
    """Adds to the current version what its file has gained.

    Args:
        verify_up_to_bytes: with ``growth="auto"``, files up to this size are checked whole.
    """

    def __init__(self, clock: Clock, ledger: Ledger, *, verify_up_to_bytes: int) -> None:
        self._clock = clock
        self._ledger = ledger
        self._verify_up_to_bytes = verify_up_to_bytes

    def extend(
        self,
        path: str,
        previous: Version,
        handle: ReadHandle,
        st: FileStat,
        growth: str,
        touch: Touch | None,
    ) -> Outcome | None:
        """Note what was added; None if the file does not begin with ``previous``.

        The new bytes are read before all of it is checked, and once more with it: so that what is
        noted stood in the file at one time, however quickly it is rewritten.
        """
        identity, stamp, settled = seen_facts(st, self._clock.time())
        seen = replace(previous, size=st.size, identity=identity, stamp=stamp, settled=settled)
        if st.size == previous.size:
            if not is_same_content(handle, previous):
                return None
            self._note_unchanged(path, previous.number, identity, stamp, settled, touch)
            return Outcome("unchanged")
        if growth == "append":
            if not is_same_content(handle, previous):
                return None
            added = _Added(self.live_piece(handle, previous.size, st.size), "", False)
        elif st.size - previous.size <= _HELD_BYTES:
            return self._extend_held(path, previous, handle, seen, touch, growth)
        else:
            added = self._copy_added(chunks(handle, previous.size, st.size), previous, st.size)
        try:
            tail = added.tail_digest
            fingerprint = self._check_added(handle, previous, st.size, growth, tail)
        except BaseException:
            self._discard_added(added)
            raise
        if fingerprint is None or added.piece.end != st.size:
            self._discard_added(added)
            return None if fingerprint is None else Outcome("unstable")
        self._note_grown(path, previous, seen, fingerprint, added, touch)
        return Outcome("taken")

    def _extend_held(
        self,
        path: str,
        previous: Version,
        handle: ReadHandle,
        seen: Version,
        touch: Touch | None,
        growth: str,
    ) -> Outcome | None:
        """As :meth:`extend`, for what there is room for in memory: it is written once it is
        checked. Else a delivery that ends meanwhile would let go of the piece that it was added
        to, and it would have to be written again."""
        data = b"".join(chunks(handle, previous.size, seen.size))
        tail = new_hash()
        tail.update(data)
        fingerprint = self._check_added(handle, previous, seen.size, growth, tail.hexdigest())
        if fingerprint is None:
            return None
        if previous.size + len(data) != seen.size:
            return Outcome("unstable")
        entry = self._ledger.get(path)
        now = None if entry is None else entry.version(previous.number)
        if now is None or now.size != previous.size:
            raise Clash
        added = self._copy_added(iter([data]), now, seen.size)
        self._note_grown(path, previous, seen, fingerprint, added, touch)
        return Outcome("taken")

    def _note_grown(
        self,
        path: str,
        previous: Version,
        seen: Version,
        fingerprint: Print,
        added: _Added,
        touch: Touch | None,
    ) -> None:
        version = replace(seen, growing=True, print=fingerprint, taken_at=self._clock.time())
        try:
            self._ledger.update(
                path, lambda e: with_served(_with_added(e, previous, version, added), touch)
            )
        except BaseException:
            self._discard_added(added)
            raise

    def _discard_added(self, added: _Added) -> None:
        if not added.extended and added.piece.name is not None:
            self._ledger.outbox.discard([added.piece.name])

    def _note_unchanged(
        self,
        path: str,
        number: int,
        identity: Identity,
        stamp: Stamp,
        settled: bool,
        touch: Touch | None,
    ) -> None:
        def note(e: Entry) -> Entry:
            now = e.version(number)
            if now is not None:
                same = replace(now, identity=identity, stamp=stamp, settled=settled)
                e = e.with_version(same)
            return with_served(e, touch)

        self._ledger.update(path, note, must=False)

    def _copy_added(self, data: Iterator[bytes], previous: Version, end: int) -> _Added:
        """Copy ``[previous.size, end)``, to the end of the last piece where that can be."""
        outbox = self._ledger.outbox
        tail = new_hash()
        added = _hashed(data, tail)
        if not outbox.has_room(end - previous.size):  # the file stays the source
            size = sum(map(len, added))
            piece = Piece(previous.size, previous.size + size, None, tail.hexdigest())
            return _Added(piece, piece.digest, False)
        last = previous.pieces[-1] if previous.pieces else None
        if (
            last is not None
            and last.name is not None
            and last.end == previous.size
            and outbox.may_extend(last.name, last.end - last.start)
        ):
            size, digest = outbox.extend(last.name, added)
            synced = outbox.synced(last.name)
            piece = Piece(last.start, last.start + size, last.name, digest, *synced)
            return _Added(piece, tail.hexdigest(), True)
        name, size, digest = outbox.store(added)
        piece = Piece(previous.size, previous.size + size, name, digest)
        return _Added(piece, tail.hexdigest(), False)

    def _check_added(
        self, handle: ReadHandle, previous: Version, size: int, growth: str, tail: str
    ) -> Print | None:
        """The print of the grown content; None if it does not begin with ``previous``, or its new
        part is not what was copied."""
        if growth == "append":
            return self._print(handle, growth, size)
        kind = choose_kind(growth, size, self._verify_up_to_bytes)
        if previous.print.kind == kind == "whole":
            found = continue_whole(handle.read_at, previous.print, size)
            return found[0] if found is not None and found[1] == tail else None
        if not is_same_content(handle, previous):
            return None
        fingerprint = self._print(handle, growth, size)
        return fingerprint if is_same_content(handle, previous) else None

    def live_piece(self, handle: ReadHandle, start: int, end: int) -> Piece:
        """A piece of a file that the program promises only to append to: of a big one the digest
        is left out."""
        if end - start > self._verify_up_to_bytes:
            return Piece(start, end, None, "")
        return piece_in_file(handle, start, end)

    def _print(self, handle: ReadHandle, growth: str, size: int) -> Print | None:
        return print_of(handle.read_at, choose_kind(growth, size, self._verify_up_to_bytes), size)


def piece_in_file(handle: ReadHandle, start: int, end: int) -> Piece:
    """A piece whose source stays the file itself; it ends sooner if the file does."""
    state = new_hash()
    at = start
    for chunk in chunks(handle, start, end):
        state.update(chunk)
        at += len(chunk)
    return Piece(start, at, None, state.hexdigest())


def _with_added(entry: Entry, previous: Version, version: Version, added: _Added) -> Entry:
    now = entry.version(previous.number)
    if now is None or now.size != previous.size:
        raise Clash
    pieces = now.pieces
    if added.extended:
        if not pieces or pieces[-1].name != added.piece.name:
            raise Clash
        pieces = pieces[:-1]
    grown = replace(
        now,
        size=version.size,
        growing=True,
        identity=version.identity,
        stamp=version.stamp,
        settled=version.settled,
        print=version.print,
        taken_at=version.taken_at,
        pieces=_merged((*pieces, added.piece)),
    )
    return entry.with_version(grown)


def _hashed(chunks: Iterator[bytes], state: blake2b) -> Iterator[bytes]:
    for chunk in chunks:
        state.update(chunk)
        yield chunk


def _merged(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Many small pieces of the file itself become one, whose digest nobody knows."""
    first = len(pieces)
    while first and pieces[first - 1].name is None:
        first -= 1
    live = pieces[first:]
    if len(live) <= _MAX_LIVE_PIECES:
        return pieces
    return (*pieces[:first], Piece(live[0].start, live[-1].end, None, ""))
