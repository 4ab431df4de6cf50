"""Taking a snapshot: what the file holds now, noted so that it can't be lost any more.

Which of two things happened since the last snapshot is decided by content, never by name or inode
alone: the file *continues* the current version (it begins with the same bytes), or it *begins* a
new one (rotation, truncation, rewriting, an inode used again). Before a new version begins, the old
one is read to its end wherever it has gone to, and what is owed of it is copied.
"""

from __future__ import annotations

import logging
import posixpath
from typing import NamedTuple

from msgspec.structs import replace

from pysubtask.core.model import Entry, Identity, Piece, Print, PrintKind, Stamp, Version
from pysubtask.core.prints import choose_kind, print_of
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat, ReadHandle
from pysubtask.subtask.intake.facts import (
    Clash,
    Outcome,
    Touch,
    is_untouched,
    seen_facts,
    with_served,
)
from pysubtask.subtask.intake.growing import Growing, piece_in_file
from pysubtask.subtask.intake.rescue import Rescue, chunks
from pysubtask.subtask.intake.rotation import Rotations
from pysubtask.subtask.intake.suspects import Suspects
from pysubtask.subtask.store.ledger import Ledger, drop_superseded
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["Snapshots"]

_MOST_READ_ON = 3
"""A look begins anew so often because the file of before has gained bytes, wherever it is now."""


class _Predecessor(NamedTuple):
    """What a new version has to know of the one before it."""

    kept_as: str | None
    """The name that it gets at the destination; None: the new one takes its place."""
    may_have_lost_its_end: bool
    """See :attr:`Entry.doubts`."""


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
        self._clock = clock
        self._ledger = ledger
        self._sources = sources
        self._verify_up_to_bytes = verify_up_to_bytes
        self._log = log
        self._growing = Growing(clock, ledger, verify_up_to_bytes=verify_up_to_bytes)
        self.rescue = Rescue(ledger, sources, log)
        self._rotations = Rotations(disk, sources)
        self.edited: set[str] = set()
        """Paths whose content is known to have changed though no look can tell: the next look
        begins a new version."""
        self.suspects = Suspects(disk, ledger)

    # -- one look ----------------------------------------------------------------------------

    def take(
        self,
        path: str,
        remote: str,
        growth: str,
        touch: Touch | None,
        *,
        final: bool = False,
        rotated_as: str = "",
    ) -> Outcome:
        """Look at ``path`` and note what is new.

        Args:
            remote: its remote path, for a file never seen before.
            growth: ``"append"``, ``"rewrite"`` or ``"auto"``.
            touch: the notify that is served by this; None if there is none.
            final: take it even if it is being written: it was unstable for too long.
            rotated_as: the pattern of the names under which rotated files are kept; none without.
        """
        self._regrown = 0
        self._read_on = 0
        while True:
            try:
                return self._take(path, remote, growth, touch, rotated_as, final=final)
            except Clash:
                continue  # the entry has changed meanwhile

    def _take(
        self,
        path: str,
        remote: str,
        growth: str,
        touch: Touch | None,
        rotated_as: str,
        *,
        final: bool,
    ) -> Outcome:
        entry = self._ledger.get(path)
        previous = entry.current if entry is not None else None
        try:
            handle = self._sources.open(path)
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
            if not edited and touch is None and previous and is_untouched(previous, before):
                self.suspects.looked_at(path)
                return Outcome("unchanged")
            outcome: Outcome | None = None
            was_finished = is_elsewhere = False
            goes_on = not edited and previous and _may_continue(previous, before, growth)
            if goes_on and previous is not None and before.ino != previous.identity.ino:
                # The same beginning in another file: a longer copy moved into place, unless
                # the file of before lives on under another name.
                is_elsewhere = self._finish(path, previous, growth, before)
                goes_on = not is_elsewhere
                was_finished = True
                has_grown = self._size_noted(path) != previous.size
                if has_grown and self._read_on < _MOST_READ_ON:
                    self._read_on += 1
                    raise Clash  # that one had gained bytes: does this one begin with all of them?
                goes_on = goes_on and not has_grown  # somebody goes on writing to it
            if goes_on and previous is not None:
                outcome = self._growing.extend(path, previous, handle, before, growth, touch)
                if outcome is not None and outcome.result == "unstable":
                    if not final:
                        return outcome
                    outcome = None
            if outcome is None:
                if not was_finished:
                    is_elsewhere = self._finish(path, previous, growth, before)
                kept_as = self._kept_as(path, before, growth, rotated_as) if rotated_as else None
                lost = self.suspects.may_have_lost_its_end(
                    path, previous, handle, growth, is_elsewhere
                )
                old = _Predecessor(kept_as, lost)
                outcome = self._begin(path, remote, handle, before, growth, touch, old, final=final)
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
            if outcome.result != "unstable":  # else nothing is noted yet
                self.suspects.looked_at(path)
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
        self._ledger.update(path, lambda e: with_served(e, touch), remote=remote, must=False)

    # -- a new version -----------------------------------------------------------------------

    def _begin(
        self,
        path: str,
        remote: str,
        handle: ReadHandle,
        st: FileStat,
        growth: str,
        touch: Touch | None,
        old: _Predecessor,
        *,
        final: bool,
    ) -> Outcome:
        """Begin a version with all that the file holds; a copy that comes to nothing goes."""
        facts = seen_facts(st, self._clock.time())
        pieces = self._pieces_of(handle, st.size, growth)
        try:
            outcome = self._begin_with(
                pieces, path, remote, handle, st, facts, growth, touch, old, final=final
            )
        except (OSError, Clash):
            self._discard(pieces)
            raise
        if outcome.result != "taken":
            self._discard(pieces)
        return outcome

    def _pieces_of(self, handle: ReadHandle, size: int, growth: str) -> tuple[Piece, ...]:
        """Where the bytes of a new version can be read from now on; fewer if the file shrank."""
        if not size:
            return ()
        if growth == "append":
            return (self._growing.live_piece(handle, 0, size),)
        if not self._ledger.outbox.has_room(size):
            return (piece_in_file(handle, 0, size),)
        name, copied, digest = self._ledger.outbox.store(chunks(handle, 0, size))
        return (Piece(0, copied, name, digest),)

    def _begin_with(
        self,
        pieces: tuple[Piece, ...],
        path: str,
        remote: str,
        handle: ReadHandle,
        st: FileStat,
        facts: tuple[Identity, Stamp, bool],
        growth: str,
        touch: Touch | None,
        old: _Predecessor,
        *,
        final: bool,
    ) -> Outcome:
        """Note the version, if the pieces are what the file held at one time."""
        identity, stamp, settled = facts
        if pieces and pieces[0].end != st.size:
            return Outcome("unstable")
        kind = choose_kind(growth, st.size, self._verify_up_to_bytes)
        fingerprint = self._print_of_copy(pieces, kind, st.size, handle)
        if fingerprint is None:
            return Outcome("unstable")
        grew = False
        if growth != "append":
            after = handle.stat()
            same = print_of(handle.read_at, kind, st.size) == fingerprint
            grew = growth == "auto" and same and after.size > st.size
            if grew and self._regrown < 3:
                # It grew between the look at its size and the reading, and may have been changed
                # as well: what was read may be a part of a state, not one.
                self._regrown += 1
                raise Clash
            if not grew and not (same and _same_times(st, after)):
                if not final:
                    return Outcome("unstable")
                self._log.warning(
                    "snapshot %s: it never stood still; sent as it was. A program that "
                    "rewrites a file should write a new one and rename it.",
                    path,
                )

        def begin(e: Entry) -> Entry:
            previous, number = e.current, e.next_number
            if old.may_have_lost_its_end:
                e = replace(e, doubts=(*e.doubts, number))
            version = Version(
                number=number,
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
            )
            if old.kept_as is not None and previous is not None:
                e = replace(e, rotated=(*e.rotated, (previous.number, old.kept_as)))
            return with_served(drop_superseded(e.with_version(version)), touch)

        self._ledger.update(path, begin, remote=remote)
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

    def _discard(self, pieces: tuple[Piece, ...]) -> None:
        self._ledger.outbox.discard(p.name for p in pieces if p.name is not None)

    def _kept_as(self, path: str, current: FileStat, growth: str, pattern: str) -> str | None:
        """The name at the destination that the version before this one is to get."""
        entry = self._ledger.get(path)
        previous = entry.current if entry is not None else None
        if entry is None or previous is None or growth == "rewrite":
            return None
        moved = self._rotations.moved(path, previous, current)
        if moved and not previous.growing:
            self.rescue.mark_growing(path, previous.number)  # or it might never be delivered
        if not moved and path in self.suspects:
            return None  # a loss of power took its end
        name = posixpath.basename(entry.remote)
        return self._rotations.kept_as(
            path, name, previous, current, growth=growth, pattern=pattern, moved=moved
        )

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
                # A third file, which has the name since a moment ago, has its own look to come,
                # even where the system gave it the number of the old one, which was free again.
                is_known = st.ino == previous.identity.ino
                found = is_other and is_known and is_same_content(handle, previous)
                found = found and not self._sources.is_at(path, st)
                if self._sources.is_held(path, previous.number) and st.size == previous.size:
                    found = False  # it has nothing more, and may live on in the handle only
                if found and not previous.growing:
                    self.rescue.mark_growing(path, previous.number)
                if found and st.size > previous.size:
                    self._growing.extend(path, previous, handle, st, growth, None)
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
        if (found or current is None) and not self._ledger.is_in_file(path, previous.number):
            self._sources.release(path, previous.number)
        return found

    def _size_noted(self, path: str) -> int | None:
        entry = self._ledger.get(path)
        current = entry.current if entry is not None else None
        return current.size if current is not None else None


def _may_continue(previous: Version, st: FileStat, growth: str) -> bool:
    """Whether sizes and inodes allow that the file goes on where the last snapshot ended."""
    if st.size < previous.size:
        return False
    if growth == "rewrite":
        return st.size == previous.size
    return growth != "append" or st.ino == previous.identity.ino


def _same_times(a: FileStat, b: FileStat) -> bool:
    return (a.size, a.mtime_ns, a.ctime_ns, a.ino) == (b.size, b.mtime_ns, b.ctime_ns, b.ino)
