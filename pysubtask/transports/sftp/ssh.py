"""SSH by paramiko: the SFTP channel of most users.

paramiko does the cryptography; every wait around it is bounded here, since some of its own are
not. One timer ends the whole connection attempt by shutting the socket, which wakes all of them
(``Channel.invoke_subsystem`` waits without a limit, ``getaddrinfo`` is not interruptible and gets
a thread). Afterwards, a send that makes no progress fails after ``send_timeout_secs``: in the SSH
window, in a key exchange, and in the socket.

paramiko is imported by the first connection or by :meth:`SshConnector.prepare`, not with this
module.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pysubtask.core.compression import Compress, CompressionChoice
from pysubtask.errors import HostKeyRefused, LinkError, LinkLost
from pysubtask.transports.contract import Wake
from pysubtask.transports.said import said, visible
from pysubtask.transports.sftp.channel import HUNG_UP, Channel
from pysubtask.transports.sftp.hostkeys import HostKeyPolicy, policy_for
from pysubtask.transports.sftp.library import load_paramiko
from pysubtask.transports.sftp.limits import bound, bound_channel
from pysubtask.transports.sftp.login import Credentials, RevealsText
from pysubtask.transports.sockets import PatientSocket, dial, is_too_slow

if TYPE_CHECKING:
    import paramiko

__all__ = ["SshConnector"]

LOG_NAME = "pysubtask.paramiko"

# AES-GCM first: with it paramiko is 1.4 times as fast as with its own first choice (CTR and an
# HMAC), which it takes although it knows GCM. No CBC, no 3DES, no MD5.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)

_STDERR_BYTES = 4096


class SshConnector:
    """Connects to an SSH server and opens its SFTP subsystem.

    Args:
        host: name or address.
        user: default: the local user's name.
        port: TCP port.
        password: text, or anything with ``reveal()``; it is revealed for the login only. With a
            password neither the agent nor the default keys are offered.
        key_file: a private key; it is offered before the password.
        key_passphrase: opens ``key_file``.
        host_key: ``SHA256:`` fingerprint, or several: the only keys that the server may have.
        known_hosts: file to look the server's key up in when ``host_key`` is not given; default
            ``~/.ssh/known_hosts``, then ``/etc/ssh/ssh_known_hosts``.
        connect_timeout_secs: for the name look-up and TCP together.
        login_timeout_secs: from the connected socket to the open subsystem.
        send_timeout_secs: how long a send may make no progress.
        keepalive_secs: an SSH message after so much silence, so that NAT tables remember the
            connection; 0: none.
        compress: whether to compress what is sent; ``"auto"``: where it seems to pay.
        policy: judges the host key, instead of ``host_key`` and ``known_hosts``.

    Raises:
        SettingsError: a fingerprint that is none.
    """

    def __init__(
        self,
        host: str,
        *,
        user: str | None = None,
        port: int = 22,
        password: str | RevealsText | None = None,
        key_file: str | None = None,
        key_passphrase: str | RevealsText | None = None,
        host_key: str | Sequence[str] | None = None,
        known_hosts: str | None = None,
        connect_timeout_secs: float = 15.0,
        login_timeout_secs: float = 30.0,
        send_timeout_secs: float = 60.0,
        keepalive_secs: float = 30.0,
        compress: Compress = False,
        policy: HostKeyPolicy | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._credentials = Credentials(user, password, key_file, key_passphrase)
        self._policy = policy or policy_for(host_key, known_hosts)
        self._connect_timeout_secs = connect_timeout_secs
        self._login_timeout_secs = login_timeout_secs
        self._send_timeout_secs = send_timeout_secs
        self._keepalive_secs = keepalive_secs
        self._compression = CompressionChoice(compress)

    def __repr__(self) -> str:
        return f"<SshConnector {self._credentials.user}@{self._host}:{self._port}>"

    def prepare(self) -> None:
        """Do what the first connection would have to do before it can begin."""
        load_paramiko()

    def __call__(self, wake: Wake) -> Channel:
        attempts = self._policy.algorithms(self._host, self._port)
        refused: HostKeyRefused | None = None
        for algorithms in attempts:
            try:
                return self._connect(wake, algorithms)
            except HostKeyRefused as error:
                refused = refused or error
            except _NoSuchAlgorithmError:
                if refused is None:
                    raise LinkError(
                        "the server has no host key of a type that is known here",
                        operation="connect to",
                        path=self._host,
                    ) from None
        assert refused is not None
        raise refused

    def _connect(self, wake: Wake, algorithms: list[str]) -> Channel:
        load_paramiko()
        import paramiko

        raw, round_trip_secs = dial(
            self._host, self._port, self._connect_timeout_secs, self._send_timeout_secs
        )
        sock = PatientSocket(raw, self._send_timeout_secs)
        with _Guard(sock, self._login_timeout_secs) as guard, self._words(guard, sock):
            transport = paramiko.Transport(sock)
            try:
                self._prepare(transport, algorithms)
                bound(transport, sock)
                transport.use_compression(self._compression.decide(round_trip_secs))
                transport.start_client()
                key = transport.get_remote_server_key()
                self._policy.check(self._host, self._port, key.get_name(), key.asbytes())
                guard.stage = "login"
                self._credentials.log_in(transport, lambda: sock.error)
                guard.stage = "opening the SFTP subsystem"
                channel = transport.open_session(timeout=self._login_timeout_secs)
                channel.invoke_subsystem("sftp")
                bound_channel(channel, sock)
                guard.finish()
            except BaseException:
                guard.hung_up = not transport.is_active()
                _close(sock, transport)
                raise
        if self._keepalive_secs > 0:
            transport.set_keepalive(max(1, round(self._keepalive_secs)))
        return _SshChannel(
            transport, channel, sock, wake, self._send_timeout_secs, self._compression
        )

    def _prepare(self, transport: paramiko.Transport, algorithms: list[str]) -> None:
        log = logging.getLogger(LOG_NAME)
        log.setLevel(logging.CRITICAL + 1)
        transport.set_log_channel(LOG_NAME)
        # paramiko only logs the server's last words; without this they would be lost.
        transport._parse_disconnect = partial(_note_last_words, transport.sock)
        # Every limit is the same: the guard is what ends an attempt.
        limit = self._login_timeout_secs
        transport.banner_timeout = transport.handshake_timeout = limit
        transport.auth_timeout = transport.channel_timeout = limit
        transport.clear_to_send_timeout = self._send_timeout_secs
        options = transport.get_security_options()
        options.ciphers = _CIPHERS
        options.digests = _MACS
        options.key_types = [name for name in algorithms if name in options.key_types]

    @contextlib.contextmanager
    def _words(self, guard: _Guard, sock: PatientSocket) -> Iterator[None]:
        """Turn what paramiko raises into our errors."""
        import paramiko

        try:
            yield
            return
        except LinkError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            kind, text = type(error), said(str(error))
            no_algorithm = isinstance(error, paramiko.ssh_exception.IncompatiblePeer)
        if no_algorithm and "host key" in text:
            raise _NoSuchAlgorithmError
        where = {"operation": "connect to", "path": self._host}
        if guard.fired:
            limit = f"{self._login_timeout_secs:.0f} s"
            raise LinkError(f"no answer within {limit} ({guard.stage})", **where)  # type: ignore[arg-type]
        if no_algorithm:
            raise LinkError(f"no common method: {text}", **where)  # type: ignore[arg-type]
        if guard.stage == "opening the SFTP subsystem":
            if guard.hung_up:
                words = sock.error or "the server closed the connection"
                raise LinkError(words, hint=HUNG_UP, **where)  # type: ignore[arg-type]
            raise LinkError(
                "the server opens no SFTP subsystem",
                hint="is SFTP enabled for this user?",
                **where,  # type: ignore[arg-type]
            )
        reason = sock.error or text or kind.__name__
        raise LinkError(f"the connection broke ({guard.stage}): {reason}", **where)  # type: ignore[arg-type]


class _NoSuchAlgorithmError(Exception):
    """The server has no host key of the types that were offered."""


class _Guard:
    """Shuts the socket when a connection attempt takes too long."""

    def __init__(self, sock: PatientSocket, timeout_secs: float) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._done = False
        self._timer = threading.Timer(timeout_secs, self._fire)
        self._timer.daemon = True
        self.fired = False
        self.hung_up = False
        """The server ended the connection, rather than refuse something."""
        self.stage = "greeting and key exchange"

    def __enter__(self) -> _Guard:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def finish(self) -> None:
        """The attempt has succeeded; from now on the timer does nothing."""
        with self._lock:
            self._done = True
        self._timer.cancel()
        if self.fired:
            raise EOFError

    def _fire(self) -> None:
        with self._lock:
            if self._done:
                return
            self.fired = True
        self._sock.abort()


def _note_last_words(sock: PatientSocket, message: paramiko.Message) -> None:
    message.get_int()  # the reason's number (RFC 4253, section 11.1)
    words = said(message.get_binary())
    sock.error = sock.error or f"the server closed the connection: {words}"


class _Arrival:
    """What paramiko's buffer sets when data has come: it wakes us, without a thread of our own."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self.event = threading.Event()

    def set(self) -> None:
        self.event.set()
        self._wake()

    def clear(self) -> None:
        self.event.clear()


class _SshChannel:
    """The subsystem's byte stream over paramiko."""

    def __init__(
        self,
        transport: paramiko.Transport,
        channel: paramiko.Channel,
        sock: PatientSocket,
        wake: Wake,
        send_timeout_secs: float,
        compression: CompressionChoice,
    ) -> None:
        self._compression = compression
        self._transport = transport
        self._channel = channel
        self._sock = sock
        self._send_timeout_secs = send_timeout_secs
        self._stderr = b""
        channel.settimeout(send_timeout_secs)
        # What paramiko itself leaves free in a packet (Channel._wait_for_send_window).
        self._piece_bytes = max(1024, channel.out_max_packet_size - 64)
        self._arrival = _Arrival(wake)
        channel.in_buffer.set_event(self._arrival)
        key = transport.get_remote_server_key().get_name()
        software = transport.remote_version.removeprefix("SSH-2.0-")
        version = said(software, 60)
        self.software = visible(software, 60)
        self.described = (
            f"as {transport.get_username()} ({version}, {transport.remote_cipher}, {key})"
        )

    def send(self, *parts: bytes) -> None:
        import paramiko

        channel = self._channel
        is_open = True
        began = time.monotonic()
        moved_bytes = 0
        slow: str | None = None
        try:
            for piece in _pieces(parts, self._piece_bytes):
                rest = piece
                while rest and is_open and not slow:
                    sent = channel.send(rest)
                    is_open = sent > 0
                    rest = rest[sent:]
                    moved_bytes += sent
                    took_secs = time.monotonic() - began
                    slow = is_too_slow(took_secs, moved_bytes, self._send_timeout_secs)
        except TimeoutError:
            words = f"nothing could be sent for {self._send_timeout_secs:.0f} s"
        except (paramiko.SSHException, EOFError, OSError) as error:
            words = self._why(error)
        else:
            if is_open and not slow:
                self._compression.sent(parts, began, time.monotonic())
                return
            words = slow or self._reason()
        self.close()
        raise LinkLost(words)

    def receive(self) -> bytes:
        channel = self._channel
        if channel.recv_stderr_ready():
            self._stderr = (self._stderr + channel.recv_stderr(65536))[-_STDERR_BYTES:]
        ended = channel.eof_received or channel.closed
        if channel.recv_ready():
            try:
                return bytes(channel.recv(1 << 20))
            except (EOFError, OSError) as error:  # the answer to a window message did not go out
                raise LinkLost(self._why(error)) from None
        if ended:
            raise LinkLost(self._reason())
        return b""

    def wait(self, timeout_secs: float) -> None:
        self._arrival.event.wait(timeout_secs)

    def close(self) -> None:
        _close(self._sock, self._transport)

    def _why(self, error: Exception) -> str:
        """Of a channel that the other side has closed, paramiko says "Socket is closed"."""
        if self._channel.closed:
            return self._reason()
        return self._sock.error or str(error) or "the connection broke"

    def _reason(self) -> str:
        if self._sock.error:
            return self._sock.error
        words = said(self._stderr[-200:])
        return "the server closed the connection" + (f": {words}" if words else "")


def _pieces(parts: Sequence[bytes], most: int) -> Iterator[bytes]:
    """The parts, one after the other, in pieces of ``most`` bytes; each byte is copied once."""
    piece: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        if size + len(part) < most:
            piece.append(part)
            size += len(part)
            continue
        at = 0
        while at < len(part):
            taken = memoryview(part)[at : at + most - size]
            piece.append(taken)
            size += len(taken)
            at += len(taken)
            if size == most:
                yield b"".join(piece)
                piece, size = [], 0
    if size:
        yield b"".join(piece)


def _close(sock: PatientSocket, transport: paramiko.Transport) -> None:
    """Drop everything. The socket goes first: it wakes whatever paramiko waits for."""
    sock.abort()
    with contextlib.suppress(Exception):
        transport.close()
    if transport.is_alive() and transport is not threading.current_thread():
        transport.join(0.5)
    sock.close()
