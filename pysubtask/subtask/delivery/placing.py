"""From a complete temporary file to its place, and to the journal that says so."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Upload, Version
from pysubtask.core.plan import READ_BACK_BYTES, Compare, Present
from pysubtask.errors import (
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.subtask.delivery.comparison import Comparison
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.delivery.keeping import Keeping
from pysubtask.subtask.delivery.pump import short_write, with_upload
from pysubtask.subtask.delivery.segments import segment_name
from pysubtask.subtask.delivery.session import Session, Steps
from pysubtask.subtask.store.ledger import drop_superseded, record_delivery
from pysubtask.transports.contract import RemoteStat, Remove, Rename, Stat

__all__ = ["Placing"]


class Placing:
    """Puts uploads in place."""

    def __init__(self, session: Session, comparison: Comparison, keeping: Keeping) -> None:
        self._session = session
        self._comparison = comparison
        self._keeping = keeping

    def note(self, path: str, upload: Upload) -> None:
        """The journal is to know how far an upload is."""
        self._session.ledger.update(path, lambda e: with_upload(e, upload), must=False)

    def last_look(self, entry: Entry, upload: Upload) -> tuple[Stat, ...]:
        """The look, just before a new file takes its name, that tells whether somebody else's has
        it by now; none where that would be no first contact, or is to be replaced."""
        return (Stat(self.final_name(entry, upload)),) if self._is_first(entry, upload) else ()

    def _is_first(self, entry: Entry, upload: Upload) -> bool:
        keeps = self._session.policy.on_first_contact == "keep"
        return keeps and entry.delivered is None and not (upload.tail or upload.segment)

    def meet(
        self, path: str, entry: Entry, upload: Upload, there: object
    ) -> Generator[Step, Any, Upload]:
        """What the last look showed: somebody else's file that came since the first one will be
        set aside. What ours begins with is none."""
        if upload.set_aside or not isinstance(there, RemoteStat) or there.is_dir:
            return upload
        version = entry.version(upload.version)
        if version is not None and self._session.can.readable and there.size <= upload.size:
            name, todo = self.final_name(entry, upload), Compare(0, there.size)
            try:
                if (yield from self._comparison.compare(path, version, name, todo)):
                    return upload
            except RemoteNotFound:
                return upload
        acked = upload.size if upload.temp else upload.acked
        upload = replace(upload, set_aside=True, acked=acked)
        self.note(path, upload)
        return upload

    def put_in_place(
        self, path: str, entry: Entry, upload: Upload, looked: tuple[object, ...] = ()
    ) -> Steps:
        """Give a complete and closed temporary file its name.

        Args:
            looked: the result of :meth:`last_look`, if it was asked for in the flight before.

        Raises:
            RemoteError: the server refuses, or it is not complete after all.
        """
        name = self.final_name(entry, upload)
        mtime = ours = None
        if self._session.can.short_writes:
            mtime = yield from self._check_size(path, upload)
        if self._session.can.atomic_replace and not upload.set_aside:
            for there in looked or (yield from flight(*self.last_look(entry, upload))):
                upload = yield from self.meet(path, entry, upload, there)
        if self._keeping.is_due(entry, upload):
            yield from self._keeping.make_way(entry, upload)
        version = entry.version(upload.version)
        if self._session.can.checksum and version is not None:
            ours = yield from self._comparison.digest(path, version, upload.base, upload.size)
        if self._session.can.atomic_replace and self._session.can.sequential:
            renamed, st = yield from flight(Rename(upload.temp, name, replace=True), Stat(name))
            if isinstance(renamed, RemoteError):
                raise _folder_in_the_way(name, st) or renamed
            if not isinstance(st, RemoteError):
                mtime = st.mtime
                self.check(path, upload, name, ours, st)
        elif self._session.can.atomic_replace:
            yield from call(Rename(upload.temp, name, replace=True))
        else:
            found = yield from self._swap(path, entry, name, upload)
            mtime = mtime if found is None else found  # a rename leaves it what it was
        self.arrived(path, upload, mtime)

    def _check_size(self, path: str, upload: Upload) -> Generator[Step, Any, float | None]:
        """Ask how much there is of what was acknowledged; gives its modified time.

        Raises:
            RemoteFull: less. What is there is gone on from, or begun anew if it is little.
        """
        size = upload.size - upload.base
        st = yield from call(Stat(upload.temp))
        if st.size >= size:
            found: float | None = st.mtime
            return found
        there = upload.base + st.size
        if size > self._session.chunk_bytes():
            self.note(path, replace(upload, acked=there, reach=there, stage="sending"))
        else:
            self.drop(path, upload)
        raise short_write(upload.temp, size, size - st.size)

    def check(self, path: str, upload: Upload, name: str, ours: str | None, st: RemoteStat) -> None:
        """Compare the server's digest with ours, if both are known.

        Raises:
            RemoteError: they differ. The upload is given up, so that the file is sent anew.
        """
        if ours is None or st.digest is None or ours == st.digest:
            return
        self.drop(path, upload)
        raise RemoteError(
            "what arrived is not what was sent: its digest differs", operation="send", path=name
        )

    def _swap(
        self, path: str, entry: Entry, name: str, upload: Upload
    ) -> Generator[Step, Any, float | None]:
        """Without atomic replace: remove the old file, rename the new one, both journalled. Gives
        the new one's modified time, if it came to light."""
        mtime: float | None
        try:
            yield from call(Rename(upload.temp, name))
            return None
        except (RemoteDenied, RemoteUnsupported):
            raise  # removing what is there would not help
        except RemoteError:
            temp = yield from call(Stat(upload.temp))
            st = yield from call(Stat(name))  # nothing there: the refusal had another reason
            in_the_way = _folder_in_the_way(name, st)
            if in_the_way is not None:
                raise in_the_way from None
        if self._is_first(entry, upload):
            upload = yield from self.meet(path, entry, upload, st)
        if upload.set_aside and not upload.tail:  # a tail takes another name than was made free
            yield from self._keeping.make_way(entry, upload)
            yield from call(Rename(upload.temp, name))
            mtime = temp.mtime
            return mtime
        self.note(path, replace(upload, stage="swapping"))
        if self._session.policy.on_remote_gone == "continue":
            self._session.ledger.make_durable()  # as in Keeping.make_way()
        try:
            yield from call(Remove(name))
        except RemoteNotFound:
            pass
        yield from call(Rename(upload.temp, name))
        mtime = temp.mtime
        return mtime

    def is_in_place(
        self, path: str, entry: Entry, version: Version, upload: Upload
    ) -> Generator[Step, Any, bool]:
        """The temporary file is gone: was it renamed before we heard of it?"""
        name = self.final_name(entry, upload)
        try:
            st = yield from call(Stat(name))
        except RemoteNotFound:
            if self._session.policy.on_remote_gone != "continue":
                return False
            self.arrived(path, upload, None)
            return True
        size = upload.size - upload.base
        if st.size < size or (st.size > size and not self._session.policy.unclean_boot):
            return False
        same = None
        if self._session.can.readable:
            todo = Compare(max(0, size - READ_BACK_BYTES), size, upload.base)
            try:
                same = yield from self._comparison.compare(path, version, name, todo)
            except RemoteNotFound:
                return False
        if same is False or (same is None and self._may_be_another(entry, upload, st)):
            return False
        # One that is longer was appended to, and the journal lost that with the power.
        self.arrived(path, upload, st.mtime, is_all=st.size == size)
        if st.size > size:
            self._session.known.pop(path, None)
        return True

    def _may_be_another(self, entry: Entry, upload: Upload, st: RemoteStat) -> bool:
        """Whether what has the right size, and can't be compared, may be another version: the one
        before, or after a loss of power a newer one, which the journal has forgotten."""
        if self._session.policy.unclean_boot:
            return True
        done = entry.delivered
        if done is None or done.version == upload.version or done.remote_size != st.size:
            return False
        return done.mtime is None or st.mtime is None or done.mtime == st.mtime

    def final_name(self, entry: Entry, upload: Upload) -> str:
        """Where it goes: the file's name, that of a segment, or of what is left of a version."""
        name = self._session.remote_name(entry)
        if upload.tail:
            return f"{name}~{upload.base}-{upload.size}"
        return segment_name(name, upload.base) if upload.segment else name

    def arrived(
        self, path: str, upload: Upload, mtime: float | None, *, is_all: bool = True
    ) -> None:
        """Note that it is in place; ``is_all``: and nothing of ours behind it."""
        base = 0 if upload.segment and not upload.tail else upload.base
        at = self._session.clock.time() if is_all else 0.0
        done = Delivered(upload.version, upload.size, base, mtime, at)

        older: list[int] = []

        def arrive(e: Entry) -> Entry:
            if e.delivered is not None and e.delivered.version != upload.version:
                older.append(e.delivered.version)
            if upload.conflict:
                e = replace(e, conflict_at=self._session.clock.time())
            return drop_superseded(replace(record_delivery(e, done), upload=None))

        self._session.ledger.update(path, arrive, must=False)
        for number in older:
            self._session.signatures.drop(path, number)
        if upload.tail or upload.segment or not self._session.can.positioned_write:
            # A whole file is sent only after a look: another hand's would be gone without notice.
            self._session.known.pop(path, None)
        else:
            self._session.known[path] = Present(upload.size - upload.base, mtime, sure=True)
        self._session.hooks.delivered(path, upload.size - upload.base, "sent")

    def drop(self, path: str, upload: Upload) -> None:
        """Begin anew: what there is of it is of no use."""

        def drop(e: Entry) -> Entry:
            if e.upload is None or e.upload.temp != upload.temp:
                return e
            return drop_superseded(e.without_upload())

        self._session.ledger.update(path, drop, must=False)


def _folder_in_the_way(name: str, found: object) -> RemoteExists | None:
    """Servers do not tell why a file can't be replaced (OpenSSH says "Failure")."""
    if not (isinstance(found, RemoteStat) and found.is_dir):
        return None
    return RemoteExists(
        "a folder stands where the file should be",
        operation="replace",
        path=name,
        hint="remove or rename it on the server",
    )
