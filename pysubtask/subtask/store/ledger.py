"""Journal and outbox as one: an entry changes, and the pieces it no longer needs go afterwards."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Piece, Version
from pysubtask.core.space import Held, held
from pysubtask.subtask.store.journal import Journal
from pysubtask.subtask.store.nameindex import NameIndex
from pysubtask.subtask.store.outbox import Outbox

__all__ = ["Ledger", "drop_superseded", "record_delivery"]


class Ledger:
    """The durable side of the subtask. Both threads use it; every change is one step."""

    def __init__(self, journal: Journal, outbox: Outbox) -> None:
        self.journal = journal
        self.outbox = outbox
        self.owed: dict[str, int] = {}
        """Paths that anything is owed of, with the number of bytes; the longest owed first."""
        self.owed_bytes = 0
        """The sum of them."""
        self.held = Held()
        """Where those bytes lie."""
        self._lies: dict[str, Held] = {}
        self.given_up_bytes = 0
        """What could not be delivered any more, since this process began."""
        self.names = NameIndex()
        """Which remote names may be one."""
        self.unverified: set[str] = set()
        """Paths whose delivery record may be older than what the destination shows."""
        self.compare_since = 0.0
        """Of what was delivered since then (Unix seconds) another version may have followed within
        the same second of the server's clock: its times tell nothing."""

    def open(self) -> None:
        """Open the journal, then the outbox with the pieces that the journal speaks of."""
        self.journal.open()
        names: set[str] = set()
        for entry in self.journal.entries():
            names |= entry.outbox_names()
            self.names.note(entry.path, entry.remote)
            self._note_owed(entry)
        self.outbox.open(names)
        self.journal.sync()  # what a process that was killed had written

    def get(self, path: str) -> Entry | None:
        """The entry of a local path, or None."""
        return self.journal.get(path)

    def is_in_file(self, path: str, number: int) -> bool:
        """Whether bytes that are owed of a version are in its file only."""
        entry = self.get(path)
        version = entry.version(number) if entry is not None else None
        return version is not None and any(p.name is None for p in version.pieces)

    def update(
        self, path: str, change: Callable[[Entry], Entry], *, remote: str = "", must: bool = True
    ) -> Entry:
        """As :meth:`Journal.update`; pieces that fall out of the entry are removed after the
        next sync."""
        dropped: set[str] = set()

        def tracked(before: Entry) -> Entry:
            after = change(before)
            if _may_fall(before, after) and after.next_number < before.next_number:
                # held files, held lines and what a flush waits for are known by path and number
                after = replace(after, last_number=before.next_number - 1)
            dropped.update(before.outbox_names() - after.outbox_names())
            return after

        with self.journal.lock:  # what is owed must not be noted in another order than it came
            is_new = self.journal.get(path) is None
            entry = self.journal.update(path, tracked, remote=remote, must=must)
            if is_new:
                self.names.note(path, entry.remote)
            self._note_owed(entry)
            if dropped:
                names = sorted(dropped)
                if self.journal.is_written(path):  # else what is on the disk relies on them still
                    self.outbox.unneeded(names)
                self.journal.after_sync(lambda: self.outbox.discard(names))
        return entry

    def begin_anew(self, path: str, remote: str, *, is_there: bool = True) -> None:
        """Nothing of the file is at the destination under that name, which may be a new one: all of
        it is owed again, if it is there."""

        def move(e: Entry) -> Entry:
            e = replace(e.without_upload(), remote=remote, conflict_at=None)
            version = e.current
            if e.delivered is None or version is None:
                return replace(e, delivered=None)
            if e.next_owed is None and not is_there:
                return replace(e, delivered=None, versions=())
            # What was delivered is not in the outbox any more: the file is its source.
            kept = tuple(p for p in version.pieces if p.start >= version.available_from)
            head = Piece(0, version.available_from, None, "")
            pieces = (head, *kept) if head.end else kept
            return replace(e.with_version(replace(version, pieces=pieces)), delivered=None)

        with self.journal.lock:
            before = self.journal.get(path)
            if before is not None:
                self.names.forget(path, before.remote)
                self.update(path, move, must=False)
                self.names.note(path, remote)

    def make_durable(self) -> None:
        """Bring all that was noted so far to the disk now: what follows can't be told from another
        hand's doing without it. A disk that refuses holds nothing up (the journal logs that)."""
        self.journal.sync()

    def doubt(self, entry: Entry) -> None:
        """What it calls delivered has to be looked at."""
        with self.journal.lock:
            self.unverified.add(entry.path)
            self._note_owed(entry)

    def verified(self, path: str) -> None:
        """It has been looked at. What is owed may have become more meanwhile."""
        with self.journal.lock:
            self.unverified.discard(path)
            entry = self.journal.get(path)
            if entry is not None:
                self._note_owed(entry)

    def _note_owed(self, entry: Entry) -> None:
        """Sums are kept, not made when somebody asks: status() does several times a second, and
        there may be 100,000 entries."""
        path = entry.path
        lay = self._lies.get(path)
        if lay is not None:
            self.owed_bytes -= self.owed[path]
            self.held -= lay
        if entry.upload is not None or entry.next_owed is not None or path in self.unverified:
            self.owed[path] = pending_bytes = entry.pending_bytes
            self._lies[path] = lies = held(entry)
            self.owed_bytes += pending_bytes
            self.held += lies
        elif lay is not None:
            del self.owed[path], self._lies[path]


def _may_fall(before: Entry, after: Entry) -> bool:
    """Whether the number of a next version may be lower than before: not while there is a current
    one, whose number is the highest that is used."""
    if not after.versions:
        return True
    return bool(before.versions) and after.versions[-1].number < before.versions[-1].number


def drop_superseded(entry: Entry) -> Entry:
    """Drop the versions that nobody has to see any more.

    Kept are: the current one; a growing one that is owed bytes, since it is delivered to its end;
    and one whose upload has begun, since that is finished.
    """
    done = entry.delivered

    def wanted(version: Version) -> bool:
        if version is entry.versions[-1]:
            return True
        if entry.upload is not None and entry.upload.version == version.number:
            return True
        if done is not None and (version.number, version.size) <= (done.version, done.size):
            return False
        if done is not None and version.number < done.version:
            return False
        return version.growing and version.size > 0

    kept = tuple(v for v in entry.versions if wanted(v))
    return entry if kept == entry.versions else replace(entry, versions=kept)


def record_delivery(entry: Entry, delivered: Delivered) -> Entry:
    """Note what the destination shows now and let go of the bytes that are no longer owed."""
    versions = []
    for version in entry.versions:
        if version.number < delivered.version:
            continue
        if version.number == delivered.version:
            pieces = tuple(p for p in version.pieces if p.end > delivered.size)
            if pieces != version.pieces:
                version = replace(version, pieces=pieces)
        versions.append(version)
    rotated, doubts = entry.rotated, entry.doubts
    if rotated:
        rotated = tuple(r for r in rotated if r[0] >= delivered.version)
    if doubts:  # what was there before it is kept: the next ones need not do that
        doubts = tuple(number for number in doubts if number > delivered.version)
    return replace(
        entry, delivered=delivered, versions=tuple(versions), rotated=rotated, doubts=doubts
    )
