"""Greeting, login, trial and breaks against a server whose replies the test writes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pysubtask.errors import LinkError, LinkLost, LoginRefused, RemoteError
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret
from pysubtask.transports.contract import Stat
from pysubtask.transports.ftp.client import FtpTransport, Memory
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.ftp.trial import Learned

LOGIN = {"USER": "331 password", "PASS": "230 in", "FEAT": "502 no", "TYPE": "200 ok"}


@contextmanager
def server(replies: dict[str, str], greeting: str = "220 hello") -> Iterator[tuple[int, list[str]]]:
    """Answers each command by its first word; ``""``: hangs up, no entry: says nothing."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines:
            sock.sendall(greeting.encode() + b"\r\n")
            for line in lines:
                text = line.decode().strip()
                seen.append(text)
                reply = replies.get(text.split(" ")[0])
                if reply == "":
                    return
                if reply is not None:
                    sock.sendall(reply.encode() + b"\r\n")

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            try:
                talk(sock)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        assert not thread.is_alive()


def connector(port: int, **options: object) -> FtpConnector:
    given: dict[str, object] = {
        "user": "edge",
        "password": Secret("pw"),
        "tls": "off",
        "reply_timeout_secs": 0.3,
        "login_timeout_secs": 0.3,
        **options,
    }
    return FtpConnector("127.0.0.1", port, RealClock(), **given)  # type: ignore[arg-type]


def test_a_login() -> None:
    with server(LOGIN) as (port, seen):
        connector(port)().close()
        assert seen[:4] == ["USER edge", "PASS pw", "FEAT", "TYPE I"]


def test_without_a_user_it_is_anonymous() -> None:
    with server({**LOGIN, "USER": "230 come in"}) as (port, seen):
        connector(port, user=None, password=None)().close()
        assert seen[0] == "USER anonymous"
        assert not any(line.startswith("PASS") for line in seen)


@pytest.mark.parametrize(
    ("greeting", "replies", "kind", "words"),
    [
        ("421 too many", {}, LinkError, "too many"),
        ("554 go away", {}, LinkError, "go away"),
        ("SSH-2.0-OpenSSH", {}, LinkError, "does not speak FTP"),
        ("220 x", {"USER": "530 use TLS"}, LoginRefused, "ftps://"),
        ("220 x", {"PASS": "530 Login authentication failed"}, LoginRefused, "failed'$"),
        ("220 x", {"PASS": "430 wrong"}, LoginRefused, "edge"),
        ("220 x", {"PASS": "332 account"}, LoginRefused, "account"),
        ("220 x", {"PASS": "450 busy"}, LinkError, "at the moment"),
        ("220 x", {"PASS": "421 bye"}, LinkLost, "ends the connection"),
        ("220 x", {"PASS": ""}, LinkLost, "closed the connection"),
        ("220 x", {"TYPE": "504 no"}, LinkError, "no binary mode"),
    ],
)
def test_who_is_not_let_in(
    greeting: str, replies: dict[str, str], kind: type[LinkError], words: str
) -> None:
    with server({**LOGIN, **replies}, greeting) as (port, _):
        with pytest.raises(kind, match=words) as caught:
            connector(port)()
        assert (type(caught.value) is LoginRefused) == (kind is LoginRefused)
        assert "pw" not in str(caught.value)


def test_a_missing_password_is_told() -> None:
    refused = pytest.raises(LoginRefused, match="no password was given")
    with server({**LOGIN, "PASS": "530 no"}) as (port, _), refused:
        connector(port, password=None)()


def test_a_mute_server_is_given_up() -> None:
    replies = {name: reply for name, reply in LOGIN.items() if name != "FEAT"}
    with server(replies) as (port, _), pytest.raises(LinkLost, match="no answer"):
        connector(port)()


def test_a_password_with_a_line_end_is_not_sent() -> None:
    with server(LOGIN) as (port, seen):
        with pytest.raises(LoginRefused, match="no FTP command can carry"):
            connector(port, password=Secret("pw\r\nDELE x"))()
        assert not any("DELE" in line for line in seen)


def transport(port: int, memory: Memory) -> FtpTransport:
    return FtpTransport(
        connector(port), RealClock(), folder="in", client_id="0a1b2c3d", memory=memory
    )


def test_a_server_that_hangs_up_on_stat_is_asked_once() -> None:
    memory = Memory()
    with server({**LOGIN, "STAT": "", "EPSV": "500 no", "PASV": "500 no"}) as (port, seen):
        with pytest.raises(LinkLost, match="closed the connection"):
            transport(port, memory).connect()
        with pytest.raises(LinkLost, match="no passive mode"):
            transport(port, memory).connect()
        assert seen.count("STAT") == 1


def test_a_full_disk_is_no_sign_of_what_the_server_can_do() -> None:
    memory = Memory()
    replies = {**LOGIN, "STAT": "502 no", "STOR": "452 No space left on device"}
    with server(replies) as (port, seen):
        replies["EPSV"] = f"229 ok (|||{port}|)"
        with pytest.raises(LinkError, match="no space is left"):
            transport(port, memory).connect()
        assert "STOR in/.pysubtask-0a1b2c3dfffffffe" in seen
    assert not memory.learned.tried


def test_what_was_learned_holds_while_the_greeting_differs_in_numbers_only() -> None:
    memory = Memory("you are number .", Learned(tried=True, positioned=True))
    for greeting, tries in (("220 You are number 5.", False), ("220 Another one", True)):
        with server({**LOGIN, "STAT": "502 no", "EPSV": ""}, greeting) as (port, seen):
            made = transport(port, memory)
            if tries:
                with pytest.raises(LinkLost):
                    made.connect()
            else:
                made.connect()
            made.close()
            assert any(line.startswith("EPSV") for line in seen) == tries


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"SIZE": "213 12", "MDTM": "213 19700101000001"}, None),
        ({"SIZE": "550 Permission denied"}, "no such file"),
        ({"SIZE": "421 timeout"}, "ends the connection"),
    ],
)
def test_stat_without_mlst(replies: dict[str, str], words: str | None) -> None:
    memory = Memory("hello", Learned(tried=True, positioned=True))
    more = {"PWD": '257 "/a ""b"""', "CWD": "550 no", "FEAT": "211-x\r\n MDTM\r\n211 y"}
    with server({**LOGIN, **more, **replies}) as (port, _):
        made = transport(port, memory)
        made.connect()
        made.submit(1, Stat("in/a"))
        collect: Callable[[], list[object]] = lambda: list(made.collect())  # noqa: E731
        if words == "ends the connection":
            with pytest.raises(LinkLost, match=words):
                collect()
        else:
            ((ticket, result),) = collect()  # type: ignore[misc]
            assert ticket == 1
            if words is None:
                assert (result.size, result.mtime) == (12, 1.0)
            else:
                assert isinstance(result, RemoteError)
                assert words in str(result)
        made.close()
