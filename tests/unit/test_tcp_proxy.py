"""The link of the tests must itself be right."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.proxy import TcpProxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            pass


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address  # type: ignore[misc]
        server.shutdown()
        thread.join(5)


def connect(link: TcpProxy) -> socket.socket:
    return socket.create_connection((link.host, link.port), 5)


def read(sock: socket.socket, size: int) -> bytes:
    sock.settimeout(5)
    data = b""
    while len(data) < size and (piece := sock.recv(65536)):
        data += piece
    return data


def test_relays_and_counts(echo: tuple[str, int]) -> None:
    data = bytes(range(256)) * 4000
    with TcpProxy(*echo) as link, connect(link) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert read(sock, len(data)) == data
        sender.join(5)
        deadline = time.monotonic() + 5
        while (link.bytes_up, link.bytes_down, link.connections) != (len(data), len(data), 1):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        link.reset_counters()
        sock.sendall(b"abc")
        assert read(sock, 3) == b"abc"
        deadline = time.monotonic() + 5  # the relay counts what it has passed on, after we have it
        while (link.bytes_up, link.bytes_down) != (3, 3):
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_end_is_passed_on(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert read(sock, 10) == b"abc"


def test_delay(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo, delay_secs=0.1) as link, connect(link) as sock:
        start = time.monotonic()
        sock.sendall(b"abc")
        assert read(sock, 3) == b"abc"
        assert 0.2 <= time.monotonic() - start < 1.0


def test_rate(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo, bytes_per_sec=100_000) as link, connect(link) as sock:
        start = time.monotonic()
        sock.sendall(bytes(30_000))
        assert len(read(sock, 30_000)) == 30_000
        assert 0.3 <= time.monotonic() - start < 3.0


@pytest.mark.parametrize("way", ["up", "down"])
def test_cut_after_so_many_bytes(echo: tuple[str, int], way: str) -> None:
    limits = {"cut_after_up": 1000} if way == "up" else {"cut_after_down": 1000}
    with TcpProxy(echo[0], echo[1], **limits) as link, connect(link) as sock:
        sock.sendall(bytes(3000))
        with pytest.raises(ConnectionResetError):
            read(sock, 3000)
        passed = link.bytes_up if way == "up" else link.bytes_down
        assert passed == 1000
        assert link.cuts == 1


@pytest.mark.parametrize("reset", [True, False])
def test_cut_now(echo: tuple[str, int], reset: bool) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        sock.sendall(b"abc")
        assert read(sock, 3) == b"abc"
        assert link.cut(reset=reset) == 1
        if reset:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""


def test_freeze_and_thaw(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        sock.sendall(b"a")
        assert read(sock, 1) == b"a"
        link.freeze()
        time.sleep(0.05)
        sock.sendall(b"b")
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        link.thaw()
        assert read(sock, 1) == b"b"


def test_refuse(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link:
        link.refuse()
        with pytest.raises(ConnectionResetError), connect(link) as sock:
            sock.recv(1)
        link.refuse(False)
        with connect(link) as sock:
            sock.sendall(b"a")
            assert read(sock, 1) == b"a"


def test_nothing_overtakes_what_came_before_it(echo: tuple[str, int]) -> None:
    """Though the link becomes faster in between."""
    with TcpProxy(*echo, delay_secs=0.2) as link, connect(link) as sock:
        sock.sendall(b"first,")
        time.sleep(0.05)
        link.delay_secs = 0.0
        sock.sendall(b"second")
        assert read(sock, 12) == b"first,second"


def test_slices_and_jitter_keep_the_order(echo: tuple[str, int]) -> None:
    data = bytes(range(256)) * 100
    with TcpProxy(*echo) as link, connect(link) as sock:
        link.slice_bytes, link.jitter_secs = 300, 0.02
        link.slice_gap_secs = 0.001
        start = time.monotonic()
        sock.sendall(data)
        assert read(sock, len(data)) == data
        assert time.monotonic() - start > 0.05


def test_a_slow_close(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        link.slow_close_secs = 0.3
        start = time.monotonic()
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert read(sock, 10) == b"abc"
        assert 0.3 <= time.monotonic() - start < 3


def test_an_end_after_so_many_bytes(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        link.end_after_bytes = 500
        sock.sendall(bytes(200))
        assert len(read(sock, 200)) == 200  # 400 have passed
        sock.sendall(bytes(200))
        assert read(sock, 1000) == b""  # in order, and no more of it


def test_what_is_swallowed_never_comes(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        sock.sendall(b"a")
        assert read(sock, 1) == b"a"
        link.swallow(0.3)
        time.sleep(0.05)
        start = time.monotonic()
        sock.sendall(b"b")
        assert read(sock, 1) == b""
        assert 0.1 < time.monotonic() - start < 3
    with TcpProxy(*echo) as link, connect(link) as sock:
        link.swallow(30)
        sock.sendall(b"b")
        time.sleep(0.1)
        link.calm_down()  # it can't go on without what is missing
        assert read(sock, 1) == b""


def test_a_reset_that_comes_later(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link, connect(link) as sock:
        link.reset_in(0.2)
        sock.sendall(b"a")
        assert read(sock, 1) == b"a"
        sock.settimeout(5)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_down_and_up_again(echo: tuple[str, int]) -> None:
    with TcpProxy(*echo) as link:
        with connect(link) as sock:
            sock.sendall(b"a")
            assert read(sock, 1) == b"a"
            link.go_down()
            assert read(sock, 1) == b""
        with pytest.raises(ConnectionResetError), connect(link) as sock:
            sock.recv(1)
        link.calm_down()
        with connect(link) as sock:
            sock.sendall(b"a")
            assert read(sock, 1) == b"a"
