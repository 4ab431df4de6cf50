"""Getting one file to the destination: the plan's decisions carried out, step by step.

Each method that ends in a ``yield`` is part of a job of the engine. What was achieved is in the
ledger before the next step relies on it, so that a job may be dropped at any ``yield`` and begun
again, over a new connection or in a new process.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Piece, Version
from pysubtask.core.plan import (
    Absent,
    Append,
    Compare,
    Done,
    Look,
    Present,
    Remote,
    Send,
    Unknown,
    plan,
)
from pysubtask.errors import RemoteError, RemoteExists, RemoteNotFound, RemoteUnsupported
from pysubtask.subtask.delivery.beats import BeatNames
from pysubtask.subtask.delivery.comparison import Comparison
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.delivery.lost import LostBytes
from pysubtask.subtask.delivery.nametrial import NameTrial
from pysubtask.subtask.delivery.pump import short_write
from pysubtask.subtask.delivery.reuse import Reuse
from pysubtask.subtask.delivery.segments import Segments, segment_folder
from pysubtask.subtask.delivery.session import Session, Steps
from pysubtask.subtask.delivery.temps import Temps
from pysubtask.subtask.delivery.upload import Uploads
from pysubtask.subtask.store.reader import BytesLost
from pysubtask.subtask.store.sources import is_same_content
from pysubtask.transports.contract import Finish, Put, RemoteStat, Remove, Rename, Stat, Write
from pysubtask.watch import leads_out

__all__ = ["Courier", "FileHeld"]

_HOUR_SECS = 3600.0
_MAX_KNOWN = 20_000


class FileHeld(RemoteError):
    """The file waits on purpose until ``until`` (Unix seconds)."""

    def __init__(self, message: str, until: float) -> None:
        super().__init__(message, operation="deliver")
        self.until = until

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.until)


class Courier:
    """Delivers files over one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._comparison = Comparison(session)
        self._uploads = Uploads(session, self._comparison)
        self._reuse = Reuse(session)
        self._segments = Segments(session, self._comparison)
        self._names = NameTrial(session)
        self._temps = Temps(session)
        self._lost = LostBytes(session)

    def deliver(self, path: str) -> Steps:
        """The job of one file: until nothing of it is owed any more, or, between two versions,
        others wait for their turn."""
        # Taken out: a job that is broken off must not leave what it has made untrue.
        remote: Remote = self._session.known.pop(path, Unknown())
        number = 0
        looked = sent = False
        was_met = True
        while True:
            entry = self._session.ledger.get(path)
            if entry is None:
                return
            if leads_out(entry.remote):
                raise RemoteUnsupported(
                    "its name would lead out of the destination on some servers",
                    operation="name",
                    path=entry.remote,
                    hint="rename the file, or give the watch another name by 'as'",
                )
            if entry.litter:
                yield from self._temps.sweep(path, entry)
            yield from self._names.settle(path)
            entry = self._session.ledger.get(path) or entry
            is_met = entry.delivered is not None
            if was_met and not is_met:
                remote = Unknown()  # the name may have been another file's since that was seen
            was_met = is_met
            in_hand = self._in_hand(entry)
            try:
                if entry.upload is not None:
                    yield from self._uploads.resume(path, entry, entry.upload)
                    remote = self._session.known.pop(path, Unknown())
                    number = entry.upload.version
                    continue
                version = entry.next_owed
                is_next = version is not None and number not in (0, version.number)
                if is_next and self._session.hooks.gives_way(path):
                    break
                if path in self._session.ledger.unverified:
                    if version is None or self._session.hooks.is_segmented(path):
                        yield from self._verify(path, entry)
                        continue
                    self._session.ledger.verified(path)
                if version is None or self._session.hooks.is_held(path):
                    break
                if version.number != number and isinstance(remote, Present):
                    # that was said of another version
                    remote = replace(remote, ours=None, untold=False, past_telling=False)
                number = version.number
                if self._session.lines.concerns(path, entry, version):
                    owed, published = version, self._published(entry, version)
                    shown = self._shown(entry, version, remote, published)
                    version = self._whole_lines(path, version, shown)
                    if version is not owed and version.size <= published:
                        break
                before = entry
                remote = yield from self._step(path, entry, version, remote, looked=looked)
                now = self._session.ledger.get(path) or before
                # by what jobs note: a snapshot that is taken meanwhile is no reason to look again
                unsent = now.delivered is before.delivered and now.upload is before.upload
                looked = unsent and not sent
                sent = sent or not looked
            except BytesLost as error:
                remote = Unknown()
                if in_hand is None:
                    return
                if self._lost.has_changed(path, in_hand):
                    continue
                if not self._lost.read_source_again(path, in_hand.number):
                    self._lost.give_up_version(path, in_hand.number, error)
                    entry = self._session.ledger.get(path)
                    if entry is not None and entry.litter:  # there may never be another job
                        yield from self._temps.sweep(path, entry)
                    return
        if isinstance(remote, Present):  # a name that was free may be taken at any time
            if len(self._session.known) >= _MAX_KNOWN:
                self._session.known.clear()
            self._session.known[path] = remote

    @staticmethod
    def _published(entry: Entry, version: Version) -> int:
        done = entry.delivered
        return done.size if done is not None and done.version == version.number else 0

    def _shown(self, entry: Entry, version: Version, remote: Remote, published: int) -> int:
        """Up to where readers may see it: a half line may have arrived that nobody confirmed."""
        done = entry.delivered
        if not isinstance(remote, Present) or remote.ours is False:
            return published
        if done is not None and done.version != version.number:
            return published
        keeps = self._session.policy.on_first_contact == "keep"
        if done is None and keeps and (remote.untold or not self._session.can.readable):
            return published  # nobody can tell that it is ours: it is set aside
        end = remote.size + (done.base if done is not None else 0)
        return max(published, end) if end <= version.size else published

    def _whole_lines(self, path: str, version: Version, shown: int) -> Version:
        reader = self._session.reader(path, version)
        try:
            end = self._session.lines.limit(path, version, shown, reader.read)
        finally:
            reader.close()
        return version if end == version.size else replace(version, size=end)

    def beat(self, name: str, text: bytes, names: BeatNames) -> Steps:
        """Publish a heartbeat. It has one of a few temporary names, and always the same size."""
        target = posixpath.join(self._session.root, name) if self._session.root else name
        if len(text) <= self._session.can.max_put_bytes:
            yield from call(Put(target, text, quiet=True))
            return
        folder = posixpath.dirname(target)
        temp = posixpath.join(folder, names.begin())
        requests = (Write(temp, 0, text, create=True), Finish(temp))
        written, finished = yield from flight(*requests)
        if isinstance(written, RemoteNotFound):
            yield from self._session.make_folders(posixpath.dirname(temp))
            written, finished = yield from flight(*requests)
        for result in (written, finished):
            if isinstance(result, RemoteError):
                raise result
        if self._session.can.atomic_replace:
            yield from call(Rename(temp, target, replace=True))
        else:
            (renamed,) = yield from flight(Rename(temp, target))
            if isinstance(renamed, RemoteError):
                if not isinstance(renamed, RemoteExists):
                    yield from self._may_be_in_the_way(renamed, temp, target, len(text))
                yield from flight(Remove(target))
                yield from call(Rename(temp, target))
        names.done()
        if left := names.left():
            results = yield from flight(*(Remove(posixpath.join(folder, n)) for n in left))
            for one, result in zip(left, results, strict=True):
                if result is None or isinstance(result, RemoteNotFound):
                    names.removed(one)

    def _may_be_in_the_way(
        self, refused: RemoteError, temp: str, target: str, size_bytes: int
    ) -> Steps:
        """Return if the last heartbeat may be why the rename was refused, and a whole one is at
        hand for its place. Else it stays: better an old heartbeat than none."""
        new, old = yield from flight(Stat(temp), Stat(target))
        if not isinstance(old, RemoteStat) or not isinstance(new, RemoteStat):
            raise refused
        if new.size != size_bytes:
            raise refused

    def purge(self) -> Steps:
        """Remove temporary files of ours that the journal lost with the power."""
        return self._temps.purge()

    def _verify(self, path: str, entry: Entry) -> Steps:
        """After an unclean boot: if the destination shows anything else than the journal says,
        it is met as for the first time, provided that what it should show is still at hand."""
        ledger, done = self._session.ledger, entry.delivered
        if done is None:
            ledger.verified(path)
            return
        if self._session.hooks.is_segmented(path):
            same = yield from self._segments.adopt(path, entry, done)
            entry = ledger.get(path) or entry
        else:
            same = yield from self._is_as_noted(entry, done)
        version = entry.current
        if not same and version is not None and self._is_at_hand(path, version):
            whole = replace(version, pieces=(Piece(0, version.size, None, ""),))

            def owe(e: Entry) -> Entry:
                now = e.current
                if e.delivered != done or now is None:
                    return e
                if (now.number, now.size) != (version.number, version.size):
                    return e  # more has been seen while we looked there
                return replace(e.with_version(whole), delivered=None)

            # the half line that it may end with has waited once
            self._session.lines.release(path, done.version, done.size)
            entry = ledger.update(path, owe, must=False)
        ledger.verified(path)

    def _is_as_noted(self, entry: Entry, done: Delivered) -> Generator[Step, Any, bool]:
        try:
            st = yield from call(Stat(self._session.remote_name(entry)))
        except RemoteNotFound:
            return self._session.policy.on_remote_gone == "continue"  # a consumer took it
        same = st.size == done.remote_size and (st.mtime is None or st.mtime == done.mtime)
        return same and done.at < self._session.ledger.compare_since

    def _is_at_hand(self, path: str, version: Version) -> bool:
        try:
            with self._session.sources.borrow(path, version) as handle:
                return is_same_content(handle, version)
        except OSError:
            return False

    def _step(
        self, path: str, entry: Entry, version: Version, remote: Remote, *, looked: bool
    ) -> Generator[Step, Any, Remote]:
        """Carry out one decision; gives what is known of the remote file afterwards.

        Args:
            looked: this job has paid for a look at what is there, and for nothing else yet. Were
                it ended for that, the next one would have to look again, and a small budget would
                go into looking.
        """
        name = self._session.remote_name(entry)
        policy = self._session.policy
        if self._session.hooks.is_segmented(path):
            name, policy = segment_folder(name), replace(policy, segments=True)
        can = self._session.can
        if isinstance(remote, Present) and remote.untold:
            can = dataclasses.replace(can, readable=False)  # by the sizes
        set_aside = entry.sets_aside(version.number)
        decision = plan(version, entry.delivered, remote, can, policy, set_aside=set_aside)
        if isinstance(decision, Look):
            try:
                st = yield from call(Stat(name))
            except RemoteNotFound:
                return Absent()
            return Present(st.size, st.mtime)
        if isinstance(decision, Compare):
            assert isinstance(remote, Present)
            try:
                ours = yield from self._comparison.compare(path, version, name, decision)
            except RemoteNotFound:
                return Absent()
            if ours is None:  # our own bytes are gone, or it can't be read
                gone = decision.base + decision.end <= version.available_from
                return replace(remote, untold=True, past_telling=gone)
            return replace(remote, ours=ours)
        if isinstance(decision, Done):
            mtime = remote.mtime if isinstance(remote, Present) else None
            self._session.record(path, version.number, decision.size, decision.base, mtime)
            return Present(decision.size - decision.base, mtime, sure=True)
        self._session.allowance.admit(has_paid=looked)
        if isinstance(decision, Append):
            start = decision.start
            if start >= version.available_from:
                self._session.allowance.began()
                if entry.delivered is None and isinstance(remote, Present):
                    # A write may arrive long after its process has died. Noted before it leaves,
                    # so that no other version will be written into the same file.
                    base = decision.base
                    self._session.record(path, version.number, start, base, remote.mtime)
                return (yield from self._append(path, version, name, decision))
            if (yield from self._comparison.cover(path, version, start)) == start:
                if isinstance(remote, Present):  # the pieces begin earlier now: decide again
                    remote = replace(remote, untold=False, past_telling=False)
                return remote
            # What the visible file lacks is to be had nowhere; the rest must not follow a gap.
            decision = Send(
                start, version.size, "replace" if self._session.can.atomic_replace else "swap"
            )
        assert isinstance(decision, Send)
        if decision.conflict:
            self._check_conflicts(path, entry)
        self._session.allowance.began()
        yield from self._uploads.begin(path, entry, version, decision)
        return self._session.known.pop(path, Unknown())

    # -- growing the visible file ------------------------------------------------------------

    def _append(
        self, path: str, version: Version, name: str, todo: Append
    ) -> Generator[Step, Any, Remote]:
        """Write new bytes into the visible file; each counts once a STAT by path shows it.

        One WRITE at a time: were the first of two refused (a full disk) and the second not, a
        reader would see a hole.
        """
        yield from self._reuse.sign(path, version, version.size, todo.base, todo.start)
        reader = self._session.reader(path, version)
        remote: Remote = Unknown()
        try:
            offset = todo.start
            while offset < todo.end:
                if offset > todo.start:
                    self._session.allowance.go_on()
                size = min(self._session.chunk_bytes(), todo.end - offset)
                data = reader.read(offset, size)
                if offset + size < todo.end:
                    data = self._session.lines.cut(path, data)
                    size = len(data)
                write = Write(name, offset - todo.base, data)
                if self._session.can.sequential:
                    written, st = yield from flight(write, Stat(name))
                else:
                    (written,) = yield from flight(write)
                    (st,) = yield from flight(Stat(name))
                if isinstance(written, RemoteNotFound):
                    return Absent()
                if isinstance(written, RemoteError):
                    raise written
                self._session.signatures.add(path, version.number, offset, data)
                before = max(offset - todo.base, todo.longer)
                offset += size
                expected = max(offset - todo.base, todo.longer)
                if isinstance(st, RemoteNotFound):
                    if self._session.policy.on_remote_gone == "continue":
                        yield from self._count_by_handle(path, version, name, offset, todo.base)
                    yield from call(Finish(name))
                    return Absent()
                if isinstance(st, RemoteError):
                    raise st
                if st.size != expected:
                    yield from call(Finish(name))
                    if st.size == before:  # to ask again at once would not help
                        raise short_write(name, size, size)
                    return Present(st.size, st.mtime)
                self._session.record(path, version.number, offset, todo.base, st.mtime)
                self._session.hooks.delivered(path, size, "appended")
                remote = Present(st.size, st.mtime, sure=True)
            if self._session.policy.on_remote_gone == "continue":
                # The next append opens the path anew, and so learns that a consumer took the file
                # before it writes, not after.
                yield from call(Finish(name))
            return remote
        finally:
            reader.close()

    def _count_by_handle(
        self, path: str, version: Version, name: str, offset: int, base: int
    ) -> Steps:
        """A consumer took the file between the opening and the write: what the server took is with
        the consumer. Where requests run in parallel, a stat by handle may be one by path."""
        if self._session.can.sequential:
            try:
                st = yield from call(Stat(name, by_handle=True))
            except RemoteError:
                return
            if st.size < offset - base:
                return
        self._session.record(path, version.number, offset, base, None)

    def _in_hand(self, entry: Entry) -> Version | None:
        """The version that a job of this file is about."""
        return entry.version(entry.upload.version) if entry.upload is not None else entry.next_owed

    def _check_conflicts(self, path: str, entry: Entry) -> None:
        """Hold the file if it was sent whole for this reason less than an hour ago."""
        lately = entry.conflict_at
        if lately is not None and 0 <= self._session.clock.time() - lately < _HOUR_SECS:
            raise FileHeld(
                "another hand keeps changing it at the destination; sent at most once an hour",
                until=lately + _HOUR_SECS,
            )
        self._session.log.warning(
            "deliver %s: changed by another hand at the destination; sent again as a whole", path
        )
