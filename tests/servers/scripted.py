"""A channel whose other end is the test: it reads requests and says what the server answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from pysubtask.errors import LinkError, LinkLost
from pysubtask.transports.contract import Wake
from pysubtask.transports.sftp.channel import Channel

__all__ = ["OPENSSH_EXTENSIONS", "ManualClock", "ScriptedServer", "Sent"]

_U32 = Struct(">I")
_U64 = Struct(">Q")

OPENSSH_EXTENSIONS = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"expand-path@openssh.com", b"1"),
    (b"copy-data", b"1"),
    (b"home-directory", b"1"),
    (b"users-groups-by-id@openssh.com", b"1"),
)

NAMES = {
    1: "INIT", 3: "OPEN", 4: "CLOSE", 5: "READ", 6: "WRITE", 8: "FSTAT", 11: "OPENDIR",
    12: "READDIR", 13: "REMOVE", 14: "MKDIR", 17: "STAT", 18: "RENAME", 200: "EXTENDED",
}  # fmt: skip


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return 1_700_000_000.0 + self.now

    def monotonic(self) -> float:
        return self.now

    def thread_secs(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs


class Sent(NamedTuple):
    """One request as the server sees it."""

    name: str
    id: int
    first: bytes
    """Path, handle, or the name of the extension."""
    rest: bytes
    """Everything after it."""


def string(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def packet(kind: int, request_id: int, body: bytes) -> bytes:
    return _U32.pack(5 + len(body)) + bytes([kind]) + _U32.pack(request_id) + body


def status(request_id: int, code: int = 0, text: bytes = b"") -> bytes:
    return packet(101, request_id, _U32.pack(code) + string(text) + string(b""))


def handle(request_id: int, name: bytes) -> bytes:
    return packet(102, request_id, string(name))


def data(request_id: int, content: bytes) -> bytes:
    return packet(103, request_id, string(content))


def attributes(size: int | None = None, mode: int | None = None, mtime: int | None = None) -> bytes:
    flags, body = 0, b""
    if size is not None:
        flags |= 1
        body += _U64.pack(size)
    if mode is not None:
        flags |= 4
        body += _U32.pack(mode)
    if mtime is not None:
        flags |= 8
        body += _U32.pack(mtime) * 2
    return _U32.pack(flags) + body


def attrs(request_id: int, size: int, mode: int = 0o100644) -> bytes:
    return packet(105, request_id, attributes(size, mode, 1_700_000_000))


def names(request_id: int, *entries: tuple[bytes, int, int]) -> bytes:
    body = b"".join(
        string(name) + string(b"-rw-r--r-- " + name) + attributes(size, mode)
        for name, size, mode in entries
    )
    return packet(104, request_id, _U32.pack(len(entries)) + body)


def version(extensions: Sequence[tuple[bytes, bytes]] = (), number: int = 3) -> bytes:
    body = b"".join(string(name) + string(value) for name, value in extensions)
    return packet(2, number, body)


def limits(request_id: int, *, packet_bytes: int = 262_144, open_handles: int = 100) -> bytes:
    body = b"".join(map(_U64.pack, (packet_bytes, 261_120, 261_120, open_handles)))
    return packet(201, request_id, body)


class ScriptedServer:
    """Connector and channel in one; answers the handshake by itself if ``greeting`` is given.

    Attributes:
        sends: what each single ``send`` carried.
    """

    def __init__(self, clock: ManualClock, greeting: bytes = b"", limit_reply: bytes = b"") -> None:
        self._clock = clock
        self._greeting = [part for part in (greeting, limit_reply) if part]
        self._incoming: deque[bytes] = deque()
        self._unread = b""
        self.sends: list[bytes] = []
        self.error: LinkError | None = None
        self.send_error: LinkError | None = None
        self.closed = 0

    def __call__(self, wake: Wake) -> Channel:
        return self

    def send(self, *parts: bytes) -> None:
        data = b"".join(parts)
        if self.send_error is not None:
            raise self.send_error
        if self._greeting:
            self._incoming.append(self._greeting.pop(0))
            return
        self.sends.append(data)
        self._unread += data

    def receive(self) -> bytes:
        if self._incoming:
            return self._incoming.popleft()
        if self.error is not None:
            raise self.error
        return b""

    def wait(self, timeout_secs: float) -> None:
        if not self._incoming:
            self._clock.now += timeout_secs

    def close(self) -> None:
        self.closed += 1
        self.error = self.error or LinkLost("closed")

    def answer(self, *packets: bytes) -> None:
        """Let these bytes arrive."""
        self._incoming.append(b"".join(packets))

    def requests(self) -> list[Sent]:
        """The requests since the last call."""
        found = []
        while self._unread:
            length = _U32.unpack_from(self._unread)[0]
            whole, self._unread = self._unread[4 : 4 + length], self._unread[4 + length :]
            assert len(whole) == length, "half a packet"
            size = _U32.unpack_from(whole, 5)[0]
            first, rest = whole[9 : 9 + size], whole[9 + size :]
            found.append(Sent(NAMES[whole[0]], _U32.unpack_from(whole, 1)[0], first, rest))
        return found
