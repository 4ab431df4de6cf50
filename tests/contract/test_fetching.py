"""The other way round, over every transport: what a server has comes here, whatever breaks."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pysubtask.config import build
from pysubtask.core.pull import Pulled, pulled_from_json, pulled_to_json
from pysubtask.errors import LinkLost
from pysubtask.pull import Pull
from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.transports.contract import Capabilities, MakeDir, Request, Result, Transport
from pysubtask.urls import Destination
from tests.contract.cases import Driver, Harness

_LOG = logging.getLogger("contract")
_LIMIT_SECS = 60.0
_CODEC: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)


class _Clock:
    """The real one, but what a source has to wait for between two rounds is over at once."""

    def __init__(self) -> None:
        self.ahead_secs = 0.0

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_secs

    def thread_secs(self) -> float:
        return time.thread_time()

    def sleep(self, secs: float) -> None:
        time.sleep(secs)


class _Cut:
    """A transport whose link breaks at the request of that number."""

    def __init__(self, inner: Transport, number: int) -> None:
        self._inner = inner
        self._left = number
        self.connect = inner.connect
        self.close = inner.close

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def submit(self, ticket: int, request: Request) -> None:
        self._left -= 1
        if self._left == 0:
            raise LinkLost("cut by the test")
        self._inner.submit(ticket, request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        return self._inner.collect()


class Source:
    """Everything between a folder of the server and one here."""

    def __init__(self, driver: Driver, harness: Harness, folder: Path) -> None:
        self._harness = harness
        self._folder = folder
        self.inbox = folder / "inbox"
        self.clock = _Clock()
        self.news = threading.Event()
        self.cuts: list[int] = []
        """Where the next connections break."""
        driver.ask(MakeDir(harness.path("out")))
        self.open()

    def open(self) -> None:
        """As a new process does."""
        disk, rng = RealDisk(), random.Random(1)
        settings = build("ftp", None, None, {"retry_short_wait_secs": 0.0})
        pull = Pull(
            source=Destination(scheme="sftp", host="x", path=self._harness.path("out")),
            pattern="*",
            to=str(self.inbox),
            declared="inbox",
        )
        self.journal: RecordLog[Pulled] = RecordLog(
            disk, self.clock, str(self._folder / "journal"), codec=_CODEC, boot_id="one", log=_LOG
        )
        self.journal.open()
        self.puller = Puller(
            pull,
            settings,
            self.clock,
            self.journal,
            Places(disk, self.clock, str(self.inbox)),
            News(disk, self.clock, str(self._folder / "arrivals"), _LOG),
            make_transport=self._connect,
            token_hex=lambda: self.journal.client_id + rng.randbytes(4).hex(),
            rng=rng,
            log=_LOG,
            status_changed=lambda: None,
            wake=self.news.set,
        )
        self.puller.start()

    def _connect(self) -> Transport:
        made = self._harness.make(self.news.set)
        return _Cut(made, self.cuts.pop(0)) if self.cuts else made

    def put(self, name: str, data: bytes) -> None:
        """As another hand at the server would."""
        self._harness.put(f"out/{name}", data)

    def wait(self, done: Callable[[], bool]) -> None:
        """Go on until it is so."""
        until = time.monotonic() + _LIMIT_SECS
        while not done():
            assert time.monotonic() < until, str(self.puller.status())
            self.news.clear()
            due = self.puller.step()
            rest = due - self.clock.monotonic()
            if rest > 0 and not self.puller.is_busy:
                self.clock.ahead_secs += min(rest, 60.0)  # nothing is on its way
            elif rest > 0:
                self.news.wait(min(rest, 0.02))

    def expect(self, name: str, data: bytes) -> None:
        """The file comes here, as it is there."""
        path = self.inbox / name
        self.wait(lambda: path.exists() and path.read_bytes() == data)

    def close(self) -> None:
        self.puller.close()
        self.journal.close()


@pytest.fixture
def source(
    request: pytest.FixtureRequest, driver: Driver, harness: Harness, tmp_path: Path
) -> Iterator[Source]:
    if "bare" in request.node.callspec.id:
        pytest.skip("no REST: nothing can be read from where it broke off (docs/fetching.md)")
    made = Source(driver, harness, tmp_path)
    yield made
    made.close()


def test_what_is_there_comes_here_and_follows(source: Source) -> None:
    first = os.urandom(70_000)
    source.put("a.bin", first)
    source.put("small", b"1")
    source.expect("a.bin", first)
    source.expect("small", b"1")
    grown = first + os.urandom(3000)
    source.put("a.bin", grown)
    source.expect("a.bin", grown)
    other = os.urandom(80_000)
    source.put("a.bin", other)
    source.expect("a.bin", other)
    assert not [path for path in source.inbox.iterdir() if path.name.startswith(".")]


def test_a_break_at_any_request_loses_nothing(source: Source) -> None:
    content = os.urandom(200_000)
    source.put("a.bin", content)
    source.cuts = list(range(1, 7))
    source.expect("a.bin", content)
    assert not source.cuts


def test_another_process_goes_on(source: Source) -> None:
    content = os.urandom(300_000)
    source.put("a.bin", content)
    source.cuts = [4]
    source.wait(lambda: not source.cuts and not source.puller.is_busy)
    source.close()
    source.open()
    source.expect("a.bin", content)
    grown = content + b"more"
    source.put("a.bin", grown)
    source.expect("a.bin", grown)
