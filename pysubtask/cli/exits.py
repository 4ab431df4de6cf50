"""Exit codes, and what to try after an error."""

from __future__ import annotations

import enum
import re
import shlex

from pysubtask.errors import (
    HostKeyRefused,
    LinkError,
    LoginRefused,
    PysubtaskError,
    RemoteDenied,
    RemoteError,
    RemoteFull,
    RemoteNotFound,
    SettingsError,
    StateError,
)
from pysubtask.holder import holder_pid, holder_program
from pysubtask.signals import StateLayout, read_json
from pysubtask.status import Status

__all__ = [
    "Busy",
    "Code",
    "Failure",
    "code_of",
    "code_of_kind",
    "link_error_of",
    "scrub",
    "what_to_try",
]


class Code(enum.IntEnum):
    """What a command ends with."""

    OK = 0
    ERROR = 1
    USAGE = 2
    PARTIAL = 3
    """Some of it was done, some was not."""
    UNREACHABLE = 10
    """No connection: name, port, link."""
    RUNNING = 11
    """Somebody else does it already."""
    LOGIN = 12
    """The login was refused."""
    IDENTITY = 13
    """The server's host key or certificate was refused."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT, as shells count)."""


class Failure(Exception):
    """A command's own failure: exit code and remedy are known.

    Args:
        message: what failed, and why.
        code: the exit code.
        attempt: what comes behind ``Try:``.
    """

    def __init__(self, message: str, code: Code, attempt: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.attempt = attempt


class Busy(Failure):
    """Somebody else uses the state folder.

    Args:
        what: what can't be done.
    """

    def __init__(self, state_dir: str, what: str) -> None:
        look = f"pysubtask status {shlex.quote(state_dir)}"
        program, subtask = holder_program(state_dir), holder_pid(state_dir)
        if program is not None:
            said = f"process {program} does it already"
            attempt = f"{look}; or end that process: kill {program}"
        elif subtask is not None and "program" not in (
            read_json(StateLayout(state_dir).holder) or {}
        ):  # a former version's, which says nothing of its program
            said = f"process {subtask} does it already"
            attempt = f"{look}; or end the program whose subtask that process is"
        elif subtask is not None:
            said = f"process {subtask} does it already, the subtask of a program that has ended"
            attempt = f"the same command again in a few seconds; {look}"
        else:
            said = "another process did it meanwhile"
            attempt = "the same command again"
        super().__init__(f"{what}: {said}", Code.RUNNING, attempt)


def code_of(error: BaseException) -> Code:
    """The exit code for an error."""
    if isinstance(error, Failure):
        return error.code
    if isinstance(error, HostKeyRefused):
        return Code.IDENTITY
    if isinstance(error, LoginRefused):
        return Code.LOGIN
    if isinstance(error, LinkError):
        return Code.UNREACHABLE
    return Code.ERROR


def code_of_kind(kind: str | None) -> Code:
    """The exit code for the name of a link error's class, as ``status().last_error_kind``."""
    return {
        None: Code.ERROR,
        "HostKeyRefused": Code.IDENTITY,
        "LoginRefused": Code.LOGIN,
    }.get(kind, Code.UNREACHABLE)


def link_error_of(status: Status) -> LinkError | None:
    """The link's last error as a status tells it; None if the trouble is not the link's."""
    if status.last_error_kind is None:
        return None
    words = status.last_error or ""
    if status.last_error_kind == "HostKeyRefused":
        return HostKeyRefused(words, reason=status.last_error_reason)
    return LoginRefused(words) if status.last_error_kind == "LoginRefused" else LinkError(words)


def what_to_try(error: BaseException, url: str | None, command: str) -> str:
    """The remedy, for the line ``Try: …``. Never empty.

    Args:
        url: the destination, without password, if the command has one.
        command: as typed, such as ``pysubtask push``.
    """
    if isinstance(error, Failure):
        return error.attempt
    where = shlex.quote(url) if url else "URL"
    hint = error.hint if isinstance(error, PysubtaskError) else None
    if isinstance(error, HostKeyRefused):
        if error.reason == "unknown":
            return f"pysubtask trust {where}   (shows the fingerprint, and pins it)"
        if error.reason == "changed":
            return (
                "ask who runs the server; if it really has a new key: "
                f"pysubtask trust --replace {where}"
            )
    if isinstance(error, LoginRefused) and (url or error.path or "").startswith("dropbox"):
        return hint or "pysubtask login dropbox --save FILE, and --config FILE"
    if isinstance(error, LoginRefused):
        ways = "--key-file, --password-file, --password-command or --password-env"
        return f"another user in the URL, or {ways}" + (f" ({hint})" if hint else "")
    if isinstance(error, LinkError):
        if hint or command != "pysubtask doctor":
            return hint or f"pysubtask doctor {where}   (tells which part of the way is broken)"
        return "the same command again; if it ends so each time, the server's log may say why"
    if hint:
        return hint
    if isinstance(error, RemoteDenied):
        return f"pysubtask doctor {where}   (tells what this login may do)"
    if isinstance(error, RemoteNotFound):
        return f"another folder in the URL; pysubtask doctor {where} shows what is there"
    if isinstance(error, RemoteFull):
        return "make room on the server, or ask for a larger quota"
    if isinstance(error, RemoteError):
        return f"pysubtask doctor {where}"
    if isinstance(error, StateError):
        return "--set bak_to_folder=FOLDER, a folder on a local disk that can be written"
    if isinstance(error, SettingsError) and error.path == "known_hosts":
        return f"pysubtask trust --known-hosts FILE {where}   (makes the file)"
    if isinstance(error, PermissionError):
        return "another user, or other permissions for that file"
    if isinstance(error, FileNotFoundError):
        return "look for a typing mistake in the path"
    return f"{command} --help"


_LOGIN_IN_URL = re.compile(r"(://[^/\s:@]*):\S*@")


def scrub(text: str) -> str:
    """``text`` without the passwords of URLs in it."""
    return _LOGIN_IN_URL.sub(r"\1:•••@", text)
