"""SFTP version 3 as bytes, without any input or output.

Sources: draft-ietf-secsh-filexfer-02 (packet types, status codes, attributes), and OpenSSH's
``PROTOCOL`` document, section 4 (``posix-rename@openssh.com``, ``fsync@openssh.com``,
``statvfs@openssh.com``, ``limits@openssh.com``, ``copy-data``).

``encode_…`` functions give the bytes of one request; :class:`ReplyDecoder` turns whatever pieces
of a byte stream arrive into replies. A server is not trusted: nothing it sends makes the decoder
hold more than one packet of at most :data:`MAX_REPLY_BYTES`, and a count or length that does not
fit into its own packet is an error before anything is allocated for it.

Paths are ``bytes`` here; :func:`encode_path` and :func:`decode_name` translate.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from pysubtask.errors import LinkLost

__all__ = [
    "MAX_REPLY_BYTES",
    "Attributes",
    "Entry",
    "Limits",
    "Reply",
    "ReplyDecoder",
    "VersionReply",
    "broken_protocol",
    "decode_limits",
    "decode_name",
    "decode_statvfs",
    "encode_close",
    "encode_copy_data",
    "encode_fstat",
    "encode_fsync",
    "encode_init",
    "encode_limits",
    "encode_mkdir",
    "encode_open",
    "encode_opendir",
    "encode_path",
    "encode_posix_rename",
    "encode_read",
    "encode_readdir",
    "encode_remove",
    "encode_rename",
    "encode_stat",
    "encode_statvfs",
    "encode_write_head",
]

PROTOCOL_VERSION: Final = 3

MAX_REPLY_BYTES: Final = 256 * 1024 + 1024
"""OpenSSH's server sends no packet above 256 KiB (``SFTP_MAX_MSG_LENGTH``); the rest is slack."""

MAX_HANDLE_BYTES: Final = 256
"""The draft, section 6.2: a handle's length is at most 256 bytes."""

# Requests (draft, section 3).
_INIT, _OPEN, _CLOSE, _READ, _WRITE, _FSTAT = 1, 3, 4, 5, 6, 8
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _STAT, _RENAME = 11, 12, 13, 14, 17, 18
_EXTENDED = 200

# Replies.
VERSION: Final = 2
STATUS: Final = 101
HANDLE: Final = 102
DATA: Final = 103
NAME: Final = 104
ATTRS: Final = 105
EXTENDED_REPLY: Final = 201

# Open flags (draft, section 6.3).
FXF_READ: Final = 0x01
FXF_WRITE: Final = 0x02
FXF_CREAT: Final = 0x08

# Status codes: 0-8 are the draft's (section 7); the others come from later drafts
# (draft-ietf-secsh-filexfer-13, section 9.1), and some servers send them in version 3 too.
FX_OK: Final = 0
FX_EOF: Final = 1
FX_NO_SUCH_FILE: Final = 2
FX_PERMISSION_DENIED: Final = 3
FX_FAILURE: Final = 4
FX_BAD_MESSAGE: Final = 5
FX_OP_UNSUPPORTED: Final = 8
FX_NO_SUCH_PATH: Final = 10
FX_FILE_ALREADY_EXISTS: Final = 11
FX_WRITE_PROTECT: Final = 12
FX_NO_SPACE: Final = 14
FX_QUOTA_EXCEEDED: Final = 15

# Attribute flags (draft, section 5).
_ATTR_SIZE, _ATTR_UIDGID, _ATTR_PERMISSIONS, _ATTR_ACMODTIME = 0x1, 0x2, 0x4, 0x8
_ATTR_EXTENDED = 0x8000_0000

_U32 = Struct(">I")
_U64 = Struct(">Q")
_HEAD = Struct(">IBI")
_HEAD_STRING = Struct(">IBII")
_REPLY = Struct(">BI")
_OFFSET_LENGTH = Struct(">QI")
_OPEN_TAIL = Struct(">II")
_COPY = Struct(">QQ")
_LIMITS = Struct(">4Q")
_STATVFS = Struct(">11Q")
_ST_RDONLY = 1  # SSH_FXE_STATVFS_ST_RDONLY in OpenSSH's PROTOCOL
_TIMES = Struct(">II")


def broken_protocol(what: str) -> LinkLost:
    """The error for a server that does not keep to the protocol."""
    return LinkLost(f"the server broke the SFTP protocol: {what}")


class Attributes(NamedTuple):
    """What the server tells of a file; ``None`` is what it does not tell."""

    size: int | None = None
    permissions: int | None = None
    """Mode bits, the file type included (as in ``st_mode``)."""
    mtime: int | None = None
    """Unix seconds; version 3 has 32 bits and no fractions."""


class Entry(NamedTuple):
    """One name of a folder."""

    name: bytes
    long_name: bytes
    attributes: Attributes


class Limits(NamedTuple):
    """``limits@openssh.com``, in bytes and handles; 0 means that the server tells no limit."""

    packet: int
    read: int
    write: int
    open_handles: int


class VersionReply(NamedTuple):
    """The server's answer to ``INIT``: extensions in the order in which it lists them."""

    version: int
    extensions: tuple[tuple[bytes, bytes], ...]


class Reply(NamedTuple):
    """One reply. What ``value`` is depends on ``kind``.

    ======================  ====================================================================
    ``STATUS``              ``code`` is the status code, ``value`` the server's text as ``bytes``
    ``HANDLE``, ``DATA``    ``bytes``
    ``NAME``                list of :class:`Entry`
    ``ATTRS``               :class:`Attributes`
    ``EXTENDED_REPLY``      ``bytes``: the body, to be decoded by who knows the request
    ``VERSION``             :class:`VersionReply`; ``request_id`` is 0
    ======================  ====================================================================
    """

    request_id: int
    kind: int
    code: int
    value: bytes | list[Entry] | Attributes | VersionReply


def encode_path(path: str) -> bytes:
    """The bytes of a remote path; lone surrogates are bytes that are not UTF-8 (PEP 383).

    Raises:
        ValueError: the text can't be a path: it holds a NUL, or half a character that stands for
            no byte (a name from Windows that is not Unicode).
    """
    raw = path.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError("a remote name can't hold a NUL")
    return raw


def decode_name(raw: bytes) -> str:
    """The text of a name that the server sent; the opposite of :func:`encode_path`."""
    return raw.decode("utf-8", "surrogateescape")


# --- requests -----------------------------------------------------------------------------------


def encode_init() -> bytes:
    """``INIT``: the first packet, and the only one without a request id."""
    return _HEAD.pack(5, _INIT, PROTOCOL_VERSION)


def _with_string(kind: int, request_id: int, text: bytes, tail: bytes = b"") -> bytes:
    size = len(text)
    return _HEAD_STRING.pack(9 + size + len(tail), kind, request_id, size) + text + tail


def encode_open(request_id: int, path: bytes, flags: int) -> bytes:
    """``OPEN`` without attributes: a new file's mode is the server's 0666 less its umask."""
    return _with_string(_OPEN, request_id, path, _OPEN_TAIL.pack(flags, 0))


def encode_close(request_id: int, handle: bytes) -> bytes:
    return _with_string(_CLOSE, request_id, handle)


def encode_read(request_id: int, handle: bytes, offset: int, length: int) -> bytes:
    return _with_string(_READ, request_id, handle, _OFFSET_LENGTH.pack(offset, length))


def encode_write_head(request_id: int, handle: bytes, offset: int, length: int) -> bytes:
    """``WRITE`` up to its data: the ``length`` bytes follow as they are, so nothing is copied."""
    size = len(handle)
    head = _HEAD_STRING.pack(21 + size + length, _WRITE, request_id, size)
    return head + handle + _OFFSET_LENGTH.pack(offset, length)


def encode_fstat(request_id: int, handle: bytes) -> bytes:
    return _with_string(_FSTAT, request_id, handle)


def encode_stat(request_id: int, path: bytes) -> bytes:
    """``STAT``: symbolic links are followed."""
    return _with_string(_STAT, request_id, path)


def encode_opendir(request_id: int, path: bytes) -> bytes:
    return _with_string(_OPENDIR, request_id, path)


def encode_readdir(request_id: int, handle: bytes) -> bytes:
    return _with_string(_READDIR, request_id, handle)


def encode_remove(request_id: int, path: bytes) -> bytes:
    return _with_string(_REMOVE, request_id, path)


def encode_mkdir(request_id: int, path: bytes) -> bytes:
    """``MKDIR`` without attributes: the mode is the server's 0777 less its umask."""
    return _with_string(_MKDIR, request_id, path, _U32.pack(0))


def encode_rename(request_id: int, path: bytes, target: bytes) -> bytes:
    """The draft's ``RENAME``: it is an error if ``target`` exists."""
    return _with_string(_RENAME, request_id, path, _U32.pack(len(target)) + target)


def _extended(request_id: int, name: bytes, *strings: bytes, tail: bytes = b"") -> bytes:
    body = b"".join(_U32.pack(len(text)) + text for text in strings) + tail
    return _with_string(_EXTENDED, request_id, name, body)


def encode_posix_rename(request_id: int, path: bytes, target: bytes) -> bytes:
    """``rename(2)``: an existing ``target`` is replaced in one step."""
    return _extended(request_id, b"posix-rename@openssh.com", path, target)


def encode_fsync(request_id: int, handle: bytes) -> bytes:
    return _extended(request_id, b"fsync@openssh.com", handle)


def encode_statvfs(request_id: int, path: bytes) -> bytes:
    return _extended(request_id, b"statvfs@openssh.com", path)


def encode_limits(request_id: int) -> bytes:
    return _extended(request_id, b"limits@openssh.com")


def encode_copy_data(
    request_id: int, source: bytes, offset: int, length: int, target: bytes, target_offset: int
) -> bytes:
    """``copy-data`` between two open handles; a ``length`` of 0 means up to the end."""
    tail = _COPY.pack(offset, length) + _U32.pack(len(target)) + target + _U64.pack(target_offset)
    return _extended(request_id, b"copy-data", source, tail=tail)


# --- replies ------------------------------------------------------------------------------------


def decode_limits(body: bytes) -> Limits:
    """The body of the answer to ``limits@openssh.com``.

    Raises:
        LinkLost: it is too short.
    """
    if len(body) < _LIMITS.size:
        raise broken_protocol("its answer about limits is too short")
    return Limits(*_LIMITS.unpack_from(body))


class FileSystem(NamedTuple):
    """What a ``statvfs`` answer tells of a file system, for the user who is logged in."""

    free_bytes: int
    free_files: int | None
    """None: it counts none (btrfs)."""
    read_only: bool


def decode_statvfs(body: bytes) -> FileSystem:
    """The answer to :func:`encode_statvfs`.

    Raises:
        LinkLost: it is too short.
    """
    if len(body) < _STATVFS.size:
        raise broken_protocol("its answer about free space is too short")
    _, block_bytes, _, _, blocks, files, _, free_files, _, flags, _ = _STATVFS.unpack_from(body)
    return FileSystem(
        block_bytes * blocks,
        free_files if files or free_files else None,
        bool(flags & _ST_RDONLY),
    )


class ReplyDecoder:
    """Cuts a byte stream into replies.

    After malformed input :attr:`broken` holds the error, and nothing more is decoded: replies that
    came before it in the same piece are good and are given out.
    """

    def __init__(self, max_packet_bytes: int = MAX_REPLY_BYTES) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._partial = bytearray()
        self._needed = 4
        self.broken: LinkLost | None = None

    def feed(self, data: bytes) -> list[Reply]:
        """Take a piece of the stream and give the replies that it completes."""
        replies: list[Reply] = []
        if self.broken is not None:
            return replies
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return replies
            data = bytes(self._partial)
            self._partial.clear()
        position, end = 0, len(data)
        self._needed = 4
        try:
            while end - position >= 4:
                (length,) = _U32.unpack_from(data, position)
                if not 5 <= length <= self._max_packet_bytes:
                    raise broken_protocol(self._bad_length(length, data, position))
                stop = position + 4 + length
                if stop > end:
                    self._needed = 4 + length
                    break
                replies.append(_decode(data, position + 4, stop))
                position = stop
        except LinkLost as error:
            self.broken = error
            return replies
        if position < end:
            self._partial += memoryview(data)[position:]
        return replies

    def _bad_length(self, length: int, data: bytes, position: int) -> str:
        start = data[position : position + 60]
        if (
            start.isascii()
            and start.decode("ascii").replace("\n", " ").replace("\r", "").isprintable()
        ):
            return f"it sent text: {start.decode('ascii').strip()!r}"
        return f"it announced a packet of {length} bytes"


def _decode(data: bytes, start: int, stop: int) -> Reply:
    kind, request_id = _REPLY.unpack_from(data, start)
    body = start + 5
    try:
        if kind == STATUS:
            (code,) = _U32.unpack_from(data, body)
            if body + 4 > stop:
                raise broken_protocol("a status without a code")
            if code == FX_OK:
                return Reply(request_id, STATUS, FX_OK, b"")
            # Servers that are older than version 3 send no text, and some still do not.
            text = b"" if body + 8 > stop else _string(data, body + 4, stop)[0]
            return Reply(request_id, STATUS, code, text)
        if kind == HANDLE:
            handle, _ = _string(data, body, stop)
            if not 0 < len(handle) <= MAX_HANDLE_BYTES:
                raise broken_protocol(f"a handle of {len(handle)} bytes")
            return Reply(request_id, HANDLE, 0, handle)
        if kind == DATA:
            return Reply(request_id, DATA, 0, _string(data, body, stop)[0])
        if kind == ATTRS:
            return Reply(request_id, ATTRS, 0, _attributes(data, body, stop)[0])
        if kind == NAME:
            return Reply(request_id, NAME, 0, _entries(data, body, stop))
        if kind == EXTENDED_REPLY:
            return Reply(request_id, EXTENDED_REPLY, 0, data[body:stop])
        if kind == VERSION:
            return Reply(0, VERSION, 0, VersionReply(request_id, _extensions(data, body, stop)))
    except struct.error:
        raise broken_protocol(f"a packet of type {kind} ends too early") from None
    raise broken_protocol(f"a packet of the unknown type {kind}")


def _string(data: bytes, position: int, stop: int) -> tuple[bytes, int]:
    (size,) = _U32.unpack_from(data, position)
    start = position + 4
    if size > stop - start:
        raise broken_protocol(f"a string of {size} bytes where {max(stop - start, 0)} are left")
    return data[start : start + size], start + size


def _attributes(data: bytes, position: int, stop: int) -> tuple[Attributes, int]:
    (flags,) = _U32.unpack_from(data, position)
    position += 4
    size = permissions = mtime = None
    if flags & _ATTR_SIZE:
        (size,) = _U64.unpack_from(data, position)
        position += 8
    if flags & _ATTR_UIDGID:
        position += 8
    if flags & _ATTR_PERMISSIONS:
        (permissions,) = _U32.unpack_from(data, position)
        position += 4
    if flags & _ATTR_ACMODTIME:
        _, mtime = _TIMES.unpack_from(data, position)
        position += 8
    if flags & _ATTR_EXTENDED:
        (count,) = _U32.unpack_from(data, position)
        position += 4
        if count * 8 > stop - position:
            raise broken_protocol(f"{count} extended attributes in one packet")
        for _ in range(count):
            _, position = _string(data, position, stop)
            _, position = _string(data, position, stop)
    if position > stop:
        raise broken_protocol("attributes that end too early")
    return Attributes(size, permissions, mtime), position


def _entries(data: bytes, position: int, stop: int) -> list[Entry]:
    (count,) = _U32.unpack_from(data, position)
    position += 4
    if count * 12 > stop - position:  # two lengths and the attributes' flags, at least
        raise broken_protocol(f"{count} names in a packet of {stop - position} bytes")
    entries: list[Entry] = []
    for _ in range(count):
        name, position = _string(data, position, stop)
        long_name, position = _string(data, position, stop)
        attributes, position = _attributes(data, position, stop)
        entries.append(Entry(name, long_name, attributes))
    return entries


def _extensions(data: bytes, position: int, stop: int) -> tuple[tuple[bytes, bytes], ...]:
    pairs: list[tuple[bytes, bytes]] = []
    while position < stop:
        name, position = _string(data, position, stop)
        value, position = _string(data, position, stop)
        pairs.append((name, value))
    return tuple(pairs)


def extension_value(extensions: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value (its version) of an advertised extension, ``None`` if it is not advertised."""
    return next((value for found, value in extensions if found == name), None)
