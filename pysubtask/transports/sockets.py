"""TCP with limits: name look-up, connecting, sending."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from pysubtask.errors import LinkError
from pysubtask.transports.contract import SLOWEST_BYTES_PER_SEC

__all__ = ["PatientSocket", "dial", "is_too_slow", "tune"]

_TICK_SECS = 1.0
"""How often a blocked send or receive looks up: paramiko checks its keepalive then."""

_BUFFER_BYTES = 256 * 1024


def dial(
    host: str, port: int, timeout_secs: float, dead_after_secs: float
) -> tuple[socket.socket, float]:
    """Connect to ``host``, trying its addresses in the resolver's order.

    Gives the socket, and how long the handshake took: about one round trip, in seconds.

    Args:
        timeout_secs: for the look-up and all addresses together; each address gets an equal share
            of what is left, so that a dead IPv6 route does not use up the time of IPv4.
        dead_after_secs: where the system can (Linux), it drops the connection itself when sent
            data was not acknowledged for so long.

    Raises:
        LinkError: the name is unknown, or no address answered.
    """
    deadline = time.monotonic() + timeout_secs
    addresses = _look_up(host, port, timeout_secs)
    failures: list[str] = []
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(left / (len(addresses) - index), min(left, 1.0)))
            began = time.monotonic()
            sock.connect(address)
            took = time.monotonic() - began
            tune(sock, dead_after_secs)
        except OSError as error:
            sock.close()
            words = "no answer" if isinstance(error, TimeoutError) else error.strerror
            where = "" if address[0] == host else f"{address[0]} "
            failures.append(f"{where}port {port}: {words or error}")
        else:
            return sock, took
    raise LinkError(
        "; ".join(dict.fromkeys(failures)) or f"no answer within {timeout_secs:.0f} s",
        operation="connect to",
        path=host,
    )


def _look_up(host: str, port: int, timeout_secs: float) -> list[tuple]:  # type: ignore[type-arg]
    """``getaddrinfo`` in a thread, since nothing can interrupt it."""
    found: list[tuple] = []  # type: ignore[type-arg]
    failed: list[OSError] = []

    def work() -> None:
        try:
            # as bytes: what is text goes through the codec "idna", which loads tables of Unicode
            name = host.encode("ascii") if host.isascii() else host
            found.extend(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failed.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=work, name="pysubtask look-up", daemon=True)
    thread.start()
    thread.join(timeout_secs)
    if failed:
        words = failed[0].strerror or str(failed[0])
        raise LinkError(f"the name can't be resolved: {words}", operation="connect to", path=host)
    if not found:
        raise LinkError(
            f"the name was not resolved within {timeout_secs:.0f} s",
            operation="connect to",
            path=host,
        )
    return found


def tune(sock: socket.socket, dead_after_secs: float) -> None:
    """No delay for small packets, and an end to a connection whose peer is gone."""
    # Without TCP_NODELAY an unpipelined loop of 32 KiB writes runs at 1.1 instead of 83 MB/s.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        # tcp(7): milliseconds that sent data may stay unacknowledged, or the window shut.
        ("TCP_USER_TIMEOUT", round(dead_after_secs * 1000)),
    ):
        if hasattr(socket, name):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_too_slow(
    took_secs: float, moved_bytes: int, patience_secs: float, *, done: str = "could be sent"
) -> str | None:
    """Words, if bytes move, but too slowly: a window that opens byte by byte, a server that drips.

    Args:
        done: what happened to them, for the words.
    """
    if took_secs - patience_secs <= moved_bytes / SLOWEST_BYTES_PER_SEC:
        return None
    if not moved_bytes:
        return f"nothing {done} for {took_secs:.0f} s"
    return f"only {moved_bytes:,} bytes {done} in {took_secs:.0f} s"


class PatientSocket:
    """What paramiko takes for a socket: receives are buffered, sends have a limit.

    paramiko retries a send that times out for ever, and asks for 16 bytes and then the rest of
    each packet; it looks up ten times a second while nothing happens. Here a send that makes no
    progress for ``send_timeout_secs`` fails, as does a packet that goes out at less than 1 KiB a
    second beyond that, the kernel is asked once for many packets, and an idle connection wakes up
    once a second.
    """

    def __init__(self, sock: socket.socket, send_timeout_secs: float) -> None:
        self._sock = sock
        sock.settimeout(_TICK_SECS)
        self._send_timeout_secs = send_timeout_secs
        self._buffer = b""
        self._position = 0
        self._closed = False  # paramiko looks at this, as at a real socket's
        self._received_bytes = 0
        self._packet_began: float | None = None
        self._packet_bytes = 0
        """Sent of a packet of which the system took a part only: the rest follows."""
        self.error: str | None = None
        """Why it broke, in words, if it did."""
        self.limit_bytes: int | None = None
        """More than this must not arrive, counted from the first byte."""
        self.is_flooded: Callable[[], bool] = lambda: False
        """Asked before each look at the network: there is more unread than the server may send."""

    def settimeout(self, timeout_secs: float | None) -> None:
        """paramiko's wish (0.1 s) is not needed: see the class."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def getpeername(self) -> object:
        return self._sock.getpeername()

    def recv(self, size: int) -> bytes:
        if self._position >= len(self._buffer):
            self._check_flood()
            try:
                self._buffer = self._sock.recv(_BUFFER_BYTES)
            except TimeoutError:
                raise
            except OSError as error:
                self._note(error)
                raise
            self._position = 0
            self._received_bytes += len(self._buffer)
        piece = self._buffer[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def _check_flood(self) -> None:
        over = self.limit_bytes is not None and self._received_bytes > self.limit_bytes
        if over or self.is_flooded():
            self.error = self.error or "the server sends more than it may"
            raise ConnectionAbortedError(errno.ECONNABORTED, self.error)

    def send(self, data: bytes) -> int:
        deadline = time.monotonic() + self._send_timeout_secs
        while True:
            try:
                sent = self._sock.send(data)
                self._check_pace(sent, is_all=sent == len(data))
                return sent
            except TimeoutError:
                if self._closed or time.monotonic() >= deadline:
                    self._give_up(f"nothing could be sent for {self._send_timeout_secs:.0f} s")
            except OSError as error:
                self._note(error)
                raise

    def _check_pace(self, sent_bytes: int, *, is_all: bool) -> None:
        if is_all:
            self._packet_began, self._packet_bytes = None, 0
            return
        now = time.monotonic()
        if self._packet_began is None:
            self._packet_began = now
        self._packet_bytes += sent_bytes
        took_secs = now - self._packet_began
        words = is_too_slow(took_secs, self._packet_bytes, self._send_timeout_secs)
        if words:
            self._give_up(words)

    def _give_up(self, words: str) -> NoReturn:
        self.error = self.error or words
        # paramiko wants both arguments
        raise ConnectionAbortedError(errno.ECONNABORTED, self.error) from None

    def abort(self) -> None:
        """End all waiting on the socket, from any thread; idempotent, never raises."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.close()

    def _note(self, error: OSError) -> None:
        if not self._closed and self.error is None:
            self.error = f"the connection broke: {error.strerror or error}"
