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

import stat as stat_bits
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from pysubtask.errors import (
    LinkError,
    LinkLost,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.subtask.clock import Clock
from pysubtask.transports.contract import (
    Capabilities,
    Copy,
    Finish,
    List,
    MakeDir,
    Read,
    RemoteStat,
    Remove,
    Rename,
    Request,
    Result,
    Stat,
    Wake,
    Write,
)
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.channel import Channel, Connector
from pysubtask.transports.sftp.codec import Attributes, Reply, broken_protocol, encode_path
from pysubtask.transports.sftp.handles import Handles, OpenFile, Task
from pysubtask.transports.sftp.handshake import Server, shake_hands
from pysubtask.transports.sftp.listing import Listing
from pysubtask.transports.sftp.statuses import remote_error, status_code
from pysubtask.transports.sftp.wire import Wire

__all__ = ["SftpTransport"]

COPY_BYTES_PER_SEC = 1024 * 1024
"""The slowest disk of a server that copies: the time that ``copy-data``'s deadline gives it."""


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
        self._handles: Handles
        self._results: list[tuple[int, Result]] = []
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
        self._handles = Handles(self._wire, server.max_handles)
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
        results, self._results = self._results, []
        if self._lost is not None and not results:
            raise self._lost
        return iter(results)

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
            self._routes[type(request)](ticket, request)
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
        if type(error) is RemoteError and self._connected().statvfs:
            # OpenSSH says no more than "Failure": ask whether the disk is full.
            folder = file.raw_path.rpartition(b"/")[0] or b"."
            request_id = self._wire.ask(partial(self._judged, ticket, error, len(request.data)))
            self._wire.put(codec.encode_statvfs(request_id, folder))
        else:
            self._end(ticket, error)

    def _judged(self, ticket: int, error: RemoteError, size: int, reply: Reply) -> None:
        if reply.kind == codec.EXTENDED_REPLY and isinstance(reply.value, bytes):
            free_bytes, free_files = codec.decode_statvfs_free(reply.value)
            if free_bytes < size or not free_files:
                error = RemoteFull("no space is left on the server", operation="write",
                                   path=error.path)  # fmt: skip
        self._end(ticket, error)

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
        encode_path(request.path)
        encode_path(request.target)
        # Both files must be open. The copy takes its place in the target's queue at once, so that
        # later writes to the target do not overtake it while the source is being opened.
        target = self._handles.obtain(request.target, writing=True, creates=True)
        source = self._handles.obtain(request.path, writing=False)
        failed: list[RemoteError] = []
        source_open: list[bool] = []

        def source_opened() -> None:
            source_open.append(True)
            self._handles.advance(target)

        def source_failed(error: RemoteError) -> None:
            failed.append(error)
            self._handles.advance(target)

        def target_failed(error: RemoteError) -> None:
            failed.append(error)
            if source_open:
                self._handles.release(source)
            self._end(ticket, error)

        def run() -> None:
            if failed:
                self._handles.release(target)
                self._end(ticket, failed[0])
            else:
                self._send_copy(source, target, ticket, request)

        def source_ready() -> None:
            if failed:  # the target could not be opened in the meantime
                self._handles.release(source)
            else:
                source_opened()

        def ready() -> bool:
            return bool(source_open or failed)

        self._handles.queue(source, Task(source_ready, source_failed))
        self._handles.queue(target, Task(run, target_failed, creates=True, ready=ready))

    def _send_copy(self, source: OpenFile, target: OpenFile, ticket: int, request: Copy) -> None:
        def done(reply: Reply) -> None:
            self._handles.release(source)
            self._handles.release(target)
            self._end_by_status(ticket, "copy", request.path, reply)

        if not request.length:  # 0 would mean all of it to the server
            self._handles.release(source)
            self._handles.release(target)
            self._end(ticket, None)
            return
        assert source.handle is not None
        assert target.handle is not None
        request_id = self._wire.ask(done, extra_secs=request.length / COPY_BYTES_PER_SEC)
        place = request.offset, request.length
        self._wire.put(
            codec.encode_copy_data(
                request_id, source.handle, *place, target.handle, request.target_offset
            )
        )

    # --- names ----------------------------------------------------------------------------------

    def _rename(self, ticket: int, request: Rename) -> None:
        raw, raw_target = encode_path(request.path), encode_path(request.target)
        if request.replace and not self._connected().capabilities.atomic_replace:
            raise ValueError("the server can't replace a file in one step")
        self._handles.forget(request.path)
        self._handles.forget(request.target)
        if request.replace:
            done = partial(self._end_by_status, ticket, "rename", request.path)
            self._wire.put(codec.encode_posix_rename(self._wire.ask(done), raw, raw_target))
        elif self._connected().careful_rename:
            self._send_rename(ticket, request, raw, raw_target)
        else:

            def checked(reply: Reply) -> None:
                if reply.kind == codec.ATTRS:
                    self._end(ticket, _taken(request))
                else:
                    self._send_rename(ticket, request, raw, raw_target)

            self._wire.put(codec.encode_stat(self._wire.ask(checked), raw_target))

    def _send_rename(self, ticket: int, request: Rename, raw: bytes, raw_target: bytes) -> None:
        def done(reply: Reply) -> None:
            if status_code(reply, "rename") == codec.FX_OK:
                self._end(ticket, None)
                return
            error = remote_error(reply, "rename", request.path)
            if type(error) is not RemoteError:
                self._end(ticket, error)
                return

            def looked(reply: Reply) -> None:
                self._end(ticket, _taken(request) if reply.kind == codec.ATTRS else error)

            self._wire.put(codec.encode_stat(self._wire.ask(looked), raw_target))

        self._wire.put(codec.encode_rename(self._wire.ask(done), raw, raw_target))

    def _remove(self, ticket: int, request: Remove) -> None:
        raw = encode_path(request.path)
        self._handles.forget(request.path)
        done = partial(self._end_by_status, ticket, "remove", request.path)
        self._wire.put(codec.encode_remove(self._wire.ask(done), raw))

    def _make_dir(self, ticket: int, request: MakeDir) -> None:
        raw = encode_path(request.path)

        def done(reply: Reply) -> None:
            if status_code(reply, "make folder") == codec.FX_OK:
                self._end(ticket, None)
                return
            error = remote_error(reply, "make folder", request.path)
            if isinstance(error, RemoteNotFound):
                self._end(ticket, error)
                return

            def looked(reply: Reply) -> None:
                found = remote_stat(reply.value) if isinstance(reply.value, Attributes) else None
                self._end(ticket, None if found is not None and found.is_dir else error)

            self._wire.put(codec.encode_stat(self._wire.ask(looked), raw))

        self._wire.put(codec.encode_mkdir(self._wire.ask(done), raw))

    def _list(self, ticket: int, request: List) -> None:
        raw = encode_path(request.path)
        end = partial(self._end, ticket)
        listing = Listing(self._wire, self._handles, request.path, raw, end)
        self._handles.with_room(listing.start)


def remote_stat(attributes: Attributes) -> RemoteStat | None:
    """What the contract calls a stat; ``None`` if the server does not tell a file's size."""
    is_dir = attributes.permissions is not None and stat_bits.S_ISDIR(attributes.permissions)
    if attributes.size is None and not is_dir:
        return None
    mtime = None if attributes.mtime is None else float(attributes.mtime)
    return RemoteStat(attributes.size or 0, mtime, is_dir)


def _taken(request: Rename) -> RemoteExists:
    return RemoteExists(f"{request.target} is there already", operation="rename", path=request.path)
