"""An FTP server whose every byte the test writes, and a transport that talks to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret
from pysubtask.transports.contract import Request
from pysubtask.transports.ftp.client import FtpTransport, Memory
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.ftp.trial import Learned

__all__ = ["IN", "Hostile", "answers_to", "connected", "hostile"]

IN = {b"USER": b"331 x\r\n", b"PASS": b"230 x\r\n", b"TYPE": b"200 x\r\n"}


class Hostile:
    """Answers one connection after the other from a script, and sends ``blob`` where data go.

    Args:
        replies: by command; what is not there is taken from ``script``, and when that is used up
            the server hangs up.
        drip: one byte of the blob at a time, for ever.

    Attributes:
        seen: the lines of the control connection.
        received: what came over data connections; complete when the server is closed.
    """

    def __init__(
        self,
        replies: dict[bytes, bytes],
        script: Sequence[bytes] = (),
        blob: bytes = b"",
        *,
        greeting: bytes = b"220 hello\r\n",
        drip: bool = False,
    ) -> None:
        self._replies, self._script = replies, list(script)
        self._blob, self._greeting, self._drip = blob, greeting, drip
        self.seen: list[bytes] = []
        self.received = b""
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._data = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.data_port = int(self._data.getsockname()[1])
        self._threads = [threading.Thread(target=work) for work in (self._serve, self._send)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for listener in (self._listener, self._data):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(0.3)
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        sock.sendall(self._greeting)
        with sock.makefile("rb") as lines:
            for line in lines:
                self.seen.append(line)
                reply = self._replies.get(line.split()[0] if line.split() else b"")
                if reply is None:
                    if not self._script:
                        return
                    reply = self._script.pop(0)
                sock.sendall(reply.replace(b"PORT", b"%d" % self.data_port))

    def _send(self) -> None:
        while True:
            try:
                sock, _ = self._data.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(0.3)
                sock.sendall(self._blob)
                if not self._drip:
                    sock.shutdown(socket.SHUT_WR)
                    self.received += sock.recv(65_536)
                while self._drip and not self._over.is_set():
                    sock.sendall(b"x")
                    time.sleep(0.02)


@contextmanager
def hostile(*args: object, **options: object) -> Iterator[Hostile]:
    server = Hostile(*args, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()


def connected(server: Hostile, *, learned: Learned | None = None) -> FtpTransport:
    connector = FtpConnector(
        "127.0.0.1",
        server.port,
        RealClock(),
        user="edge",
        password=Secret("pw"),
        tls="off",
        reply_timeout_secs=0.5,
        login_timeout_secs=0.5,
        connect_timeout_secs=0.5,
    )
    known = learned or Learned(tried=True, positioned=True, replaces=True, readable=True)
    memory = Memory("hello", known, may_ask=False)
    made = FtpTransport(connector, RealClock(), folder="in", client_id="0a1b2c3d", memory=memory)
    try:
        made.connect()
    except BaseException:
        made.close()
        raise
    return made


def answers_to(made: FtpTransport, *requests: Request) -> list[object]:
    for ticket, request in enumerate(requests):
        made.submit(ticket, request)
    try:
        return [result for _, result in made.collect()]
    finally:
        made.close()
