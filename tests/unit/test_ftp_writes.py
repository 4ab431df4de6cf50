"""Writes that do not come out as they should: nothing counts as written that is not, and nothing
that is there goes."""

from __future__ import annotations

import pytest

from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.transports.contract import Write
from pysubtask.transports.ftp.trial import Learned
from tests.unit.ftp_bench import IN, answers_to, connected, hostile

REPLIES = {
    **IN,
    b"FEAT": b"502 no\r\n",
    b"EPSV": b"229 x (|||PORT|)\r\n",
    b"APPE": b"150 go on\r\n226 done\r\n",
    b"STOR": b"150 go on\r\n226 done\r\n",
    b"RETR": b"150 go on\r\n226 done\r\n",
    b"RNFR": b"350 to what\r\n",
    b"RNTO": b"250 done\r\n",
    b"DELE": b"250 gone\r\n",
    b"PWD": b'257 "/"\r\n',
    b"CWD": b"250 in\r\n",
}


@pytest.mark.parametrize(
    ("before", "after", "holds", "is_new"),
    [
        (100, 100, b"", False),
        (100, 101, b"", False),
        (100, 3, b"", True),
        (3, 3, b"old", False),
        (3, 3, b"abc", True),
    ],
)
def test_only_what_append_has_made_anew_is_taken_back(
    before: int, after: int, holds: bytes, is_new: bool
) -> None:
    """226 for APPE, and the file is too short. If a consumer had taken it, the new one is of these
    bytes alone, and goes. A file that did not grow (a full disk that was not told, a size that is
    not up to date) holds all that was delivered: it must not go."""
    sizes = [b"213 %d\r\n" % size for size in (before, after)]
    with hostile(REPLIES, sizes, holds) as server:
        made = connected(server, learned=Learned(tried=True, appends=True, readable=True))
        made._memory.quiet.secs = 0
        (found,) = answers_to(made, Write("in/a.csv", before, b"abc"))
        assert isinstance(found, RemoteError)
        assert isinstance(found, RemoteNotFound) == is_new, found
        assert any(line.startswith((b"DELE", b"RNTO")) for line in server.seen) == is_new


def test_a_write_elsewhere_into_an_open_upload_begins_another() -> None:
    """All of an upload goes in one transfer there. One that begins again while the former is open
    was acknowledged, and never sent."""
    temp = "in/.pysubtask-0a1b2c3d00000001"
    asked = Write(temp, 0, b"abc", create=True), Write(temp, 0, b"xyz", create=True)
    with hostile(REPLIES) as server:
        made = connected(server, learned=Learned(tried=True))
        assert answers_to(made, *asked) == [None, None]
    assert sum(line.startswith(b"STOR") for line in server.seen) == 2
    assert server.received == b"abcxyz"
