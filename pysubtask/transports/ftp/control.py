"""The control connection: commands out, replies in, each with a limit in time."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

from pysubtask.errors import HostKeyRefused, LinkError, LinkLost
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import SLOWEST_BYTES_PER_SEC
from pysubtask.transports.ftp.ready import is_ready
from pysubtask.transports.ftp.replies import Reply, ReplyReader

__all__ = ["Control", "shake_tls_hands"]

_TICK_SECS = 1.0


class Control:
    """One control connection, over a connected socket.

    Args:
        reply_timeout_secs: how long the server may take to answer.
    """

    def __init__(self, sock: socket.socket, clock: Clock, reply_timeout_secs: float) -> None:
        self._sock = sock
        self.clock = clock
        self._reply_timeout_secs = reply_timeout_secs
        self._reader = ReplyReader()
        self._closed = False
        self.peer: tuple[object, ...] = sock.getpeername()
        self.family = sock.family
        self.commands = 0
        """How many commands were sent."""

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session, for data connections to go on with. With TLS 1.3 the server sends it
        after the handshake: at least one reply must have been read since."""
        return self._sock.session if isinstance(self._sock, ssl.SSLSocket) else None

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt from here on.

        Raises:
            HostKeyRefused: the certificate does not check.
            LinkError: the handshake failed, or there is more than was asked for: somebody on the
                way may add to the last reply in the clear, and what he says would answer the
                commands that only the server should see (compare CVE-2021-22947 of curl).
        """
        if not self._reader.is_empty:
            raise LinkError(
                "it said more than it was asked before the encryption began",
                operation="connect to",
                path=host,
                hint="somebody on the way may have added it; nothing of it was believed",
            )
        self._sock.settimeout(self._reply_timeout_secs)
        self._sock = shake_tls_hands(self._sock, context, host)

    def ask(self, command: bytes, timeout_secs: float | None = None) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            LinkLost: the connection broke, or there was no answer in time.
        """
        self.send(command)
        return self.reply(timeout_secs)

    def send(self, *commands: bytes) -> None:
        """Send commands, their replies to be read later, in order; the former ones' were read.

        Raises:
            LinkLost: the connection broke, or something was said that nobody had asked for.
        """
        for command in commands:
            if b"\r" in command or b"\n" in command or b"\0" in command:
                raise ValueError("a command holds a line end or NUL")
        self._check_in_step()
        self.commands += len(commands)
        try:
            self._sock.settimeout(self._reply_timeout_secs)
            self._sock.sendall(b"".join(command + b"\r\n" for command in commands))
        except OSError as error:
            raise self._broken(error) from error

    def reply(
        self,
        timeout_secs: float | None = None,
        *,
        progress: Callable[[], object] | None = None,
        sent_bytes: int = 0,
    ) -> Reply:
        """The next reply.

        Args:
            progress: as long as what it gives changes, the time begins anew; but not for longer
                than ``sent_bytes`` take at 1 KiB a second.

        Raises:
            LinkLost: there is none in time, the connection broke, or the server says (by 421) that
                it ends it.
        """
        patience = self._reply_timeout_secs if timeout_secs is None else timeout_secs
        deadline = self.clock.monotonic() + patience
        latest = deadline + sent_bytes / SLOWEST_BYTES_PER_SEC
        state = progress() if progress is not None else None
        while True:
            found = self._reader.next_reply()
            if found is not None:
                break
            now = self.clock.monotonic()
            if now >= deadline:
                raise LinkLost(
                    f"no answer for {patience:.0f} s",
                    operation="wait for the server",
                    hint="the connection is closed and made anew",
                )
            self._receive(min(_TICK_SECS, deadline - now))
            if progress is not None and (new := progress()) != state:
                state = new
                deadline = min(latest, self.clock.monotonic() + patience)
        if found.code == 421:
            raise _ended_by(found)
        return found

    def is_alive(self) -> bool:
        """While nothing is awaited: False if the server closed the connection or said goodbye."""
        try:
            self._check_in_step()
        except LinkLost:
            return False  # its goodbye (421), or its end
        return True

    def close(self) -> None:
        """Say goodbye, without waiting for an answer, and close. Idempotent, never raises."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError, ValueError):
            self._sock.settimeout(0)
            self._sock.send(b"QUIT\r\n")
        with contextlib.suppress(OSError):
            self._sock.close()

    def _check_in_step(self) -> None:
        """Before commands leave: a reply that comes twice, or late, would be taken for the next
        command's, and that one's for the one after it, to the end of the connection.

        Raises:
            LinkLost: something is there, or the connection is gone.
        """
        self._receive(0)
        if self._reader.is_empty:
            return
        found = self._reader.next_reply()
        if found is not None and found.code == 421:
            raise _ended_by(found)
        raise LinkLost(
            f"the server said what nobody had asked for: {str(found or 'a part of a reply')!r}",
            operation="send a command",
            hint="the connection is closed and made anew, for its replies would be mistaken",
        )

    def _receive(self, timeout_secs: float) -> None:
        try:
            pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
            if not pending and not is_ready(self._sock, timeout_secs):
                return
            self._sock.settimeout(timeout_secs)
            data = self._sock.recv(16_384)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, ValueError) as error:
            raise self._broken(error) from error
        if not data:
            raise LinkLost("the server closed the connection")
        self._reader.feed(data)

    def _broken(self, error: Exception) -> LinkLost:
        if isinstance(error, TimeoutError):
            return LinkLost(f"nothing could be sent for {self._reply_timeout_secs:.0f} s")
        words = error.strerror if isinstance(error, OSError) else None
        return LinkLost(f"the connection broke: {words or error}")


def _ended_by(reply: Reply) -> LinkLost:
    return LinkLost(f"the server ends the connection: {str(reply)!r}")


def shake_tls_hands(
    sock: socket.socket,
    context: ssl.SSLContext,
    host: str,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """TLS over a connected socket that has its timeout; ``session``: one to go on with.

    Raises:
        HostKeyRefused: the certificate does not check.
        LinkError: the handshake failed.
    """
    try:
        return context.wrap_socket(
            sock, server_hostname=host, session=session, suppress_ragged_eofs=True
        )
    except ssl.SSLCertVerificationError as error:
        raise HostKeyRefused(
            f"the server's certificate does not check: {error.verify_message}",
            reason="certificate",
            operation="connect to",
            path=host,
            hint="ca_file names the certificates to trust, the host must be named as in the "
            "certificate",
        ) from error
    except (OSError, ValueError) as error:
        words = "no answer" if isinstance(error, TimeoutError) else str(error)
        raise LinkError(
            f"the TLS handshake failed: {words}", operation="connect to", path=host
        ) from error
