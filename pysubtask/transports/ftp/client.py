"""The FTP transport: requests of the contract, one after the other over one session.

Each write costs a data connection, so that writes that continue each other share one: all that are
waiting when their turn comes go into one STOR, and are acknowledged together by its reply.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import LinkLost, RemoteError, RemoteUnsupported
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import (
    Read,
    RemoteStat,
    Request,
    Result,
    Wake,
    Write,
)
from pysubtask.transports.ftp.appending import Appending, Quiet
from pysubtask.transports.ftp.files import Files
from pysubtask.transports.ftp.login import FtpConnector, Session
from pysubtask.transports.ftp.streaming import Stream
from pysubtask.transports.ftp.transfers import RestRefused, Transfers
from pysubtask.transports.ftp.trial import Learned, limits_of, product_of, told_of, try_out
from pysubtask.transports.ftp.writing import SLICE_SECS, TEMP_PREFIX, Writing, is_temp
from pysubtask.transports.simple import SimpleTransport

__all__ = ["FtpTransport", "Memory"]

_MAX_BATCH_BYTES = 16 * 1024 * 1024
_IDLE_SECS = 1.0
_MAX_FILES = 16
"""More would not be faster: their requests are carried out one after the other."""


@dataclass(slots=True)
class Memory:
    """What outlives the connections of a process to one server."""

    greeting: str | None = None
    learned: Learned = field(default_factory=Learned)
    may_ask: bool = True
    """STAT was never the last thing that a connection saw."""
    quiet: Quiet = field(default_factory=Quiet)


class FtpTransport(SimpleTransport):
    """One FTP session.

    Args:
        folder: the destination's, for the trial (:mod:`~pysubtask.transports.ftp.trial`).
        client_id: 8 hex digits, for the temporary names of the trial. No upload has them: theirs
            end in random digits, these in ``fffffff`` and one more.
        consumed: a consumer takes files away (``on_remote_gone="continue"``).
        wake: called when :meth:`collect` has more to do.
    """

    def __init__(
        self,
        connector: FtpConnector,
        clock: Clock,
        *,
        folder: str,
        client_id: str,
        consumed: bool = False,
        memory: Memory | None = None,
        wake: Wake = lambda: None,
    ) -> None:
        super().__init__()
        self._connector = connector
        self._clock = clock
        self._folder = folder
        self._consumed = consumed
        self._scratch = f"{TEMP_PREFIX}{client_id}fffffff"
        self._memory = memory or Memory()
        self._wake = wake
        self._session: Session | None = None
        self._transfers: Transfers
        self._files: Files
        self._appending: Appending
        self._writing: Writing
        self._done: deque[tuple[int, Result]] = deque()
        self._written: dict[str, int] = {}
        self._used_at = 0.0

    def __repr__(self) -> str:
        return f"<FtpTransport {self._connector!r}>"

    @property
    def commands(self) -> int:
        """How many commands were sent over the present session."""
        return self._connected().control.commands

    @property
    def learned(self) -> Learned:
        """What the trial found."""
        return self._memory.learned

    @property
    def capabilities(self) -> Capabilities:
        session = self._connected()
        learned = self._memory.learned
        continues = learned.positioned or learned.appends
        return Capabilities(
            positioned_write=continues,
            sequential=True,
            atomic_replace=learned.atomic_replace,
            readable=learned.readable,
            max_write_bytes=4 * 1024 * 1024,
            max_read_bytes=1024 * 1024,
            # a transfer that can't be continued occupies the session until its end
            max_files=_MAX_FILES if continues else 1,
            limits=limits_of(
                learned,
                session,
                encrypted=self._connector.tls != "off",
                consumed=self._consumed,
            ),
            told=told_of(learned),
        )

    def connect(self) -> None:
        if self._session is not None or self._closed:
            raise RuntimeError("a transport connects once")
        self._open_session()

    def close(self) -> None:
        super().close()
        if self._session is not None:
            if self._writing.stream is not None:
                self._writing.stream.close()
            self._session.close()

    def collect(self) -> Iterator[tuple[int, Result]]:
        """Carry out what was submitted; writes, and reads, that continue each other together."""
        if self._waiting:
            self._reopen_if_gone()
        while self._done or self._waiting:
            while self._done:
                yield self._done.popleft()
            if self._waiting:
                if not self._next():
                    return
                self._used_at = self._clock.monotonic()

    @property
    def due_at(self) -> float:
        """When what waits behind an open upload gets its turn, should that go on no more."""
        is_behind = self._session is not None and self._writing.stream is not None
        return self._used_at + SLICE_SECS if is_behind and self._waiting else math.inf

    # --- the session ----------------------------------------------------------------------------

    def _connected(self) -> Session:
        if self._session is None:
            raise RuntimeError("the transport is not connected")
        return self._session

    def _open_session(self) -> None:
        session = self._connector()
        memory = self._memory
        greeting = re.sub(r"\d+", "", session.greeting)  # some tell the time, or count visitors
        try:
            if not memory.learned.tried or memory.greeting != greeting:
                may_ask, memory.may_ask = memory.may_ask, False
                product = product_of(session, may_ask=may_ask)
                memory.may_ask = may_ask  # a server that hung up on it is not asked again
                memory.learned = try_out(session, self._folder, self._scratch, product)
                memory.greeting = greeting
        except BaseException:
            session.close()
            raise
        self._session = session
        self._transfers = Transfers(session, pipelined=memory.learned.product is not None)
        self._files = Files(session, self._transfers)
        self._appending = Appending(
            self._transfers,
            self._files,
            self._clock,
            memory.quiet,
            readable=memory.learned.readable,
        )
        self._writing = Writing(
            session,
            self._transfers,
            self._files,
            self._appending,
            self._clock,
            memory.learned,
            scratch=self._scratch,
            consumed=self._consumed,
        )
        self._used_at = self._clock.monotonic()

    def _reopen_if_gone(self) -> None:
        """The server has closed an idle session: nothing was under way, so a new one will do.

        Raises:
            LinkError: there is none to be had.
        """
        if self._writing.stream is not None or self._clock.monotonic() - self._used_at < _IDLE_SECS:
            return
        session = self._connected()
        if not session.control.is_alive():
            session.close()
            before = self._memory.learned
            self._open_session()
            if self._memory.learned != before:  # plans were made by what the former one could do
                raise LinkLost("another server program answers now")

    # --- order ----------------------------------------------------------------------------------

    def _next(self) -> bool:
        """Carry out what is first in turn; False: to be called again for the rest."""
        if self._writing.stream is not None:
            return self._next_of_stream(self._writing.stream)
        first = self._waiting[0][1]
        if isinstance(first, Write) and first.data:
            self._write_batch(self._take_writes(first))
            if not self._done:
                self._wake()  # a large write on a slow link: others get a look in
                return False
        elif isinstance(first, Read):
            self._read_batch(self._take_reads(first))
        else:
            ticket, request = self._waiting.popleft()
            self._end(ticket, lambda: self._carry_out(request))
        return True

    def _next_of_stream(self, stream: Stream) -> bool:
        """Only what concerns the open upload; the rest waits."""
        for index, (ticket, request) in enumerate(self._waiting):
            if request.path == stream.path:
                if _begins_elsewhere(request, stream):
                    self._end_stream(stream)
                    return True
                del self._waiting[index]
                self._end(ticket, lambda request=request: self._into_stream(stream, request))  # type: ignore[misc]
                return True
        if self._clock.monotonic() < self.due_at:
            return False
        self._end_stream(stream)
        return True

    def _end_stream(self, stream: Stream) -> None:
        """Its job is gone; the next one sees what has become of the file."""
        self._writing.stream = None
        with contextlib.suppress(RemoteError):
            stream.finish()

    def _into_stream(self, stream: Stream, request: Request) -> Result:
        if isinstance(request, Write) and request.offset == stream.position:
            try:
                stream.write(request.data)
            except RemoteError:
                self._writing.stream = None
                raise
            self._written[stream.path] = stream.position
            return None
        self._writing.stream = None
        stream.finish()
        return self._carry_out(request)

    def _end(self, ticket: int, act: Callable[[], Result]) -> None:
        try:
            result = act()
        except RemoteError as error:
            result = error
        self._done.append((ticket, result))

    def _take_writes(self, first: Write) -> list[tuple[int, Write]]:
        taken: list[tuple[int, Write]] = []
        at, size = first.offset, 0
        while self._waiting:
            ticket, request = self._waiting[0]
            if (
                not isinstance(request, Write)
                or (request.path, request.offset, request.create) != (first.path, at, first.create)
                or (taken and size + len(request.data) > _MAX_BATCH_BYTES)
            ):
                break
            self._waiting.popleft()
            taken.append((ticket, request))
            at += len(request.data)
            size += len(request.data)
        return taken

    def _take_reads(self, first: Read) -> list[tuple[int, Read]]:
        taken: list[tuple[int, Read]] = []
        at = first.offset
        while self._waiting:
            ticket, request = self._waiting[0]
            if not isinstance(request, Read) or (request.path, request.offset) != (first.path, at):
                break
            if taken and at + request.length - first.offset > _MAX_BATCH_BYTES:
                break
            self._waiting.popleft()
            taken.append((ticket, request))
            at += request.length
        return taken

    # --- writing --------------------------------------------------------------------------------

    def _write_batch(self, batch: list[tuple[int, Write]]) -> None:
        """One transfer for all; what of them it did not get to is put back."""
        first = batch[0][1]
        data = b"".join(request.data for _, request in batch)
        try:
            stored = self._writing.store(
                first.path, first.offset, memoryview(data), create=first.create
            )
        except RemoteError as error:
            self._written.pop(first.path, None)
            self._check_learned(error)
            self._done.extend((ticket, error) for ticket, _ in batch)
            return
        reached = first.offset + stored
        self._written[first.path] = reached
        for index, (ticket, request) in enumerate(batch):
            if request.offset + len(request.data) <= reached:
                self._done.append((ticket, None))
                continue
            rest = [(t, r) for t, r in batch[index:]]
            missing = max(0, reached - request.offset)
            cut = Write(
                request.path, request.offset + missing, request.data[missing:], first.create
            )
            rest[0] = ticket, cut
            self._waiting.extendleft(reversed(rest))
            return

    def _check_learned(self, error: RemoteError) -> None:
        """Raises:
        LinkLost: the server can't do what plans count on; the next connection tries it anew.
        """
        if isinstance(error, RestRefused):
            self._memory.learned = Learned()
            raise LinkLost(
                f"it takes no offset any more: {error.message}",
                operation=error.operation,
                path=error.path,
                hint="the connection is made anew, and what the server can do is tried again",
            ) from error

    # --- the other requests ---------------------------------------------------------------------

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        """Without data: those with data go in batches."""
        size = self._writing.make_empty(path, create=create)
        self._written.setdefault(path, size)

    def _read_batch(self, batch: list[tuple[int, Read]]) -> None:
        path, start = batch[0][1].path, batch[0][1].offset
        length = sum(request.length for _, request in batch)
        try:
            data = self._fetch(path, start, length) if length else b""
        except RemoteError as error:
            self._done.extend((ticket, error) for ticket, _ in batch)
            return
        for ticket, request in batch:
            at = request.offset - start
            self._done.append((ticket, data[at : at + request.length]))

    def _fetch(self, path: str, start: int, length: int) -> bytes:
        try:
            return self._transfers.fetch(path, start, length)
        except RemoteError as error:
            self._check_learned(error)
            raise self._files.explained(error, path) from error

    def stat(self, path: str) -> RemoteStat:
        return self._files.stat(path)

    def stat_open(self, path: str) -> RemoteStat:
        """What the server acknowledged of the last write is in the file that it opened then."""
        if path not in self._written:
            return super().stat_open(path)
        return RemoteStat(self._written[path])

    def finish(self, path: str, *, sync: bool) -> None:
        """Nothing is open, and there is no sync; but a temporary file is about to be renamed, and
        a data connection that ends on the way looks to the server like one that ends in order."""
        written = self._written.pop(path, None)
        if written is not None and is_temp(path):
            size = self._files.size(path)
            if size != written:
                raise RemoteError(
                    f"the server took {written} bytes and has {size}",
                    operation="finish",
                    path=path,
                )

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        if replace and not self._memory.learned.atomic_replace:
            raise RemoteUnsupported(
                "the server is not known to replace a file in one step",
                operation="rename",
                path=path,
            )
        self._written.pop(path, None)
        self._written.pop(target, None)
        self._files.rename(path, target, replace=replace)
        self._appending.renamed(path, target)

    def remove(self, path: str) -> None:
        self._written.pop(path, None)
        self._files.remove(path)

    def make_dir(self, path: str) -> None:
        self._files.make_dir(path)

    def list(self, path: str) -> dict[str, RemoteStat]:
        return self._files.list(path)


def _begins_elsewhere(request: Request, stream: Stream) -> bool:
    """Whether it is a write that needs a transfer of its own."""
    return isinstance(request, Write) and bool(request.data) and request.offset != stream.position
