"""Taking a snapshot: what the file holds now, noted so that it can't be lost any more.

Which of two things happened since the last snapshot is decided by content, never by name or inode
alone: the file *continues* the current version (it begins with the same bytes), or it *begins* a
new one (rotation, truncation, rewriting, an inode used again). Before a new version begins, the old
one is read to its end wherever it has gone to, and what is owed of it is copied.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from pysubtask.core.model import Entry, Identity, Piece, Print, PrintKind, Stamp, Version
from pysubtask.core.prints import choose_kind, continue_whole, new_hash, print_of
from pysubtask.core.ticks import tick_secs
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat, ReadHandle
from pysubtask.subtask.intake.rescue import Rescue, chunks
from pysubtask.subtask.store.ledger import Ledger, drop_superseded
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["Outcome", "Snapshots", "Touch"]

_MAX_LIVE_PIECES = 64


@dataclass(frozen=True, slots=True)
class Touch:
    """The ``.notify`` that a snapshot serves; ``stamp`` is None where there is none.

    With one at hand the file is read whatever its own time stamps say.
    """

    stamp: Stamp | None
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a look at a file.

    ``unstable``: it was being written; look again soon, then pass ``final=True``. ``failed``: the
    disk or the file itself refused, in ``error``.
    """

    result: Literal["taken", "unchanged", "missing", "unstable", "failed"]
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class _Added:
    """What was copied of a file's new end; ``extended``: to the end of an older piece."""

    piece: Piece
    tail_digest: str
    extended: bool


class _Clash(Exception):
    """The entry is no longer what the look began with."""


class Snapshots:
    """Takes snapshots of files into the ledger.

    Args:
        verify_up_to_bytes: with ``growth="auto"``, files up to this size are checked whole.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        sources: Sources,
        *,
        verify_up_to_bytes: int,
        log: logging.Logger,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._sources = sources
        self._verify_up_to_bytes = verify_up_to_bytes
        self._log = log
        self.rescue = Rescue(ledger, sources, log)
        self.edited: set[str] = set()
        """Paths whose content is known to have changed though no look can tell: the next look
        begins a new version."""
        self.suspects: set[str] = set()
        """Paths not looked at since an unclean boot: a file that is shorter now lost its end."""

    # -- one look ----------------------------------------------------------------------------

    def take(
        self, path: str, remote: str, growth: str, touch: Touch | None, *, final: bool = False
    ) -> Outcome:
        """Look at ``path`` and note what is new.

        Args:
            remote: its remote path, for a file never seen before.
            growth: ``"append"``, ``"rewrite"`` or ``"auto"``.
            touch: the notify that is served by this; None if there is none.
            final: take it even if it is being written: it was unstable for too long.
        """
        self._regrown = 0
        while True:
            try:
                return self._take(path, remote, growth, touch, final=final)
            except _Clash:
                continue  # a delivery let go of the piece that was being added to

    def _take(
        self, path: str, remote: str, growth: str, touch: Touch | None, *, final: bool
    ) -> Outcome:
        entry = self._ledger.get(path)
        previous = entry.current if entry is not None else None
        try:
            handle = self._disk.open_read(path)
        except FileNotFoundError:
            try:
                self._finish(path, previous, growth, None)
            except OSError as error:
                return Outcome("failed", error)
            self._note_served(path, remote, touch)
            return Outcome("missing")
        except OSError as error:
            return Outcome("failed", error)
        keep = False
        try:
            before = handle.stat()
            edited = path in self.edited
            if not edited and touch is None and previous and _is_untouched(previous, before):
                return Outcome("unchanged")
            outcome: Outcome | None = None
            goes_on = not edited and previous and _may_continue(previous, before, growth)
            if goes_on and previous is not None and before.ino != previous.identity.ino:
                # The same beginning in another file: a longer copy moved into place, unless
                # the file of before lives on under another name.
                goes_on = not self._finish(path, previous, growth, before)
            if goes_on and previous is not None:
                outcome = self._extend(path, previous, handle, before, growth, touch)
                if outcome is not None and outcome.result == "unstable":
                    if not final:
                        return outcome
                    outcome = None
            if outcome is None:
                self._finish(path, previous, growth, before)
                outcome = self._begin(path, remote, handle, before, growth, touch, final=final)
            if outcome.result == "taken" and growth != "rewrite":
                taken = self._ledger.get(path)
                if taken is not None and taken.current is not None and taken.current.growing:
                    keep = True
                    self._sources.hold(path, taken.current.number, handle)
                    wanted = {taken.current.number}
                    wanted.update(
                        v.number for v in taken.versions if any(p.name is None for p in v.pieces)
                    )
                    self._sources.release_others(path, wanted)
            self.suspects.discard(path)
            if outcome.result == "taken":
                self.edited.discard(path)
            return outcome
        except OSError as error:
            return Outcome("failed", error)
        finally:
            if not keep:
                handle.close()

    def _note_served(self, path: str, remote: str, touch: Touch | None) -> None:
        if touch is None:
            return
        self._ledger.update(path, lambda e: _served(e, touch), remote=remote, must=False)

    # -- the same version, longer ------------------------------------------------------------

    def _extend(
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
        identity, stamp, settled = self._facts(st)
        if st.size == previous.size:
            if not is_same_content(handle, previous):
                return None
            self._note_unchanged(path, previous.number, identity, stamp, settled, touch)
            return Outcome("unchanged")
        if growth == "append":
            if not is_same_content(handle, previous):
                return None
            added = _Added(self._live_piece(handle, previous.size, st.size), "", False)
        else:
            added = self._copy_added(handle, previous, st.size)
        try:
            fingerprint = self._check_added(handle, previous, st.size, growth, added)
        except BaseException:
            self._discard_added(added)
            raise
        if fingerprint is None or added.piece.end != st.size:
            self._discard_added(added)
            return None if fingerprint is None else Outcome("unstable")
        version = replace(
            previous,
            size=st.size,
            growing=True,
            identity=identity,
            stamp=stamp,
            settled=settled,
            print=fingerprint,
            taken_at=self._clock.time(),
        )
        try:
            self._ledger.update(
                path, lambda e: _served(_with_added(e, previous, version, added), touch)
            )
        except BaseException:
            self._discard_added(added)
            raise
        return Outcome("taken")

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
            return _served(e, touch)

        self._ledger.update(path, note, must=False)

    def _copy_added(self, handle: ReadHandle, previous: Version, end: int) -> _Added:
        """Copy ``[previous.size, end)``, to the end of the last piece where that can be."""
        outbox = self._ledger.outbox
        if not outbox.has_room(end - previous.size):
            return self._leave_added(handle, previous.size, end)
        tail = new_hash()
        added = _hashed(chunks(handle, previous.size, end), tail)
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

    @staticmethod
    def _leave_added(handle: ReadHandle, start: int, end: int) -> _Added:
        """No room for a copy: the file stays the source."""
        tail = new_hash()
        at = start
        for chunk in _hashed(chunks(handle, start, end), tail):
            at += len(chunk)
        return _Added(Piece(start, at, None, tail.hexdigest()), tail.hexdigest(), False)

    def _check_added(
        self, handle: ReadHandle, previous: Version, size: int, growth: str, added: _Added
    ) -> Print | None:
        """The print of the grown content; None if it does not begin with ``previous``, or its new
        part is not what was copied."""
        if growth == "append":
            return self._print(handle, growth, size)
        kind = choose_kind(growth, size, self._verify_up_to_bytes)
        if previous.print.kind == kind == "whole":
            found = continue_whole(handle.read_at, previous.print, size)
            return found[0] if found is not None and found[1] == added.tail_digest else None
        if not is_same_content(handle, previous):
            return None
        fingerprint = self._print(handle, growth, size)
        return fingerprint if is_same_content(handle, previous) else None

    def _live_piece(self, handle: ReadHandle, start: int, end: int) -> Piece:
        if end - start > self._verify_up_to_bytes:
            return Piece(start, end, None, "")
        state = new_hash()
        at = start
        for chunk in chunks(handle, start, end):
            state.update(chunk)
            at += len(chunk)
        return Piece(start, at, None, state.hexdigest())

    # -- a new version -----------------------------------------------------------------------

    def _begin(
        self,
        path: str,
        remote: str,
        handle: ReadHandle,
        st: FileStat,
        growth: str,
        touch: Touch | None,
        *,
        final: bool,
    ) -> Outcome:
        identity, stamp, settled = self._facts(st)
        pieces: tuple[Piece, ...] = ()
        if st.size:
            if growth == "append":
                piece = self._live_piece(handle, 0, st.size)
            elif not self._ledger.outbox.has_room(st.size):
                piece = self._leave_added(handle, 0, st.size).piece
            else:
                name, size, digest = self._ledger.outbox.store(chunks(handle, 0, st.size))
                piece = Piece(0, size, name, digest)
            pieces = (piece,)
            if piece.end != st.size:
                return self._unstable(pieces)
        kind = choose_kind(growth, st.size, self._verify_up_to_bytes)
        fingerprint = self._print_of_copy(pieces, kind, st.size, handle)
        if fingerprint is None:
            return self._unstable(pieces)
        grew = False
        if growth != "append":
            after = handle.stat()
            same = print_of(handle.read_at, kind, st.size) == fingerprint
            grew = growth == "auto" and same and after.size > st.size
            if grew and self._regrown < 3:
                # It grew between the look at its size and the reading, and may have been changed
                # as well: what was read may be a part of a state, not one.
                self._regrown += 1
                self._unstable(pieces)
                raise _Clash
            if not grew and not (same and _same_times(st, after)):
                if not final:
                    return self._unstable(pieces)
                self._log.warning(
                    "snapshot %s: it never stood still; sent as it was. A program that "
                    "rewrites a file should write a new one and rename it.",
                    path,
                )

        def begin(e: Entry) -> Entry:
            previous = e.current
            shorter = previous is not None and st.size < previous.size
            version = Version(
                number=e.next_number,
                size=st.size,
                growing=growth == "append"
                or grew
                or (growth == "auto" and previous is not None and previous.growing),
                identity=identity,
                stamp=stamp,
                settled=settled,
                print=fingerprint,
                pieces=pieces,
                taken_at=self._clock.time(),
                may_grow=growth != "rewrite",
                set_aside_remote=shorter and path in self.suspects,
            )
            return _served(drop_superseded(e.with_version(version)), touch)

        try:
            self._ledger.update(path, begin, remote=remote)
        except OSError:
            self._unstable(pieces)
            raise
        return Outcome("taken")

    def _print_of_copy(
        self, pieces: tuple[Piece, ...], kind: PrintKind, size: int, source: ReadHandle
    ) -> Print | None:
        """The print of what was copied, not of a second reading; of the source if nothing was."""
        if kind == "whole" and pieces:
            return Print(kind, size, pieces[0].digest)
        if not pieces or pieces[0].name is None:
            return print_of(source.read_at, kind, size)
        copy = self._ledger.outbox.open_piece(pieces[0].name)
        try:
            return print_of(copy.read_at, kind, size)
        finally:
            copy.close()

    def _unstable(self, pieces: tuple[Piece, ...]) -> Outcome:
        self._ledger.outbox.discard(p.name for p in pieces if p.name is not None)
        return Outcome("unstable")

    # -- the old version's end ---------------------------------------------------------------

    def _finish(
        self, path: str, previous: Version | None, growth: str, current: FileStat | None
    ) -> bool:
        """Read a version to its end, wherever the file is now, and copy what is owed.

        A file that was renamed and not replaced was rotated: it is delivered to its end.
        ``current`` is the file of that name now. True if the old file was found elsewhere.
        """
        if previous is None or growth == "rewrite":
            return False
        found = False
        try:
            with self._sources.borrow(path, previous) as handle:
                st = handle.stat()
                is_other = current is None or (st.ino, st.dev) != (current.ino, current.dev)
                found = is_other and is_same_content(handle, previous)
                if self._sources.is_held(path, previous.number) and st.size == previous.size:
                    found = False  # it has nothing more, and may live on in the handle only
                if found and not previous.growing:
                    self.rescue.mark_growing(path, previous.number)
                if found and st.size > previous.size:
                    self._extend(path, previous, handle, st, growth, None)
                self.rescue.copy_live_pieces(path, previous.number, handle)
        except FileNotFoundError:
            entry = self._ledger.get(path)
            version = entry.version(previous.number) if entry is not None else None
            if version is not None and any(p.name is None for p in version.pieces):
                self._log.error(
                    "snapshot %s: the file was replaced and its earlier content is nowhere to be "
                    "found; up to %d bytes that were never copied can't be sent",
                    path,
                    sum(p.end - p.start for p in version.pieces if p.name is None),
                )
        if (found or current is None) and not self._is_source(path, previous.number):
            self._sources.release(path, previous.number)
        return found

    def _is_source(self, path: str, number: int) -> bool:
        """Whether bytes of a version were not copied: there was no room."""
        entry = self._ledger.get(path)
        version = entry.version(number) if entry is not None else None
        return version is not None and any(p.name is None for p in version.pieces)

    # -- facts -------------------------------------------------------------------------------

    def _facts(self, st: FileStat) -> tuple[Identity, Stamp, bool]:
        stamp = Stamp(st.mtime_ns, st.ctime_ns)
        age_secs = self._clock.time() - max(st.mtime_ns, st.ctime_ns) / 1e9
        # a stamp from the future can't be given again by a change that comes now
        return Identity(st.dev, st.ino), stamp, abs(age_secs) > tick_secs(stamp)

    def _print(self, handle: ReadHandle, growth: str, size: int) -> Print | None:
        return print_of(handle.read_at, choose_kind(growth, size, self._verify_up_to_bytes), size)


def _served(entry: Entry, touch: Touch | None) -> Entry:
    if touch is None:
        return entry
    notified_at = entry.notified_at if touch.stamp == entry.served else touch.at
    return replace(entry, served=touch.stamp, notified_at=notified_at)


def _may_continue(previous: Version, st: FileStat, growth: str) -> bool:
    """Whether sizes and inodes allow that the file goes on where the last snapshot ended."""
    if st.size < previous.size:
        return False
    if growth == "rewrite":
        return st.size == previous.size
    return growth != "append" or st.ino == previous.identity.ino


def _with_added(entry: Entry, previous: Version, version: Version, added: _Added) -> Entry:
    now = entry.version(previous.number)
    if now is None or now.size != previous.size:
        raise _Clash
    pieces = now.pieces
    if added.extended:
        if not pieces or pieces[-1].name != added.piece.name:
            raise _Clash
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


def _is_untouched(version: Version, st: FileStat) -> bool:
    return (
        version.settled
        and version.size == st.size
        and version.identity.ino == st.ino
        and version.stamp == Stamp(st.mtime_ns, st.ctime_ns)
    )


def _same_times(a: FileStat, b: FileStat) -> bool:
    return (a.size, a.mtime_ns, a.ctime_ns, a.ino) == (b.size, b.mtime_ns, b.ctime_ns, b.ino)


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
