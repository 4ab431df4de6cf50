"""Replies that nobody asked for: each must end the connection, or it would answer another command.

From then on every reply would be taken for the next command's: a refused rename counts as done, and
what was owed is forgotten.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from pysubtask.errors import LinkError, LinkLost
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret
from pysubtask.transports.contract import MakeDir, Remove, Rename, Request, Stat, Write
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.ftp.trial import Learned
from tests.servers.certificates import make_certificates
from tests.unit.ftp_bench import IN, answers_to, connected, hostile

KNOWN = Learned(tried=True, product="vsftpd", positioned=True, replaces=True, readable=True)
TEMP = "in/.pysubtask-0a1b2c3d00000001"
REPLIES = {
    **IN,
    b"FEAT": b"502 no\r\n",
    b"EPSV": b"229 x (|||PORT|)\r\n",
    b"STOR": b"150 go on\r\n226 done\r\n",
    b"SIZE": b"213 3\r\n",
    b"PWD": b'257 "/"\r\n',
    b"CWD": b"250 in\r\n",
    b"RNFR": b"350 to what\r\n",
    b"RNTO": b"250 done\r\n",
    b"DELE": b"250 gone\r\n",
}


def test_a_reply_that_comes_twice_ends_the_connection() -> None:
    """The second 226 would answer RNFR, RNFR's 350 would answer RNTO, whose refusal nobody reads:
    the version counts as delivered, and its bytes leave the outbox."""
    replies = {
        **REPLIES,
        b"STOR": b"150 go on\r\n226 done\r\n226 done\r\n",
        b"RNTO": b"550 refused\r\n",
    }
    asked = Write(TEMP, 0, b"abc", create=True), Rename(TEMP, "in/a.csv", replace=True)
    with hostile(replies) as server:
        made = connected(server, learned=KNOWN)
        with pytest.raises(LinkLost, match=r"nobody had asked for: '226 done'.*made anew"):
            answers_to(made, *asked)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"250 gone\r\n421 idle for too long\r\n", "ends the connection: '421 idle for too long'"),
        (b"250 gone\r\n226-half of\r\n", "a part of a reply"),
        (b"250 gone\r\n\r\n", "does not speak FTP"),
    ],
)
def test_what_was_said_unasked_is_told(reply: bytes, words: str) -> None:
    with hostile({**REPLIES, b"DELE": reply}) as server:
        made = connected(server)
        with pytest.raises(LinkLost, match=words):
            answers_to(made, Remove("in/a"), Remove("in/b"))
        assert b"DELE in/b\r\n" not in server.seen


@pytest.mark.parametrize(
    ("command", "reply", "asked"),
    [
        (b"RNFR", b"226 done\r\n", Rename("in/a", "in/b", replace=True)),
        (b"RNTO", b"350 to what\r\n", Rename("in/a", "in/b", replace=True)),
        (b"DELE", b"350 to what\r\n", Remove("in/a")),
        (b"MKD", b"150 go on\r\n", MakeDir("in/a")),
        (b"SIZE", b"226 done\r\n", Stat("in/a")),
        (b"STOR", b"150 go on\r\n350 to what\r\n", Write(TEMP, 0, b"abc", create=True)),
        (b"STOR", b"350 to what\r\n", Write(TEMP, 0, b"abc", create=True)),
    ],
)
def test_a_reply_of_another_commands_kind_ends_the_connection(
    command: bytes, reply: bytes, asked: Request
) -> None:
    with hostile({**REPLIES, command: reply}) as server:
        made = connected(server, learned=KNOWN)
        with pytest.raises(LinkLost):
            answers_to(made, asked)


@pytest.mark.parametrize("code", [200, 226, 250, 257])
def test_done_is_done_by_whatever_number(code: int) -> None:
    """Small servers answer DELE by 226, CWD and STOR by 200: that is no sign of anything."""
    replies = {
        **REPLIES,
        **dict.fromkeys((b"RNTO", b"DELE", b"MKD", b"CWD"), b"%d done\r\n" % code),
        b"STOR": b"125 go on\r\n%d done\r\n" % code,
    }
    asked: tuple[Request, ...] = (
        Write(TEMP, 0, b"abc", create=True),
        Rename(TEMP, "in/a", replace=True),
        Remove("in/a"),
        MakeDir("in/b"),
    )
    with hostile(replies) as server:
        assert answers_to(connected(server, learned=KNOWN), *asked) == [None] * 4


def test_replies_that_came_before_the_encryption_answer_nothing(tmp_path: Path) -> None:
    """Somebody on the way adds to the last reply in the clear: he would say "come in" to USER,
    before the server has seen it, and every later reply would be taken for the next command's."""
    ca, certificate, key = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        sock.settimeout(5)
        with contextlib.suppress(OSError), sock:
            sock.sendall(b"220 hello\r\n")
            sock.recv(100)  # AUTH TLS
            sock.sendall(b"234 go on\r\n230 come in\r\n200 x\r\n200 x\r\n211 x\r\n200 x\r\n")
            with context.wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(1000):
                    seen.append(data)

    thread = threading.Thread(target=serve)
    thread.start()
    connector = FtpConnector(
        "localhost",
        listener.getsockname()[1],
        RealClock(),
        user="edge",
        password=Secret("pw"),
        tls="explicit",
        ca_file=str(ca),
        reply_timeout_secs=2,
        login_timeout_secs=2,
    )
    try:
        with pytest.raises(LinkError, match="more than it was asked before the encryption"):
            connector()
    finally:
        listener.close()
        thread.join(6)
    assert seen == []
