"""A look that a server refuses: when it says that nothing is there, and when it says nothing.

Were a file that could not be looked at taken for one that is missing, another would be put in its
place: a kept file is lost, a growing one shrinks to its tail.
"""

from __future__ import annotations

import pytest

from pysubtask.errors import RemoteDenied, RemoteError, RemoteNotFound
from pysubtask.transports.contract import MakeDir, Read, Remove, Rename, Stat, Write
from pysubtask.transports.ftp.trial import Learned
from tests.unit.ftp_bench import IN, answers_to, connected, hostile

WITH_MLST = {**IN, b"FEAT": b"211-x\r\n MLST\r\n211 end\r\n", b"OPTS": b"200 x\r\n"}
WITHOUT_MLST = {**IN, b"FEAT": b"502 no\r\n", b"PWD": b'257 "/"\r\n', b"CWD": b"550 no\r\n"}
RENAMES = {b"RNFR": b"350 to what\r\n", b"RNTO": b"250 done\r\n"}

FOR_THE_MOMENT = [
    b"450 busy, try later",
    b"451 local error in processing",
    b"451 in/a.csv: No such file or directory on the storage behind",
    b"450 Permission denied",
    b"452 out of space for tables",
    b"550 in/a.csv: Input/output error",
    b"550 Stale file handle.",
    b"550 a.csv: Too many open files in system",
    b"550 Connection timed out",
    b"550 The process cannot access the file because it is being used by another process. ",
    b"550 The network path was not found. ",
    b"550 /srv/in/a.csv:Input/output error",
    b"550 /srv/in/a.csv:Connection timed out",
    b"550 can't open '/srv/in/a.csv': Device or resource busy, won't try",
    b"550 C:\\srv\\in\\a.csv: Connection timed out",
]
MISSING = [  # as vsftpd, ProFTPD, pyftpdlib, IIS, FileZilla, Pure-FTPd and others have it
    b"550 Could not get file size.",
    b"550 in/a.csv: No such file or directory",
    b"550 /in/a.csv is not retrievable.",
    b"550 The system cannot find the file specified. ",
    b"550 Couldn't open the file or directory",
    b"550 Can't check for file existence",
    b"550 Requested action not taken. File unavailable.",
    b"550 nope",
    b"450 in/a.csv: No such file or directory",
    b"553 nope",
    b"550 /srv/busybox/in/a.csv: No such file or directory",
    b"550 Can't open /mnt/timeout-test/in/a.csv: No such file or directory",
    b"550 /srv/our busy box/in/a.csv: No such file or directory",
    b"550 C:\\busy\\in\\a.csv: The system cannot find the path specified. ",
    b"550 /srv/busybox/in/a.csv is not retrievable.",
    b"550 '/srv/our busy box/in/a.csv': not found",
    b'550 "C:\\our busy box\\in\\a.csv": not found',
    b"550 /srv/quota/in/a.csv: No such file or directory",
]


@pytest.mark.parametrize("words", FOR_THE_MOMENT)
@pytest.mark.parametrize("command", [b"MLST", b"SIZE", b"CWD"])
def test_a_look_that_fails_for_the_moment_finds_nothing_missing(
    command: bytes, words: bytes
) -> None:
    base = WITH_MLST if command == b"MLST" else {**WITHOUT_MLST, b"SIZE": b"550 nope\r\n"}
    with hostile({**base, command: words + b"\r\n"}) as server:
        (found,) = answers_to(connected(server), Stat("in/a.csv"))
    assert isinstance(found, RemoteError)
    assert not isinstance(found, RemoteNotFound), found


@pytest.mark.parametrize("words", MISSING)
@pytest.mark.parametrize("command", [b"MLST", b"SIZE"])
def test_what_servers_say_of_a_missing_file_is_understood(command: bytes, words: bytes) -> None:
    """Else no new file could ever be delivered there."""
    base = WITH_MLST if command == b"MLST" else WITHOUT_MLST
    with hostile({**base, command: words + b"\r\n"}) as server:
        (found,) = answers_to(connected(server), Stat("in/a.csv"))
    assert isinstance(found, RemoteNotFound), found


@pytest.mark.parametrize("name", ["timeout.csv", "busy/a.csv", "too many open.log"])
def test_a_name_that_the_server_quotes_is_no_reason(name: str) -> None:
    """pyftpdlib says ``/in/timeout.csv is not retrievable`` of a file that is not there."""
    words = b"550 /in/" + name.encode() + b" is not retrievable.\r\n"
    with hostile({**WITHOUT_MLST, b"SIZE": words}) as server:
        (found,) = answers_to(connected(server), Stat(f"in/{name}"))
    assert isinstance(found, RemoteNotFound), found


@pytest.mark.parametrize("look", [b"450 busy\r\n", b"550 Input/output error\r\n"])
def test_nothing_is_renamed_onto_what_could_not_be_looked_at(look: bytes) -> None:
    """RNTO replaces on nearly all servers: what is kept under that name would be lost."""
    with hostile({**WITH_MLST, **RENAMES, b"MLST": look}) as server:
        (found,) = answers_to(connected(server), Rename("in/a", "in/b"))
        assert isinstance(found, RemoteError)
        assert not any(line.startswith(b"RNTO") for line in server.seen)


@pytest.mark.parametrize("size", [b"213 -1\r\n", b"213 " + b"9" * 30 + b"\r\n", b"213 \r\n"])
def test_a_size_that_makes_no_sense_is_no_missing_file(size: bytes) -> None:
    with hostile({**WITHOUT_MLST, b"SIZE": size}) as server:
        (found,) = answers_to(connected(server), Stat("in/a.csv"))
    assert isinstance(found, RemoteError)
    assert not isinstance(found, RemoteNotFound)


@pytest.mark.parametrize("words", [b"450 failed to open file\r\n", b"451 no\r\n"])
def test_a_refusal_for_the_moment_is_followed_by_a_look(words: bytes) -> None:
    """Small servers refuse by 4xx whatever the reason, a missing folder as well: a look tells. Of
    what is there it is no denied permission, which would be given up too soon."""
    replies = {
        **WITHOUT_MLST,
        b"EPSV": b"229 x (|||PORT|)\r\n",
        b"SIZE": b"550 no\r\n",
        **dict.fromkeys((b"STOR", b"RETR", b"DELE", b"RNFR", b"MKD"), words),
    }
    asked = (
        Write("in/a", 0, b"x", create=True),
        Read("in/a", 0, 5),
        Remove("in/a"),
        Rename("in/a", "in/b", replace=True),
        MakeDir("in/a"),
    )
    learned = Learned(tried=True, product="vsftpd", positioned=True, replaces=True, readable=True)
    with hostile(replies) as server:
        found = answers_to(connected(server, learned=learned), *asked)
    assert [type(each) for each in found] == [RemoteNotFound] * 5
    with hostile({**replies, b"SIZE": b"213 9\r\n", b"CWD": b"250 in\r\n"}) as server:
        found = answers_to(connected(server, learned=learned), *asked[1:4])
    assert all(isinstance(each, RemoteError) for each in found)
    assert not any(isinstance(each, RemoteNotFound | RemoteDenied) for each in found)


def test_a_size_that_can_not_be_told_right_before_a_write_is_no_taken_file() -> None:
    """The file may be as it was, so nothing is sent (there could be a hole) or removed."""
    replies = {
        **WITHOUT_MLST,
        b"CWD": b"250 in\r\n",
        b"EPSV": b"229 x (|||PORT|)\r\n",
        b"REST": b"350 go on\r\n",
        b"STOR": b"150 go on\r\n226 done\r\n",
        b"DELE": b"250 gone\r\n",
    }
    known = Learned(tried=True, product="proftpd", positioned=True, replaces=True, readable=True)
    script = [b"213 10\r\n", b"450 busy\r\n", b"450 busy\r\n"]
    with hostile(replies, script) as server:
        (found,) = answers_to(connected(server, learned=known), Write("in/a.csv", 10, b"abc"))
        assert isinstance(found, RemoteError)
        assert not isinstance(found, RemoteNotFound)
        assert not any(line.startswith(b"DELE") for line in server.seen)


@pytest.mark.parametrize("words", [b"450 busy\r\n", b"550 in/a.csv: Input/output error\r\n"])
@pytest.mark.parametrize("base", [WITH_MLST, WITHOUT_MLST])
def test_a_read_whose_refusal_can_not_be_explained_is_refused_alone(
    base: dict[bytes, bytes], words: bytes
) -> None:
    """The look that follows it fails as well: the session goes on with what others asked."""
    verbs = (b"MLST", b"SIZE", b"CWD", b"RETR", b"STOR", b"DELE", b"RNFR", b"MKD")
    bad = dict.fromkeys(verbs, words)
    replies = {**base, b"EPSV": b"229 x (|||PORT|)\r\n", b"PWD": b'257 "/"\r\n', **bad}
    known = Learned(tried=True, product="proftpd", positioned=True, replaces=True, readable=True)
    asked = (
        Read("in/a.csv", 0, 10),
        Read("in/a.csv", 10, 10),
        Write("in/a.csv", 0, b"x", create=True),
        Write("in/a.csv", 0, b"", create=True),
        Remove("in/a.csv"),
        Rename("in/a.csv", "in/b.csv", replace=True),
        MakeDir("in/a.csv"),
    )
    with hostile(replies) as server:
        found = answers_to(connected(server, learned=known), *asked)
    assert all(isinstance(each, RemoteError) for each in found)
    assert not any(isinstance(each, RemoteNotFound) for each in found)


@pytest.mark.parametrize("words", [b"450 busy\r\n", b"550 x: Input/output error\r\n"])
def test_a_hole_that_can_not_be_looked_for_is_one(words: bytes) -> None:
    """The trial goes on; a consumer's file is the safer for it."""
    replies = {
        **WITHOUT_MLST,
        **RENAMES,
        b"EPSV": b"229 x (|||PORT|)\r\n",
        b"REST": b"350 go on\r\n",
        b"STOR": b"150 go on\r\n226 done\r\n",
        b"RETR": b"550 no\r\n",
        b"DELE": b"250 gone\r\n",
    }
    script = [b"213 16\r\n", b"213 20\r\n", words, b"213 3\r\n", b"550 no\r\n"]
    with hostile(replies, script) as server:
        made = connected(server, learned=Learned())
        made.close()
    assert made.learned == Learned(tried=True, positioned=True, leaves_holes=True, replaces=True)
