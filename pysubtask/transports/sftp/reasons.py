"""Why a request failed of which the server says no more than "Failure".

OpenSSH has no other words for a full or a read-only file system (``errno_to_portable`` in its
``sftp-server.c`` knows neither), and mod_sftp has none for a read-only one. Where the server tells
about its file systems (``statvfs@openssh.com``), it is asked for the one in question.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pysubtask.errors import RemoteDenied, RemoteError, RemoteFull
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.codec import Reply
from pysubtask.transports.sftp.wire import Wire

__all__ = ["Reasons"]

Then = Callable[[RemoteError], None]


class Reasons:
    """Looks for the cause behind a refusal.

    Args:
        offered: the server answers ``statvfs``.
    """

    def __init__(self, wire: Wire, *, offered: bool) -> None:
        self._wire = wire
        self._offered = offered

    def find(
        self, error: RemoteError, raw_path: bytes, then: Then, *, needs_bytes: int = 0
    ) -> None:
        """Call ``then`` with the error as it came, if it tells its cause, or with a better one.

        Args:
            raw_path: what was to be changed; its folder is asked about.
            needs_bytes: so much room it takes there; 0: none.
        """
        if type(error) is not RemoteError or not self._offered:
            then(error)
            return
        folder = raw_path.rpartition(b"/")[0] or (b"/" if raw_path.startswith(b"/") else b".")
        request_id = self._wire.ask(partial(self._told, error, then, needs_bytes))
        self._wire.put(codec.encode_statvfs(request_id, folder))

    def _told(self, error: RemoteError, then: Then, needs_bytes: int, reply: Reply) -> None:
        if reply.kind == codec.EXTENDED_REPLY and isinstance(reply.value, bytes):
            found = codec.decode_statvfs(reply.value)
            if found.read_only:
                words = "the file system on the server is read-only"
                error = RemoteDenied(words, operation=error.operation, path=error.path)
            elif needs_bytes and (found.free_bytes < needs_bytes or found.free_files == 0):
                words = "no space is left on the server"
                error = RemoteFull(words, operation=error.operation, path=error.path)
        then(error)
