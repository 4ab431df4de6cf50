"""FTP replies: read from pieces, told apart as errors; what servers tell of files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.contract import RemoteStat
from pysubtask.transports.ftp.facts import parse_facts, parse_list_line, parse_time
from pysubtask.transports.ftp.names import decode_name, encode_path
from pysubtask.transports.ftp.replies import (
    Momentary,
    Reply,
    ReplyReader,
    parse_epsv,
    parse_pasv,
    remote_error,
)

TALK = (
    b"220-Welcome\r\n220 to this\r\n"
    b"331 Password\r\n"
    b"211-Features:\r\n SIZE\r\n 211-not yet\r\n212 nor now\r\n211 End\r\n"
    b"226\r\n"
    b"250-\r\n250-x\r\n250 \r\n"
)
REPLIES = [
    (220, (b"Welcome", b"to this")),
    (331, (b"Password",)),
    (211, (b"Features:", b" SIZE", b" 211-not yet", b"212 nor now", b"End")),
    (226, (b"",)),
    (250, (b"", b"250-x", b"")),
]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_replies_are_read_from_any_pieces(sizes: list[int]) -> None:
    reader = ReplyReader()
    found: list[Reply] = []
    at = 0
    for size in [*sizes, len(TALK)]:
        reader.feed(TALK[at : at + size])
        at += size
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    assert [(reply.code, reply.lines) for reply in found] == REPLIES


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"\r\n", b"999 x\r\n", b"22\r\n", b"x" * 9000])
def test_what_is_no_ftp_is_refused(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    with pytest.raises(LinkLost, match="does not speak FTP"):
        reader.next_reply()


def test_a_reply_without_end_is_refused() -> None:
    reader = ReplyReader()
    for _ in range(100):
        reader.feed(b"211-x\r\n" + b"y" * 8000 + b"\r\n")
    with pytest.raises(LinkLost, match="a reply without end"):
        reader.next_reply()


def test_ports() -> None:
    assert parse_epsv(Reply(229, (b"Entering Extended Passive Mode (|||6446|)",))) == 6446
    assert parse_epsv(Reply(229, (b"ok (!!!21!)",))) == 21
    for text in (b"(|||0|)", b"(|||70000|)", b"(||1.2.3.4|5|)", b"none"):
        assert parse_epsv(Reply(229, (text,))) is None
    assert parse_pasv(Reply(227, (b"Entering Passive Mode (10,0,0,1,4,1).",))) == 1025
    assert parse_pasv(Reply(227, (b"=10,0,0,1,255,255",))) == 65535
    for text in (b"(10,0,0,1,256,1)", b"(10,0,0,1,0,0)", b"1,2,3"):
        assert parse_pasv(Reply(227, (text,))) is None


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (550, "No such file or directory", RemoteNotFound),
        (550, "x: The system cannot find the file specified.", RemoteNotFound),
        (550, "Permission denied.", RemoteDenied),
        (553, "Could not create file: Access is denied", RemoteDenied),
        (550, "Not enough privileges.", RemoteDenied),
        (550, "Could not get file size.", RemoteError),
        (553, "Could not create file.", RemoteError),
        (452, "Insufficient", RemoteFull),
        (552, "Exceeded storage allocation", RemoteFull),
        (550, "write: No space left on device", RemoteFull),
        (451, "Transfer aborted: Disk quota exceeded", RemoteFull),
        (426, "Failure writing to local file.", RemoteFull),
        (451, "Transfer aborted. Input/output error", RemoteFull),
        (426, "None; transfer aborted.", RemoteFull),
        (550, "Create directory operation failed: File exists", RemoteExists),
        (521, "/x directory already exists", RemoteExists),
        (500, "Unknown command.", RemoteUnsupported),
        (502, "Not implemented", RemoteUnsupported),
        (504, "No", RemoteUnsupported),
        (532, "Need account", RemoteDenied),
        (450, "File busy", Momentary),
        (550, "Input/output error", RemoteFull),
    ],
)
def test_refusals_are_told_apart(code: int, text: str, kind: type[RemoteError]) -> None:
    error = remote_error(Reply(code, (text.encode(),)), "write", "in/a.csv")
    assert type(error) is kind
    assert text in str(error)
    assert str(error).startswith("write in/a.csv: ")


def test_what_may_be_a_full_disk_is_one_for_writes_only() -> None:
    reply = Reply(426, (b"None; transfer aborted.",))
    assert "most likely no space" in str(remote_error(reply, "write", "a"))
    with pytest.raises(LinkLost):
        remote_error(reply, "read", "a")


@pytest.mark.parametrize("code", [425, 426, 522, 226, 150])
def test_a_broken_transfer_is_a_broken_link(code: int) -> None:
    with pytest.raises(LinkLost):
        remote_error(Reply(code, (b"whatever",)), "write", "a")


def test_texts_for_people_hold_no_control_characters() -> None:
    reply = Reply(550, (b"a\x1b[31m\xff", b"b" * 500))
    assert "\x1b" not in str(reply)
    assert len(str(reply)) <= 210


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\0b", "a\udcffb", "\ud800"])
def test_names_that_no_command_can_carry(bad: str) -> None:
    with pytest.raises(RemoteUnsupported) as caught:
        encode_path(bad)
    assert not caught.value.retryable


@given(st.binary(max_size=30))
def test_names_come_back_as_they_went(raw: bytes) -> None:
    if not set(raw) & {0, 10, 13, 255}:
        sent = encode_path(decode_name(raw))
        assert sent.removeprefix(b"./") == raw.removeprefix(b"./")
        assert not sent.startswith((b" ", b"\t"))


def test_times() -> None:
    assert parse_time(b"19700101000001") == 1.0
    assert parse_time(b"20260101120000.250") == 1767268800.25
    for bad in (b"", b"2026", b"20260101120000Z", b"2026-01-01"):
        assert parse_time(bad) is None


def test_facts() -> None:
    line = b" type=file;Size=12;modify=19700101000001;UNIX.mode=0644; a b ;c"
    assert parse_facts(line) == ("a b ;c", RemoteStat(12, 1.0))
    assert parse_facts(b"type=dir; x") == ("x", RemoteStat(0, None, True))
    assert parse_facts(b"type=cdir;sizd=4096; /in/x") == (".", RemoteStat(0, None, True))
    assert parse_facts(b"size=5; x") == ("x", RemoteStat(5))
    for bad in (b"", b"x", b"type=file; x", b"no facts here"):
        assert parse_facts(bad) is None


@pytest.mark.parametrize(
    ("line", "name", "size", "is_dir"),
    [
        (b"-rw-r--r--    1 1000     1000      1234 Nov 26 00:36 a  b", "a  b", 1234, False),
        (b"-rw-r--r--    1 1000     1000      1234 Nov 26 00:36  lead", " lead", 1234, False),
        (b"drwxr-xr-x   2 ftp ftp 4096 Jan  1  2024 sub", "sub", 4096, True),
        (b"-rw-r--r--+  1 ftp ftp 9999999999 26 Nov 2024 x", "x", 9999999999, False),
        (b"-rw-r--r--   1 owner 7 Nov 26 00:36 no-group", "no-group", 7, False),
        (b"lrwxrwxrwx   1 ftp ftp 5 Jan  1  2024 l -> target", "l", 5, False),
        (b"11-26-24  12:36AM                 1234 win file.txt", "win file.txt", 1234, False),
        (b"11-26-2024  00:36       <DIR>          dir", "dir", 0, True),
    ],
)
def test_list_lines(line: bytes, name: str, size: int, is_dir: bool) -> None:
    assert parse_list_line(line) == (name, RemoteStat(size, None, is_dir))


@pytest.mark.parametrize("line", [b"total 12", b"", b"hello world", b"-rw-r--r-- nonsense"])
def test_other_lines_name_nothing(line: bytes) -> None:
    assert parse_list_line(line) is None
