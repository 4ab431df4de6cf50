"""Data connections: opened passively, to the peer of the control connection and nobody else."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator

from pysubtask.errors import HostKeyRefused, LinkError, LinkLost
from pysubtask.seams.clock import Clock
from pysubtask.transports.ftp.control import Control, shake_tls_hands
from pysubtask.transports.ftp.ready import is_ready
from pysubtask.transports.ftp.replies import parse_epsv, parse_pasv
from pysubtask.transports.sockets import is_too_slow, tune

__all__ = ["DataConnection", "Passive"]

_PIECE_BYTES = 262_144
_LEAST_BUFFER_BYTES = 32_768
_REASON_SECS = 2.0
"""How long to wait for the reason why TLS failed."""


class Passive:
    """Opens data connections for one control connection.

    EPSV (RFC 2428) first, PASV if the server refuses it and the connection is IPv4.

    Args:
        context, host: for TLS; ``context=None``: in the clear.
    """

    def __init__(
        self,
        control: Control,
        context: ssl.SSLContext | None,
        host: str,
        *,
        connect_timeout_secs: float,
        send_timeout_secs: float,
    ) -> None:
        self._control = control
        self._context = context
        self._host = host
        self._connect_timeout_secs = connect_timeout_secs
        self._send_timeout_secs = send_timeout_secs
        self._extended = True

    def open(self, receive_bytes: int | None = None) -> DataConnection:
        """Connected, but not encrypted yet: see :meth:`DataConnection.begin`.

        Args:
            receive_bytes: no more than that is wanted; the rest should not travel for nothing.

        Raises:
            LinkLost: the server can't, or its port can't be reached.
        """
        port = self._port()
        address = (self._control.peer[0], port, *self._control.peer[2:])
        sock = socket.socket(self._control.family, socket.SOCK_STREAM)
        try:
            if receive_bytes is not None:
                size = max(_LEAST_BUFFER_BYTES, receive_bytes)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            sock.settimeout(self._connect_timeout_secs)
            sock.connect(address)
            tune(sock, self._send_timeout_secs)
        except OSError as error:
            sock.close()
            words = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise LinkLost(
                f"the data connection to port {port} can't be made: {words}",
                operation="open a data connection",
                hint="the server's passive ports must be reachable",
            ) from error
        sock.settimeout(self._send_timeout_secs)
        return DataConnection(sock, self._control, self._context, self._host)

    def _port(self) -> int:
        if self._extended:
            reply = self._control.ask(b"EPSV")
            port = parse_epsv(reply) if reply.code == 229 else None
            if port is not None:
                return port
            if self._control.family != socket.AF_INET:
                raise LinkLost(f"the server has no passive mode for IPv6: {str(reply)!r}")
            self._extended = False
        reply = self._control.ask(b"PASV")
        port = parse_pasv(reply) if reply.code == 227 else None
        if port is None:
            raise LinkLost(f"the server has no passive mode: {str(reply)!r}")
        return port


class _Pace:
    """Ends a transfer that goes on, but too slowly to be alive."""

    def __init__(self, clock: Clock, patience_secs: float) -> None:
        self._clock = clock
        self._patience_secs = patience_secs
        self._began = clock.monotonic()

    def check(self, moved_bytes: int, done: str) -> None:
        """Raises:
        LinkLost: so many bytes should have taken less time.
        """
        took_secs = self._clock.monotonic() - self._began
        words = is_too_slow(took_secs, moved_bytes, self._patience_secs, done=done)
        if words:
            raise LinkLost(words)


class DataConnection:
    """One data connection; closed at the end of its transfer, whatever happens."""

    def __init__(
        self, sock: socket.socket, control: Control, context: ssl.SSLContext | None, host: str
    ) -> None:
        self._sock = sock
        self._control = control
        self._context = context
        self._host = host

    def begin(self) -> None:
        """The server has said that the transfer begins: encrypt, if need be.

        The control connection's TLS session is gone on with, which servers ask for so that nobody
        else can take the data connection (vsftpd's ``require_ssl_reuse``, and ProFTPD).
        """
        if self._context is None:
            return
        try:
            self._sock = shake_tls_hands(
                self._sock, self._context, self._host, self._control.session
            )
        except HostKeyRefused:
            raise
        except LinkError as error:
            self.close()
            try:
                reply = self._control.reply(_REASON_SECS)
            except LinkLost:
                raise error from None
            raise LinkLost(f"{error.message}; the server says {str(reply)!r}") from error

    def send(self, data: memoryview, go_on: Callable[[], bool]) -> int:
        """Send until the end, or until ``go_on`` says no; how many bytes left.

        Raises:
            OSError: the connection broke; the reason may be in the next reply.
            LinkLost: it is slower than anything alive.
        """
        sent = 0
        pace = _Pace(self._control.clock, self._sock.gettimeout() or 0.0)
        while sent < len(data):
            sent += self._sock.send(data[sent : sent + _PIECE_BYTES])
            pace.check(sent, "could be sent")
            if not go_on():
                break
        return sent

    def receive(self) -> Iterator[bytes]:
        """What arrives, until the server ends the connection.

        Raises:
            OSError: the connection broke.
            LinkLost: it is slower than anything alive.
        """
        pace = _Pace(self._control.clock, self._sock.gettimeout() or 0.0)
        received = 0
        while data := self._sock.recv(_PIECE_BYTES):
            received += len(data)
            yield data
            pace.check(received, "came")

    def end(self) -> None:
        """All is sent: tell the server. Closing comes after its reply, since closing a socket that
        has unread bytes (TLS 1.3 tickets) resets the connection and may lose what was sent."""
        if isinstance(self._sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                is_ready(self._sock, self._sock.gettimeout() or 0, to_write=True)
                self._sock.settimeout(0)
                self._sock.unwrap()  # sends close_notify; the server's is not waited for
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def unsent(self) -> object:
        """Changes while bytes in the system's buffer are on their way (Linux: tcp(7), SIOCOUTQ)."""
        if sys.platform == "win32":
            return None
        try:
            import fcntl
            import termios

            raw = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
            return struct.unpack("i", raw)[0]
        except (ImportError, AttributeError, OSError, ValueError):
            return None

    def close(self) -> None:
        """Idempotent, never raises, never waits."""
        with contextlib.suppress(OSError):
            self._sock.close()
