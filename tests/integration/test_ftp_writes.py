"""FTP against real servers: writes that are slow, stuck, or that somebody tidies away."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from pysubtask.errors import (
    RemoteError,
    RemoteNotFound,
)
from pysubtask.seams.clock import RealClock
from pysubtask.transports.contract import (
    Finish,
    RemoteStat,
    Rename,
    Stat,
    Write,
)
from pysubtask.transports.ftp.files import Files
from pysubtask.transports.ftp.transfers import Transfers
from tests.integration.ftp_clients import Client, client_of
from tests.servers.ftp import FtpServer, Pyftpd
from tests.servers.ftplink import FtpLink

CLEAR = ("vsftpd", "proftpd", "pyftpd")


def test_a_slow_write_is_acknowledged_bit_by_bit(
    vsftpd: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysubtask.transports.ftp.writing.SLICE_SECS", 0.02)
    data = os.urandom(1_000_000) * 24
    with (
        FtpLink(vsftpd.host, vsftpd.port) as way,
        client_of(vsftpd, at=way) as (client, remote, folder),
    ):
        way.bytes_per_sec = 50_000_000
        temp = f"{remote}/.pysubtask-0a1b2c3d00000003"
        half = len(data) // 2
        requests = (
            Write(temp, 0, data[:half], create=True),
            Write(temp, half, data[half:], create=True),
        )
        assert client.do(*requests) == [None, None]
        assert (folder / temp.rpartition("/")[2]).read_bytes() == data
        assert way.connections > 3


def test_what_waits_behind_an_upload_that_goes_on_no_more_is_not_forgotten(
    open_ftpd: Callable[..., FtpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of an upload goes in one transfer there, and its job may have been given up."""
    monkeypatch.setattr("pysubtask.transports.ftp.client.SLICE_SECS", 0.5)
    server = open_ftpd(Pyftpd, without=["REST", "APPE"])
    with client_of(server) as (client, remote, _):
        transport = client.transport
        temp = f"{remote}/.pysubtask-0a1b2c3d00000004"
        assert client.do(Write(temp, 0, b"half of it", create=True)) == [None]
        assert transport.due_at == math.inf, "nobody waits"
        transport.submit(7, Write(f"{remote}/beat", 0, b"", create=True))
        assert not list(transport.collect())
        wait = transport.due_at - RealClock().monotonic()
        assert 0 < wait <= 0.5
        RealClock().sleep(wait)
        assert list(transport.collect()) == [(7, None)]


@pytest.mark.parametrize("fixture", ["vsftpd", "pyftpd_bare"])
def test_no_hole_when_somebody_tidies_our_temporary_file_away(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with client_of(server) as (client, remote, folder):
        name = ".pysubtask-0a1b2c3d00000004"
        path = f"{remote}/{name}"
        client.ask(Write(path, 0, b"abcdef", create=True))
        (folder / name).unlink()
        with pytest.raises(RemoteNotFound):
            client.ask(Write(path, 6, b"ghi", create=True))
        assert not (folder / name).exists()
        client.ask(Write(path, 0, b"abcdef", create=True))
        os.truncate(folder / name, 3)  # the server lost what it had acknowledged
        with pytest.raises(RemoteError, match="hole"):
            client.ask(Write(path, 6, b"ghi", create=True))
        client.ask(Write(path, 0, b"abcdef", create=True))
        os.truncate(folder / name, 3)
        with pytest.raises(RemoteError, match="took 6 bytes and has 3"):
            client.ask(Finish(path))


@pytest.mark.parametrize("when", ["before", "twice"])
def test_what_a_consumer_takes_just_before_an_append_is_taken_back_or_counted(
    vsftpd: FtpServer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """vsftpd makes a file with a hole where there is none: APPE is used, and makes a new file."""
    remote, folder = vsftpd.new_folder()
    with closing(Client(vsftpd, remote, consumed=True)) as client:
        assert client.transport.learned.leaves_holes
        name, temp = f"{remote}/log", f"{remote}/.pysubtask-0a1b2c3d00000005"
        client.do(Write(temp, 0, b"abcdef", create=True), Rename(temp, name, replace=True))
        assert client.do(Write(name, 6, b"gh")) == [None]
        store, size = Transfers.store, Files.size
        kept: list[bytes] = []

        def take() -> None:
            kept.append((folder / "log").read_bytes())
            (folder / "log").unlink()

        def take_and_store(self: Transfers, *given: Any, **more: Any) -> int:
            take()
            return store(self, *given, **more)

        def size_and_take(self: Files, path: str) -> int | None:
            found = size(self, path)
            if when == "twice" and len(kept) == 1:
                take()
            return found

        monkeypatch.setattr(Transfers, "store", take_and_store)
        monkeypatch.setattr(Files, "size", size_and_take)
        (result,) = client.do(Write(name, 8, b"ijk"))
        monkeypatch.undo()
        assert list(folder.iterdir()) == []
        if when == "before":
            assert kept == [b"abcdefgh"]
            assert isinstance(result, RemoteNotFound)
        else:
            assert kept == [b"abcdefgh", b"ijk"]
            assert result is None
            assert client.ask(Stat(name, by_handle=True)) == RemoteStat(11)


def test_no_hole_when_a_consumer_takes_the_file_before_it_is_opened(
    vsftpd: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(vsftpd) as (client, remote, folder):
        name = f"{remote}/log"
        client.do(Write(name, 0, b"abcdef", create=True))
        passive = client.transport._connected().passive
        open_data = passive.open

        def open_and_take(*given: Any) -> Any:
            (folder / "log").unlink(missing_ok=True)
            return open_data(*given)

        monkeypatch.setattr(type(passive), "open", lambda self, *given: open_and_take(*given))
        with pytest.raises(RemoteNotFound):
            client.ask(Write(name, 6, b"ghi"))
        monkeypatch.undo()
        assert list(folder.iterdir()) == []
        assert client.do(Write(name, 0, b"abc", create=True)) == [None]
