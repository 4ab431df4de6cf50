"""SFTP version 3 packets as the simulated server sees them: numbers, requests, a line of trace."""

from __future__ import annotations

import os
import struct
from struct import Struct

from tests.simulation.remote import RemoteRefusal

__all__ = [
    "ALL_EXTENSIONS",
    "GO_EXTENSIONS",
    "MAX_PACKET_BYTES",
    "MODSFTP_EXTENSIONS",
    "TEXTS",
    "Packet",
    "describe",
    "read_string",
]

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT = 1, 2, 3, 4, 5, 6, 7, 8
SETSTAT, FSETSTAT, OPENDIR, READDIR, REMOVE, MKDIR = 9, 10, 11, 12, 13, 14
RMDIR, REALPATH, STAT, RENAME, EXTENDED = 15, 16, 17, 18, 200
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201
OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
TEXTS = {
    OK: b"Success",
    EOF: b"End of file",
    NO_SUCH_FILE: b"No such file",
    DENIED: b"Permission denied",
    FAILURE: b"Failure",
    BAD_MESSAGE: b"Bad message",
    UNSUPPORTED: b"Operation unsupported",
}

MAX_PACKET_BYTES = 262_144

U32 = Struct(">I")
HEAD = Struct(">IBI")
TWO_U64 = Struct(">QQ")
OFFSET_LENGTH = Struct(">QI")
U64 = Struct(">Q")
STATUS_HEAD = Struct(">IBIII")
ATTRIBUTES = Struct(">IQIII")

ALL_EXTENSIONS = (
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
"""OpenSSH 9.2's list, in its order."""
GO_EXTENSIONS = (
    (b"hardlink@openssh.com", b"1"),
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
)
"""``pkg/sftp``'s list (``supportedSFTPExtensions``)."""
MODSFTP_EXTENSIONS = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fsync@openssh.com", b"1"),
)
"""Of ProFTPD's mod_sftp, what we use."""


class Packet:
    """A request."""

    __slots__ = ("body", "handle", "kind", "number", "request_id")

    def __init__(self, number: int, kind: int, request_id: int, body: bytes) -> None:
        self.number = number
        self.kind = kind
        self.request_id = request_id
        self.body = body
        self.handle = b""
        if kind in (READ, WRITE, CLOSE) and len(body) >= 4:
            (size,) = U32.unpack_from(body)
            self.handle = body[4 : 4 + size]


NAMES_OF_KINDS = {
    INIT: "INIT",
    OPEN: "OPEN",
    CLOSE: "CLOSE",
    READ: "READ",
    WRITE: "WRITE",
    LSTAT: "LSTAT",
    FSTAT: "FSTAT",
    STAT: "STAT",
    OPENDIR: "OPENDIR",
    READDIR: "READDIR",
    REMOVE: "REMOVE",
    MKDIR: "MKDIR",
    REALPATH: "REALPATH",
    RENAME: "RENAME",
    EXTENDED: "EXTENDED",
}


def read_string(body: bytes, at: int) -> tuple[bytes, int]:
    """The string at ``at``, and where what follows it begins."""
    (size,) = U32.unpack_from(body, at)
    if at + 4 + size > len(body):
        raise RemoteRefusal(BAD_MESSAGE)
    return body[at + 4 : at + 4 + size], at + 4 + size


def describe(request: Packet, packet: bytes) -> str:
    """One line for ``--replay -v``."""
    words = [NAMES_OF_KINDS.get(request.kind, str(request.kind))]
    try:
        if request.kind in (READ, WRITE):
            offset, length = OFFSET_LENGTH.unpack_from(request.body, 4 + len(request.handle))
            words.append(f"{request.handle.decode()} {offset}+{length}")
        elif request.kind != INIT:
            at = 0
            while at < len(request.body) and len(words) < 4:
                text, at = read_string(request.body, at)
                words.append(os.fsdecode(text))
    except (RemoteRefusal, struct.error, UnicodeDecodeError):
        pass
    if packet[4] == STATUS:
        words.append(f"-> {TEXTS[U32.unpack_from(packet, 9)[0]].decode()}")
    elif packet[4] == HANDLE:
        words.append(f"-> {packet[13:].decode()}")
    elif packet[4] == ATTRS:
        words.append(f"-> {U64.unpack_from(packet, 13)[0]} bytes")
    elif packet[4] == DATA:
        words.append(f"-> {len(packet) - 13} bytes")
    return " ".join(words)
