"""A master that delivers over FTP and FTPS, and loses nothing when its child is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pysubtask import TaskMaster
from pysubtask.errors import SettingsError
from pysubtask.ftp import FTPTaskMaster
from tests.integration.promises import Delivery, delivering, wait_until
from tests.servers.ftp import FtpServer
from tests.servers.ftplink import FtpLink

SERVERS = ["vsftpd_tls", "vsftpd_implicit", "proftpd_tls", "vsftpd", "proftpd_whole"]
WATCH = [
    {"file": "log.csv", "growth": "append"},
    {"file": "rotated.log"},
    {"file": "state.json", "growth": "rewrite"},
]


def lines(start: int, end: int) -> bytes:
    return b"".join(b"%08d,measured\n" % number for number in range(start, end))


def _change_all(made: Delivery, number: int) -> None:
    """Append to one file, rotate another, rewrite a third."""
    made.append("log.csv", lines(number * 1000, number * 1000 + 1000))
    if number:
        assert made.master.notify(str(made.data / "rotated.log"), wait_secs=10)
        os.rename(made.data / "rotated.log", made.data / f"rotated.log.{number}")
    made.append("rotated.log", b"generation %d\n" % number * 500)
    made.replace("state.json", b"version %d\n" % number * (500 + number))


def _check_all(made: Delivery) -> None:
    for name in ("log.csv", "rotated.log", "state.json"):
        assert made.remote_bytes(name) == (made.data / name).read_bytes(), name
    assert made.leftovers() == []


@pytest.mark.parametrize("fixture", SERVERS)
def test_appended_rotated_and_rewritten_files_arrive(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with delivering(tmp_path, server, WATCH) as made:
        for number in range(3):
            _change_all(made, number)
            made.flush()
            _check_all(made)
        warned = "plain FTP: anybody on the way can read" in made.log()
        assert warned == (server.tls == "off")
        assert ("plain FTP" in str(made.master.status())) == (server.tls == "off")
        assert server.password not in made.log() + str(made.master.status())


@pytest.mark.parametrize("fixture", ["vsftpd_tls", "proftpd_whole"])
def test_kills_in_the_middle_lose_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    with delivering(tmp_path, server, WATCH, restart=False) as made:
        for number in range(5):
            _change_all(made, number)
            pid = wait_until(lambda: made.master.status().pid)
            time.sleep(0.02 * number)  # in the trial, in the upload, in the swap
            os.kill(pid, signal.SIGKILL)
            made.master.stop()
            made.master.start()
        made.master.notify_all_files()
        made.flush(60)
        _check_all(made)


def test_a_large_upload_goes_on_where_it_was_cut(tmp_path: Path, vsftpd: FtpServer) -> None:
    data = os.urandom(1 << 20) * 12
    with (
        FtpLink(vsftpd.host, vsftpd.port, bytes_per_sec=12_000_000) as way,
        delivering(tmp_path, vsftpd, [{"file": "big", "growth": "rewrite"}], link=way) as made,
    ):
        made.replace("big", data)
        for size in (2 << 20, 6 << 20):
            wait_until(lambda size=size: sum(_sizes(made)) >= size)
            way.cut()
        made.flush(60)
        assert made.remote_bytes("big") == data
        assert made.leftovers() == []
        assert way.bytes_up < len(data) * 1.7


def _sizes(made: Delivery) -> list[int]:
    return [path.stat().st_size for path in made.remote.iterdir()]


def test_the_settings_of_version_1_choose_ftp(tmp_path: Path) -> None:
    config = {"ftp": {"Host": "h", "UseSFTP": False, "HostFTPPath": "in", "Username": "u"}}
    plain = TaskMaster(["a"], config)
    assert type(plain) is FTPTaskMaster
    assert repr(plain).endswith("to ftp://u@h/in>")
    assert repr(TaskMaster(["a"], config, ftp_tls="explicit")).endswith("to ftps://u@h/in>")
    assert repr(TaskMaster(["a"], config, ftp_tls="implicit")).endswith("to ftps://u@h:990/in>")
    assert repr(TaskMaster(["a"], to="ftps://h/x")).endswith("to ftps://h/x>")
    assert repr(TaskMaster(["a"], to="ftps://h:990/x")).endswith("to ftps://h:990/x>")
    with pytest.raises(SettingsError, match='"off" does not go with ftps'):
        TaskMaster(["a"], to="ftps://h/x", ftp_tls="off")
