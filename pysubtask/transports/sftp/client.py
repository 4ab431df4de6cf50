"""The SFTP transport: requests of the contract, pipelined over one channel.

Many requests are in flight at once, over many files. Requests that are submitted between two
calls of ``collect`` leave in as few pieces as possible, so that an append and the check of its
size travel in one packet. What may not overtake what:

* Requests leave in the order in which they were submitted, as far as they concern one path: one
  that names a path whose file is still being opened waits behind the requests that wait for the
  handle. A ``Rename`` or ``Remove`` that must wait holds up everything behind it. So where the
  server is sequential, the whole transport is.
* ``Rename``, ``Remove`` and ``Finish`` end what is open under their paths: a later ``Write``
  opens the file anew.
* ``Read`` opens for reading and closes as soon as nobody reads, so that it sees the file that has
  the name now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from pysubtask.errors import (
    LinkError,
    LinkLost,
    RemoteError,
    RemoteUnsupported,
)
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import (
    Capabilities,
    Copy,
    Finish,
    List,
    MakeDir,
    Read,
    RemoteSpace,
    Remove,
    Rename,
    Request,
    Result,
    Space,
    Stat,
    Wake,
    Write,
)
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.channel import Channel, Connector
from pysubtask.transports.sftp.codec import Attributes, Reply, broken_protocol, encode_path
from pysubtask.transports.sftp.copying import Copying
from pysubtask.transports.sftp.handles import Handles, OpenFile, Task
from pysubtask.transports.sftp.handshake import Server, shake_hands
from pysubtask.transports.sftp.listing import Listing
from pysubtask.transports.sftp.names import Names, remote_stat
from pysubtask.transports.sftp.reasons import Reasons
from pysubtask.transports.sftp.statuses import remote_error, status_code
from pysubtask.transports.sftp.wire import Wire

__all__ = ["SftpTransport"]


def _no_wake() -> None:
    pass


class SftpTransport:
    """One SFTP connection.

    Args:
        connector: makes the channel; called once, by :meth:`connect`.
        clock: for deadlines.
        wake: called, from any thread, when :meth:`collect` may have something new.
        ack_timeout_secs: how long the server may take to answer; data earns more time by its size.
        handshake_timeout_secs: for the SFTP handshake, once the channel is connected.
        max_write_bytes: upper bound for one write; less where the server takes less. With 261,120
            (all that OpenSSH takes) paramiko's channel measured 380-470 MB/s on loopback, with
            32 KiB 190-390.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        *,
        wake: Wake = _no_wake,
        ack_timeout_secs: float = 60.0,
        handshake_timeout_secs: float = 30.0,
        max_write_bytes: int = 261_120,
    ) -> None:
        self._connector = connector
        self._clock = clock
        self._wake = wake
        self._ack_timeout_secs = ack_timeout_secs
        self._handshake_timeout_secs = handshake_timeout_secs
        self._max_write_bytes = max_write_bytes
        self._channel: Channel | None = None
        self._server: Server | None = None
        self._wire: Wire
        self._reasons: Reasons
        self._handles: Handles
        self._names: Names
        self._results: deque[tuple[int, Result]] = deque()
        self._held: deque[tuple[int, Request]] = deque()
        self._lost: LinkError | None = None
        self._routes: dict[type[Request], Callable[[int, Request], None]] = {
            Write: self._write,  # type: ignore[dict-item]
            Finish: self._finish,  # type: ignore[dict-item]
            Stat: self._stat,  # type: ignore[dict-item]
            Read: self._read,  # type: ignore[dict-item]
            Rename: self._rename,  # type: ignore[dict-item]
            Remove: self._remove,  # type: ignore[dict-item]
            MakeDir: self._make_dir,  # type: ignore[dict-item]
            List: self._list,  # type: ignore[dict-item]
            Copy: self._copy,  # type: ignore[dict-item]
            Space: self._space,  # type: ignore[dict-item]
        }

    def __repr__(self) -> str:
        return f"<SftpTransport {self._connector!r}>"

    @property
    def capabilities(self) -> Capabilities:
        return self._connected().capabilities

    @property
    def server(self) -> Server:
        """What the handshake told about the server."""
        return self._connected()

    @property
    def described(self) -> str:
        """As whom and by which algorithms it is connected, for the log; "" if not known."""
        return str(getattr(self._channel, "described", ""))

    @property
    def overdue_at(self) -> float | None:
        """The monotonic time at which :meth:`collect` gives up waiting, if nothing arrives."""
        return None if self._server is None else self._wire.overdue_at

    def connect(self) -> None:
        if self._channel is not None:
            raise RuntimeError("a transport connects once")
        channel = self._connector(self._wake)
        self._channel = channel
        try:
            server, decoder = shake_hands(
                channel, self._clock, self._handshake_timeout_secs, self._max_write_bytes
            )
        except BaseException:
            channel.close()
            raise
        self._wire = Wire(channel, self._clock, decoder, self._ack_timeout_secs)
        self._reasons = Reasons(self._wire, offered=server.statvfs)
        self._handles = Handles(self._wire, server.max_handles, self._reasons)
        self._names = Names(self._wire, self._handles, server, self._reasons, self._end)
        self._server = server

    def submit(self, ticket: int, request: Request) -> None:
        self._connected()
        if self._lost is not None:
            raise self._lost
        if self._held or self._must_wait(request):
            self._held.append((ticket, request))
            return
        try:
            self._route(ticket, request)
        except LinkError as error:
            self._lost = error
            raise

    def collect(self) -> Iterator[tuple[int, Result]]:
        self._connected()
        if self._lost is None:
            try:
                self._handles.close_idle_readers()
                self._wire.flush()
                self._wire.receive()
                while self._held and not self._must_wait(self._held[0][1]):
                    self._route(*self._held.popleft())
                self._wire.flush()
                self._wire.check()
            except LinkError as error:
                self._lost = error
                if self._results:
                    self._wake()  # these first; the error comes with the next call
        if self._lost is not None and not self._results:
            raise self._lost
        return self._give_results()

    def _refuse(self, ticket: int, request: Request) -> None:
        """``Put`` and ``Begin``: SFTP has files that can be written to, and needs neither."""
        self._end(ticket, RemoteUnsupported("SFTP has no such request", path=request.path))

    def _give_results(self) -> Iterator[tuple[int, Result]]:
        while self._results:
            yield self._results.popleft()

    def close(self) -> None:
        if self._lost is None:
            self._lost = LinkLost("the connection is closed", retryable=False)
        if self._channel is not None:
            self._channel.close()

    def _connected(self) -> Server:
        if self._server is None:
            raise RuntimeError("the transport is not connected")
        return self._server

    # --- results --------------------------------------------------------------------------------

    def _end(self, ticket: int, result: Result) -> None:
        self._results.append((ticket, result))

    def _end_by_status(self, ticket: int, operation: str, path: str, reply: Reply) -> None:
        ok = status_code(reply, operation) == codec.FX_OK
        self._end(ticket, None if ok else remote_error(reply, operation, path))

    # --- order ----------------------------------------------------------------------------------

    def _route(self, ticket: int, request: Request) -> None:
        try:
            self._routes.get(type(request), self._refuse)(ticket, request)
        except ValueError as error:
            self._results.append((ticket, RemoteUnsupported(str(error), path=request.path)))

    def _must_wait(self, request: Request) -> bool:
        """A name is to change while requests under it wait for their handle."""
        if not isinstance(request, Rename | Remove | Copy):
            return False
        stalled = self._handles.stalled
        if stalled(request.path) is not None:
            return True
        return isinstance(request, Rename) and stalled(request.target) is not None

    def _in_order(self, start: Callable[[], None], path: str) -> None:
        """``start`` a request by path, but behind what waits for a handle under that path."""
        file = self._handles.stalled(path)
        if file is None:
            start()
        else:
            run = partial(self._leave_queue, file, start)
            self._handles.queue(file, Task(run, lambda _error: start()))

    def _leave_queue(self, file: OpenFile, start: Callable[[], None]) -> None:
        self._handles.release(file)
        start()

    def _fail_with(self, ticket: int) -> Callable[[RemoteError], None]:
        return lambda error: self._end(ticket, error)

    # --- write, finish --------------------------------------------------------------------------

    def _write(self, ticket: int, request: Write) -> None:
        if len(request.data) > self._connected().capabilities.max_write_bytes:
            raise ValueError(f"{len(request.data)} bytes are too many for one write")
        file = self._handles.obtain(request.path, writing=True, creates=request.create)
        run = partial(self._send_write, file, ticket, request)
        self._handles.queue(file, Task(run, self._fail_with(ticket), creates=request.create))

    def _send_write(self, file: OpenFile, ticket: int, request: Write) -> None:
        data = request.data
        if not data:
            self._end(ticket, None)
            self._handles.release(file)
            return
        assert file.handle is not None
        size = len(data)
        request_id = self._wire.ask(partial(self._written, file, ticket, request), size)
        self._wire.put(codec.encode_write_head(request_id, file.handle, request.offset, size), data)

    def _written(self, file: OpenFile, ticket: int, request: Write, reply: Reply) -> None:
        if status_code(reply, "write") == codec.FX_OK:
            self._end(ticket, None)
            self._handles.release(file)
            return
        # The handle may be stale (a remount, a restarted backend): the next write opens anew.
        self._handles.detach(file)
        self._handles.release(file)
        error = remote_error(reply, "write", request.path)
        end = self._fail_with(ticket)
        self._reasons.find(error, file.raw_path, end, needs_bytes=len(request.data))

    def _finish(self, ticket: int, request: Finish) -> None:
        reader = self._handles.find(request.path, writing=False)
        if reader is not None:
            self._handles.detach(reader)
        file = self._handles.find(request.path, writing=True)
        if file is None:
            self._end(ticket, None)
            return
        self._handles.take(file)
        run = partial(self._send_finish, file, ticket, request)
        self._handles.queue(file, Task(run, self._fail_with(ticket)))

    def _send_finish(self, file: OpenFile, ticket: int, request: Finish) -> None:
        server = self._connected()
        handle = file.handle
        assert handle is not None
        file.handle = None
        self._handles.release(file)
        self._handles.release(file)
        if not (request.sync and server.capabilities.fsync):
            done = partial(self._end_by_status, ticket, "close", request.path)
            self._handles.close_handle(handle, done)
            return
        synced: list[Reply] = []
        closed = partial(self._finished, ticket, request, synced)
        if server.capabilities.sequential:
            request_id = self._wire.ask(synced.append)
            self._wire.put(codec.encode_fsync(request_id, handle))
            self._handles.close_handle(handle, closed)
        else:

            def then_close(reply: Reply) -> None:
                synced.append(reply)
                self._handles.close_handle(handle, closed)

            request_id = self._wire.ask(then_close)
            self._wire.put(codec.encode_fsync(request_id, handle))

    def _finished(self, ticket: int, request: Finish, synced: list[Reply], reply: Reply) -> None:
        if synced and status_code(synced[0], "sync") != codec.FX_OK:
            self._end(ticket, remote_error(synced[0], "sync", request.path))
        else:
            self._end_by_status(ticket, "close", request.path, reply)

    # --- stat, read, copy -----------------------------------------------------------------------

    def _stat(self, ticket: int, request: Stat) -> None:
        if not request.by_handle:
            raw = encode_path(request.path)
            self._in_order(partial(self._send_stat, ticket, request.path, raw), request.path)
            return
        file = self._handles.find(request.path, writing=True)
        if file is None:
            error = RemoteUnsupported("the file is not open", operation="stat", path=request.path)
            self._end(ticket, error)
            return
        run = partial(self._send_fstat, file, ticket)
        self._handles.queue(file, Task(run, self._fail_with(ticket)))

    def _send_stat(self, ticket: int, path: str, raw: bytes) -> None:
        request_id = self._wire.ask(partial(self._statted, ticket, path))
        self._wire.put(codec.encode_stat(request_id, raw))

    def _send_fstat(self, file: OpenFile, ticket: int) -> None:
        assert file.handle is not None

        def done(reply: Reply) -> None:
            self._handles.release(file)
            self._statted(ticket, file.path, reply)

        self._wire.put(codec.encode_fstat(self._wire.ask(done), file.handle))

    def _statted(self, ticket: int, path: str, reply: Reply) -> None:
        if reply.kind == codec.ATTRS and isinstance(reply.value, Attributes):
            found = remote_stat(reply.value)
            if found is not None:
                self._end(ticket, found)
            else:
                words = "the server does not tell the size"
                self._end(ticket, RemoteUnsupported(words, operation="stat", path=path))
        else:
            self._end(ticket, remote_error(reply, "stat", path))

    def _read(self, ticket: int, request: Read) -> None:
        encode_path(request.path)
        self._in_order(partial(self._start_read, ticket, request), request.path)

    def _start_read(self, ticket: int, request: Read) -> None:
        file = self._handles.obtain(request.path, writing=False)
        run = partial(self._send_read, file, ticket, request, b"")
        self._handles.queue(file, Task(run, self._fail_with(ticket)))

    def _send_read(self, file: OpenFile, ticket: int, request: Read, got: bytes) -> None:
        missing = request.length - len(got)
        if missing <= 0:
            self._end(ticket, got)
            self._handles.release(file)
            return
        assert file.handle is not None
        size = min(missing, self._connected().capabilities.max_read_bytes)
        request_id = self._wire.ask(
            partial(self._read_some, file, ticket, request, got, size), size
        )
        offset = request.offset + len(got)
        self._wire.put(codec.encode_read(request_id, file.handle, offset, size))

    def _read_some(
        self, file: OpenFile, ticket: int, request: Read, got: bytes, size: int, reply: Reply
    ) -> None:
        if reply.kind == codec.DATA and isinstance(reply.value, bytes):
            if not 0 < len(reply.value) <= size:
                raise broken_protocol(f"{len(reply.value)} bytes for a read of {size}")
            self._send_read(file, ticket, request, got + reply.value)
            return
        if status_code(reply, "read") == codec.FX_EOF:
            self._end(ticket, got)
        else:
            self._end(ticket, remote_error(reply, "read", request.path))
            self._handles.detach(file)
        self._handles.release(file)

    def _copy(self, ticket: int, request: Copy) -> None:
        if not self._connected().capabilities.server_copy:
            raise ValueError("the server can't copy")
        encode_path(request.target)
        Copying(self._wire, self._handles, request, partial(self._end, ticket)).start()

    def _space(self, ticket: int, request: Space) -> None:
        if not self._connected().statvfs:
            raise ValueError("the server does not tell its free space")
        request_id = self._wire.ask(partial(self._spaced, ticket, request.path))
        self._wire.put(codec.encode_statvfs(request_id, encode_path(request.path)))

    def _spaced(self, ticket: int, path: str, reply: Reply) -> None:
        if reply.kind == codec.EXTENDED_REPLY and isinstance(reply.value, bytes):
            found = codec.decode_statvfs(reply.value)
            self._end(ticket, RemoteSpace(found.free_bytes, found.free_files))
        else:
            self._end(ticket, remote_error(reply, "ask for the free space of", path))

    # --- names ----------------------------------------------------------------------------------

    def _rename(self, ticket: int, request: Rename) -> None:
        self._names.rename(ticket, request)

    def _remove(self, ticket: int, request: Remove) -> None:
        self._names.remove(ticket, request)

    def _make_dir(self, ticket: int, request: MakeDir) -> None:
        self._names.make_dir(ticket, request)

    def _list(self, ticket: int, request: List) -> None:
        raw = encode_path(request.path)
        end = partial(self._end, ticket)
        listing = Listing(self._wire, self._handles, request.path, raw, end)
        self._handles.with_room(listing.start)
