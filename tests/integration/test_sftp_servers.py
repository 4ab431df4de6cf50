"""SFTP against real servers: who gets in, what breaks, and what is said about it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pysubtask.errors import (
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
)
from pysubtask.secret import Secret
from pysubtask.transports.contract import Finish, List, Rename, Stat, Write
from pysubtask.transports.sftp.channel import Channel, Connector
from pysubtask.transports.sftp.process import ProcessConnector
from pysubtask.transports.sftp.ssh import SshConnector
from tests.integration.sftp_clients import Client, by_key, by_ssh, programs
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer

SECRET_TEXT = "correct-horse-battery"


def many_small_files(client: Client, remote: str, folder: Path, count: int) -> None:
    content = {f"f{number}": os.urandom(100 + number % 900) for number in range(count)}
    for number, (name, data) in enumerate(content.items()):
        client.transport.submit(number, Write(f"{remote}/{name}.tmp", 0, data, create=True))
    assert set(client.results(count).values()) == {None}
    for number, name in enumerate(content):
        client.transport.submit(number, Finish(f"{remote}/{name}.tmp"))
    assert set(client.results(count).values()) == {None}
    for number, name in enumerate(content):
        request = Rename(f"{remote}/{name}.tmp", f"{remote}/{name}", replace=True)
        client.transport.submit(number, request)
    assert set(client.results(count).values()) == {None}
    (listed,) = client.do(List(remote))
    assert isinstance(listed, dict)
    assert {name: stat.size for name, stat in listed.items()} == {
        name: len(data) for name, data in content.items()
    }
    deadline = time.monotonic() + 10  # rclone puts its cache into the folder some time later
    while time.monotonic() < deadline:
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
        if found == content:
            return
        time.sleep(0.1)
    assert found == content


@pytest.mark.usefixtures("no_threads_left")
def test_a_thousand_small_files_on_openssh(openssh: OpenSshServer) -> None:
    with closing(Client(by_key(openssh))) as client:
        many_small_files(client, *openssh.new_folder(), 1000)


@pytest.mark.usefixtures("no_threads_left")
def test_a_thousand_small_files_by_ssh(openssh: OpenSshServer) -> None:
    with closing(Client(by_ssh(openssh))) as client:
        many_small_files(client, *openssh.new_folder(), 1000)


def test_many_small_files_on_a_parallel_server(rclone: RcloneServer) -> None:
    with closing(Client(by_key(rclone))) as client:
        many_small_files(client, *rclone.new_folder(), 200)


@pytest.mark.parametrize("connect", [by_key, by_ssh])
def test_a_large_file(openssh: OpenSshServer, connect: Callable[..., Connector]) -> None:
    remote, folder = openssh.new_folder()
    data = os.urandom(1 << 20) * 40
    with closing(Client(connect(openssh))) as client:
        step = client.transport.capabilities.max_write_bytes
        places = list(range(0, len(data), step))
        for number, at in enumerate(places):
            request = Write(f"{remote}/large", at, data[at : at + step], create=True)
            client.transport.submit(number, request)
        assert set(client.results(len(places)).values()) == {None}
        assert client.do(Finish(f"{remote}/large", sync=True)) == [None]
    found = (folder / "large").read_bytes()
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()


def test_names_that_are_not_utf8(openssh: OpenSshServer) -> None:
    remote, folder = openssh.new_folder()
    name = os.fsdecode(b"caf\xe9-\xff.csv")
    with closing(Client(by_key(openssh))) as client:
        path = f"{remote}/{name}"
        assert client.do(Write(path, 0, b"x", create=True)) == [None]
        assert client.do(Finish(path)) == [None]
        (listed,) = client.do(List(remote))
        assert isinstance(listed, dict)
        assert list(listed) == [name]
    assert os.listdir(os.fsencode(folder)) == [b"caf\xe9-\xff.csv"]


def test_an_append_costs_little_more_than_its_bytes(
    openssh: OpenSshServer, link: Callable[..., TcpProxy]
) -> None:
    remote, _ = openssh.new_folder()
    path = f"{remote}/measurements.csv"
    wire = link(openssh)
    with closing(Client(by_key(openssh, at=wire))) as client:
        client.do(Write(path, 0, bytes(100_000), create=True))
        for size, most in ((1024, 1.35), (8192, 1.1)):
            wire.reset_counters()
            done, found = client.do(Write(path, 100_000, os.urandom(size)), Stat(path))
            assert done is None
            assert found.size >= 100_000 + size  # type: ignore[union-attr]
            assert wire.bytes_up <= most * size


# --- who gets in ------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_threads_left")
def test_login_by_password(openssh_with_password: OpenSshServer) -> None:
    server = openssh_with_password
    remote, folder = server.new_folder()
    connector = by_key(
        server, user=server.password_user, key_file=None, password=Secret(server.password)
    )
    with closing(Client(connector)) as client:
        assert client.do(Write(f"{remote}/x", 0, b"1", create=True)) == [None]
    assert (folder / "x").read_bytes() == b"1"


@pytest.mark.usefixtures("no_threads_left")
def test_wrong_password(openssh_with_password: OpenSshServer) -> None:
    server = openssh_with_password
    connector = by_key(
        server, user=server.password_user, key_file=None, password=Secret("open sesame")
    )
    with pytest.raises(LoginRefused, match=f"wrong password for {server.password_user}"):
        Client(connector)


def test_a_server_that_hangs_up_on_a_wrong_password(
    open_sshd: Callable[..., OpenSshServer],
) -> None:
    server = open_sshd(password=True, config=["MaxAuthTries 1"])
    for _ in range(3):
        with pytest.raises(LoginRefused, match="wrong password"):
            Client(by_key(server, user=server.password_user, key_file=None, password="x"))


def test_a_server_that_takes_no_password(openssh: OpenSshServer) -> None:
    with pytest.raises(LoginRefused, match="takes no password") as caught:
        Client(by_key(openssh, key_file=None, password="x"))
    assert "publickey" in str(caught.value)


def test_secrets_stay_secret(
    openssh_with_password: OpenSshServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = openssh_with_password
    caplog.set_level(logging.DEBUG)
    connector = by_key(
        server, user=server.password_user, key_file=None, password=Secret(SECRET_TEXT),
        key_passphrase=Secret(SECRET_TEXT),
    )  # fmt: skip
    with pytest.raises(LoginRefused) as caught:
        Client(connector)
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    for text in (shown, repr(connector), repr(caught.value), caplog.text):
        assert SECRET_TEXT not in text
    assert caught.value.__context__ is None


def test_login_by_password_on_a_go_server(rclone: RcloneServer) -> None:
    Client(by_key(rclone, key_file=None, password=rclone.password)).close()
    with pytest.raises(LoginRefused, match="wrong password for edge"):
        Client(by_key(rclone, key_file=None, password="no"))


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_key_with_passphrase(openssh: OpenSshServer, kind: str) -> None:
    key = openssh.client_key("open sesame", kind)
    Client(by_key(openssh, key_file=key, key_passphrase=Secret("open sesame"))).close()
    with pytest.raises(LoginRefused, match="needs its passphrase"):
        Client(by_key(openssh, key_file=key))
    with pytest.raises(LoginRefused, match="wrong passphrase"):
        Client(by_key(openssh, key_file=key, key_passphrase="x"))


def test_a_key_that_the_server_does_not_know(
    openssh: OpenSshServer, rclone: RcloneServer, tmp_path: Path
) -> None:
    with pytest.raises(LoginRefused, match="is not accepted for"):
        Client(by_key(openssh, key_file=rclone.key_file))
    with pytest.raises(LoginRefused, match="there is no key file"):
        Client(by_key(openssh, key_file=str(tmp_path / "none")))
    (tmp_path / "junk").write_text("no key")
    with pytest.raises(LoginRefused, match="no private key"):
        Client(by_key(openssh, key_file=str(tmp_path / "junk")))


def test_agent_and_default_keys_only_without_a_password(
    openssh: OpenSshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(LoginRefused, match="no password, no key file, no agent"):
        Client(by_key(openssh, key_file=None))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_bytes(Path(openssh.key_file).read_bytes())
    Client(by_key(openssh, key_file=None)).close()
    with pytest.raises(LoginRefused, match="takes no password"):
        Client(by_key(openssh, key_file=None, password="x"))


# --- who the server is ------------------------------------------------------------------------


@pytest.mark.usefixtures("no_threads_left")
def test_known_hosts(openssh: OpenSshServer, tmp_path: Path) -> None:
    by_file = {"host_key": None, "known_hosts": openssh.known_hosts}
    Client(by_key(openssh, **by_file)).close()
    only_rsa = tmp_path / "rsa"
    lines = Path(openssh.known_hosts).read_text().splitlines()
    only_rsa.write_text(next(line for line in lines if "ssh-rsa" in line) + "\n")
    Client(by_key(openssh, host_key=None, known_hosts=str(only_rsa))).close()
    with pytest.raises(HostKeyRefused, match="host key unknown") as caught:
        Client(by_key(openssh, host_key=None, known_hosts=str(tmp_path / "none")))
    assert openssh.fingerprint in str(caught.value)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_any_of_the_servers_keys_may_be_pinned(openssh: OpenSshServer, kind: str) -> None:
    connector = by_key(openssh, host_key=["SHA256:" + "A" * 43, openssh.fingerprint_of(kind)])
    Client(connector).close()
    Client(connector).close()


@pytest.mark.usefixtures("no_threads_left")
def test_a_wrong_pin(openssh: OpenSshServer) -> None:
    with pytest.raises(HostKeyRefused, match="host key changed") as caught:
        Client(by_key(openssh, host_key="SHA256:" + "A" * 43))
    assert openssh.fingerprint in str(caught.value)


def test_a_changed_host_key(open_sshd: Callable[..., OpenSshServer]) -> None:
    server = open_sshd()
    known_hosts, old = server.known_hosts, server.fingerprint
    Client(by_key(server, host_key=None, known_hosts=known_hosts)).close()
    new = server.new_host_key()
    with pytest.raises(HostKeyRefused, match="host key changed") as caught:
        Client(by_key(server, host_key=None, known_hosts=known_hosts))
    assert old in str(caught.value)
    assert new in str(caught.value)
    with pytest.raises(HostKeyRefused, match="host key changed"):
        Client(by_ssh(server))


# --- servers that are not what they should be ---------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def target(sock: socket.socket, **options: object) -> SshConnector:
    host, port = sock.getsockname()
    options = {"user": "edge", "password": "x", "host_key": "SHA256:" + "A" * 43, **options}
    return SshConnector(host, port=port, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_threads_left")
def test_a_mute_server(listener: socket.socket) -> None:
    before = time.monotonic()
    with pytest.raises(LinkError, match=r"no answer within 1 s \(greeting") as caught:
        Client(target(listener, login_timeout_secs=1.0))
    assert time.monotonic() - before < 4
    assert caught.value.retryable


@pytest.mark.usefixtures("no_threads_left")
def test_a_server_of_another_kind(listener: socket.socket) -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)
        sock.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(LinkError, match="connection broke"):
        Client(target(listener, login_timeout_secs=5.0))
    thread.join(5)


def test_nobody_listens(listener: socket.socket) -> None:
    connector = target(listener)
    listener.close()
    with pytest.raises(LinkError, match="refused"):
        Client(connector)


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(LinkError, match="resolved"):
        Client(SshConnector("no-such-host.invalid", user="x", connect_timeout_secs=5.0))


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.parametrize("stage", range(0, 6000, 600))
def test_a_link_that_freezes_during_the_login(
    openssh: OpenSshServer, link: Callable[..., TcpProxy], stage: int
) -> None:
    wire = link(openssh)
    done = threading.Event()

    def freeze() -> None:
        while not done.wait(0.0005):
            if wire.bytes_down + wire.bytes_up >= stage:
                wire.freeze()
                return

    watcher = threading.Thread(target=freeze)
    watcher.start()
    before = time.monotonic()
    try:
        # Late stages may let it through; then there is nothing to refuse.
        with contextlib.suppress(LinkError):
            connector = by_key(openssh, at=wire, login_timeout_secs=1.0)
            Client(connector, handshake_timeout_secs=1.0).close()
    finally:
        done.set()
        watcher.join(5)
    assert time.monotonic() - before < 4


@pytest.mark.usefixtures("no_threads_left")
def test_no_sftp_subsystem(open_sshd: Callable[..., OpenSshServer]) -> None:
    server = open_sshd(config=["Subsystem other /bin/false"])
    make = server._config_lines
    server.stop()
    server._config_lines = lambda: [  # type: ignore[method-assign]
        line for line in make() if "Subsystem sftp" not in line
    ]
    server.port = 0  # another one: meanwhile the old one may have been given to somebody else
    server.start()
    with pytest.raises(LinkError, match="opens no SFTP subsystem"):
        Client(by_key(server))


# --- ssh_command --------------------------------------------------------------------------------


def send_much(channel: Channel) -> None:
    for _ in range(100):
        channel.send(bytes(100_000))


def test_ssh_command_that_does_not_exist() -> None:
    with pytest.raises(LinkError, match="can't be started") as caught:
        Client(ProcessConnector("no-such-ssh -x", "edge"))
    assert not caught.value.retryable


def test_ssh_command_login_refused(openssh: OpenSshServer, rclone: RcloneServer) -> None:
    connector = ProcessConnector(
        f"ssh -F {os.devnull} -o BatchMode=yes -o IdentitiesOnly=yes -i {rclone.key_file}"
        f" -o UserKnownHostsFile={openssh.known_hosts}",
        openssh.host,
        user=openssh.user,
        port=openssh.port,
    )
    with pytest.raises(LoginRefused, match="Permission denied"):
        Client(connector)


def test_ssh_command_host_key_unknown(openssh: OpenSshServer) -> None:
    with pytest.raises(HostKeyRefused, match="host key unknown"):
        Client(by_ssh(openssh, "-o", "GlobalKnownHostsFile=/dev/null", "-o", "HostKeyAlias=other"))


@pytest.mark.usefixtures("no_threads_left")
def test_ssh_command_that_says_nothing() -> None:
    before = time.monotonic()
    with pytest.raises(LinkLost, match="within 1 s"):
        Client(ProcessConnector("sh -c 'sleep 60; true'", "edge"), handshake_timeout_secs=1.0)
    assert time.monotonic() - before < 4
    assert programs() == []


@pytest.mark.usefixtures("no_threads_left")
def test_ssh_command_that_reads_nothing() -> None:
    channel = ProcessConnector("sh -c 'sleep 60'", "edge", send_timeout_secs=0.5)(lambda: None)
    before = time.monotonic()
    with pytest.raises(LinkLost, match="nothing could be sent"):
        send_much(channel)
    channel.close()
    assert time.monotonic() - before < 4
    deadline = time.monotonic() + 2
    while programs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert programs() == []


@pytest.mark.usefixtures("no_threads_left")
def test_ssh_command_is_reaped(openssh: OpenSshServer) -> None:
    for _ in range(3):
        Client(by_ssh(openssh)).close()
    assert programs() == []
