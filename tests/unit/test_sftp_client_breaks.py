"""The SFTP client when the connection breaks, is silent, or says what it must not."""

from __future__ import annotations

import pytest

from pysubtask.errors import (
    LinkError,
    LinkLost,
)
from pysubtask.transports.contract import (
    SLOWEST_BYTES_PER_SEC,
    RemoteStat,
    Remove,
    Stat,
    Write,
)
from pysubtask.transports.sftp.client import SftpTransport
from tests.servers import scripted as s
from tests.servers.scripted import OPENSSH_EXTENSIONS, ManualClock, ScriptedServer
from tests.unit.sftp_bench import Bench


def test_silence_ends_the_connection() -> None:
    bench = Bench()
    bench.submit(Stat("/a"))
    bench.collect()
    for _ in range(15):
        bench.clock.now += 4
        assert bench.collect() == {}
    assert bench.client.overdue_at == pytest.approx(1060.0)
    bench.clock.now += 1
    with pytest.raises(LinkLost, match="has not answered for 61 s"):
        bench.collect()
    with pytest.raises(LinkLost):
        bench.submit(Stat("/b"))


def test_data_earns_time_and_other_answers_do_not_help_for_ever() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"", create=True))
    bench.opened()
    bench.collect()
    bench.submit(Write("/a", 0, bytes(SLOWEST_BYTES_PER_SEC * 10)))
    bench.collect()
    (write,) = bench.server.requests()
    assert bench.client.overdue_at == pytest.approx(1070.0)
    for _ in range(17):
        bench.submit(Stat("/b"))
        bench.collect()
        (stat,) = bench.server.requests()
        bench.clock.now += 4
        bench.server.answer(s.attrs(stat.id, 1))
        assert len(bench.collect()) == 1
    bench.clock.now += 4
    with pytest.raises(LinkLost, match="not answered"):
        bench.collect()
    assert write.name == "WRITE"


def test_data_that_leaves_with_it_earns_a_small_request_time_too() -> None:
    """They share SSH packets: on a slow link none of them arrives before the last byte does."""
    bench = Bench()
    bench.submit(Write("/a", 0, b"", create=True))
    bench.opened()
    bench.collect()
    bench.submit(Stat("/b"), Write("/a", 0, bytes(SLOWEST_BYTES_PER_SEC * 10)))
    bench.collect()
    assert bench.client.overdue_at == pytest.approx(1070.0)


def test_a_nap_of_this_process_is_not_blamed_on_the_server() -> None:
    bench = Bench()
    bench.submit(Stat("/a"))
    (request,) = bench.sent()
    bench.clock.now += 600
    assert bench.collect() == {}
    bench.server.answer(s.attrs(request.id, 1))
    assert bench.collect() == {1: RemoteStat(1, 1_700_000_000.0)}
    bench.submit(Stat("/a"))
    bench.collect()
    bench.clock.now += 600
    assert bench.collect() == {}
    bench.clock.now += 1
    with pytest.raises(LinkLost):
        bench.collect()


def test_results_come_before_the_error() -> None:
    bench = Bench()
    bench.submit(Stat("/a"), Stat("/b"))
    first, _ = bench.sent()
    bench.server.answer(s.attrs(first.id, 1))
    bench.server.error = LinkLost("cut")
    wakes = bench.wakes
    assert list(bench.collect()) == [1]
    assert bench.wakes > wakes
    with pytest.raises(LinkLost, match="cut"):
        bench.collect()


@pytest.mark.parametrize("noise", [s.status(4711), s.version(), b"rubbish!", s.packet(77, 0, b"")])
def test_what_was_not_asked_for_breaks_the_protocol(noise: bytes) -> None:
    bench = Bench()
    bench.submit(Stat("/a"))
    bench.collect()
    bench.server.answer(noise)
    with pytest.raises(LinkLost, match="broke the SFTP protocol"):
        bench.collect()


def test_an_answer_of_the_wrong_kind_breaks_the_protocol() -> None:
    bench = Bench()
    bench.submit(Remove("/a"))
    (request,) = bench.sent()
    bench.server.answer(s.handle(request.id, b"H"))
    with pytest.raises(LinkLost, match="answered 'remove'"):
        bench.collect()


def test_a_failing_send_is_raised() -> None:
    bench = Bench()
    bench.server.send_error = LinkLost("no room")
    bench.submit(Stat("/a"))
    with pytest.raises(LinkLost, match="no room"):
        bench.collect()


def test_close_is_final() -> None:
    bench = Bench()
    bench.client.close()
    bench.client.close()
    assert bench.server.closed
    with pytest.raises(LinkError):
        bench.submit(Stat("/a"))


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"", "did not answer the SFTP greeting within 30 s"),
        (b"Hello, this is your shell", "sent text: 'Hello, this is your shell'"),
        (s.version(number=2), "speaks SFTP version 2"),
        (s.status(0), "did not answer the greeting"),
        (s.version() + s.status(1), "nobody had made"),
    ],
)
def test_a_bad_greeting(greeting: bytes, words: str) -> None:
    clock = ManualClock()
    server = ScriptedServer(clock, greeting)
    client = SftpTransport(server, clock)
    with pytest.raises(LinkError, match=words):
        client.connect()
    assert server.closed
    assert clock.now <= 1031


def test_limits_may_be_refused_or_zero() -> None:
    clock = ManualClock()
    server = ScriptedServer(clock, s.version(OPENSSH_EXTENSIONS), s.status(0, 8))
    client = SftpTransport(server, clock)
    client.connect()
    assert client.capabilities.max_write_bytes == 32_768
    zero = s.packet(201, 0, bytes(32))
    server = ScriptedServer(clock, s.version(OPENSSH_EXTENSIONS), zero)
    client = SftpTransport(server, clock)
    client.connect()
    assert client.capabilities.max_write_bytes == 32_768
    assert client.capabilities.max_files == 1024
