"""FTP against real servers: who gets in, what it costs, what breaks, and what is said about it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pysubtask.errors import (
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
    RemoteDenied,
    RemoteError,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret
from pysubtask.transports.contract import (
    Finish,
    List,
    Read,
    RemoteStat,
    Remove,
    Rename,
    Stat,
    Write,
)
from pysubtask.transports.ftp.client import Memory
from pysubtask.transports.ftp.control import Control
from pysubtask.transports.ftp.login import FtpConnector
from tests.integration.ftp_clients import Client, client_of, connector, wait_until_quiet
from tests.servers.ftp import FtpServer, Pyftpd
from tests.servers.ftplink import FtpLink

CLEAR = ("vsftpd", "proftpd", "pyftpd")


# --- who gets in


def test_a_wrong_password_is_a_refused_login(vsftpd: FtpServer) -> None:
    with pytest.raises(LoginRefused) as caught:
        connector(vsftpd, password=Secret("wrong-horse"))()
    assert vsftpd.user in str(caught.value)
    assert "wrong-horse" not in str(caught.value)


def test_a_server_that_wants_tls_is_told_by_the_refusal(vsftpd_tls: FtpServer) -> None:
    with pytest.raises(LoginRefused, match="use ftps://"):
        connector(vsftpd_tls, tls="off")()


def test_no_password_goes_to_a_server_without_tls(
    pyftpd: FtpServer, link: Callable[..., Any]
) -> None:
    with FtpLink(pyftpd.host, pyftpd.port) as way, pytest.raises(LinkError, match="has no TLS"):
        connector(pyftpd, at=way, tls="explicit")()
    assert way.bytes_up < 30  # AUTH TLS and QUIT


@pytest.mark.parametrize("fixture", ["vsftpd_tls", "vsftpd_implicit", "pyftpd_implicit"])
def test_a_certificate_that_does_not_check_is_refused(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with pytest.raises(HostKeyRefused, match="certificate"):
        connector(server, ca_file=None)()
    connector(server, host="localhost")().close()
    with pytest.raises(HostKeyRefused, match="mismatch"):
        connector(server, host="127.1")()  # the same address by a name that is not certified


def test_what_is_no_ftp_server_is_told(openssh: Any) -> None:
    with pytest.raises(LinkError, match="does not speak FTP"):
        FtpConnector(openssh.host, openssh.port, RealClock(), tls="off")()


@pytest.mark.parametrize("fixture", ["vsftpd_tls", "vsftpd_implicit", "proftpd_tls"])
def test_a_data_connection_without_the_session_is_refused(
    request: pytest.FixtureRequest, fixture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That these servers ask for it: or else the other tests would show nothing."""
    server: FtpServer = request.getfixturevalue(fixture)
    monkeypatch.setattr(Control, "session", None)
    with pytest.raises(LinkError) as caught, client_of(server, memory=Memory()):
        pass
    assert type(caught.value) is LinkLost
    if server.name == "vsftpd":
        assert "session reuse required" in str(caught.value)


def test_ipv6(open_ftpd: Callable[..., FtpServer]) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = open_ftpd(Pyftpd, host="::1")
    with client_of(server) as (client, remote, folder):
        assert client.do(Write(f"{remote}/a", 0, b"abc", create=True)) == [None]
        assert (folder / "a").read_bytes() == b"abc"
    without_epsv = open_ftpd(Pyftpd, host="::1", without=["EPSV"])
    with pytest.raises(LinkLost, match="no passive mode for IPv6"):
        client_of(without_epsv).__enter__()


# --- what it costs


@pytest.mark.parametrize("fixture", CLEAR)
def test_an_append_of_1_kib_to_100_mb_costs_2_kib(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    """Both connections and directions together, the check of the size by path included."""
    server: FtpServer = request.getfixturevalue(fixture)
    with (
        FtpLink(server.host, server.port) as way,
        client_of(server, at=way) as (client, remote, folder),
    ):
        size = 100_000_000
        with (folder / "log").open("wb") as file:
            file.truncate(size)
        (folder / "log").chmod(0o666)
        name = f"{remote}/log"
        client.ask(Stat(name))
        for once in (1, 0):  # the first REST of a connection waits for its reply
            wait_until_quiet(way)
            way.reset_counters()
            commands = client.transport.commands
            written, st = client.do(Write(name, size, b"x" * 1024), Stat(name))
            wait_until_quiet(way)
            size += 1024
            assert written is None
            assert isinstance(st, RemoteStat)
            assert st.size == size
            assert way.bytes_up + way.bytes_down <= 2048
            assert client.transport.commands - commands <= 7 + once
    assert way.connections < 20


def test_writes_that_continue_each_other_share_a_transfer(pyftpd: FtpServer) -> None:
    with client_of(pyftpd) as (client, remote, folder):
        commands = client.transport.commands
        name = f"{remote}/.pysubtask-0a1b2c3d00000001"
        data = os.urandom(1_000_000)
        pieces = range(0, len(data), 10_000)
        requests = [Write(name, at, data[at : at + 10_000], create=True) for at in pieces]
        assert client.do(*requests) == [None] * 100
        assert client.transport.commands - commands == 2
        reads = [Read(name, at, 10_000) for at in pieces]
        assert client.do(*reads) == [data[at : at + 10_000] for at in pieces]
        assert client.transport.commands - commands == 4
        assert (folder / name.rpartition("/")[2]).read_bytes() == data


# --- what a server lacks


def test_what_a_server_can_do_is_tried_and_said(
    proftpd_whole: FtpServer, pyftpd_bare: FtpServer, vsftpd_tls: FtpServer
) -> None:
    with client_of(vsftpd_tls) as (client, _, folder):
        assert client.transport.capabilities.limits == ()
        assert list(folder.iterdir()) == []
    with client_of(proftpd_whole, memory=Memory()) as (client, _, folder):
        can = client.transport.capabilities
        assert not can.positioned_write
        assert can.atomic_replace
        assert "plain FTP" in can.limits[0]
        assert "as a whole each time" in can.limits[1]
        assert list(folder.iterdir()) == []
    with client_of(pyftpd_bare, memory=Memory()) as (client, _, folder):
        can = client.transport.capabilities
        assert can.positioned_write
        assert not can.atomic_replace
        words = " ".join(can.limits)
        for part in ("by APPE", "in one step", "read back", "no times"):
            assert part in words
        assert list(folder.iterdir()) == []


def test_a_server_without_size_is_looked_at_by_list(open_ftpd: Callable[..., FtpServer]) -> None:
    server = open_ftpd(Pyftpd, without=["SIZE", "MLST", "MLSD"])
    with client_of(server) as (client, remote, folder):
        assert client.transport.capabilities.positioned_write
        name = f"{remote}/log"
        with pytest.raises(RemoteNotFound):
            client.ask(Stat(name))
        client.do(Write(name, 0, b"abc", create=True))
        written, st = client.do(Write(name, 3, b"def"), Stat(name))
        assert written is None
        assert isinstance(st, RemoteStat)
        assert st.size == 6
        (folder / "sub").mkdir()
        assert client.ask(Stat(f"{remote}/sub")) == RemoteStat(0, None, True)


def test_a_folder_that_is_not_there_is_made_for_the_trial(vsftpd: FtpServer) -> None:
    remote, folder = vsftpd.new_folder()
    with closing(Client(vsftpd, f"{remote}/a/b", memory=Memory())) as client:
        assert client.transport.learned.positioned
    assert list((folder / "a" / "b").iterdir()) == []


def test_a_second_connection_tries_nothing(vsftpd: FtpServer) -> None:
    with client_of(vsftpd) as (client, _, _):
        assert client.transport.learned.tried
    with client_of(vsftpd) as (client, _, _):
        assert client.transport.commands <= 4


@pytest.mark.parametrize("fixture", [*CLEAR, "vsftpd_tls"])
def test_a_reader_never_misses_a_file_that_is_replaced(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    """Why these servers' RNTO counts as one step (pysubtask/transports/ftp/trial.py)."""
    server: FtpServer = request.getfixturevalue(fixture)
    with client_of(server) as (client, remote, folder):
        sizes, missed = _replace_under_a_reader(client, remote, folder, 24, replace=True)
    assert missed == 0
    assert sizes <= {10_000, 20_000}


def test_without_a_replacing_rename_there_is_no_file_or_a_whole_one(pyftpd_bare: FtpServer) -> None:
    with client_of(pyftpd_bare) as (client, remote, folder):
        sizes, _ = _replace_under_a_reader(client, remote, folder, 20, replace=False)
    assert sizes <= {10_000, 20_000}


def _replace_under_a_reader(
    client: Client, remote: str, folder: Path, times: int, *, replace: bool
) -> tuple[set[int], int]:
    """Sizes that a reader saw, and how often it saw none."""
    name, temp = f"{remote}/file", f"{remote}/.pysubtask-0a1b2c3d00000002"
    client.do(Write(temp, 0, b"a" * 10_000, create=True), Rename(temp, name))
    seen: set[int] = set()
    missed = 0
    stop = threading.Event()

    def read() -> None:
        nonlocal missed
        while not stop.is_set():
            try:
                seen.add(len((folder / "file").read_bytes()))
            except FileNotFoundError:
                missed += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(times):
            data = b"b" * (10_000 if number % 2 else 20_000)
            client.ask(Write(temp, 0, data, create=True))
            if replace:
                client.ask(Rename(temp, name, replace=True))
            else:
                (result,) = client.do(Rename(temp, name))
                assert isinstance(result, RemoteError)
                client.ask(Remove(name))
                client.ask(Rename(temp, name))
    finally:
        stop.set()
        thread.join(10)
    assert (folder / "file").stat().st_size == 10_000
    return seen, missed


# --- names


def test_a_line_end_in_a_name_never_reaches_the_wire(proftpd: FtpServer) -> None:
    with (
        FtpLink(proftpd.host, proftpd.port) as way,
        client_of(proftpd, at=way) as (client, remote, folder),
    ):
        (folder / "victim").write_bytes(b"x")
        wait_until_quiet(way)
        way.reset_counters()
        for name in ("a\r\nDELE victim", "a\nDELE victim", "a\rb", "nul\0"):
            path = f"{remote}/{name}"
            for request in (
                Write(path, 0, b"x", create=True),
                Stat(path),
                Remove(path),
                Rename(f"{remote}/victim", path),
                Read(path, 0, 1),
                List(path),
            ):
                (result,) = client.do(request)
                assert isinstance(result, RemoteUnsupported), request
                assert "FTP can't carry a name" in str(result)
                assert result.hint is not None
        wait_until_quiet(way)
        assert way.bytes_up == 0
        assert (folder / "victim").exists()


@pytest.mark.parametrize("fixture", ["vsftpd", "vsftpd_tls", "proftpd"])
def test_a_name_that_is_not_utf_8(request: pytest.FixtureRequest, fixture: str) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with client_of(server) as (client, remote, folder):
        raw = b"caf\xe9 \x80.csv"
        name = f"{remote}/{os.fsdecode(raw)}"
        client.do(Write(name, 0, b"abc", create=True), Finish(name))
        assert os.listdir(os.fsencode(folder)) == [raw]
        client.ask(Write(name, 3, b"def"))
        st = client.ask(Stat(name))
        assert isinstance(st, RemoteStat)
        assert st.size == 6
        listed = client.ask(List(remote))
        assert isinstance(listed, dict)
        assert list(listed) == [os.fsdecode(raw)]


@pytest.mark.parametrize("fixture", [*CLEAR, "pyftpd_bare"])
@pytest.mark.parametrize("name", [" leading", "two  blanks", "[a]*?{b}", "%s", '"quoted"'])
def test_blanks_and_patterns(request: pytest.FixtureRequest, fixture: str, name: str) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with client_of(server) as (client, remote, folder):
        for path in (f"{remote}/{name}",):
            client.do(Write(path, 0, b"abc", create=True), Finish(path))
            assert [p.name for p in folder.iterdir()] == [name]
            listed = client.ask(List(remote))
            assert isinstance(listed, dict)
            assert list(listed) == [name]
            client.ask(Remove(path))


# --- refusals


@pytest.mark.parametrize("fixture", CLEAR)
def test_a_denied_permission_is_told_from_a_missing_folder(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    if fixture == "pyftpd" and os.geteuid() == 0:
        pytest.skip("pyftpdlib runs as root here: nothing is denied to it")
    with client_of(server) as (client, remote, folder):
        (folder / "locked").mkdir(mode=0o755)
        (folder / "locked" / "file").write_bytes(b"x")
        results = client.do(
            Write(f"{remote}/locked/new", 0, b"x", create=True),
            Write(f"{remote}/none/new", 0, b"x", create=True),
            Remove(f"{remote}/locked/file"),
            Remove(f"{remote}/locked/none"),
            Rename(f"{remote}/locked/file", f"{remote}/locked/other"),
            Rename(f"{remote}/locked/none", f"{remote}/locked/other"),
            Write(f"{remote}/locked/file", 1, b"x"),
        )
        kinds = [type(result) for result in results]
        denied, missing = RemoteDenied, RemoteNotFound
        assert kinds == [denied, missing, denied, missing, denied, missing, denied], results
        assert client.ask(Stat(f"{remote}/locked/file")) is not None  # the connection lives


# --- breaks


@pytest.mark.parametrize("fixture", ["vsftpd", "vsftpd_tls", "proftpd_tls"])
def test_a_session_that_the_server_ended_while_idle_is_made_anew(
    request: pytest.FixtureRequest, fixture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysubtask.transports.ftp.client._IDLE_SECS", 0.0)
    server: FtpServer = request.getfixturevalue(fixture)
    with client_of(server) as (client, remote, folder):
        name = f"{remote}/log"
        client.do(Write(name, 0, b"abc", create=True))
        assert server.kill_sessions()
        time.sleep(0.2)
        assert client.do(Write(name, 3, b"def")) == [None]
        assert (folder / "log").read_bytes() == b"abcdef"


def test_a_restarted_server_is_a_lost_link(open_ftpd: Callable[..., FtpServer]) -> None:
    server = open_ftpd(Pyftpd)
    with client_of(server) as (client, remote, folder):
        name = f"{remote}/log"
        client.do(Write(name, 0, b"abc", create=True))
        server.stop()
        with pytest.raises(LinkLost):
            client.do(Stat(name))
        server.start()
        with closing(Client(server, remote)) as again:
            assert again.do(Write(name, 3, b"def")) == [None]
        assert (folder / "log").read_bytes() == b"abcdef"


def test_a_mute_server_does_not_hold_us_up(vsftpd: FtpServer) -> None:
    with (
        FtpLink(vsftpd.host, vsftpd.port) as way,
        client_of(vsftpd, at=way, reply_timeout_secs=0.5) as (client, remote, _),
    ):
        way.freeze()
        before = time.monotonic()
        with pytest.raises(LinkLost, match=r"no answer for \d+ s"):
            client.do(Stat(f"{remote}/log"))
        client.close()
        assert time.monotonic() - before < 10.0, "of 30 s that a client waits by default"


def test_the_address_in_a_pasv_reply_is_not_trusted(pyftpd_bare: FtpServer) -> None:
    """The link answers PASV with 10.9.8.7, which nobody connects to."""
    with (
        FtpLink(pyftpd_bare.host, pyftpd_bare.port) as way,
        client_of(pyftpd_bare, at=way) as (client, remote, folder),
    ):
        assert client.do(Write(f"{remote}/a", 0, b"abc", create=True)) == [None]
        assert (folder / "a").read_bytes() == b"abc"
