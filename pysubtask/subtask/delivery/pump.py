"""Filling a temporary file: new bytes are written, ranges that the server has are copied there."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from pysubtask.core.delta import Kept
from pysubtask.core.model import Entry, Upload
from pysubtask.errors import RemoteError, RemoteFull
from pysubtask.subtask.delivery.allowance import BudgetSpent
from pysubtask.subtask.delivery.engine import Answers, Send, Step, Wait, call
from pysubtask.subtask.delivery.session import Session, Steps
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.transports.contract import Copy, Finish, RemoteStat, Request, Stat, Write

__all__ = ["Pump", "parts", "short_write", "with_upload"]

_NOTE_EVERY_BYTES = 1 << 20
_PARALLEL_CHUNK_BYTES = 32_768
_MAX_UNANSWERED = 64
_COPY_BYTES = 32 << 20
_MAX_COPIED_UNANSWERED_BYTES = 64 << 20
"""A server that copies at 1 MiB a second still answers within the time limit."""
_READ_BYTES = 1 << 20
_WORTH_BYTES = 1 << 20
"""An upload that waits for a budget goes on when so much may be sent at once."""


class Pump:
    """Sends one upload, many requests at a time, in the order of the new content."""

    def __init__(
        self,
        session: Session,
        path: str,
        entry: Entry,
        upload: Upload,
        reader: VersionReader,
    ) -> None:
        self._session = session
        self._path = path
        self._name = session.remote_name(entry)
        self._upload = upload
        self._reader = reader
        self.acked = 0
        """Up to here everything was acknowledged."""
        self._synced = 0
        """Up to here nothing is in a cache only, where the destination has one."""

    def run(
        self, kept: list[Kept], start: int, *, create: bool, finish: Finish | None = None
    ) -> Steps:
        """Keep the window full; note how far the acknowledgements reach without a gap.

        Args:
            kept: ranges that stand at the destination under the final name.
            finish: closes the file, on the heels of the last byte: for servers that handle
                requests in order.
        """
        finishing: int | None = None
        unanswered: deque[tuple[int, int | None, int, int]] = deque()
        can = self._session.can
        asks_each_time = can.short_writes and can.sequential and not self._upload.token
        copied_bytes = 0
        self.acked = self._synced = noted = sent_to = end = start
        todo = self._requests(kept, start, create)
        at_once = 1 if self._upload.token else _MAX_UNANSWERED
        request: Request | None = None
        answers: Mapping[int, Any] = yield Answers()
        try:
            while True:
                if request is None:
                    made = yield from self._next(todo)
                    if made is not None:
                        request, end = made
                    elif finish is not None and finishing is None and unanswered:
                        finishing = yield Send(finish, unless_refused=True)
                    if made is None and not unanswered:
                        if finishing is None and finish is not None:
                            finishing = yield Send(finish)
                        if finishing is not None:
                            yield Wait(finishing)
                        return
                copies = request.length if isinstance(request, Copy) else 0
                # As far ahead as the window, and no farther: what is answered meanwhile is noted.
                written_bytes = max(sent_to, end) - self.acked - copied_bytes
                room = len(unanswered) < at_once and (
                    copied_bytes + copies <= _MAX_COPIED_UNANSWERED_BYTES
                    if copies
                    else not unanswered or written_bytes <= self._session.window.limit_bytes
                )
                # The first one goes in any case: what was read back for it must not be in vain.
                may_go = sent_to == start or self._session.allowance.has_bytes
                if request is not None and not unanswered and not may_go:
                    yield from self._go_on()  # what is under way is waited for first
                    may_go = True
                if request is not None and room and may_go:
                    if self._upload.token:
                        noted = self.acked
                        self._note(self.acked, reach=end)  # where the server may stand by then
                    ticket = yield Send(request, unless_refused=True)
                    asked = None
                    if asks_each_time:  # what follows a write of which a part is missing hides that
                        asked = yield Send(Stat(self._upload.temp), unless_refused=True)
                    copied_bytes += copies
                    unanswered.append((ticket, asked, end, copies))
                    sent_to = end
                    request = None
                    continue
                ticket, asked, reached, copies = unanswered[0]
                yield Wait(ticket)
                if asked is not None:
                    there = (yield Wait(asked)).size + self._upload.base
                    if there < reached:
                        raise short_write(self._upload.temp, reached - self.acked, reached - there)
                unanswered.popleft()
                copied_bytes -= copies
                self.acked = reached
                if self._certain() - noted >= _NOTE_EVERY_BYTES:
                    noted = self._certain()
                    self._note(noted, reach=noted)
        except (GeneratorExit, RemoteError):
            # What was answered while the next request had to wait, for its turn in a limit per
            # second or for room in the window.
            for ticket, asked, reached, _ in unanswered:
                if not self._has_arrived(answers, ticket, asked, reached):
                    break
                self.acked = reached
            if self._certain() > noted:
                self._note(self._certain(), reach=self._certain())
            raise

    def _has_arrived(
        self, answers: Mapping[int, Any], ticket: int, asked: int | None, reached: int
    ) -> bool:
        """Whether a request was answered, with no refusal, and what was asked then agrees."""
        if ticket not in answers or isinstance(answers[ticket], Exception):
            return False
        if asked is None:
            return True
        st = answers.get(asked)
        return isinstance(st, RemoteStat) and st.size + self._upload.base >= reached

    def _certain(self) -> int:
        """Up to where neither a loss of power nor a late error can leave a hole."""
        every, base = self._session.can.synced_every_bytes, self._upload.base
        if not every:
            return self.acked
        whole = (self.acked - base) // every * every
        return max(self._synced, base + whole)

    def _go_on(self) -> Steps:
        """Ask for more of a budget. If there is none, what was sent is made certain, so that it is
        not sent again: it may be more than the next share of the budget.

        Raises:
            BudgetSpent: not now.
        """
        try:
            self._session.allowance.go_on(_WORTH_BYTES)
        except BudgetSpent:
            if self._certain() < self.acked:
                yield from call(Finish(self._upload.temp, sync=True))
                self._synced = self.acked
            raise

    def _next(
        self, todo: Iterator[tuple[Request, int] | None]
    ) -> Generator[Step, Any, tuple[Request, int] | None]:
        """The next request and the offset that it reaches; None if there is none."""
        for made in todo:
            if made is not None:
                return made
            yield None
        return None

    def _requests(
        self, kept: list[Kept], start: int, create: bool
    ) -> Iterator[tuple[Request, int] | None]:
        """Requests and the offsets that they reach; None to let others run for a moment."""
        upload, can = self._upload, self._session.can
        for at, end, source in parts(kept, start, upload.size):
            while at < end:
                if source is not None:
                    stop = min(at + _COPY_BYTES, end)
                    yield from self._sign(at, stop)
                    where = at - upload.base
                    copy = Copy(self._name, source, stop - at, upload.temp, where, create)
                    source += stop - at
                    yield copy, stop
                    at = stop
                    continue
                size = self._session.chunk_bytes()
                if not can.sequential:
                    size = min(size, _PARALLEL_CHUNK_BYTES)
                data = self._reader.read(at, min(size, end - at))
                self._session.signatures.add(self._path, upload.version, at, data)
                where = at - upload.base
                at += len(data)
                yield Write(upload.temp, where, data, create=create), at

    def _sign(self, at: int, end: int) -> Iterator[None]:
        signatures, number = self._session.signatures, self._upload.version
        while at < end and signatures.position(self._path, number) is not None:
            data = self._reader.read(at, min(_READ_BYTES, end - at))
            signatures.add(self._path, number, at, data)
            at += len(data)
            yield None

    def _note(self, acked: int, reach: int) -> None:
        noted = replace(self._upload, acked=acked, reach=reach)
        self._session.ledger.update(self._path, lambda e: with_upload(e, noted), must=False)
        self._session.hooks.progress()


def parts(kept: list[Kept], start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """``[start, end)`` in order: from, to, and where that stands in the old content, if it does."""
    for k in kept:
        if k.end <= start:
            continue
        if k.start > start:
            yield start, k.start, None
            start = k.start
        yield start, k.end, k.source + start - k.start
        start = k.end
    if start < end:
        yield start, end, None


def short_write(path: str, acked_bytes: int, missing_bytes: int) -> RemoteFull:
    """The error of a server that has less than it acknowledged."""
    return RemoteFull(
        f"the server acknowledged {acked_bytes:,} bytes and lacks {missing_bytes:,} of them: most "
        "likely its disk is full",
        operation="write",
        path=path,
    )


def with_upload(entry: Entry, upload: Upload) -> Entry:
    """The entry with the upload as it is now, unless another has taken its place."""
    if entry.upload is None or entry.upload.temp != upload.temp:
        return entry
    return replace(entry, upload=upload)
