"""FTP replies: reading them from bytes, and what they mean as errors (RFC 959, 4.2; RFC 2228).

Servers use few codes for many troubles (550 above all), and vsftpd says "Could not create file" for
a missing folder and a denied one alike. So the text is looked at first, then the code; where
neither tells, the error is a plain :class:`~pysubtask.errors.RemoteError`, and the client asks
further.

A refusal for the moment (4xx, or words such as "Input/output error") says nothing of what is there:
a file that could not be looked at must never pass for one that is missing, whose place another may
take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.said import said, visible

__all__ = [
    "Momentary",
    "Reply",
    "ReplyReader",
    "check_that_it_looked",
    "parse_epsv",
    "parse_pasv",
    "remote_error",
]

_MAX_LINE_BYTES = 8192
_MAX_REPLY_BYTES = 262_144


class Momentary(RemoteError):
    """A refusal for the moment; for programs a :class:`~pysubtask.errors.RemoteError` as any."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; ``lines`` without their line ends, the first one without the code."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def done(self) -> bool:
        """What was asked is done (2xx)."""
        return 200 <= self.code < 300

    @property
    def goes_on(self) -> bool:
        """The next command of a pair is expected (3xx)."""
        return 300 <= self.code < 400

    @property
    def begins(self) -> bool:
        """A transfer begins (1xx)."""
        return 100 <= self.code < 200

    @property
    def text(self) -> str:
        """What it says, for people; one line, not too long."""
        return said(self._joined)

    @property
    def lowered(self) -> str:
        """The same in lower case, to look for words: a password may be one of them."""
        return visible(self._joined).lower()

    @property
    def _joined(self) -> bytes:
        return b" ".join(line.strip() for line in self.lines)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class ReplyReader:
    """Bytes in, replies out; no input or output of its own."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """All that was fed has been given out."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> None:
        """Take bytes of the control connection."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """The next whole reply, if it has arrived.

        Raises:
            LinkLost: this is not FTP.
        """
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._lines.append(line)
            self._bytes += end + 1  # with its end: a line may have nothing else
            if self._bytes > _MAX_REPLY_BYTES:
                raise _not_ftp(b"a reply without end")
            first = self._lines[0]
            if not re.match(rb"[1-6][0-9][0-9]([ -]|$)", first):
                raise _not_ftp(first)
            # RFC 959, 4.2: a reply of several lines ends with its code and a space
            if first[3:4] != b"-" or (
                len(self._lines) > 1 and re.match(first[:3] + b"( |$)", line)
            ):
                lines = [first[4:], *self._lines[1:]]
                if len(lines) > 1:
                    lines[-1] = lines[-1][4:]
                self._lines, self._bytes = [], 0
                return Reply(int(first[:3]), tuple(lines))
        if len(self._buffer) > _MAX_LINE_BYTES:
            raise _not_ftp(bytes(self._buffer[:40]))
        return None


def parse_epsv(reply: Reply) -> int | None:
    """The port of ``229 … (|||port|)`` (RFC 2428, 3); None if it makes no sense."""
    found = re.search(rb"\(([!-~])\1\1(\d{1,5})\1\)", reply.lines[0])
    port = int(found[2]) if found else 0
    return port if 0 < port < 65_536 else None


def parse_pasv(reply: Reply) -> int | None:
    """The port of ``227 … (h1,h2,h3,h4,p1,p2)``; None if it makes no sense.

    The address is not looked at: behind a NAT it is wrong, from a hostile server it names a third
    party. The peer of the control connection is used.
    """
    found = re.search(rb"(?:\d{1,3},){4}(\d{1,3}),(\d{1,3})", reply.lines[0])
    if found is None or int(found[1]) > 255 or int(found[2]) > 255:
        return None
    return int(found[1]) * 256 + int(found[2]) or None


_AT_THE_MOMENT = "the server can't at the moment"
_FULL_WORDS = (
    "no space",
    "disk full",
    "disk is full",
    "quota",
    "insufficient storage",
    "enospc",
)
_LIKELY_FULL_WORDS = (  # of a write; the server does not tell why it failed
    "failure writing to local file",  # vsftpd
    "input/output error",  # ProFTPD, where only a part of a piece found room (mod_xfer.c)
    "none; transfer aborted",  # pyftpdlib, which loses the number of the error
)
_MOMENTARY_WORDS = (  # of its disk, its own server or its memory; with 550, too
    "input/output error",
    "i/o error",
    "i/o device error",
    "stale file handle",
    "stale nfs",
    "timed out",
    "timeout",
    "temporarily",
    "try again",
    "busy",
    "being used by another",  # Windows
    "too many open",
    "out of memory",
    "allocate memory",
    "transport endpoint",
    "connection refused",
    "connection reset",
    "host is down",
    "no route to host",
    "network is ",
    "network name",
    "network path",  # Windows: "The network path was not found."
    "network error",
)
_CLEARLY_MISSING_WORDS = (  # of a file; "not found" may be of the network
    "no such file",
    "no such directory",
    "cannot find the file",
    "cannot find the path",
)
_MISSING_WORDS = (
    *_CLEARLY_MISSING_WORDS,
    "not found",
    "does not exist",
    "doesn't exist",
    "cannot find",
    "can't find",
)
_EXISTS_WORDS = ("already exists", "file exists", "directory exists")
_DENIED_WORDS = (
    "permission",
    "access is denied",
    "access denied",
    "not permitted",
    "read-only",
    "not allowed",
    "forbidden",
    "not enough privileges",
)
_TELLING_CODES = {426, 450, 451, 501, 521, 550, 551, 552, 553}
_PERMANENT_CODES = {501, 521, 550, 551, 552, 553}
_FILE_CODES = {450} | _PERMANENT_CODES  # with 426 and 451 something of the server may be missing
_PATHS = re.compile(r"""["'](?:[a-z]:)?[/\\].*?["']|[^\s:;,]*[/\\][^\s:;,]*""")
"""The server's own paths, which are not those that it was asked for: ``/srv/busybox/a.csv``. A
reason without a space before it (``/srv/a.csv:timeout``) is none of them."""
_MISSING = "there is no such file or folder"
_BY_WORDS: tuple[tuple[tuple[str, ...], type[RemoteError], str, set[int]], ...] = (
    (_CLEARLY_MISSING_WORDS, RemoteNotFound, _MISSING, _FILE_CODES),
    (_MOMENTARY_WORDS, Momentary, _AT_THE_MOMENT, _PERMANENT_CODES),
    (_MISSING_WORDS, RemoteNotFound, _MISSING, _FILE_CODES),
    (_EXISTS_WORDS, RemoteExists, "something is there already", _TELLING_CODES),
    (_DENIED_WORDS, RemoteDenied, "the server denies permission", _TELLING_CODES),
)
_BY_CODE: dict[int, tuple[type[RemoteError], str]] = {
    452: (RemoteFull, "no space is left on the server"),
    552: (RemoteFull, "the quota on the server is used up"),
    500: (RemoteUnsupported, "the server does not know the command"),
    502: (RemoteUnsupported, "the server does not know the command"),
    504: (RemoteUnsupported, "the server does not support it"),
    521: (RemoteExists, "something is there already"),
    530: (RemoteDenied, "the server denies permission"),
    532: (RemoteDenied, "the server wants an account for storing files"),
}


def remote_error(reply: Reply, operation: str, path: str) -> RemoteError:
    """The error for a refusal (4xx or 5xx).

    Raises:
        LinkLost: the reply is no refusal, or one that says that a connection broke (425, 426, 522).
    """
    if reply.code < 400:
        raise LinkLost(f"the server answered {operation!r} with {reply}", operation=operation)
    by_words = _by_words(reply, operation, path) if reply.code in _TELLING_CODES else None
    if by_words is None and reply.code in (425, 426, 522):  # 522: its TLS (RFC 4217, 10.2)
        raise LinkLost(
            f"the data connection failed: {str(reply)!r}",
            operation=operation,
            path=path,
            hint="the server's passive ports must be reachable",
        )
    unknown = (
        (Momentary, _AT_THE_MOMENT) if reply.code < 500 else (RemoteError, "the server refuses")
    )
    kind, meaning = by_words or _BY_CODE.get(reply.code, unknown)
    return kind(f"{meaning}: {str(reply)!r}", operation=operation, path=path)


def _by_words(reply: Reply, operation: str, path: str) -> tuple[type[RemoteError], str] | None:
    lowered, name = reply.lowered, path.lower()
    bare = _PATHS.sub(" ", lowered)

    def says(words: tuple[str, ...], *, beside_paths: bool = False) -> bool:
        return any(
            word in (bare if beside_paths and "/" not in word else lowered)
            and word not in name  # it may quote the name
            for word in words
        )

    if says(_FULL_WORDS, beside_paths=True):
        return RemoteFull, "no space is left on the server"
    if operation == "write" and says(_LIKELY_FULL_WORDS):
        return RemoteFull, "most likely no space is left on the server"
    for words, kind, meaning, codes in _BY_WORDS:
        if reply.code in codes and says(words, beside_paths=kind is Momentary):
            return kind, meaning
    return None


def check_that_it_looked(reply: Reply, path: str) -> None:
    """Of a refused look: whether it says that nothing is there, be it by leaving its reason open.

    Raises:
        RemoteError: it says that the server could not look.
        LinkLost: see :func:`remote_error`.
    """
    error = remote_error(reply, "stat", path)
    if isinstance(error, RemoteNotFound):
        return
    if reply.code < 500 or isinstance(error, Momentary | RemoteFull):
        raise error


def _not_ftp(data: bytes) -> LinkLost:
    return LinkLost(
        f"the other side does not speak FTP; it sent {data[:40]!r}",
        operation="read a reply",
        hint="an ftps:// server with implicit TLS listens on port 990",
    )
