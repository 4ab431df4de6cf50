"""A folder's names: ``OPENDIR``, several ``READDIR`` in flight, ``CLOSE``."""

from __future__ import annotations

import stat as stat_bits
from collections.abc import Callable

from pysubtask.errors import RemoteError
from pysubtask.transports.contract import RemoteStat, Result
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.codec import Entry, Reply
from pysubtask.transports.sftp.handles import Handles
from pysubtask.transports.sftp.statuses import remote_error, status_code
from pysubtask.transports.sftp.wire import Wire

__all__ = ["MAX_NAMES", "MAX_NAME_BYTES", "Listing"]

MAX_NAMES = 250_000
"""More names than this are refused, repeated ones included: no server can list for ever."""

MAX_NAME_BYTES = 32 * 1024 * 1024
"""Of all names together: no server can fill the memory."""

_MAX_IN_FLIGHT = 16


class Listing:
    """One folder being listed.

    OpenSSH gives 100 names per reply, so that a folder of 10,000 would cost 100 round trips. The
    first flight asks twice (names and the end), and each full answer doubles the next up to 16.

    Args:
        end: gets the result, once.
    """

    def __init__(
        self,
        wire: Wire,
        handles: Handles,
        path: str,
        raw_path: bytes,
        end: Callable[[Result], None],
    ) -> None:
        self._wire = wire
        self._handles = handles
        self._path = path
        self._raw_path = raw_path
        self._end = end
        self._handle = b""
        self._found: dict[str, RemoteStat] = {}
        self._in_flight = 0
        self._window = 2
        self._ended = False
        self._error: RemoteError | None = None
        self._names = self._name_bytes = 0

    def start(self) -> None:
        """Open the folder; a handle's room has been reserved."""
        request_id = self._wire.ask(self._opened)
        self._wire.put(codec.encode_opendir(request_id, self._raw_path))

    def _opened(self, reply: Reply) -> None:
        if reply.kind == codec.HANDLE and isinstance(reply.value, bytes):
            self._handle = reply.value
            self._ask()
        else:
            self._end(remote_error(reply, "list", self._path))
            self._handles.handle_refused()

    def _ask(self) -> None:
        while self._in_flight < self._window:
            self._in_flight += 1
            request_id = self._wire.ask(self._answered)
            self._wire.put(codec.encode_readdir(request_id, self._handle))

    def _answered(self, reply: Reply) -> None:
        self._in_flight -= 1
        if reply.kind == codec.NAME and isinstance(reply.value, list):
            self._add(reply.value)
        else:
            self._ended = True
            if status_code(reply, "list") != codec.FX_EOF and self._error is None:
                self._error = remote_error(reply, "list", self._path)
        if not self._ended:
            self._window = min(2 * self._window, _MAX_IN_FLIGHT)
            self._ask()
        elif not self._in_flight:
            self._handles.close_handle(self._handle)
            self._end(self._found if self._error is None else self._error)

    def _add(self, entries: list[Entry]) -> None:
        if not entries:  # nothing more, in the manner of servers that send no EOF
            self._ended = True
        self._names += len(entries)
        self._name_bytes += sum(len(entry.name) for entry in entries)
        if self._names > MAX_NAMES or self._name_bytes > MAX_NAME_BYTES:
            self._ended = True
            self._found.clear()
            self._error = RemoteError(
                f"the folder holds more than {MAX_NAMES} names, or very long ones",
                operation="list",
                path=self._path,
            )
            return
        for entry in entries:
            name, attributes = codec.decode_name(entry.name), entry.attributes
            if name in ("", ".", "..") or "/" in name:
                continue
            if attributes.permissions is not None:
                is_dir = stat_bits.S_ISDIR(attributes.permissions)
            else:
                is_dir = entry.long_name.startswith(b"d")
            mtime = None if attributes.mtime is None else float(attributes.mtime)
            self._found[name] = RemoteStat(attributes.size or 0, mtime, is_dir)
