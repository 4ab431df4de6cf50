"""SFTP against real servers over links that are cut, frozen or slow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteFull,
)
from pysubtask.transports.contract import Finish, Rename, Stat, Write
from pysubtask.transports.sftp.channel import Connector
from tests.integration.sftp_clients import Client, by_key, by_ssh
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy


def keep_looking(client: Client, limit_secs: float = 10.0) -> None:
    """Collect until something is raised."""
    deadline = time.monotonic() + limit_secs
    while time.monotonic() < deadline:
        list(client.transport.collect())
        time.sleep(0.02)


def flood(client: Client, path: str) -> None:
    """Submit 80 MB and look at no answer."""
    for number in range(400):
        client.transport.submit(number, Write(path, number, bytes(200_000)))


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.parametrize("connect", [by_key, by_ssh])
def test_a_cut_is_noticed_at_once(
    openssh: OpenSshServer, link: Callable[..., TcpProxy], connect: Callable[..., Connector]
) -> None:
    wire = link(openssh)
    made = by_key(openssh, at=wire) if connect is by_key else by_ssh(openssh, port=wire.port)
    if connect is by_ssh:
        name = f"HostKeyAlias=[{openssh.host}]:{openssh.port}"
        made = by_ssh(openssh, "-o", f"'{name}'", port=wire.port)
    client = Client(made)
    client.news.clear()
    before = time.monotonic()
    wire.cut()
    assert client.news.wait(3)
    with pytest.raises(LinkLost):
        client.transport.collect()
    assert time.monotonic() - before < 3
    client.close()


@pytest.mark.usefixtures("no_threads_left")
def test_a_frozen_link_ends_in_time(openssh: OpenSshServer, link: Callable[..., TcpProxy]) -> None:
    remote, _ = openssh.new_folder()
    wire = link(openssh)
    client = Client(by_key(openssh, at=wire, send_timeout_secs=1.0), ack_timeout_secs=1.0)
    assert client.do(Write(f"{remote}/x", 0, b"1", create=True)) == [None]
    wire.freeze()
    before = time.monotonic()
    with pytest.raises(LinkLost, match="nothing could be sent for 1 s"):
        flood(client, f"{remote}/x")
    assert time.monotonic() - before < 10
    before = time.monotonic()
    client.close()
    assert time.monotonic() - before < 1.5


@pytest.mark.usefixtures("no_threads_left")
def test_a_stopped_server_is_not_waited_for(open_sshd: Callable[..., OpenSshServer]) -> None:
    server = open_sshd()
    client = Client(by_key(server), ack_timeout_secs=0.5)
    server.signal_sessions(signal.SIGSTOP)
    client.transport.submit(1, Stat("/"))
    before = time.monotonic()
    with pytest.raises(LinkLost, match="has not answered"):
        keep_looking(client)
    assert time.monotonic() - before < 3
    server.signal_sessions(signal.SIGCONT)
    client.close()


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.parametrize("connect", [by_key, by_ssh])
def test_a_killed_session(
    open_sshd: Callable[..., OpenSshServer], connect: Callable[..., Connector]
) -> None:
    server = open_sshd()
    client = Client(connect(server))
    client.news.clear()
    assert server.kill_sessions()
    assert client.news.wait(5)
    with pytest.raises(LinkLost):
        keep_looking(client)
    client.close()


def test_denied_requests(open_sshd: Callable[..., OpenSshServer]) -> None:
    server = open_sshd(denied=["posix-rename", "fsync", "copy-data", "remove"])
    remote, _ = server.new_folder()
    with closing(Client(by_key(server))) as client:
        found = client.transport.capabilities
        assert found.sequential
        assert (found.atomic_replace, found.fsync, found.server_copy) == (False, False, False)
        assert [limit.split("(")[1].split(")")[0] for limit in found.limits] == [
            "posix-rename", "copy-data", "fsync",
        ]  # fmt: skip
        client.do(Write(f"{remote}/a", 0, b"1", create=True))
        assert client.do(Finish(f"{remote}/a", sync=True)) == [None]
        assert client.do(Rename(f"{remote}/a", f"{remote}/b")) == [None]


def test_a_read_only_server(open_sshd: Callable[..., OpenSshServer]) -> None:
    server = open_sshd(read_only=True)
    remote, _ = server.new_folder()
    with closing(Client(by_key(server))) as client:
        (refused,) = client.do(Write(f"{remote}/a", 0, b"1", create=True))
        assert isinstance(refused, RemoteDenied)
        assert isinstance(client.do(Stat(remote))[0].is_dir, bool)  # type: ignore[union-attr]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_failing_write_fails_alone(openssh: OpenSshServer) -> None:
    remote, folder = openssh.new_folder()
    (folder / "full").symlink_to("/dev/full")
    with closing(Client(by_key(openssh))) as client:
        refused, good = client.do(
            Write(f"{remote}/full", 0, b"1"), Write(f"{remote}/ok", 0, b"1", create=True)
        )
        # /dev is a file system with room, so the reason stays unknown.
        assert isinstance(refused, RemoteError)
        assert not isinstance(refused, RemoteFull)
        assert good is None
