"""A server's words: fit to be shown, and without the secrets that it was told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from pysubtask.errors import LoginRefused, RemoteFull
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret, Settings
from pysubtask.transports import said as module
from pysubtask.transports import transport_factory
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.ftp.replies import Reply
from pysubtask.transports.ftp.trial import product_of
from pysubtask.transports.said import hide_secrets, said, visible
from pysubtask.transports.sftp.codec import FX_FAILURE, STATUS
from pysubtask.transports.sftp.codec import Reply as Status
from pysubtask.transports.sftp.ssh import _SshChannel
from pysubtask.transports.sftp.statuses import remote_error as status_error
from pysubtask.urls import parse_url
from tests.unit.ftp_bench import IN, hostile

Hide = Callable[[str], None]


@pytest.fixture(autouse=True)
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Hides one secret, until the end of the test."""
    monkeypatch.setattr(module, "_secrets", frozenset())
    monkeypatch.setattr(module, "_pattern", None)
    return lambda text: hide_secrets([Secret(text)])


@pytest.mark.parametrize(
    "secret", ["hunter2-secret", "a b  c\td", "sch\u00f6n/§", "x\x1b[31my", '"q\\']
)
def test_a_secret_is_hidden_however_it_is_written(hide: Hide, secret: str) -> None:
    hide(secret)
    for written in (secret, quote(secret, safe="")):
        assert said(f"500 'PASS {written}': not understood") == "500 'PASS •••': not understood"
        assert said(f"500 {written}".encode()) == "500 •••"


def test_no_part_of_it_is_left_where_the_words_are_cut(hide: Hide) -> None:
    hide("hunter2-secret")
    for blanks in range(180, 201):
        assert "hunt" not in said("x" * blanks + "hunter2-secret")


def test_all_secrets_of_a_process_are_hidden(hide: Hide) -> None:
    """It may deliver to one server and fetch from others."""
    hide("first-secret")
    hide("second-secret")
    assert said("first-secret second-secret") == "••• •••"


def test_a_short_one_is_hidden_as_a_word_of_its_own(hide: Hide) -> None:
    hide("a")
    assert said("PASS a failed") == "PASS ••• failed"


def test_a_password_that_is_a_common_word_changes_no_meaning(hide: Hide) -> None:
    hide("quota")
    reply = Reply(550, (b"Disk quota exceeded",))
    assert str(reply) == "550 Disk ••• exceeded"
    assert "quota" in reply.lowered
    assert visible("Disk quota") == "Disk quota"
    hide("space")
    error = status_error(Status(1, STATUS, FX_FAILURE, b"no space left"), "write", "a.csv")
    assert isinstance(error, RemoteFull)
    assert "no ••• left" in str(error)


@pytest.mark.parametrize("greeting", [b"220 (vsFTPd 3.0.5)\r\n", b"220 hello\r\n"])
def test_a_password_that_names_a_program_hides_none(hide: Hide, greeting: bytes) -> None:
    hide("vsFTPd")
    stat = b"211-vsFTPd 3.0.5\r\n211 end\r\n"
    replies = {**IN, b"FEAT": b"502 no\r\n", b"STAT": stat}
    with (
        hostile(replies, greeting=greeting) as server,
        closing(FtpConnector("127.0.0.1", server.port, RealClock(), tls="off")()) as session,
    ):
        assert product_of(session, may_ask=True) == "vsftpd"


def test_a_password_that_names_an_ssh_server_hides_none(hide: Hide) -> None:
    """By its name is known which one writes zeroes where an upload goes on."""
    hide("rclone")
    transport, channel = Mock(remote_version="SSH-2.0-rclone/v1.60"), Mock(out_max_packet_size=9999)
    made = _SshChannel(transport, channel, Mock(), lambda: None, 1.0, Mock())
    assert made.software == "rclone/v1.60"
    assert "rclone" not in made.described


@pytest.mark.parametrize("words", ["500 'PASS hunter2-secret': no", "530 hunter2-secret is wrong"])
def test_whoever_makes_a_transport_hides_what_it_tells_the_server(words: str) -> None:
    with hostile({**IN, b"PASS": words.encode() + b"\r\n"}) as server:
        destination = parse_url(f"ftp://edge:hunter2-secret@127.0.0.1:{server.port}/in")
        made = transport_factory(destination, Settings(), RealClock(), lambda: None)()
        with pytest.raises(LoginRefused, match="•••") as caught:
            made.connect()
        made.close()
    assert "hunter2" not in str(caught.value)
