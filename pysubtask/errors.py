"""Every error that pysubtask raises, as one tree.

::

    PysubtaskError
    ├── SettingsError          a mistake in settings; raised in the host program at once
    ├── NotWatchedError        notify() or status() of a path that nobody declared
    ├── StartError             the child process could not be started
    ├── StateError             the state folder can't be used, or its journal can't be read
    ├── LinkError              no connection, or it broke; the whole connection is affected
    │   ├── LinkLost           it was there and is gone (cut, mute, closed by the server)
    │   ├── AskedToWait        the server wants to be left alone for a while
    │   ├── LoginRefused       the server does not accept who we say we are
    │   └── HostKeyRefused     the server is not (or can't prove to be) who we think it is
    └── RemoteError            the server answered one request with a refusal; others go on
        ├── RemoteNotFound     the file or folder is not there
        ├── RemoteExists       something is there already
        ├── RemoteDenied       no permission
        ├── RemoteFull         no space or quota left
        └── RemoteUnsupported  the server does not know the request

An error says what was being done (``operation``), to what (``path``), whether doing it again can
help (``retryable``) and what a person can do about it (``hint``). All of them survive pickling, so
that they may cross a process boundary.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = [
    "AskedToWait",
    "HostKeyRefused",
    "LinkError",
    "LinkLost",
    "LoginRefused",
    "NotWatchedError",
    "PysubtaskError",
    "RemoteDenied",
    "RemoteError",
    "RemoteExists",
    "RemoteFull",
    "RemoteNotFound",
    "RemoteUnsupported",
    "SettingsError",
    "StartError",
    "StateError",
]


HostKeyReason: TypeAlias = Literal["unknown", "changed", "revoked", "certificate"]


class PysubtaskError(Exception):
    """Base of all errors of this package.

    Args:
        message: why it failed, in plain words.
        operation: what was being done, as a verb phrase (``"rename"``, ``"log in"``).
        path: the local or remote path, host or setting concerned.
        retryable: whether the same thing may succeed later with nobody changing anything.
        hint: what a person can do about it.
    """

    retryable_by_default = False

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        path: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.path = path
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.hint = hint

    def __str__(self) -> str:
        where = " ".join(part for part in (self.operation, self.path) if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {
            "operation": self.operation,
            "path": self.path,
            "retryable": self.retryable,
            "hint": self.hint,
        }
        return _rebuild, (type(self), self.message, fields)


def _rebuild(kind: type[PysubtaskError], message: str, fields: dict[str, Any]) -> PysubtaskError:
    return kind(message, **fields)


class SettingsError(PysubtaskError, ValueError):
    """A setting, a watch or a destination that can't be right."""


class NotWatchedError(PysubtaskError, LookupError):
    """The path is neither declared nor in a watched folder."""


class StartError(PysubtaskError):
    """The child process could not be started."""


class StateError(PysubtaskError):
    """The state folder can't be used."""


class LinkError(PysubtaskError):
    """There is no usable connection to the server."""

    retryable_by_default = True


class LinkLost(LinkError):
    """The connection was there and is gone."""


class AskedToWait(LinkError):
    """The server asks to be left alone for ``wait_secs``; whoever comes earlier is refused, too.

    Args:
        wait_secs: from now on; as :class:`PysubtaskError` for the others.
    """

    def __init__(self, message: str, *, wait_secs: float = 0.0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.wait_secs = wait_secs

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, message, fields) = super().__reduce__()
        return rebuild, (kind, message, {**fields, "wait_secs": self.wait_secs})


class LoginRefused(LinkError):
    """The server refused the user, the password or the key."""


class HostKeyRefused(LinkError):
    """The server's host key or certificate is unknown, changed or invalid.

    Args:
        reason: for programs: ``"unknown"`` (nobody said that this key is the server's),
            ``"changed"`` (another one was), ``"revoked"``, or ``"certificate"`` (TLS: it does not
            check).
    """

    def __init__(self, message: str, *, reason: HostKeyReason | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, message, fields) = super().__reduce__()
        return rebuild, (kind, message, {**fields, "reason": self.reason})


class RemoteError(PysubtaskError):
    """The server refused one request; the connection is still good."""

    retryable_by_default = True


class RemoteNotFound(RemoteError):
    """The remote file or folder is not there."""


class RemoteExists(RemoteError):
    """The remote name is taken."""


class RemoteDenied(RemoteError):
    """The server denies permission, or nobody may change anything there (read-only)."""

    retryable_by_default = False


class RemoteFull(RemoteError):
    """The server has no space, or no quota, left."""


class RemoteUnsupported(RemoteError):
    """The server, or this kind of destination, can't do what was asked."""

    retryable_by_default = False
