"""What Dropbox, its SDK and the HTTP library below it say, as errors of ours in plain words.

The tags are those of the API's error unions: https://www.dropbox.com/developers/documentation/http/
documentation (each endpoint's "Errors"), status codes those of its page "Error handling":
400 bad input, 401 token, 403 no access, 409 the endpoint's own errors, 429 rate limit, 5xx.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator
from typing import Any

from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    PysubtaskError,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)

__all__ = ["correct_offset", "refusals", "refused", "tags_of"]

_DEFAULT_WAIT_SECS = 5.0
_LONGEST_WAIT_SECS = 3600.0
"""Whatever a server asks for: after an hour it is asked again."""
_RELOGIN = "log in again: python -m pysubtask.dropbox login"
_FULL = "make room, or get more of it"

_REFUSALS: dict[str, tuple[type[RemoteError], str, bool, str | None]] = {
    # tag: kind, words, whether it may go away by itself, hint
    "insufficient_space": (RemoteFull, "the Dropbox is full", False, _FULL),
    "insufficient_quota": (RemoteFull, "the Dropbox is full", False, _FULL),
    "team_folder_insufficient_space": (RemoteFull, "the team folder is full", False, _FULL),
    "team_folder_insufficient_quota": (RemoteFull, "the team folder is full", False, _FULL),
    "member_folder_insufficient_space": (RemoteFull, "the member's folder is full", False, _FULL),
    "member_folder_insufficient_quota": (RemoteFull, "the member's folder is full", False, _FULL),
    "upload_traffic_limit_reached": (
        RemoteFull,
        "this month's upload traffic is used up",
        False,
        "it begins anew next month, or with a bigger plan",
    ),
    "no_write_permission": (
        RemoteDenied,
        "no permission to write there",
        False,
        "a shared folder may be read-only for this account",
    ),
    "access_restricted": (RemoteDenied, "access is restricted there", False, None),
    "operation_suppressed": (RemoteDenied, "Dropbox does not allow that there", False, None),
    "team_folder": (RemoteDenied, "team folders can't be moved or deleted", False, None),
    "locked": (RemoteDenied, "somebody has locked the file", True, None),
    "malformed_path": (
        RemoteError,
        "Dropbox can't have a file of this name",
        False,
        'give it another with "as"',
    ),
    "disallowed_name": (
        RemoteError,
        "Dropbox does not keep files of this name",
        False,
        'give it another with "as"',
    ),
    "file_ancestor": (RemoteExists, "a file is where its folder should be", False, None),
    "folder": (RemoteExists, "a folder of this name is in the way", False, None),
    "conflict": (RemoteExists, "something of this name is there", False, None),
    "not_folder": (RemoteNotFound, "it is no folder", False, None),
    "not_file": (RemoteError, "it is a folder, not a file", False, None),
    "not_found": (RemoteNotFound, "it is not there", True, None),
    "closed": (RemoteNotFound, "the upload session has ended", True, None),
    "incorrect_offset": (RemoteNotFound, "the upload session is elsewhere", True, None),
    "too_many_write_operations": (
        RemoteError,
        "too many write operations in this Dropbox at the moment",
        True,
        None,
    ),
    "content_hash_mismatch": (RemoteError, "it was damaged on its way", True, None),
    "length_mismatch": (RemoteError, "it was damaged on its way", True, None),
    "payload_too_large": (RemoteError, "a request is larger than Dropbox takes", False, None),
    "too_large": (RemoteError, "the file is larger than Dropbox takes (2 TB)", False, None),
}
_LOGIN = {
    "invalid_access_token": ("the token is not valid, or was revoked", _RELOGIN),
    "expired_access_token": (
        "the access token has expired; such a token lives some four hours",
        f"use a refresh token; {_RELOGIN}",
    ),
    "user_suspended": ("the user is suspended", None),
    "missing_scope": (
        "the app lacks a permission",
        "tick files.metadata.read and files.content.write in the App Console, then " + _RELOGIN,
    ),
}


def tags_of(error: Any) -> list[str]:
    """The tags of an error union, outermost first: ``["path", "conflict", "file"]``."""
    tags: list[str] = []
    while error is not None and len(tags) < 8:
        tag = getattr(error, "_tag", None)
        if tag is None:
            error = getattr(error, "reason", None)  # UploadWriteFailed
            continue
        tags.append(tag)
        error = getattr(error, "_value", None)
    return tags


def correct_offset(error: Any) -> int | None:
    """What an ``incorrect_offset`` somewhere in an error union says is right."""
    for _ in range(8):
        found = getattr(error, "correct_offset", None)
        if isinstance(found, int):
            return found
        error = getattr(error, "_value", None)
    return None


def refused(union: Any, operation: str, path: str) -> RemoteError:
    """The error for an endpoint's own refusal."""
    tags = tags_of(union)
    for tag in [name for name in _REFUSALS if name in tags]:
        kind, words, retryable, hint = _REFUSALS[tag]
        return kind(words, operation=operation, path=path, retryable=retryable, hint=hint)
    return RemoteError(
        f"Dropbox refused: {'/'.join(tags) or 'without a reason'}", operation=operation, path=path
    )


@contextlib.contextmanager
def refusals(operation: str, path: str) -> Iterator[None]:
    """Turns what is raised inside into an error of ours.

    Raises:
        RemoteError: the request was refused.
        LinkError: login, rate limit, the server's own trouble, no connection.
    """
    try:
        yield
    except PysubtaskError:
        raise
    except Exception as error:
        found = _convert(error, operation, path)
        if found is None:
            raise
        raise found from error


def _convert(error: Exception, operation: str, path: str) -> PysubtaskError | None:
    import requests
    from dropbox import exceptions
    from dropbox.stone_validators import ValidationError

    where: dict[str, Any] = {"operation": operation, "path": path}
    if isinstance(error, exceptions.ApiError):
        return refused(error.error, operation, path)
    if isinstance(error, exceptions.AuthError):
        tags = tags_of(error.error)
        words, hint = _LOGIN.get(tags[0] if tags else "", ("Dropbox refused the login", _RELOGIN))
        if "missing_scope" in tags:
            scope = getattr(getattr(error.error, "_value", None), "required_scope", "")
            words = f"{words}: {scope}" if scope else words
        return LoginRefused(words, operation="log in", path="dropbox", hint=hint)
    if isinstance(error, exceptions.RateLimitError):
        wait = _DEFAULT_WAIT_SECS if error.backoff is None else float(error.backoff)
        reason = getattr(error.error, "reason", None)
        words = (
            "too many write operations in this Dropbox"
            if "too_many_write_operations" in tags_of(reason)
            else "too many requests"
        )
        wait = min(max(0.0, wait), _LONGEST_WAIT_SECS) if wait == wait else _DEFAULT_WAIT_SECS
        return AskedToWait(
            f"{words}; Dropbox asks to wait {math.ceil(wait)} s", wait_secs=wait, **where
        )
    if isinstance(error, exceptions.BadInputError):
        return RemoteError("Dropbox can't read the request", retryable=False, **where)
    if isinstance(error, exceptions.HttpError):
        return LinkLost(f"Dropbox answered {error.status_code}", **where)
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY" in str(error):
        return HostKeyRefused(
            "its certificate does not check",
            reason="certificate",
            operation="connect",
            path="dropbox",
            hint="is a proxy between? ca_file names further certificates to trust",
        )
    if isinstance(error, requests.exceptions.Timeout):
        return LinkLost("no answer in time", **where)
    if isinstance(error, requests.exceptions.RequestException):
        return LinkLost(_why(error), **where)
    if isinstance(error, ValidationError) and not _is_of_answer(error):
        return RemoteError("no such name or value is possible", retryable=False, **where)
    if isinstance(error, ValidationError | AssertionError | ValueError | KeyError) or (
        isinstance(error, _BELOW) and _is_raised_below(error)
    ):
        return LinkLost("an answer that is not Dropbox's; is a proxy or portal between?", **where)
    return None


_BELOW = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the SDK may raise where an answer is not of the shape that it expects. Mistakes of our own
look the same, and must not be taken for the server's."""


def _is_raised_below(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames[-8:]}
    return bool(packages & {"dropbox", "requests", "urllib3", "json"})


def _is_of_answer(error: BaseException) -> bool:
    """Whether the SDK found fault with what came, rather than with what was to be sent."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "json_compat_obj_decode" for frame, _ in frames)


def _why(error: BaseException) -> str:
    """The reason at the bottom of what requests and urllib3 wrap around it, without the URL."""
    found: Any = error
    for _ in range(8):
        inner = (
            getattr(found, "reason", None)
            or next((arg for arg in found.args if isinstance(arg, BaseException)), None)
            or found.__cause__  # of urllib3's "Failed to establish a new connection"
        )
        if not isinstance(inner, BaseException):
            break
        found = inner
    if isinstance(found, OSError) and found.strerror:
        return f"no connection ({found.strerror})"
    return "the connection broke"
