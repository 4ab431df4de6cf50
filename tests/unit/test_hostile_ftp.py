"""An FTP server that means harm: whatever it sends on either connection, each request or the
connection ends with an error of ours, in bounded memory and time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysubtask.errors import LinkError, LinkLost, RemoteError, RemoteUnsupported
from pysubtask.seams.clock import RealClock
from pysubtask.transports.contract import List, MakeDir, Read, Remove, Rename, Request, Stat, Write
from pysubtask.transports.ftp import transfers
from pysubtask.transports.ftp.facts import parse_facts, parse_list_line, parse_size, parse_time
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.ftp.names import encode_path
from pysubtask.transports.ftp.replies import Reply, ReplyReader, parse_epsv, parse_pasv
from tests.unit.ftp_bench import IN, answers_to, connected, hostile

names = st.sampled_from(["a", "in/b", "c/d"])
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Stat, names),
    st.builds(Write, names, st.sampled_from([0, 5]), st.binary(max_size=20), st.booleans()),
    st.builds(Read, names, st.sampled_from([0, 5]), st.integers(0, 50)),
    st.builds(List, names),
    st.builds(Rename, names, names, st.booleans()),
    st.builds(Remove, names),
    st.builds(MakeDir, names),
)
line_texts = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"type=file;size=9;modify=20249999999999; x",
            b"type=file;size=" + b"9" * 5000 + b"; x",
            b"type=dir; ../../etc",
            b"size=1;modify=00000000000000; \x1b[2J",
            b"-rw-r--r-- 1 a b " + b"9" * 5000 + b" Jan 1 00:00 x",
            b'"/home\r/x\0y" is it',
            b"(|||PORT|)",
            b"(|||99999|)",
            b"(" + b"1" * 6000,
            b"20241332000000",
            b"18446744073709551616",
        ]
    ),
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    code = draw(st.sampled_from([150, 150, 200, 213, 226, 227, 229, 229, 250, 257, 350, 421, 425]))
    code = draw(st.sampled_from([code, code, code, 500, 550, 553, 999]))
    if code == 229 and draw(st.booleans()):
        return b"229 x (|||PORT|)\r\n"
    lines = draw(st.lists(line_texts, min_size=1, max_size=3))
    head = b"".join(b"%d-%s\r\n" % (code, line) for line in lines[:-1])
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\r\n226 more\r\n"]))
    return head + b"%d %s" % (code, lines[-1]) + end


@st.composite
def servers(draw: st.DrawFn) -> dict[bytes, bytes]:
    """What it answers to which command: mostly what fits, with something evil in it; what is left
    out comes from a script of anything."""
    evil = draw(line_texts).replace(b"\n", b"")
    names = draw(st.sampled_from([b" MLST\r\n MDTM\r\n", b" MDTM\r\n", b""]))
    fitting = {
        b"FEAT": b"211-x\r\n" + names + b"211 end\r\n",
        b"EPSV": b"229 x (|||PORT|)\r\n",
        b"MLSD": b"150 here\r\n226 done\r\n",
        b"LIST": b"150 here\r\n226 done\r\n",
        b"RETR": b"150 here\r\n226 done\r\n",
        b"STOR": b"150 go on\r\n226 done\r\n",
        b"REST": b"350 go on\r\n",
        b"SIZE": b"213 " + draw(st.sampled_from([b"5", b"0", evil])) + b"\r\n",
        b"MDTM": b"213 " + draw(st.sampled_from([b"20240101000000", evil])) + b"\r\n",
        b"MLST": b"250-x\r\n " + evil + b"\r\n250 end\r\n",
        b"PWD": b"257 " + draw(st.sampled_from([b'"/"', evil])) + b"\r\n",
        b"CWD": draw(st.sampled_from([b"250 in\r\n", b"550 no\r\n"])),
        b"RNFR": b"350 to what\r\n",
        b"RNTO": b"250 done\r\n",
    }
    left_out = draw(st.sets(st.sampled_from(sorted(fitting)), max_size=3))
    kept = {name: reply for name, reply in fitting.items() if name not in left_out}
    return {**IN, b"OPTS": b"200 x\r\n", **kept}


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(requests, min_size=1, max_size=3),
    servers(),
    st.lists(replies(), max_size=12),
    st.lists(line_texts, max_size=4),
)
def test_any_replies(
    asked: list[Request], fitting: dict[bytes, bytes], script: list[bytes], listed: list[bytes]
) -> None:
    with hostile(fitting, script, b"\r\n".join(listed)) as server:
        try:
            for result in answers_to(connected(server), *asked):
                assert not isinstance(result, Exception) or isinstance(result, RemoteError)
        except LinkError:
            pass


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(replies(), st.lists(replies(), max_size=8))
def test_any_login(greeting: bytes, script: list[bytes]) -> None:
    with hostile({}, script, greeting=greeting) as server, contextlib.suppress(LinkError):
        connected(server).close()


@settings(max_examples=500)
@given(st.binary(max_size=300) | line_texts)
def test_any_line_of_a_listing(line: bytes) -> None:
    for parse in (parse_facts, parse_list_line):
        found = parse(line)
        if found is not None:
            assert 0 <= found[1].size < 10**19
    parse_time(line)
    for parse_port in (parse_epsv, parse_pasv):
        port = parse_port(Reply(229, (line,)))
        assert port is None or 0 < port < 65_536


def test_absurd_numbers() -> None:
    assert parse_size(b"9" * 19) == 10**19 - 1
    assert parse_size(b"9" * 20) is None
    assert parse_size(b"9" * 100_000) is None
    for text in (b"20241301000000", b"20240001000000", b"00000101000000"):
        assert parse_time(text) is None
    assert parse_facts(b"type=file;size=" + b"9" * 5000 + b"; x") is None
    assert parse_pasv(Reply(227, (b"1" * 9000 + b",2,3,4,5,6",))) == 5 * 256 + 6


@pytest.mark.parametrize(
    "line",
    [
        b"-rw-r--r-- " + b"1 " * 2_000_000,
        b"-rw-r--r--" + b" " * 8000,
        b"01-01-24 10:00" + b" " * 8000 + b"x",
        b"01-01-24 10:00AM" + b" " * 8000 + b"1" * 100,
        b";" * 8000 + b" x",
    ],
)
def test_lines_that_want_to_cost_time(line: bytes) -> None:
    began = time.process_time()
    parse_list_line(line)
    parse_facts(line)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "piece", [b"220 " + b"x" * 1000, b"220-and on\r\n", b"220-and on\r\n" + b"\n" * 4096]
)
def test_a_line_or_a_reply_without_end(piece: bytes) -> None:
    """Empty lines count as well: each takes some memory."""
    reader = ReplyReader()
    fed_bytes = 0

    def feed_on() -> None:
        nonlocal fed_bytes
        for _ in range(100_000):
            reader.feed(piece)
            fed_bytes += len(piece)
            reader.next_reply()

    with pytest.raises(LinkLost, match="does not speak FTP"):
        feed_on()
    assert fed_bytes < 300_000


def test_a_greeting_that_never_ends_has_a_limit_in_time() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):
            while not over.is_set():
                sock.sendall(b"220-a\r\n")
                time.sleep(0.02)

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    connector = FtpConnector(
        "127.0.0.1", listener.getsockname()[1], RealClock(), tls="off", login_timeout_secs=0.5
    )
    try:
        with pytest.raises(LinkError, match="no greeting"):
            connector()
        assert time.monotonic() - began < 5
    finally:
        over.set()
        thread.join(5)
        listener.close()


LISTING = {
    **IN,
    b"FEAT": b"211-x\r\n MLST\r\n211 end\r\n",
    b"OPTS": b"200 x\r\n",
    b"EPSV": b"229 x (|||PORT|)\r\n",
    b"MLSD": b"150 here\r\n226 done\r\n",
    b"RETR": b"150 here\r\n226 done\r\n",
}


def test_a_listing_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_MAX_NAMES", 1000)
    line = b"type=file;size=1; x\r\n"
    with hostile(LISTING, blob=line * 2000) as server:
        (result,) = answers_to(connected(server), List("in"))
    assert isinstance(result, RemoteError)
    assert "too large" in str(result)


@pytest.mark.parametrize("request_", [List("in"), Read("in/a", 0, 100_000)])
def test_data_that_drip_have_a_limit_in_time(request_: Request) -> None:
    """A byte now and then is no silence; it is no transfer either."""
    began = time.monotonic()
    with hostile(LISTING, drip=True) as server:
        with pytest.raises(LinkLost, match=r"only \d+ bytes came"):
            answers_to(connected(server), request_)
        assert time.monotonic() - began < 10


def test_a_current_folder_that_would_become_a_command() -> None:
    replies = {
        **IN,
        b"FEAT": b"502 no\r\n",
        b"SIZE": b"550 no\r\n",
        b"PWD": b'257 "/x\rDELE y\0z"\r\n',
        b"CWD": b"250 ok\r\n",
    }
    with hostile(replies) as server:
        with pytest.raises(LinkLost, match="current folder"):
            answers_to(connected(server), Stat("a"))
        assert not any(b"DELE" in line for line in server.seen)


def test_names_that_lead_elsewhere_are_left_out() -> None:
    lines = [b"type=file;size=1; " + name for name in (b"..", b".", b"../x", b"/etc/x", b"ok")]
    with hostile(LISTING, blob=b"\r\n".join(lines)) as server:
        (result,) = answers_to(connected(server), List("in"))
    assert isinstance(result, dict)
    assert result.keys() == {"ok"}


@pytest.mark.parametrize("name", ["a\r\nDELE b", "a\nDELE b", "a\rb", "a\0b", "a\udcffb"])
def test_a_name_never_becomes_a_command(name: str) -> None:
    with pytest.raises(RemoteUnsupported):
        encode_path(name)
    with hostile(IN | {b"FEAT": b"502 no\r\n"}) as server:
        results = answers_to(connected(server), Stat(name), Remove(name), MakeDir(name))
        assert all(isinstance(result, RemoteUnsupported) for result in results)
        assert not any(b"DELE" in line for line in server.seen)


def test_a_servers_words_are_made_harmless() -> None:
    words = b"550 no\t\x1b[2J\xc2\x9b31m\xe2\x80\xae evil " + b"x" * 5000 + b"\r\n"
    with hostile({**IN, b"FEAT": b"502 no\r\n", b"DELE": words, b"SIZE": b"213 4\r\n"}) as server:
        (result,) = answers_to(connected(server), Remove("a"))
    assert isinstance(result, RemoteError)
    assert str(result).isprintable()
    assert len(str(result)) < 400
