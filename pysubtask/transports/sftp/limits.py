"""Bounds for what an SSH server may send: paramiko has none of its own.

* A packet may announce 4 GiB, and paramiko would gather them in memory. RFC 4253, section 6.1, asks
  for 35,000 bytes; OpenSSH takes 256 KiB at most (``PACKET_MAX_SIZE``).
* A compressed packet may grow a thousandfold.
* Before the login a server may send greeting lines without end.
* A channel's window is a promise; paramiko does not check whether a server keeps to it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from pysubtask.transports.sockets import PatientSocket

if TYPE_CHECKING:
    import paramiko

__all__ = ["MOST_LOGIN_BYTES", "MOST_PACKET_BYTES", "MOST_UNREAD_BYTES", "bound", "bound_channel"]

MOST_PACKET_BYTES = 256 * 1024 + 1024
"""With its MAC."""

MOST_LOGIN_BYTES = 1024 * 1024
"""From the greeting to the open subsystem; some 10 KB is what it takes."""

MOST_UNREAD_BYTES = 4 * 1024 * 1024
"""Of the channel's data and of what the server complains; the window is 2 MiB for each."""


def bound(transport: paramiko.Transport, sock: PatientSocket) -> None:
    """Limit packets, and what comes before the login; :func:`bound_channel` lifts the latter."""
    import paramiko.compress

    packetizer = transport.packetizer
    read_all = packetizer.read_all

    def read_some(count: int, check_rekey: bool = False) -> bytes:
        if count > MOST_PACKET_BYTES:
            sock.error = sock.error or f"the server sends a packet of {count} bytes"
            raise EOFError
        return bytes(read_all(count, check_rekey))

    packetizer.read_all = read_some
    methods = (paramiko.compress.ZlibCompressor, _Inflate)
    transport._compression_info = {
        **transport._compression_info,
        "zlib@openssh.com": methods,
        "zlib": methods,
    }
    sock.limit_bytes = MOST_LOGIN_BYTES


def bound_channel(channel: Any, sock: PatientSocket) -> None:
    """From here on the server may send what the window allows, and no more."""
    sock.limit_bytes = None
    pipes = channel.in_buffer, channel.in_stderr_buffer
    sock.is_flooded = lambda: sum(len(pipe) for pipe in pipes) > MOST_UNREAD_BYTES


class _Inflate:
    """What paramiko calls to decompress a packet's payload."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        grown = self._engine.decompress(data, MOST_PACKET_BYTES)
        if self._engine.unconsumed_tail:
            raise EOFError
        return grown
