"""An SFTP server that means harm: whatever it answers, the client ends each request or the
connection, with an error of ours, in bounded memory and time."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysubtask.errors import LinkError, LinkLost, RemoteError
from pysubtask.transports.contract import (
    Copy,
    Finish,
    List,
    MakeDir,
    Read,
    Remove,
    Rename,
    Request,
    Space,
    Stat,
    Write,
)
from pysubtask.transports.sftp import listing
from pysubtask.transports.sftp.client import SftpTransport
from pysubtask.transports.sftp.handshake import LEAST_BYTES
from tests.servers import scripted as s
from tests.servers.scripted import OPENSSH_EXTENSIONS, ManualClock, ScriptedServer, Sent
from tests.unit.sftp_bench import GO_EXTENSIONS, Bench

paths = st.sampled_from(["/a", "/b", "/c/d"])
offsets = st.sampled_from([0, 1, 4096, 2**40, 2**63])
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Stat, paths, st.booleans()),
    st.builds(Write, paths, offsets, st.binary(max_size=20), st.booleans()),
    st.builds(Finish, paths, st.booleans()),
    st.builds(Read, paths, offsets, st.integers(0, 100)),
    st.builds(Rename, paths, paths, st.booleans()),
    st.builds(Remove, paths),
    st.builds(MakeDir, paths),
    st.builds(List, paths),
    st.builds(Copy, paths, offsets, st.integers(0, 9), paths, offsets, st.booleans()),
    st.builds(Space, paths),
)

numbers = st.sampled_from([0, 1, 4096, 2**31, 2**32 - 1])
sizes = st.sampled_from([None, 0, 1, 2**63, 2**64 - 1])
modes = st.sampled_from([None, 0, 0o040755, 0o100644, 2**32 - 1])
evil_names = st.sampled_from(
    [
        b"",
        b".",
        b"..",
        b"../../etc/passwd",
        b"/abs",
        b"a\0b",
        b"\x1b]0;x\a",
        b"\xff\xfe",
        b"x" * 500,
    ]
)


@st.composite
def answers(draw: st.DrawFn, request: Sent) -> bytes:
    """Mostly what fits the request; sometimes another kind, another number, or damaged."""
    number = request.id if draw(st.integers(0, 19)) else draw(numbers)
    fitting = {
        "OPEN": "handle", "OPENDIR": "handle", "READ": "data", "READDIR": "names",
        "STAT": "attrs", "FSTAT": "attrs", "EXTENDED": "extended",
    }.get(request.name, "status")  # fmt: skip
    kinds = ["handle", "data", "names", "attrs", "extended", "status"]
    kind = draw(st.sampled_from([fitting, fitting, fitting, "status", "status", *kinds]))
    if kind == "status":
        code = draw(st.sampled_from([0, 0, 1, 2, 3, 4, 4, 5, 8, 11, 14, 99, 2**32 - 1]))
        answer = s.status(number, code, draw(st.binary(max_size=30)))
    elif kind == "handle":
        answer = s.handle(number, draw(st.binary(max_size=300)))
    elif kind == "data":
        answer = s.data(number, draw(st.binary(max_size=120)))
    elif kind == "names":
        raw = s.attributes(draw(sizes), draw(modes), draw(st.none() | numbers))
        names = draw(st.lists(evil_names | st.binary(max_size=9), max_size=5))
        body = b"".join(s.string(name) + s.string(b"d") + raw for name in names)
        answer = s.packet(104, number, struct.pack(">I", len(names)) + body)
    elif kind == "attrs":
        raw = s.attributes(draw(sizes), draw(modes), draw(st.none() | numbers))
        answer = s.packet(105, number, raw)
    else:
        answer = s.packet(201, number, draw(st.binary(max_size=100)))
    if not draw(st.integers(0, 29)):
        at = draw(st.integers(0, len(answer) - 1))
        answer = answer[:at] + draw(st.binary(min_size=1, max_size=4)) + answer[at + 1 :]
    return answer


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests, min_size=1, max_size=6), st.booleans(), st.data())
def test_any_answers(asked: list[Request], openssh: bool, data: st.DataObject) -> None:
    bench = Bench(OPENSSH_EXTENSIONS if openssh else GO_EXTENSIONS, handles=data.draw(numbers))
    ended: Counter[int] = Counter()
    sent = 0
    try:
        bench.submit(*asked)
        for _ in range(30):
            found = bench.collect()
            for ticket, result in found.items():
                ended[ticket] += 1
                assert not isinstance(result, Exception) or isinstance(result, RemoteError)
            waiting = bench.server.requests()
            if not waiting and not found:
                break
            sent += len(waiting)
            order = data.draw(st.permutations(waiting)) if not openssh else waiting
            bench.server.answer(*(data.draw(answers(request)) for request in order))
        else:
            return  # it still answers: other tests bound that
        # what was cut short is awaited, and has a deadline
        assert sum(ended.values()) == len(asked) or bench.client.overdue_at is not None
    except LinkError:
        pass
    assert all(count == 1 for count in ended.values())
    assert sent <= 30 * 16 * len(asked)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | st.builds(
        s.version,
        st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=9)), max_size=9),
        st.integers(0, 9),
    ),
    st.binary(max_size=60)
    | st.builds(lambda a, b: s.limits(0, packet_bytes=a, open_handles=b), numbers, numbers),
)
def test_any_handshake(greeting: bytes, limits: bytes) -> None:
    clock = ManualClock()
    client = SftpTransport(ScriptedServer(clock, greeting, limits), clock)
    try:
        client.connect()
    except LinkError:
        return
    can = client.capabilities
    assert LEAST_BYTES <= can.max_write_bytes <= 261_120
    assert LEAST_BYTES <= can.max_read_bytes <= 261_120
    assert 1 <= can.max_files <= 1024


def list_answered_by(entries: list[tuple[bytes, int, int]]) -> tuple[object, int]:
    """What becomes of a listing whose every part is ``entries``, and how many parts were asked."""
    bench = Bench()
    bench.submit(List("/a"))
    bench.opened()
    parts = 0
    while True:
        found = bench.collect()
        if found:
            return found[1], parts
        waiting = bench.server.requests()
        parts += len(waiting)
        assert parts < 100_000, "it goes on and on"
        assert bench.client.overdue_at is not None
        bench.server.answer(*(s.names(request.id, *entries) for request in waiting))


@pytest.mark.parametrize("name", [b"same", b".", b"a/b"])
def test_a_listing_without_end_ends(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_NAMES", 5000)
    result, parts = list_answered_by([(name, 1, 0o100644)] * 100)
    assert isinstance(result, RemoteError)
    assert "more than" in str(result)
    assert parts <= 50 + 2 * 16


def test_very_long_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_NAME_BYTES", 1_000_000)
    result, _ = list_answered_by([(b"x" * 100_000, 1, 0o100644)])
    assert isinstance(result, RemoteError)


def test_names_that_lead_elsewhere_are_left_out() -> None:
    bench = Bench()
    bench.submit(List("/a"))
    bench.opened()
    bench.collect()
    first, second = bench.server.requests()
    names = [b"", b".", b"..", b"../x", b"/etc/x", b"ok", b"a\nb"]
    bench.server.answer(s.names(first.id, *((name, 1, 0o100644) for name in names)))
    bench.server.answer(s.status(second.id, 1))
    bench.collect()
    ends = bench.server.requests()
    bench.server.answer(*(s.status(request.id, 1) for request in ends if request.name == "READDIR"))
    found = bench.collect() or bench.collect()
    assert found[1].keys() == {"ok", "a\nb"}  # type: ignore[union-attr]


def test_a_servers_words_are_made_harmless() -> None:
    bench = Bench()
    bench.submit(Remove("/a"))
    (request,) = bench.sent()
    words = b"no\r\n2026-01-01 00:00:00 INFO: all is well\x1b[2J\xe2\x80\xae\xc2\x9b31m"
    bench.server.answer(s.status(request.id, 4, words))
    bench.no_file_systems()
    error = bench.collect()[1]
    assert isinstance(error, RemoteError)
    assert str(error).isprintable()


def test_a_read_that_gets_nothing_ends_the_connection() -> None:
    """A server that answers a read with no bytes would be asked again for ever."""
    bench = Bench()
    bench.submit(Read("/a", 0, 200_000))
    bench.opened()
    for _ in range(50):
        assert bench.collect() == {}
        (request,) = bench.server.requests()
        bench.server.answer(s.data(request.id, b"x"))
    assert bench.collect() == {}
    (request,) = bench.server.requests()
    bench.server.answer(s.data(request.id, b""))
    with pytest.raises(LinkLost, match="0 bytes for a read of"):
        bench.collect()
