"""Copying on the server: ``copy-data`` between two files that must both be open."""

from __future__ import annotations

from collections.abc import Callable

from pysubtask.errors import RemoteError
from pysubtask.transports.contract import Copy, Result
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.codec import Reply
from pysubtask.transports.sftp.handles import Handles, Task
from pysubtask.transports.sftp.statuses import remote_error, status_code
from pysubtask.transports.sftp.wire import Wire

__all__ = ["Copying"]

COPY_BYTES_PER_SEC = 1024 * 1024
"""The slowest disk of a server that copies: the time that the deadline gives it."""


class Copying:
    """One copy, from opening the files to the result.

    It takes its place in the target's queue at once, so that later writes to the target do not
    overtake it while the source is being opened.

    Args:
        end: gets the result, once.
    """

    def __init__(
        self, wire: Wire, handles: Handles, request: Copy, end: Callable[[Result], None]
    ) -> None:
        self._wire = wire
        self._handles = handles
        self._request = request
        self._end = end
        self._source = handles.obtain(request.path, writing=False)
        self._target = handles.obtain(request.target, writing=True, creates=request.create)
        self._source_open = False
        self._failure: RemoteError | None = None

    def start(self) -> None:
        """Queue up."""
        self._handles.queue(self._source, Task(self._source_opened, self._source_failed))
        self._handles.queue(
            self._target,
            Task(self._run, self._target_failed, creates=self._request.create, ready=self._ready),
        )

    def _ready(self) -> bool:
        return self._source_open or self._failure is not None

    def _source_opened(self) -> None:
        if self._failure is not None:  # the target's, in the meantime
            self._handles.release(self._source)
        else:
            self._source_open = True
            self._handles.advance(self._target)

    def _source_failed(self, error: RemoteError) -> None:
        self._failure = self._failure or error
        self._handles.advance(self._target)

    def _target_failed(self, error: RemoteError) -> None:
        if self._source_open:
            self._handles.release(self._source)
        self._failure = error
        self._end(error)

    def _run(self) -> None:
        request, source, target = self._request, self._source, self._target
        if self._failure is not None:
            self._handles.release(target)
            self._end(self._failure)
            return
        if not request.length:  # 0 would mean all of it to the server
            self._handles.release(source)
            self._handles.release(target)
            self._end(None)
            return
        assert source.handle is not None
        assert target.handle is not None
        request_id = self._wire.ask(self._copied, extra_secs=request.length / COPY_BYTES_PER_SEC)
        self._wire.put(
            codec.encode_copy_data(
                request_id,
                source.handle,
                request.offset,
                request.length,
                target.handle,
                request.target_offset,
            )
        )

    def _copied(self, reply: Reply) -> None:
        self._handles.release(self._source)
        self._handles.release(self._target)
        ok = status_code(reply, "copy") == codec.FX_OK
        self._end(None if ok else remote_error(reply, "copy", self._request.path))
