"""Renaming, removing, making folders: requests by path that may need a second look."""

from __future__ import annotations

import stat as stat_bits
from collections.abc import Callable
from functools import partial

from pysubtask.errors import RemoteError, RemoteExists, RemoteNotFound
from pysubtask.transports.contract import MakeDir, RemoteStat, Remove, Rename, Result
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.codec import Attributes, Reply, encode_path
from pysubtask.transports.sftp.handles import Handles
from pysubtask.transports.sftp.handshake import Server
from pysubtask.transports.sftp.reasons import Reasons
from pysubtask.transports.sftp.statuses import remote_error, status_code
from pysubtask.transports.sftp.wire import Wire

__all__ = ["Names", "remote_stat"]


def remote_stat(attributes: Attributes) -> RemoteStat | None:
    """What the contract calls a stat; ``None`` if the server does not tell a file's size."""
    is_dir = attributes.permissions is not None and stat_bits.S_ISDIR(attributes.permissions)
    if attributes.size is None and not is_dir:
        return None
    mtime = None if attributes.mtime is None else float(attributes.mtime)
    return RemoteStat(attributes.size or 0, mtime, is_dir)


class Names:
    """Changes what is called how.

    Args:
        reasons: looks for the cause of a refusal.
        end: takes a ticket and its result.
    """

    def __init__(
        self,
        wire: Wire,
        handles: Handles,
        server: Server,
        reasons: Reasons,
        end: Callable[[int, Result], None],
    ) -> None:
        self._wire = wire
        self._handles = handles
        self._server = server
        self._reasons = reasons
        self._end = end

    def rename(self, ticket: int, request: Rename) -> None:
        """Rename; what is open under both names no longer counts.

        Raises:
            ValueError: the name can't be sent, or the server can't replace.
        """
        raw, raw_target = encode_path(request.path), encode_path(request.target)
        if request.replace and not self._server.capabilities.atomic_replace:
            raise ValueError("the server can't replace a file in one step")
        self._handles.forget(request.path)
        self._handles.forget(request.target)
        if request.replace:
            done = partial(self._end_by_status, ticket, "rename", request.path, raw)
            self._wire.put(codec.encode_posix_rename(self._wire.ask(done), raw, raw_target))
        elif self._server.careful_rename:
            self._send_rename(ticket, request, raw, raw_target)
        else:

            def checked(reply: Reply) -> None:
                if reply.kind == codec.ATTRS:
                    self._end(ticket, _taken(request))
                    return
                error = remote_error(reply, "rename", request.path)
                if isinstance(error, RemoteNotFound):
                    self._send_rename(ticket, request, raw, raw_target)
                else:  # nobody knows whether the name is free
                    self._end(ticket, error)

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

            # OpenSSH says only "Failure", for an existing target as for much else.
            def looked(reply: Reply) -> None:
                found = _taken(request) if reply.kind == codec.ATTRS else error
                self._reasons.find(found, raw, partial(self._end, ticket))

            self._wire.put(codec.encode_stat(self._wire.ask(looked), raw_target))

        self._wire.put(codec.encode_rename(self._wire.ask(done), raw, raw_target))

    def remove(self, ticket: int, request: Remove) -> None:
        """Delete a file; what is open under its name no longer counts.

        Raises:
            ValueError: the name can't be sent.
        """
        raw = encode_path(request.path)
        self._handles.forget(request.path)
        done = partial(self._end_by_status, ticket, "remove", request.path, raw)
        self._wire.put(codec.encode_remove(self._wire.ask(done), raw))

    def make_dir(self, ticket: int, request: MakeDir) -> None:
        """Make a folder; one that is there is as good.

        Raises:
            ValueError: the name can't be sent.
        """
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
                if found is not None and found.is_dir:
                    self._end(ticket, None)
                else:
                    self._reasons.find(error, raw, partial(self._end, ticket), needs_bytes=1)

            self._wire.put(codec.encode_stat(self._wire.ask(looked), raw))

        self._wire.put(codec.encode_mkdir(self._wire.ask(done), raw))

    def _end_by_status(
        self, ticket: int, operation: str, path: str, raw: bytes, reply: Reply
    ) -> None:
        if status_code(reply, operation) == codec.FX_OK:
            self._end(ticket, None)
        else:
            error = remote_error(reply, operation, path)
            self._reasons.find(error, raw, partial(self._end, ticket))


def _taken(request: Rename) -> RemoteExists:
    return RemoteExists(f"{request.target} is there already", operation="rename", path=request.path)
