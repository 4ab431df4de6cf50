"""SFTP status replies as errors of :mod:`pysubtask.errors`."""

from __future__ import annotations

from pysubtask.errors import (
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.said import said, visible
from pysubtask.transports.sftp.codec import (
    FX_EOF,
    FX_FAILURE,
    FX_FILE_ALREADY_EXISTS,
    FX_NO_SPACE,
    FX_NO_SUCH_FILE,
    FX_NO_SUCH_PATH,
    FX_OP_UNSUPPORTED,
    FX_PERMISSION_DENIED,
    FX_QUOTA_EXCEEDED,
    FX_WRITE_PROTECT,
    STATUS,
    Reply,
    broken_protocol,
)

__all__ = ["remote_error", "status_code"]

_BY_CODE: dict[int, tuple[type[RemoteError], str]] = {
    FX_NO_SUCH_FILE: (RemoteNotFound, "there is no such file or folder"),
    FX_NO_SUCH_PATH: (RemoteNotFound, "there is no such folder"),
    FX_PERMISSION_DENIED: (RemoteDenied, "the server denies permission"),
    FX_WRITE_PROTECT: (RemoteDenied, "it is write-protected"),
    FX_OP_UNSUPPORTED: (RemoteUnsupported, "the server does not support it"),
    FX_FILE_ALREADY_EXISTS: (RemoteExists, "something is there already"),
    FX_NO_SPACE: (RemoteFull, "no space is left on the server"),
    FX_QUOTA_EXCEEDED: (RemoteFull, "the quota on the server is used up"),
}

# What servers say with the code FAILURE: Go's syscall errors, Java's and Python's messages.
_FULL_WORDS = (
    "no space",
    "disk full",
    "disk is full",
    "quota",
    "enospc",
    "edquot",
    "too big for remaining disk space",  # rclone, before it begins to write
)
_EXISTS_WORDS = ("already exists", "file exists")
_READ_ONLY_WORDS = ("read-only", "read only", "erofs")
_DENIED_WORDS = ("permission denied", "not permitted", "access denied", "access is denied")

# Texts that only repeat the code (OpenSSH has no others).
_EMPTY_TEXTS = {"", "failure", "no such file", "permission denied", "operation unsupported"}


def status_code(reply: Reply, operation: str) -> int:
    """The code of a reply that must be a status.

    Raises:
        LinkLost: it is something else.
    """
    if reply.kind != STATUS:
        raise broken_protocol(f"it answered {operation!r} with a packet of type {reply.kind}")
    return reply.code


def remote_error(reply: Reply, operation: str, path: str) -> RemoteError:
    """The error for a status that is not OK.

    Raises:
        LinkLost: it is no status, or OK where something else had to come.
    """
    code = status_code(reply, operation)
    if code == 0:
        raise broken_protocol(f"it answered {operation!r} with OK and nothing else")
    raw = reply.value if isinstance(reply.value, bytes) else b""
    text = said(raw)
    lowered = visible(raw).lower()  # with secrets: a password may be one of the words
    kind, words = _BY_CODE.get(code, (RemoteError, "the server gives no reason"))
    if code == FX_EOF:
        words = "the file ends before that"
    elif code == FX_FAILURE or kind is RemoteError:
        if any(word in lowered for word in _FULL_WORDS):
            kind, words = RemoteFull, "no space is left on the server"
        elif any(word in lowered for word in _EXISTS_WORDS):
            kind, words = RemoteExists, "something is there already"
        elif any(word in lowered for word in _READ_ONLY_WORDS):
            kind, words = RemoteDenied, "the file system on the server is read-only"
        elif any(word in lowered for word in _DENIED_WORDS):
            kind, words = RemoteDenied, "the server denies permission"
    if lowered not in _EMPTY_TEXTS:
        words = f"{words}: {text!r}" if words != "the server gives no reason" else text
    return kind(words, operation=operation, path=path)
