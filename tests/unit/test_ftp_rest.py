"""REST that is refused after a trial that found it taken: an administrator has changed his server.

STOR without its REST empties the file and writes the tail at its beginning; RETR without it gives
the beginning for the tail.
"""

from __future__ import annotations

import pytest

from pysubtask.errors import LinkLost, RemoteError, RemoteNotFound
from pysubtask.transports.contract import Read, Request, Write
from pysubtask.transports.ftp.trial import Learned
from tests.unit.ftp_bench import IN, answers_to, connected, hostile

KNOWN = Learned(tried=True, product="proftpd", positioned=True, replaces=True, readable=True)
UNKNOWN = Learned(tried=True, positioned=True, replaces=True, readable=True)
REPLIES = {
    **IN,
    b"FEAT": b"502 no\r\n",
    b"EPSV": b"229 x (|||PORT|)\r\n",
    b"SIZE": b"213 10\r\n",
    b"STOR": b"150 go on\r\n226 done\r\n",
    b"RETR": b"150 go on\r\n226 done\r\n",
    b"PWD": b'257 "/"\r\n',
    b"CWD": b"250 in\r\n",
}


def verbs(seen: list[bytes]) -> list[bytes]:
    """The commands between login and goodbye."""
    found = [line.split()[0] for line in seen if line != b"QUIT\r\n"]
    return found[found.index(b"TYPE") + 1 :]


@pytest.mark.parametrize("learned", [KNOWN, UNKNOWN])
@pytest.mark.parametrize("reply", [b"502 no\r\n", b"550 REST: Operation not permitted\r\n"])
def test_a_file_is_not_emptied_by_a_stor_whose_rest_is_refused(
    reply: bytes, learned: Learned
) -> None:
    with hostile({**REPLIES, b"REST": reply}) as server:
        made = connected(server, learned=learned)
        with pytest.raises(LinkLost, match="takes no offset any more"):
            answers_to(made, Write("in/a.csv", 10, b"abc"))
        assert b"STOR" not in verbs(server.seen)
        assert not made.learned.tried, "it is tried anew"


@pytest.mark.parametrize("reply", [b"450 not now\r\n", b"501 too large\r\n"])
@pytest.mark.parametrize("learned", [KNOWN, UNKNOWN])
def test_a_refusal_of_this_offset_or_for_the_moment_is_no_new_trial(
    reply: bytes, learned: Learned
) -> None:
    """A trial at a bad moment would find that the server can't continue files, for good."""
    with hostile({**REPLIES, b"REST": reply}) as server:
        made = connected(server, learned=learned)
        (found,) = answers_to(made, Write("in/a.csv", 10, b"abc"))
        assert isinstance(found, RemoteError)
        assert not isinstance(found, RemoteNotFound)
        assert b"STOR" not in verbs(server.seen)
        assert made.learned == learned


def test_a_stor_that_began_without_its_rest_gets_no_byte() -> None:
    """It was taken before over this connection, and the two leave together."""
    with hostile(REPLIES, [b"350 go on\r\n", b"450 not now\r\n"]) as server:
        made = connected(server, learned=KNOWN)
        (found,) = answers_to(made, Write("in/a.csv", 10, b"abc"))
        assert isinstance(found, RemoteError)
    assert b"STOR" in verbs(server.seen)
    assert server.received == b""


def test_only_the_first_write_of_a_connection_waits_for_rest() -> None:
    with hostile({**REPLIES, b"REST": b"350 go on\r\n"}) as server:
        made = connected(server, learned=KNOWN)
        assert answers_to(made, Write("in/a", 10, b"abc"), Write("in/b", 10, b"abc")) == [None] * 2
        written = [b"SIZE", b"EPSV", b"SIZE", b"REST", b"STOR"]
        assert verbs(server.seen) == [b"SIZE", b"REST", *written[1:], *written]
    assert server.received == b"abcabc"


@pytest.mark.parametrize("learned", [KNOWN, UNKNOWN])
@pytest.mark.parametrize(("reply", "kind"), [(b"502 no", LinkLost), (b"450 not now", RemoteError)])
def test_the_beginning_of_a_file_never_passes_for_its_tail(
    reply: bytes, kind: type[Exception], learned: Learned
) -> None:
    """What a growing file has gained would be fetched as a copy of its beginning."""
    with hostile({**REPLIES, b"REST": reply + b"\r\n"}, blob=b"0123456789") as server:
        made = connected(server, learned=learned)
        try:
            (found,) = answers_to(made, Read("in/a.csv", 5, 5))
        except LinkLost as error:
            found = error
        assert isinstance(found, kind)


@pytest.mark.parametrize("asked", [Write("in/a", 10, b"abc"), Read("in/a", 5, 5)])
def test_a_rest_that_is_done_at_once_is_none(asked: Request) -> None:
    """Of a server that nobody knows; of a known one it is the reply of another command."""
    for learned, words in ((UNKNOWN, "takes no offset"), (KNOWN, "226 done")):
        with hostile({**REPLIES, b"REST": b"226 done\r\n"}) as server:
            made = connected(server, learned=learned)
            with pytest.raises(LinkLost, match=words):
                answers_to(made, asked)
            assert made.learned.tried == (learned is KNOWN)
