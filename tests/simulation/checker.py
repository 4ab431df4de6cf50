"""The reader at the destination: looks after every change, and remembers what was promised.

At each instant, for each remote name: the content is an exact state of some lineage of the local
file (:mod:`tests.simulation.ledger`), and the states only move forward: to a longer prefix of the
same lineage, or to a newer lineage. Where a content can be read as several states, the earliest
that is not a step back is taken, which finds a forward order whenever there is one.

When a newer lineage becomes visible, what was served of older ones and had to come first must have
been visible. At the end everything served has been, and nothing of ours is left under a temporary
name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.simulation.doubted import Doubted
from tests.simulation.ledger import Ledger, Lineage, Source, Touch, common
from tests.simulation.lines import half_line
from tests.simulation.losses import Seen, look_again
from tests.simulation.remote import RemoteDisk, RemoteFile
from tests.simulation.rotated import Rotated
from tests.simulation.segmented import Segments, is_segment
from tests.simulation.slots import Slots

__all__ = ["Checker", "Claim", "Violation"]

_PART = re.compile(r"^(.*)~(\d+)-(\d+)$", re.DOTALL)
_ASIDE = re.compile(r"^(.*)~\d{8}T\d{6}Z[^/]*$", re.DOTALL | re.IGNORECASE)
TEMP_PREFIX = ".pysubtask-"


class Violation(Exception):
    """A promise was broken; ``args`` are the kind (``torn``, ``lost`` …) and what happened."""


class Claim(NamedTuple):
    """What the child's journal calls delivered: remote bytes ``[0, size - base)`` of ``path``."""

    path: str
    size: int
    base: int = 0


class _View:
    """One remote name, as its reader has seen it."""

    __slots__ = (
        "claim",
        "claim_index",
        "content_of",
        "exempt",
        "floor",
        "guessed",
        "index",
        "past",
        "size",
        "taken_end",
    )

    def __init__(self) -> None:
        self.index = 0
        self.size = 0
        self.floor = -1
        """After a loss of power: the journal may begin again with this lineage; -1: it may not."""
        self.past: list[tuple[int, int, int]] = []
        """(ns, index, size) after each change."""
        self.exempt = False
        """Another hand changed it: nobody can say what is right until it is ours again."""
        self.taken_end = -1
        """A consumer took the file away when it ended at this local offset."""
        self.guessed = False
        """Where the file that is there now belongs was guessed by its content, after a loss of
        power."""
        self.content_of: RemoteFile | None = None
        self.claim: Claim | None = None
        self.claim_index = 0


class Checker:
    """Watches a remote disk (as its observer) against a ledger."""

    def __init__(self, ledger: Ledger, disk: RemoteDisk, now_ns: Callable[[], int]) -> None:
        self.ledger = ledger
        self.disk = disk
        self._now_ns = now_ns
        self._views: dict[str, _View] = {}
        self.pieces: dict[str, list[tuple[int, RemoteFile]]] = {}
        """By remote name: lineage and file of what a consumer took away, in order."""
        self.continued = False
        """``on_remote_gone="continue"``: a file may begin where the last one taken ended."""
        self.atomic = True
        """The server can replace a file in one step, so no name of ours may ever be missing."""
        self.set_aside: dict[str, bytes] = {}
        self.temp_births_ns: dict[str, int] = {}
        self.forgiven_temps: set[str] = set()
        """Made so shortly before a loss of power that the journal may have forgotten them."""
        self.late_temps: set[str] = set()
        self.segments = Segments(ledger.by_remote, self._broken, self._segment_shown)
        self.rotated = Rotated(ledger, lambda path: self.view(path).content_of, self._broken)
        self.doubted = Doubted(ledger, disk, self._broken)
        self.slots = Slots(self, now_ns)
        self.neighbours: set[str] = set()
        """Temporary files of another client, which have to stay."""
        self.client_id = ""
        """Temporary names that begin with it can be told from those of others, and removed."""
        self.moved_back: set[str] = set()
        """Where files go that came back from the archive under another name than before."""
        self.other_names: Callable[[str], bool] = lambda path: False
        self.seen: dict[str, Seen] = {}
        """What was there when it was last remembered."""
        self.may_forget = False
        """The journal may have lost something: the power failed, or the disk refused a record."""
        self.line_wait_ns = 0
        """So long half a line is kept back at least."""
        self.released_ns = -1
        """When a flush or a stop asked for everything last."""
        self.visible_changes = 0
        self.resent_pieces_bytes = 0
        disk.observers.append(self)

    def _broken(self, kind: str, words: str) -> None:
        raise Violation(kind, words)

    def view(self, remote: str) -> _View:
        """What was seen at a remote name so far."""
        known = self._views.get(remote)
        if known is None:
            known = self._views[remote] = _View()
        return known

    def forget_view(self, remote: str) -> None:
        """Another file is to be seen at that remote name from now on."""
        self._views.pop(remote, None)

    # -- what happens at the destination ---------------------------------------------------------

    def wrote(self, file: RemoteFile, offset: int, data: bytes) -> None:
        for path in file.names:
            source = self.slots.source_at(path, file, in_place=True)
            if source is not None:
                self.view(path).content_of = file  # one that is forgotten begins anew
                self._changed(source, file, offset, data)
        if not file.names:
            return
        self.rotated.wrote(file)
        for remote, pieces in self.pieces.items():
            for index, piece in pieces:
                if piece is file:
                    self._check_piece(self.ledger.by_remote[remote], index, file)

    def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> None:
        source = self.slots.source_at(path, file)
        if source is not None:
            view = self.view(path)
            view.content_of = file
            before = view.index
            self._changed(source, file, 0, b"")
            self.rotated.taken(source, before, view.index, replaced)
            return
        name = path.rpartition("/")[2]
        if name.startswith(TEMP_PREFIX):
            self.temp_births_ns.setdefault(path, self._now_ns())
            if path in self.disk.missed or self.disk.late:
                # A request of a child that is dead, still on its way when the next one removed
                # the file and was told that there was none (or looked for leftovers before it
                # came): nobody could know.
                self.late_temps.add(path)
        elif is_segment(path):
            self.segments.named(path, file)
        elif self.disk.another_hand or self.other_names(path) or path in self.moved_back:
            return
        elif not self._is_part(path, file) and not self.rotated.named(path, file, replaced):
            aside = _ASIDE.match(path)
            before = self.ledger.by_remote.get(aside[1]) if aside else None
            if before is None:
                raise Violation("stray", f"an unexpected name at the destination: {path!r}")
            if self.view(before.remote).content_of is not file:
                raise Violation("stray", f"{path!r} is not what was at {before.remote!r}")
            if replaced is not None:
                raise Violation("lost", f"{path!r} was set aside over an older one")
            self.set_aside[path] = bytes(file.content)
            self._check_doubt(before)

    def _check_doubt(self, source: Source) -> None:
        """What is ours for certain is replaced, not kept."""
        changes_hands = source.remote in self.slots.by_remote
        doubtful = self.may_forget or source.was_found or source.interfered or changes_hands
        if not doubtful and not self.view(source.remote).exempt and not self.disk.another_hand:
            raise Violation("stray", f"{source.remote!r} was set aside, and is ours")

    def _is_part(self, path: str, file: RemoteFile) -> bool:
        """``name~start-end``: what is left of a version whose beginning is nowhere any more."""
        match = _PART.match(path)
        source = self.ledger.by_remote.get(match[1]) if match else None
        if match is None or source is None:
            return False
        start, end = int(match[2]), int(match[3])
        slot = self.slots.by_remote.get(source.remote)
        found = False
        for one in [source] if slot is None else slot.sources:  # two may begin with the same bytes
            for lineage in one.lineages:
                if lineage.content[start:end] == file.content and end - start == len(file.content):
                    found = True
                    if one.was_shown(Touch(0, lineage.index, start, 0)):
                        lineage.shown = max(lineage.shown, end)
        if found:
            return True
        raise Violation("torn", f"{path!r} is no such part of any lineage")

    def folder_moved(self, path: str, target: str) -> None:
        source = self.ledger.by_remote.get(path.removesuffix(".d"))
        if source is not None:
            self.rotated.folder_named(target, source, self.segments.content(source) or b"")
        self.segments.folder_moved(path)

    def _segment_shown(self, source: Source, index: int, content: bytes) -> None:
        view = self.view(source.remote)
        view.index, view.size = index, len(content)
        lineage = source.lineages[index]
        lineage.shown = max(lineage.shown, view.size)
        lineage.known_ns = lineage.known_ns or self._now_ns()
        self._settle_debts(source, view, bytearray(content))

    def content_of(self, source: Source) -> bytes | bytearray | None:
        """What a reader finds under its name, or its segments joined."""
        file = self.disk.files.get(source.remote)
        return self.segments.content(source) if file is None else file.content

    def lost(self) -> None:
        self.rotated.lost(self.disk.files)
        self.doubted.clear()
        look_again(self, self.seen)

    def remember(self) -> None:
        """What is there now, to be compared with what a loss leaves of it."""
        self.seen = {path: Seen.of(file) for path, file in self.disk.files.items()}

    def unnamed(self, path: str, file: RemoteFile) -> None:
        self.rotated.unnamed(path, file, by_us=not self.disk.another_hand)
        view = self._views.get(path)
        if view is None:
            return
        if self.disk.another_hand:
            view.exempt = True
            self.doubted.forget(path)
            return
        self.slots.unnamed(path)
        if self.atomic and path not in self.disk.files and not file.names:
            raise Violation("gone", f"{path!r} is missing, though the server can replace")

    def _changed(self, source: Source, file: RemoteFile, offset: int, data: bytes) -> None:
        self.visible_changes += 1
        view = self.view(source.remote)
        if self.disk.another_hand:
            source.interfered = True
            view.exempt = True
            self.doubted.forget(source.remote)
            return
        lineages = source.lineages
        content = file.content
        size = len(content)
        before = (view.index, view.size)
        end = view.size if view.taken_end < 0 else size - len(data)  # of this file: it is a part
        if (
            data
            and not view.exempt
            and view.taken_end < 0
            and lineages
            and size == offset + len(data)
            and offset == view.size
            and lineages[view.index].content[offset:size] == data
            and source.growth != "rewrite"
        ):
            view.size = size  # the usual case, without looking at all of it again
        elif not self.advance(source, view, content, bool(data) and offset >= end):
            if view.exempt:
                return
            raise Violation(*self._diagnose(source, view, content))
        if source.untold:
            source.owed.clear()  # ours were written behind another hand's
        view.exempt = source.untold = False
        if not self.disk.late:  # nor does the journal know of what was on its way then
            view.floor = -1
        view.past.append((self._now_ns(), view.index, view.size))
        shown = lineages[view.index]
        if source.lines and self.disk.has_room and (view.index, view.size) != before:
            self._check_lines(source, shown, view)
        shown.shown = max(shown.shown, view.size)
        if not shown.known_ns and shown.shown > source.found_size:
            shown.known_ns = self._now_ns()
        if source.owed:
            self._settle_debts(source, view, content)

    def advance(self, source: Source, view: _View, content: bytearray, grew_in_place: bool) -> bool:
        """Find the earliest state that ``content`` can be, from the last one on."""
        size = len(content)
        in_place = grew_in_place and source.growth != "rewrite"
        if self.continued and view.taken_end >= 0:
            return self._advance_continued(source, view, content, in_place=in_place)
        again = view.floor >= 0
        shown = source.lineages[view.index].content if source.lineages else b""
        is_as_before = size == view.size > 0 and shown.startswith(content)
        if is_as_before and not again:
            return True  # what is there is written once more
        for lineage in source.lineages[min(view.floor, view.index) if again else view.index :]:
            if lineage.index == view.index and size < view.size and not again:
                continue
            if lineage.holds(content, in_place=in_place):
                view.index, view.size = lineage.index, size
                return True
        return is_as_before or (self.continued and self._advance_returned(source, view, content))

    def _advance_returned(self, source: Source, view: _View, content: bytearray) -> bool:
        """A loss of power brought back a content and the journal of its time, while its file at
        the destination was being swapped for a newer one: gone, as if a consumer had it."""
        for lineage in source.lineages[view.index :]:
            end = lineage.returned
            if end and lineage.content[end:].startswith(content):
                view.index, view.size, view.taken_end = lineage.index, end + len(content), end
                return True
        return False

    def _advance_continued(
        self, source: Source, view: _View, content: bytearray, *, in_place: bool
    ) -> bool:
        """The consumer took the file; this one begins where that ended, or a little before."""
        if view.floor >= 0 and self._advance_again(source, view, content):
            return True
        lineage = source.lineages[view.index]
        start = self._start_of(source, view, content)
        if start is not None and start + len(content) >= view.size - 262_144:
            view.size = max(view.size, start + len(content))
            return True
        for newer in source.lineages[view.index + 1 :]:
            if newer.holds(content, in_place=in_place):
                view.index, view.size, view.taken_end = newer.index, len(content), -1
                return True
            start = newer.content.rfind(content, 0, view.taken_end + len(content))
            if start > 0 and lineage.content.startswith(newer.content[:start]):
                view.index, view.size = newer.index, start + len(content)
                return True
        if view.guessed and self._advance_again(source, view, content):
            return True
        return not content and not lineage.content

    def _advance_again(self, source: Source, view: _View, content: bytearray) -> bool:
        """After a loss of power the journal may have forgotten what a consumer took lately: it
        comes again, or what the disk kept of an older lineage goes on where that was shown. A few
        bytes may stand in several places: more of them show which it was, and until then it may
        have been any."""
        view.guessed = True
        found = False
        for lineage in source.lineages[max(0, min(view.floor, view.index)) :]:
            start = lineage.content.rfind(content)
            before = lineage.content[: max(start, 0)]
            if start >= 0 and any(
                other.shown >= start and other.content.startswith(before)
                for other in source.lineages
            ):
                if found:
                    lineage.shown = max(lineage.shown, start + len(content))
                    continue
                found = True
                view.index, view.size = lineage.index, start + len(content)
                view.taken_end = view.size
        return found

    def _start_of(self, source: Source, view: _View, content: bytearray) -> int | None:
        """At which local offset a piece begins; the latest possible, but leaving no gap."""
        whole = source.lineages[view.index].content
        start = whole.rfind(content, 0, view.taken_end + len(content))
        return start if start >= 0 else None

    def _diagnose(self, source: Source, view: _View, content: bytearray) -> tuple[str, str]:
        size = len(content)
        seen = f"{source.remote!r} shows {size} bytes after lineage {view.index} at {view.size}"
        for lineage in source.lineages:
            if lineage.holds(content):
                kind = "shrunk" if lineage.index == view.index else "backwards"
                return kind, f"{seen}: that is lineage {lineage.index} at {size}"
        for lineage in source.lineages:
            if lineage.content.startswith(content):
                return "torn", f"{seen}: half of lineage {lineage.index} ({lineage.base} at once)"
        best = (
            max((common(lineage.content, content), lineage.index) for lineage in source.lineages)
            if source.lineages
            else (0, -1)
        )
        return "torn", f"{seen}: no lineage; lineage {best[1]} agrees up to {best[0]}"

    def _check_lines(self, source: Source, lineage: Lineage, view: _View) -> None:
        if self.slots.replaces and view.claim is None and source.was_found:
            return  # what was found there may be ours, and readers may have seen as much of it
        words = half_line(lineage, view.size, self._now_ns(), self.line_wait_ns, self.released_ns)
        if words and source.present and lineage is source.current:
            raise Violation("line", f"{source.remote!r} shows {words}")

    def _settle_debts(self, source: Source, view: _View, content: bytearray) -> None:
        still: list[Touch] = []
        for touch in source.owed:
            lineage = source.lineages[touch.index]
            if len(content) >= touch.size and content.startswith(lineage.content[: touch.size]):
                lineage.shown = max(lineage.shown, touch.size)
            if lineage.shown >= touch.size or source.was_shown(touch):
                continue
            if touch.index < view.index:
                if source.must_precede(touch):
                    raise Violation(
                        "lost",
                        f"{source.remote!r} shows lineage {view.index} before lineage "
                        f"{touch.index} was shown up to {touch.size}",
                    )
                continue  # superseded by a newer whole version
            still.append(touch)
        source.owed = still

    # -- consumers and other hands ---------------------------------------------------------------

    def take(self, remote: str, target: str) -> None:
        """A consumer moves a file away."""
        file = self.disk.files[remote]
        view = self.view(remote)
        source = self.ledger.by_remote[remote]
        source.interfered = True
        if self.continued and source.growth != "rewrite" and not view.exempt:
            view.taken_end = max(view.size, view.taken_end)
            self.pieces.setdefault(remote, []).append((view.index, file))
        self.disk.another_hand = True
        try:
            self.disk.rename(remote, target, replace=True)
        finally:
            self.disk.another_hand = False
        view.exempt = False

    def hide(self, remote: str) -> None:
        """The server refuses to show a file."""
        source = self.ledger.by_remote.get(remote)
        if source is not None and self.view(remote).exempt:
            source.untold = True

    def _check_piece(self, source: Source, index: int, file: RemoteFile) -> None:
        """A late write reached a file that the consumer has already moved."""
        view = self.view(source.remote)
        for lineage in source.lineages[index:]:
            start = lineage.content.find(file.content)
            if start < 0:
                continue
            end = start + len(file.content)
            lineage.shown = max(lineage.shown, end)
            if lineage.index > view.index:
                view.index, view.taken_end, view.size = lineage.index, end, end
            elif lineage.index == view.index:
                view.taken_end = max(view.taken_end, end)
                view.size = max(view.size, end)
            return
        raise Violation("torn", f"a piece taken from {source.remote!r} is no part of the file")

    # -- what the child says ---------------------------------------------------------------------

    def check_claims(self, claims: Iterable[Claim], *, rolled_back: bool = False) -> None:
        """What the journal calls delivered since the last time is at the server now.

        ``rolled_back``: a loss of power took the journal back to what it said before.
        """
        for claim in claims:
            source = self.ledger.by_path.get(claim.path)
            if source is None or self.slots.waits(source):
                continue
            view = self.view(source.remote)
            changed, moved = claim != view.claim, view.index != view.claim_index
            view.claim, view.claim_index = claim, view.index
            if not changed or moved or rolled_back or source.interfered:
                continue
            content = self.content_of(source)
            file = self.disk.files.get(source.remote)
            if content and file is not None and self.disk.held_back(file):
                continue  # not mended yet, see docs/simulation.md: the system brings it there soon
            if content is None and (not self.atomic or self._was_set_aside(source)):
                continue  # a newer version is about to take its name: for a moment there is none
            if f"{source.remote}~{claim.base}-{claim.size}" in self.disk.files:
                continue  # the rest of a version whose beginning is gone
            if content is None or len(content) < claim.size - claim.base:
                there = "nothing" if content is None else f"{len(content)} bytes"
                raise Violation(
                    "lost", f"{source.remote!r}: delivered up to {claim.size}, but {there} there"
                )

    def _was_set_aside(self, source: Source) -> bool:
        moved = self.segments.is_between(source) or self.rotated.has_kept(source)
        return moved or any(path.startswith(f"{source.remote}~") for path in self.set_aside)

    def _may_be_between(self, source: Source) -> bool:
        kept = self.rotated.has_kept(source) or self.segments.is_between(source)
        return kept or not self.atomic

    def _has_parts(self, source: Source) -> bool:
        found = (_PART.match(path) for path in self.disk.files)
        return any(part is not None and part[1] == source.remote for part in found)

    def roll_back(self, since_ns: int) -> None:
        """A loss of power: the journal may have forgotten what was delivered since then, and
        deliver it again in order."""
        self.may_forget = True
        self.segments.rolled_back = True
        self.rotated.rolled_back()
        self.doubted.power_lost()
        for view in self._views.values():
            # What came later may be forgotten for good: the next loss counts from here again.
            view.past = [change for change in view.past if change[0] < since_ns]
            view.floor = view.past[-1][1] if view.past else 0

    def recheck(self, source: Source) -> None:
        """Something is owed from now on: perhaps it is there already."""
        if self.slots.waits(source):
            return
        content = self.content_of(source)
        if content is not None and source.owed:
            self._settle_debts(source, self.view(source.remote), bytearray(content))

    def _is_due(self, source: Source, touch: Touch) -> bool:
        """Whether it was never shown, and no newer version made that needless."""
        is_last = touch.index == source.current.index
        return not source.was_shown(touch) and (is_last or source.must_precede(touch))

    def check_delivered(self, touches: Iterable[tuple[Source, Touch]], who: str) -> None:
        """``who`` (flush, stop) said that what these touches notified is at the server."""
        for source, touch in touches:
            view = self.view(source.remote)
            if source.interfered or not touch.present or view.index > touch.index:
                continue
            if touch.taken:
                continue
            if self.slots.waits(source) and not self._is_due(source, touch):
                continue  # its name has gone to another file since
            changed = not source.present or touch.index != source.current.index
            if changed and not touch.caught:  # the program was quicker than the snapshot
                continue
            content = self.content_of(source)
            if content is None and source.was_shown(touch) and self._may_be_between(source):
                continue  # a newer version is about to take its name: for a moment there is none
            if source.was_shown(touch) and self._has_parts(source):
                continue  # its beginning was there before, the rest is under a name of its own
            newer = source.lineages[touch.index + 1 :]
            if content is not None and any(lineage.content == content for lineage in newer):
                continue  # it was taken for an older one that was the same, such as an empty file
            if content == b"" and any(lineage.holds(content) for lineage in newer):
                continue  # the same, of one that has grown since
            wanted = source.lineages[touch.index].content[: touch.size]
            if content is None or not content.startswith(wanted):
                raise Violation("lost", f"{who} is done, but {source.remote!r} lacks {touch}")
