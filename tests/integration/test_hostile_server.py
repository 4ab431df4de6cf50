"""Servers that mean harm, below the protocols' own replies: SSH packets, windows, compression, and
streams without end. The child stays small, its log too, and it stops when it is told to."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko
import psutil
import pytest

from pysubtask import TaskMaster
from pysubtask.errors import LinkError, LinkLost
from pysubtask.transports.sftp import limits
from pysubtask.transports.sftp.process import ProcessConnector
from pysubtask.transports.sftp.ssh import SshConnector
from tests.integration.promises import delivering, is_running, wait_until
from tests.servers.openssh import OpenSshServer

MIB = 1 << 20
Talk = Callable[[socket.socket, threading.Event], None]


@contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """A server that does ``talk`` with each connection, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads: list[threading.Thread] = []

    def one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            sock.settimeout(2)
            talk(sock, over)

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(sock,)))
            threads[-1].start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [server, *threads]:
            thread.join(10)
            assert not thread.is_alive()


def endless(first: bytes, piece: bytes, wait_secs: float = 0.0) -> Talk:
    def talk(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(first)
        while not over.wait(wait_secs):
            sock.sendall(piece)

    return talk


STREAMS = {
    "a line": ("sftp", endless(b"", b"x" * 65_536)),
    "lines": ("sftp", endless(b"", b"hello\r\n" * 9000)),
    "a packet": ("sftp", endless(b"SSH-2.0-x\r\n" + struct.pack(">I", 2**32 - 4), bytes(65_536))),
    "packets": (
        "sftp",
        endless(b"SSH-2.0-x\r\n", struct.pack(">IBB", 252, 10, 2) + bytes(250)),  # IGNORE
    ),
    "drops": ("sftp", endless(b"SSH-2.0-", b"x", 0.02)),
    "a line by FTP": ("ftp", endless(b"220 ", b"x" * 65_536)),
    "lines by FTP": ("ftp", endless(b"", b"220-\x1b[2J hello\r\n" * 5000)),
    "replies by FTP": ("ftp", endless(b"", b"220 hello\r\n" * 5000)),
    "drops by FTP": ("ftp", endless(b"220-", b"x", 0.02)),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_without_end(tmp_path: pathlib.Path, name: str) -> None:
    scheme, talk = STREAMS[name]
    data = tmp_path / "a.csv"
    data.write_bytes(b"1\n")
    with listening(talk) as port:
        master = TaskMaster(
            [str(data)],
            to=f"{scheme}://edge@127.0.0.1:{port}/in",
            password="pw",
            host_key="SHA256:" + "A" * 43,
            login_timeout_secs=1.0,
            reply_timeout_secs=1.0,
            stop_timeout_secs=2.0,
            retry_short_wait_secs=0.1,
            retry_long_wait_secs=0.1,
            log_max_bytes=65_536,
            log_backup_count=1,
            bak_to_folder=str(tmp_path / "state"),
            log_to_folder=str(tmp_path / "logs"),
        )
        try:
            master.start()
            master.notify(str(data))
            wait_until(lambda: master.status().link == "retrying", 20, "it gives up, and says so")
            pid = master.status().pid
            assert pid is not None
            first = psutil.Process(pid).memory_info().rss
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                assert psutil.Process(pid).memory_info().rss - first < 48 * MIB
                time.sleep(0.02)
            status = master.status()
            assert status.pid == pid, "it did not end"
            assert status.last_error
            assert str(status).replace("\n", "").isprintable()
            began = time.monotonic()
        finally:
            master.stop()
        assert time.monotonic() - began < 9
        assert not is_running(pid)
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) < 4 * 65_536
    assert sum(path.stat().st_size for path in (tmp_path / "state").rglob("*")) < 65_536
    assert b"\x1b" not in b"".join(path.read_bytes() for path in (tmp_path / "logs").iterdir())


# --- an SSH server of which the login succeeds ----------------------------------------------------

KEY = paramiko.ECDSAKey.generate()


class _Welcome(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        return True


def ssh_server(send: Callable[[paramiko.Transport, int], None]) -> Talk:
    """Lets everybody in; ``send`` gets the transport and the client's number of the channel."""

    def talk(sock: socket.socket, over: threading.Event) -> None:
        transport = paramiko.Transport(sock)
        try:
            transport.use_compression(True)
            transport.add_server_key(KEY)
            transport.start_server(server=_Welcome())
            channel = transport.accept(5)
            if channel is not None:
                time.sleep(0.1)  # until its request for the subsystem is answered
                while not over.is_set() and transport.is_active():
                    send(transport, channel.remote_chanid)
        finally:
            transport.close()

    return talk


def channel_data(number: int, data: bytes, extended: bool = False) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(bytes([95 if extended else 94]))  # RFC 4254, section 5.2
    message.add_int(number)
    if extended:
        message.add_int(1)
    message.add_string(data)
    return message


def connector(port: int, **options: object) -> SshConnector:
    return SshConnector(
        "127.0.0.1",
        port=port,
        user="edge",
        password="pw",
        host_key=KEY.fingerprint,
        send_timeout_secs=5,
        login_timeout_secs=10,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.parametrize("extended", [False, True], ids=["data", "complaints"])
def test_more_than_the_window(extended: bool) -> None:
    """Nobody reads: what comes beyond the window must not pile up."""
    piece = bytes(32_000)
    flood = ssh_server(
        lambda transport, number: transport._send_user_message(
            channel_data(number, piece, extended)
        )
    )
    with listening(flood) as port:
        channel = connector(port)(lambda: None)
        inner = channel._channel  # type: ignore[attr-defined]
        sock = channel._sock  # type: ignore[attr-defined]
        try:
            wait_until(lambda: sock.error, 20, "the connection is ended")
            held = len(inner.in_buffer) + len(inner.in_stderr_buffer)
            assert limits.MOST_UNREAD_BYTES < held < 2 * limits.MOST_UNREAD_BYTES
            assert "more than it may" in sock.error
        finally:
            channel.close()


@pytest.mark.usefixtures("no_threads_left")
def test_a_packet_that_grows_when_it_is_unpacked() -> None:
    bomb = bytes(50 * MIB)
    server = ssh_server(
        lambda transport, number: transport._send_user_message(channel_data(number, bomb))
    )
    with listening(server) as port:
        channel = connector(port, compress=True)(lambda: None)
        inner = channel._channel  # type: ignore[attr-defined]
        try:
            wait_until(lambda: inner.closed, 20, "the connection is ended")
            assert len(inner.in_buffer) < MIB
        finally:
            channel.close()


@pytest.mark.usefixtures("no_threads_left")
def test_a_packet_that_is_too_large() -> None:
    large = bytes(limits.MOST_PACKET_BYTES + 1000)
    server = ssh_server(
        lambda transport, number: transport._send_user_message(channel_data(number, large))
    )
    with listening(server) as port:
        channel = connector(port)(lambda: None)
        try:
            wait_until(lambda: channel._sock.error, 20)  # type: ignore[attr-defined]
            wait_until(lambda: channel._channel.closed, 20)  # type: ignore[attr-defined]
            with pytest.raises(LinkLost, match="a packet of"):
                channel.receive()
        finally:
            channel.close()


def test_last_words_are_made_harmless() -> None:
    def end(transport: paramiko.Transport, number: int) -> None:
        message = paramiko.Message()
        message.add_byte(b"\x01")  # DISCONNECT (RFC 4253, section 11.1)
        message.add_int(2)
        message.add_string(b"go\r\n2026-01-01 INFO: all is well \x1b[2J\xe2\x80\xae")
        message.add_string(b"en")
        transport._send_user_message(message)
        time.sleep(0.5)

    with listening(ssh_server(end)) as port:
        channel = connector(port)(lambda: None)
        try:
            wait_until(lambda: channel._sock.error, 20)  # type: ignore[attr-defined]
            assert channel._sock.error.isprintable()  # type: ignore[attr-defined]
            assert "all is well" in channel._sock.error  # type: ignore[attr-defined]
        finally:
            channel.close()


def test_an_ssh_program_that_complains_without_end(tmp_path: pathlib.Path) -> None:
    """``ssh`` passes on what a server writes to its standard error; a line may never end."""
    program = tmp_path / "ssh"
    program.write_text(
        "#!/bin/sh\nhead -c 300000000 /dev/zero | tr '\\0' 'x' >&2\nprintf '\\033[2J' >&2\n"
    )
    program.chmod(0o755)
    before = psutil.Process().memory_info().rss
    channel = ProcessConnector(str(program), "host")(lambda: None)
    try:
        most, words = before, list[str]()

        def ended() -> bool:
            nonlocal most
            most = max(most, psutil.Process().memory_info().rss)
            try:
                channel.receive()
            except LinkError as error:
                words.append(str(error))
            return bool(words)

        wait_until(ended, 60, "it ends")
        assert words[0].isprintable()
        assert most - before < 64 * MIB
    finally:
        channel.close()


# --- names that somebody else gave to files here --------------------------------------------------


def test_a_name_that_would_lead_out_on_windows_is_held_and_told(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """On this server it would be a name as any other; nobody knows that of a server."""
    evil = "a\\..\\..\\\x1b[2J\u202eevil.csv"
    with delivering(tmp_path, openssh, [{"dir": "."}], settle_secs=0.1) as made:
        made.append(evil, b"1\n")
        made.append("good.csv", b"2\n")
        made.wait_for("good.csv", b"2\n")
        path = str(made.data / evil)
        wait_until(lambda: made.master.status(path).last_error, 20)
        words = str(made.master.status())
        assert "lead out of the destination" in words
        assert words.replace("\n", "").isprintable()
        log = made.log()
        assert "lead out of the destination" in log
        assert log.replace("\n", "").isprintable()
        assert [path.name for path in made.remote.iterdir()] == ["good.csv"]
