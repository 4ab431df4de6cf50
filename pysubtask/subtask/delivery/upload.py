"""Whole versions: under a temporary name first, then put in place in one step."""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.checksum import hasher
from pysubtask.core.delta import Kept
from pysubtask.core.model import Entry, Upload, Version
from pysubtask.core.plan import READ_BACK_BYTES, Compare, Send
from pysubtask.errors import (
    RemoteError,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.subtask.delivery.allowance import BudgetSpent
from pysubtask.subtask.delivery.comparison import Comparison
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.delivery.keeping import Keeping
from pysubtask.subtask.delivery.placing import Placing
from pysubtask.subtask.delivery.pump import Pump
from pysubtask.subtask.delivery.reuse import Reuse
from pysubtask.subtask.delivery.session import TEMP_PREFIX, Session, Steps
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.transports.contract import (
    Begin,
    Finish,
    Put,
    RemoteStat,
    Request,
    Stat,
    Write,
)

__all__ = ["Uploads"]

_READ_BACK_CHUNK_BYTES = 131_072


class Uploads:
    """Begins uploads, and goes on with those that were begun before."""

    def __init__(self, session: Session, comparison: Comparison) -> None:
        self._session = session
        self._comparison = comparison
        self._reuse = Reuse(session)
        self._keeping = Keeping(session)
        self._placing = Placing(session, comparison, self._keeping)

    def begin(self, path: str, entry: Entry, version: Version, todo: Send) -> Steps:
        base = yield from self._comparison.cover(path, version, todo.base)
        upload = Upload(
            version=version.number,
            size=todo.end,
            temp=self._temp_name(entry, todo.end - base),
            base=base,
            acked=base,
            stage="sent" if self._goes_at_once(entry, todo, base) else "sending",
            set_aside=todo.set_aside,
            tail=base > todo.base or (todo.segment and _has_lost_its_head(entry, version)),
            conflict=todo.conflict,
            segment=todo.segment,
        )

        def begin(e: Entry) -> Entry:
            if e.version(version.number) is None:
                return e
            return replace(e, upload=upload)

        entry = self._session.ledger.update(path, begin)
        covered = entry.version(version.number)  # its pieces reach back to the base now
        if entry.upload is not upload or covered is None:
            return
        version = covered
        if not upload.temp:
            yield from self._put(path, entry, version, upload)
            return
        if self._session.can.upload_tokens:
            modified = version.stamp.mtime_ns / 1e9
            begun = yield from call(Begin(upload.temp, modified=modified))
            upload = replace(upload, token=begun.token, reach=base)
            self._placing.note(path, upload)
        yield from self._send(path, entry, upload, upload.base, fresh=True)

    def _goes_at_once(self, entry: Entry, todo: Send, base: int) -> bool:
        """Whether it is a new file for one flight, of which one record says all: that it may have
        been sent. What is not there after a break is sent again. Not where the next look could
        not tell whether it is in place, or take somebody else's file for it."""
        can, policy = self._session.can, self._session.policy
        return (
            entry.delivered is None
            and not todo.set_aside
            and not can.upload_tokens
            and can.readable
            and policy.on_remote_gone != "continue"
            and todo.end - base <= self._session.chunk_bytes()
        )

    def _temp_name(self, entry: Entry, size: int) -> str:
        """A new temporary name, or none for what goes as one request."""
        most = self._session.can.max_put_bytes
        if most and size <= min(self._session.chunk_bytes(), most):
            return ""
        folder, slash, _ = self._session.remote_name(entry).rpartition("/")
        return f"{folder}{slash}{TEMP_PREFIX}{self._session.hooks.token_hex()}"

    def resume(self, path: str, entry: Entry, upload: Upload) -> Steps:
        """Go on with an upload that an earlier connection, or process, began."""
        version = entry.version(upload.version)
        if version is None:
            self._placing.drop(path, upload)
            return
        if upload.stage == "sending":
            self._session.allowance.go_on()  # before anything is asked or read back
        if not upload.temp:
            yield from self._put_again(path, entry, version, upload)
            return
        try:
            st = yield from self._look(version, upload)
        except RemoteNotFound:
            if upload.stage == "sending" or not (
                yield from self._placing.is_in_place(path, entry, version, upload)
            ):
                self._placing.drop(path, upload)
            return
        if upload.stage == "sent" and upload.acked < upload.size:
            # Nobody has said that it arrived: a server that went down since may show its size only.
            upload = replace(upload, stage="sending")
            self._placing.note(path, upload)
            self._session.allowance.go_on()
        if upload.stage != "sending":
            if st.size == upload.size - upload.base:
                yield from self._placing.put_in_place(path, entry, upload)
            else:
                self._placing.drop(path, upload)
            return
        start = yield from self._resume_point(path, entry, version, upload, st.size)
        if start is None:
            self._placing.drop(path, upload)
        else:
            if self._session.can.fsync and not upload.token:
                # Its last byte once more: only a file that is open can be brought to the disk.
                start = min(start, max(upload.base, upload.size - 1))
            yield from self._send(path, entry, upload, start, fresh=False)

    def _look(self, version: Version, upload: Upload) -> Generator[Step, Any, Any]:
        """What the server has of it; something with a ``size``."""
        if not self._session.can.upload_tokens:
            return (yield from call(Stat(upload.temp)))
        if not upload.token:  # we were cut off before the server told it
            raise RemoteNotFound("not begun", operation="go on with", path=upload.temp)
        modified = version.stamp.mtime_ns / 1e9
        there = upload.acked - upload.base
        return (yield from call(Begin(upload.temp, upload.token, there, modified)))

    def _resume_point(
        self, path: str, entry: Entry, version: Version, upload: Upload, remote_size: int
    ) -> Generator[Step, Any, int | None]:
        """Where to go on: at the first byte that is not there as it should be.

        Nothing beyond the acknowledged bytes is believed for its size: of two writes on their way
        the first may have been refused (a full disk) and the second not. They are read back; where
        that can't be, or copying them once more costs less, the acknowledged bytes count. They
        do as well where reading may show what is in a cache only. None: what is there is not ours.
        """
        end = upload.base + remote_size
        if end < upload.acked or end > upload.size:
            return None
        if upload.token:
            # Each request is taken whole or not at all, and its digest was checked. After a loss
            # of power the journal may be some requests behind the server.
            known = end in (upload.acked, upload.reach) or self._session.policy.unclean_boot
            return end if known else None
        if not self._session.can.positioned_write:
            return None  # what is there can't be continued
        if not self._session.can.readable:
            return upload.acked
        cached = self._session.can.synced_every_bytes > 0
        if cached or self._reuse.is_likely(path, entry, version, upload):
            end = upload.acked
        start = max(upload.base, upload.acked - READ_BACK_BYTES)
        while start < end:
            stop = min(start + _READ_BACK_CHUNK_BYTES, end)
            if start < upload.acked:
                stop = upload.acked
            todo = Compare(start - upload.base, stop - upload.base, upload.base)
            try:
                ours = yield from self._comparison.compare(path, version, upload.temp, todo)
            except RemoteNotFound:
                return None
            if ours is None:
                return upload.acked
            if not ours:
                return start if start >= upload.acked else None
            start = stop
        return start

    def _send(self, path: str, entry: Entry, upload: Upload, start: int, *, fresh: bool) -> Steps:
        version = entry.version(upload.version)
        if version is None:
            return
        yield from self._reuse.sign(path, version, upload.size, upload.base, start)
        reader = self._session.reader(path, version)
        try:
            kept, old = yield from self._reuse.find(path, entry, version, upload, reader)
            small = upload.size - upload.base <= self._session.chunk_bytes()
            at_once = fresh and upload.stage == "sent"
            looked: tuple[object, ...] = ()
            if at_once or (fresh and small and not kept and not upload.token):
                looked = yield from self._send_small(path, entry, upload, reader)
            else:
                early = Finish(upload.temp, sync=self._session.can.fsync)
                finish = early if self._may_finish_early(upload, old) else None
                filled = yield from self._fill(
                    path, entry, upload, reader, kept, start, fresh, finish
                )
                if filled and finish is None:
                    filled = yield from self._close(path, entry, upload, old)
                if not filled:
                    self._placing.drop(path, upload)
                    return
        finally:
            reader.close()
            self._session.signatures.finish(path)
        if not at_once:
            upload = replace(upload, acked=upload.size, stage="sent")
            self._placing.note(path, upload)
        try:
            yield from self._placing.put_in_place(path, entry, upload, looked)
        except RemoteError:
            if at_once:  # it has arrived, and only its place is refused
                self._placing.note(path, replace(upload, acked=upload.size))
            raise

    def _may_finish_early(self, upload: Upload, old: RemoteStat | None) -> bool:
        """Whether the file may be closed on the heels of its last byte: a round trip less. Where
        parts were copied (``old``), whether they were right has to be asked first."""
        return self._session.can.sequential and not upload.token and old is None

    def _fill(
        self,
        path: str,
        entry: Entry,
        upload: Upload,
        reader: VersionReader,
        kept: list[Kept],
        start: int,
        fresh: bool,
        finish: Finish | None,
    ) -> Generator[Step, Any, bool]:
        """Have all of it in the temporary file, and that closed by ``finish``; False if it has
        vanished."""
        pump = Pump(self._session, path, entry, upload, reader)
        folders_made = False
        while True:
            try:
                yield from pump.run(kept, start, create=fresh, finish=finish)
                return True
            except (RemoteFull, BudgetSpent):
                raise
            except RemoteError as error:
                if kept:  # it goes on without
                    if not isinstance(error, RemoteNotFound):
                        self._session.copying_failed(path, error)
                    kept, start = [], pump.acked
                    fresh = fresh and start == upload.base
                elif not isinstance(error, RemoteNotFound):
                    raise
                elif upload.token:
                    self._placing.drop(path, upload)
                    raise
                elif not fresh:
                    return False  # bytes at its end would follow a hole
                elif folders_made:
                    raise
                else:
                    folders_made = True
                    yield from self._session.make_folders(posixpath.dirname(upload.temp))

    def _put_again(self, path: str, entry: Entry, version: Version, upload: Upload) -> Steps:
        """It may have arrived; or somebody else's file came since the name was found free."""
        if upload.stage == "sending" and not upload.set_aside:
            for there in (yield from flight(*self._placing.last_look(entry, upload))):
                if isinstance(there, RemoteStat) and there.digest is not None:
                    ours = yield from self._comparison.digest(
                        path, version, upload.base, upload.size
                    )
                    if ours == there.digest:
                        self._placing.arrived(path, upload, there.mtime)
                        return
                    upload = yield from self._placing.meet(path, entry, upload, there)
        yield from self._put(path, entry, version, upload)

    def _put(self, path: str, entry: Entry, version: Version, upload: Upload) -> Steps:
        """All of it in one request, which takes its place at once."""
        name = self._placing.final_name(entry, upload)
        if upload.stage == "sending" and self._keeping.is_due(entry, upload):
            yield from self._keeping.make_way(entry, upload)
            upload = replace(upload, stage="sent")
            self._placing.note(path, upload)  # what is there from now on is ours
            self._session.ledger.make_durable()
        reader = self._session.reader(path, version)
        try:
            data = reader.read(upload.base, upload.size - upload.base)
        finally:
            reader.close()
        st = yield from call(Put(name, data, version.stamp.mtime_ns / 1e9))
        if st.digest is not None and self._session.can.checksum:
            ours = hasher(self._session.can.checksum)
            ours.update(data)
            self._placing.check(path, upload, name, ours.hexdigest(), st)
        self._placing.arrived(path, upload, st.mtime)

    def _send_small(
        self, path: str, entry: Entry, upload: Upload, reader: VersionReader
    ) -> Generator[Step, Any, tuple[object, ...]]:
        """All of it in one write, which shares its flight with the close and the last look. Not
        synced on the server: for thousands of small files its disk, not the link, would set the
        pace."""
        data = reader.read(upload.base, upload.size - upload.base)
        self._session.signatures.add(path, upload.version, upload.base, data)
        whole = Write(upload.temp, 0, data, create=True)
        finish = Finish(upload.temp)
        look = self._placing.last_look(entry, upload) if self._session.can.atomic_replace else ()
        results = yield from flight(whole, finish, *look)
        if isinstance(results[0], RemoteNotFound):
            yield from self._session.make_folders(posixpath.dirname(upload.temp))
            results = yield from flight(whole, finish, *look)
        for result in results[:2]:
            if isinstance(result, RemoteError):
                raise result
        return tuple(results[2:])

    def _close(
        self, path: str, entry: Entry, upload: Upload, old: RemoteStat | None
    ) -> Generator[Step, Any, bool]:
        """Close the temporary file; False if what parts of it were copied from has changed since
        it was looked at. One that a consumer took meanwhile has not: the handle still led to it.
        """
        requests: list[Request] = [Finish(upload.temp, sync=self._session.can.fsync)]
        if old is not None:
            requests.append(Stat(self._session.remote_name(entry)))
        try:
            finished, *now = yield from flight(*requests)
        except GeneratorExit:  # the link broke: what was written need not be sent again
            if not self._session.can.synced_every_bytes:
                self._placing.note(path, replace(upload, acked=upload.size, reach=upload.size))
            raise
        if isinstance(finished, RemoteError):
            raise finished
        return old is None or isinstance(now[0], RemoteNotFound) or bool(now[0] == old)


def _has_lost_its_head(entry: Entry, version: Version) -> bool:
    done = entry.delivered
    return done is not None and done.version == version.number and done.base > 0
