"""Waiting for one socket, whatever its number: ``select(2)`` takes none from 1024 on."""

from __future__ import annotations

import select
import socket
import sys

__all__ = ["is_ready"]


def is_ready(sock: socket.socket, timeout_secs: float, *, to_write: bool = False) -> bool:
    """Wait until there is something to read (or room to write), or an end of it; False if there was
    not in time.

    Raises:
        OSError: the socket can't be waited for.
        ValueError: it is closed.
    """
    if sys.platform == "win32":
        waiting = [sock]
        readable, writable, broken = select.select(
            [] if to_write else waiting, waiting if to_write else [], waiting, timeout_secs
        )
        return bool(readable or writable or broken)
    poller = select.poll()
    poller.register(sock, select.POLLOUT if to_write else select.POLLIN)
    return bool(poller.poll(timeout_secs * 1000))
