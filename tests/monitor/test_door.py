"""Strangers who only hold connections: what they may use up, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from pysubtask.monitor.logs import Sparing
from pysubtask.monitor.web import door
from pysubtask.monitor.web.door import Connection, Door
from tests.monitor.processes import Serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors")


@pytest.fixture
def listener() -> Iterator[Door]:
    made = Door(socket.AF_INET, socket.SOCK_STREAM)
    made.bind(("127.0.0.1", 0))
    made.listen(50)
    made.setblocking(False)
    with made:
        yield made


@contextlib.contextmanager
def strangers(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as held:
        made = []
        for _ in range(count):
            made.append(held.enter_context(socket.create_connection(("127.0.0.1", port), 5)))
        yield made


def let_in(listener: Door) -> socket.socket:
    """The next one, who may be on the way."""
    limit = time.monotonic() + 10
    while True:
        try:
            return listener.accept()[0]
        except BlockingIOError:
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_one_place_gets_half_of_the_connections(listener: Door) -> None:
    """Without: a program that leaks connections shuts everybody else out."""
    listener.limit = 8
    with strangers(listener.getsockname()[1], 6):
        held = []
        for _ in range(6):
            with contextlib.suppress(BlockingIOError):
                held.append(listener.accept()[0])
        assert len(held) == 4
        held.pop().close()  # who goes makes room
        with strangers(listener.getsockname()[1], 1):
            held.append(let_in(listener))
        for one in held:
            one.close()


def test_who_can_not_be_taken_is_sent_away(
    listener: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the descriptor in reserve it stays in the queue, and the loop spins."""
    real, refusals = socket.socket.accept, [24]

    def accept(self: socket.socket) -> Any:
        if refusals:
            raise OSError(refusals.pop(), "Too many open files")
        return real(self)

    with strangers(listener.getsockname()[1], 1) as (stranger,):
        monkeypatch.setattr(socket.socket, "accept", accept)
        with pytest.raises(BlockingIOError):
            listener.accept()
        stranger.settimeout(10)
        assert stranger.recv(1) == b""
    assert caplog.messages == ["can't take a connection: Too many open files"]


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
    size = int(scope["query_string"] or b"2")
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * size})


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nG",
        b"GET /?8000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /?8000000 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["silence", "half-a-head", "half-a-body", "half-a-second", "takes-nothing", "nor-now"],
)
def test_a_connection_that_gets_nowhere_is_ended(
    words: bytes, listener: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: each stays for as long as the stranger likes."""
    monkeypatch.setattr(door, "_ASK_SECS", 0.3)
    monkeypatch.setattr(door, "_TAKE_SECS", 0.3)

    async def run() -> None:
        config = uvicorn.Config(_app, http=Connection, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        limit = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < limit
            await asyncio.sleep(0.01)
        with strangers(listener.getsockname()[1], 1) as (stranger,):
            stranger.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(stranger, words)
            while not server.server_state.connections:
                assert time.monotonic() < limit
                await asyncio.sleep(0.01)
            while server.server_state.connections or any(
                one.fileno() >= 0 for one in listener._open
            ):
                assert time.monotonic() < limit
                await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    asyncio.run(run())


def test_a_log_line_that_repeats_itself_is_told_now_and_then() -> None:
    """Without: who sends rubbish all day fills the disk."""
    now = [0.0]
    sparing = Sparing(lambda: now[0])

    def line(words: str, *args: object) -> logging.LogRecord:
        return logging.LogRecord("x", logging.WARNING, "x", 1, words, args, None)

    assert sum(sparing.filter(line("rubbish from %s", n)) for n in range(1000)) == 5
    assert sparing.filter(line("another"))
    now[0] = 61.0
    later = line("rubbish from %s", "you")
    assert sparing.filter(later)
    assert later.getMessage() == "rubbish from you (and 995 more like this before)"
    for number in range(10_000):  # nor does it fill the memory
        sparing.filter(line(f"kind {number}"))
    assert len(sparing._kinds) <= 500


class Poor(Serving):
    """Where few files may be open."""

    prefix = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")


def test_strangers_neither_blind_the_monitor_nor_fill_its_log(tmp_path: pathlib.Path) -> None:
    """Two hundred idle connections, where 128 files may be open.

    Without bounds nothing is answered until they go, all clients become unknown, and the log grows
    by megabytes a second.
    """
    drop = tmp_path / "drop"
    drop.mkdir()
    for number in range(5):
        (drop / f"c{number}.heartbeat").write_text("3600\n")
    with Poor(str(drop), tmp_path / "state") as serving:
        serving.wait(lambda clients: len(clients) == 5)
        with strangers(serving.port, 200):
            (drop / "late.heartbeat").write_text("3600\n")
            limit = time.monotonic() + 30
            here = pathlib.Path(f"/proc/{serving.process.pid}/fd")
            while here.exists() and len(os.listdir(here)) < 40:
                assert time.monotonic() < limit
                time.sleep(0.05)
        found = serving.wait(lambda clients: "late" in clients)
        assert {one["state"] for one in found.values()} <= {"up", "new"}
        assert b"is blind" not in serving.get("/alerts")[1]
        assert serving.stop() == 0
    log = (tmp_path / "state.log").read_text()
    assert "Traceback" not in log
    assert log.count("\n") < 20
