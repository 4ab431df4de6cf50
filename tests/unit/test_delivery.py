"""The connection's life: link states, retries, dead time, who waits and who does not."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.retry import RetryRule
from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
    RemoteFull,
)
from pysubtask.transports.contract import Request, Result
from tests.unit.core_fakes import HookedDisk, ManualClock, nothing
from tests.unit.core_local import Local
from tests.unit.core_remote import Cut, Remote, WatchedServer, WatchedTransport


@pytest.fixture
def local(tmp_path: Path) -> Local:
    local = Local(tmp_path, ManualClock(), HookedDisk())
    local.write(b"data")
    local.take("rewrite")
    return local


class Flaky(WatchedTransport):
    """Refuses to connect, or breaks while it is idle, as it is told."""

    refuse: Callable[[], Exception] | None = None
    broken = False
    mute = False
    tries: list[float]

    def connect(self) -> None:
        if self.refuse is not None:
            raise self.refuse()
        super().connect()

    def collect(self) -> Iterator[tuple[int, Result]]:
        if self.broken:
            raise LinkLost("closed by the server", operation="read")
        return iter(()) if self.mute else super().collect()

    def submit(self, ticket: int, request: Request) -> None:
        super().submit(ticket, request)


class Bench:
    """A remote whose transports can be told to fail."""

    def __init__(self, local: Local, **changes: object) -> None:
        self.local = local
        self.clock = local.clock
        self.refuse: Callable[[], Exception] | None = None
        self.mute = False
        self.tries: list[float] = []
        self.transports: list[Flaky] = []
        self.server = WatchedServer(Capabilities(True, True, True))
        self.remote = Remote(local, self.server, make_transport=self._make, **changes)  # type: ignore[arg-type]
        self.delivery = self.remote.delivery

    def _make(self) -> Flaky:
        transport = Flaky(self.server)
        transport.refuse, transport.mute = self.refuse, self.mute
        self.tries.append(self.clock.now)
        self.transports.append(transport)
        return transport

    def run_for(self, secs: float) -> None:
        """Step whenever it asked to be stepped."""
        until = self.clock.now + secs
        due = self.remote.step()
        while due <= until:
            self.clock.now = max(self.clock.now, due)
            due = self.delivery.step()
        self.clock.now = until

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in pairwise(self.tries)]


# -- retries -----------------------------------------------------------------------------------


def test_a_link_that_fails_is_tried_five_times_then_after_a_long_wait_for_ever(
    local: Local,
) -> None:
    bench = Bench(local)
    bench.refuse = lambda: LinkError("connection refused", operation="connect")
    bench.run_for(3600)
    assert bench.gaps[:11] == [3, 3, 3, 3, 30, 3, 3, 3, 3, 30, 3]
    assert bench.tries[-1] > bench.clock.now - 31
    assert bench.delivery.link.link == "retrying"
    assert bench.delivery.link.last_error == "connect: connection refused"


@pytest.mark.parametrize("kind", [LoginRefused, HostKeyRefused])
def test_a_refusal_is_tried_ever_more_slowly(local: Local, kind: type[LinkError]) -> None:
    bench = Bench(local)
    bench.refuse = lambda: kind("wrong password for edge", operation="log in")
    bench.run_for(7200)
    assert bench.gaps[:7] == [30, 60, 120, 240, 480, 900, 900]
    bench.delivery.retry_now()  # a flush must not knock at a door that was shut
    bench.remote.step()
    assert bench.gaps[-1] >= 900


def test_the_next_try_is_told_in_unix_seconds(local: Local) -> None:
    bench = Bench(local)
    bench.refuse = lambda: LinkError("no route", operation="connect")
    bench.remote.step()
    assert bench.delivery.link.next_try == pytest.approx(local.clock.time() + 3)


def test_a_link_that_works_again_starts_the_count_anew(local: Local) -> None:
    bench = Bench(local)
    bench.refuse = lambda: LinkError("no route", operation="connect")
    bench.run_for(10)
    bench.refuse = None
    bench.run_for(10)
    assert bench.server.read_file("a.csv") == b"data"
    assert bench.delivery.link.link == "connected"
    assert bench.delivery.link.last_error is None
    bench.transports[-1].broken = True
    bench.tries.clear()
    bench.refuse = lambda: LinkError("no route", operation="connect")
    local.write(b"more")
    local.take("rewrite")
    bench.run_for(60)
    assert bench.gaps[:4] == [3, 3, 3, 30]  # the break itself was the first failure


def test_what_the_first_connection_needs_is_loaded_while_there_is_time(local: Local) -> None:
    bench = Bench(local)
    prepared: list[int] = []

    class Factory:
        make = staticmethod(bench._make)

        def __call__(self) -> Flaky:
            return self.make()

        def prepare(self) -> None:
            prepared.append(len(bench.transports))
            raise ImportError("told by the connection, in its words")

    bench.remote.delivery._make_transport = Factory()
    bench.delivery.prepare()
    bench.run_for(1)
    assert len(bench.transports) == 1
    bench.delivery.prepare()  # connected: too late
    assert prepared == [0]


def test_retry_now_tries_at_once(local: Local) -> None:
    bench = Bench(local, retry_rule=RetryRule(tries=1, long_wait_secs=1000))
    bench.refuse = lambda: LinkError("no route", operation="connect")
    bench.remote.step()
    bench.refuse = None
    bench.delivery.retry_now()
    bench.delivery.step()
    assert bench.server.read_file("a.csv") == b"data"


def test_a_link_that_got_somewhere_goes_on_at_once(local: Local) -> None:
    bench = Bench(local)
    local.write(b"x" * 1_000_000)
    local.take("rewrite")
    bench.server.fault_before = Cut(20)
    start = bench.clock.now
    bench.run_for(1)
    assert bench.server.read_file("a.csv") == b"x" * 1_000_000
    assert bench.tries == [start, start]


def test_jitter_only_lengthens(local: Local) -> None:
    bench = Bench(local)
    bench.delivery._waits._jitter = 0.5
    bench.refuse = lambda: LinkError("no route", operation="connect")
    bench.run_for(12)
    assert bench.gaps
    assert all(3 <= gap <= 4.5 for gap in bench.gaps)


# -- resting -----------------------------------------------------------------------------------


def test_nothing_owed_connects_to_nothing(local: Local) -> None:
    local.deliver_all()
    bench = Bench(local)
    bench.run_for(100)
    assert bench.tries == []
    assert bench.delivery.link.link == "resting"


def test_the_connection_rests_after_the_dead_time(local: Local) -> None:
    bench = Bench(local, dead_time_secs=30.0)
    links = []
    for secs in (29, 2):
        bench.run_for(secs)
        links.append(bench.delivery.link.link)
    assert links == ["connected", "resting"]
    assert bench.delivery.step() == math.inf


def test_data_postpone_the_dead_time(local: Local) -> None:
    bench = Bench(local, dead_time_secs=30.0)
    bench.run_for(20)
    local.write(b"more")
    local.take("rewrite")
    bench.run_for(20)
    assert bench.delivery.link.link == "connected"
    assert len(bench.tries) == 1


def test_a_server_that_closes_an_idle_connection_leaves_us_resting(local: Local) -> None:
    """Nothing is owed, so nothing is retried; ``status()`` must not say so for ever."""
    bench = Bench(local, dead_time_secs=1000.0)
    bench.run_for(5)
    bench.transports[-1].broken = True
    bench.delivery.step()
    assert len(bench.tries) == 1
    link = bench.delivery.link
    assert link.next_try is None or link.next_try > local.clock.time()
    bench.clock.advance(100)
    bench.delivery.step()
    assert bench.delivery.link.link == "resting"


# -- a link that is dead -----------------------------------------------------------------------


def test_a_server_that_never_answers_is_given_up(local: Local) -> None:
    bench = Bench(local)
    bench.remote.step()
    local.write(b"more")
    local.take("rewrite")
    bench.transports[-1].mute = True
    due = bench.remote.step()
    assert bench.clock.now + 60 <= due < bench.clock.now + 62
    bench.clock.now = due
    bench.delivery.step()
    assert bench.delivery.link.link == "retrying"
    assert "no acknowledgement for 60 s" in str(bench.delivery.link.last_error)
    bench.run_for(5)
    assert bench.server.read_file("a.csv") == b"more"


# -- files that the server refuses -------------------------------------------------------------


def test_a_refused_file_is_tried_ever_more_slowly_and_says_why(local: Local) -> None:
    bench = Bench(local)
    tries = []

    def full(operation: str, path: str) -> None:
        if operation == "write":
            tries.append(bench.clock.now)
            raise RemoteFull("disk quota exceeded", operation="write", path=path)

    bench.server.fault_before = full
    bench.run_for(2000)
    gaps = [b - a for a, b in pairwise(tries)]
    assert gaps[:8] == [3, 6, 12, 24, 48, 96, 192, 300]
    assert "disk quota exceeded" in bench.delivery.errors[local.path]
    assert not bench.delivery.is_idle
    bench.server.fault_before = nothing
    bench.run_for(301)
    assert bench.server.read_file("a.csv") == b"data"
    assert bench.delivery.errors == {}
    assert bench.delivery.is_idle


def test_an_offer_does_not_hurry_a_held_file_but_a_flush_does(local: Local) -> None:
    bench = Bench(local)

    def full(operation: str, path: str) -> None:
        if operation == "write":
            raise RemoteFull("full", operation="write", path=path)

    bench.server.fault_before = full
    bench.remote.step()
    bench.server.fault_before = nothing
    bench.remote.step()
    assert bench.server.read_file("a.csv") is None
    bench.delivery.retry_now()
    bench.delivery.step()
    assert bench.server.read_file("a.csv") == b"data"


def test_a_local_disk_that_refuses_holds_only_that_file(local: Local) -> None:
    bench = Bench(local)
    other = str(local.folder / "b.csv")
    Path(other).write_bytes(b"b")
    local.snapshots.take(other, "b.csv", "append", None)
    (piece,) = local.outbox_files()

    def refuse(operation: str, path: str) -> None:
        if operation == "open_read" and path.endswith(piece):
            raise OSError(5, "Input/output error", path)

    local.disk.before = refuse
    bench.delivery.offer(other)
    bench.remote.step()
    assert bench.server.names() == ["b.csv"]
    assert "Input/output error" in bench.delivery.errors[local.path]
    local.disk.before = nothing
    bench.run_for(4)
    assert bench.server.read_file("a.csv") == b"data"


def test_many_files_share_the_connection(local: Local) -> None:
    bench = Bench(local)
    paths = [str(local.folder / f"{n}.txt") for n in range(300)]
    for n, path in enumerate(paths):
        Path(path).write_bytes(b"%d" % n)
        local.snapshots.take(path, f"{n}.txt", "append", None)
        bench.delivery.offer(path)
    bench.delivery.step()
    assert [bench.server.read_file(f"{n}.txt") for n in range(300)] == [
        b"%d" % n for n in range(300)
    ]
    assert len(bench.tries) == 1


def test_what_is_offered_while_it_is_delivered_is_delivered_too(local: Local) -> None:
    bench = Bench(local)
    done = False

    def more(operation: str, path: str) -> None:
        nonlocal done
        if operation == "rename" and not done:
            done = True
            local.write(b"more")
            local.take("rewrite")
            bench.delivery.offer(local.path)

    bench.server.fault_before = more
    bench.remote.step()
    bench.delivery.step()
    assert bench.server.seen == [None, b"data", b"more"]


def test_close_ends_the_connection_and_keeps_what_is_owed(local: Local) -> None:
    bench = Bench(local)
    bench.server.fault_before = lambda operation, path: setattr(bench.transports[-1], "mute", True)
    bench.remote.step()
    bench.delivery.close()
    assert bench.delivery.link.link == "resting"
    assert local.entry.next_owed is not None
    bench.server.fault_before = nothing
    bench.remote.restart()
    bench.remote.settle()
    assert bench.server.read_file("a.csv") == b"data"


def test_who_is_asked_to_wait_waits_whatever_hurries(local: Local) -> None:
    bench = Bench(local)
    asked: list[float] = []

    def ask(operation: str, path: str) -> None:
        if not asked:
            asked.append(bench.clock.now)
            raise AskedToWait("too many requests", wait_secs=40, operation=operation, path=path)

    bench.server.fault_before = ask
    bench.run_for(10)
    assert bench.delivery.link.link == "retrying"
    assert "too many requests" in (bench.delivery.link.last_error or "")
    bench.delivery.retry_now()  # as a stop and a flush do
    bench.run_for(29)
    assert len(bench.tries) == 1
    bench.run_for(5)
    assert len(bench.tries) == 2
    assert bench.tries[1] - asked[0] >= 40
    assert bench.server.read_file("a.csv") == b"data"


def test_a_file_begins_beside_a_heartbeat_on_its_way(local: Local) -> None:
    """On a server that takes one file at a time, too: on a slow link there may always be one."""
    bench = Bench(local)
    bench.server.capabilities = Capabilities(True, True, True, max_files=1)
    bench.mute = True
    bench.delivery.beat("edge.heartbeat", b"0" * 512)
    bench.delivery.step()
    bench.remote.step()
    assert bench.delivery.beat_waits
    assert bench.delivery._active, "it was begun"


@pytest.mark.parametrize("moment", ["taken", "compared"])
def test_a_heartbeat_that_comes_while_one_is_sent_is_sent_too(local: Local, moment: str) -> None:
    """From another thread, at any moment: the last one, which says 0, above all."""
    bench = Bench(local)
    delivery = bench.delivery
    threads: list[threading.Thread] = []

    def come() -> None:
        if not threads:
            last = ("edge.heartbeat", b"0\n")
            threads.append(threading.Thread(target=delivery.beat, args=last))
            threads[0].start()
            threads[0].join(0.2)  # or it waits for what is done with the other one

    class First(tuple[str, bytes]):
        def __iter__(self) -> Iterator[str | bytes]:
            if moment == "taken":
                come()
            return super().__iter__()

        def __eq__(self, other: object) -> bool:
            found = super().__eq__(other)
            if moment == "compared":
                come()
            return found

        __hash__ = tuple.__hash__

    delivery._beat = First(("edge.heartbeat", b"30\n"))
    delivery.step()
    threads[0].join()
    for _ in range(3):
        delivery.step()
    assert bench.server.read_file("edge.heartbeat") == b"0\n"
    assert not delivery.beat_waits


def test_a_file_with_ever_new_versions_lets_others_go_between(local: Local) -> None:
    """On a server that takes one file at a time, too."""
    bench = Bench(local)
    bench.server.capabilities = Capabilities(True, True, True, max_files=1)
    local.write(b"version 0")
    local.take("rewrite")
    other = local.folder / "b.csv"
    other.write_bytes(b"other")
    local.snapshots.take(str(other), "b.csv", "auto", None)
    arrived = 0
    other_at: int | None = None

    def next_version(operation: str, path: str) -> None:
        nonlocal arrived, other_at
        if operation == "rename":
            arrived += 1
            if other_at is None and bench.server.read_file("b.csv") is not None:
                other_at = arrived
            if arrived < 20:
                local.write(b"version" + b"+" * arrived)
                local.take("rewrite")
                bench.delivery.offer(local.path)

    bench.server.fault_after = next_version
    bench.delivery.offer(local.path)
    bench.delivery.offer(str(other))
    bench.run_for(600)
    assert bench.server.read_file("b.csv") == b"other"
    assert other_at is not None
    assert other_at <= 3
    assert bench.server.read_file("a.csv") == b"version" + b"+" * 19
