"""A delivery that is stuck in a library, or crashes, ends the process, so that its master starts
another."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pysubtask.seams.clock import Clock, RealClock
from pysubtask.seams.disk import Disk, RealDisk
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.transports import Transport
from pysubtask.urls import parse_url
from pysubtask.watch import parse_watches
from tests.unit.core_fakes import HookedDisk
from tests.unit.shell_fakes import FakeClock, make_handover, make_state, quiet_log


class Stuck(MemoryTransport):
    """Never comes back from where it is told to hang."""

    def __init__(self, where: str, reached: threading.Event, release: threading.Event) -> None:
        super().__init__(MemoryServer())
        self._where = where
        self._reached = reached
        self._release = release

    def _hang(self, where: str) -> None:
        if where == self._where:
            self._reached.set()
            self._release.wait(60)

    def connect(self) -> None:
        self._hang("connect")
        super().connect()

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        self._hang("write")
        super().write(path, offset, data, create=create)


def make_subtask(
    tmp_path: Path,
    clock: Clock,
    make_transport: Callable[[], Transport],
    *,
    data: bytes = b"1\n",
    disk: Disk | None = None,
    outbox_max_bytes: int = 1 << 30,
) -> TransferSubtask:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(data)
    handover = make_handover(
        tmp_path / "state",
        watches=parse_watches([{"dir": "data", "growth": "rewrite"}], str(tmp_path)),
        destination=parse_url("sftp://edge@nowhere.invalid/in"),
        settle_secs=0.0,
        outbox_max_bytes=outbox_max_bytes,
    )

    return TransferSubtask(
        Context(
            handover=handover,
            layout=make_state(tmp_path),
            disk=disk or RealDisk(),
            clock=clock,
            log=quiet_log(),
            wake=lambda: None,
            status_changed=lambda: None,
        ),
        make_transport=make_transport,
    )


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("write", "no acknowledgement from the server for more than 5 s"),
        ("connect", "no answer from the server yet"),
    ],
)
def test_stuck(tmp_path: Path, where: str, says: str) -> None:
    reached, release = threading.Event(), threading.Event()
    clock = FakeClock()
    subtask = make_subtask(tmp_path, clock, lambda: Stuck(where, reached, release))
    subtask.start()
    try:
        for _ in range(3):
            subtask.step()
            clock.now += 0.1
        assert reached.wait(20)
        subtask.step()
        clock.now += 6
        subtask.step()
        assert subtask.status().last_error == says
        clock.now += 60 - 8  # watchdog_secs
        subtask.step()
        clock.now += 4
        with pytest.raises(RuntimeError, match="delivery has not moved for"):
            subtask.step()
    finally:
        release.set()
        subtask.stop(clock.now)


def test_a_delivery_that_hashes_a_big_file_is_not_stuck(tmp_path: Path) -> None:
    """A file of 10 GB is read for minutes before its first byte is sent. The child would be ended,
    and the next one begin with the same."""
    reached, release = threading.Event(), threading.Event()
    clock, disk, server = FakeClock(), HookedDisk(), MemoryServer()
    reads = itertools.count(1)

    def slow(operation: str, path: str) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if operation == "read" and path.endswith("/a") and not is_main:
            clock.now += 30
            if next(reads) == 4:
                reached.set()
                release.wait(60)

    disk.before = slow
    subtask = make_subtask(
        tmp_path,
        clock,
        lambda: MemoryTransport(server),
        data=b"x" * (5 << 20),
        disk=disk,
        outbox_max_bytes=1,
    )
    subtask.start()
    try:
        for _ in range(3):
            subtask.step()
            clock.now += 0.1
        assert reached.wait(20)
        subtask.step()
    finally:
        release.set()
        subtask.stop(clock.now)


class Missing(MemoryTransport):
    """One whose library is not there, or not any more."""

    def __init__(self, reached: threading.Event) -> None:
        super().__init__(MemoryServer())
        self._reached = reached

    def connect(self) -> None:
        self._reached.set()
        raise ImportError("libssl.so: cannot open shared object file")


def test_a_crash_while_stopping_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reached = FakeClock(), threading.Event()

    def sleep(secs: float) -> None:
        assert reached.wait(20)
        clock.now += secs

    monkeypatch.setattr(clock, "sleep", sleep)
    subtask = make_subtask(tmp_path, clock, lambda: Missing(reached))
    subtask.start()
    assert not subtask.stop(clock.now + 10)
    told = [record for record in caplog.records if record.exc_info]
    assert [record.message for record in told] == ["delivery crashed"]
    assert "libssl.so" in caplog.text


def test_a_stop_leaves_the_delivery_its_time(tmp_path: Path) -> None:
    """The last step may have left a backlog behind: the stop's own loop works it off."""
    clock, server = RealClock(), MemoryServer()
    subtask = make_subtask(tmp_path, clock, lambda: MemoryTransport(server))
    subtask.start()
    subtask.step()
    subtask._turns.claim(backlog=True)
    assert subtask.stop(clock.monotonic() + 20)
    assert not subtask._turns.are_claimed
    assert server.read_file("/in/data/a") or server.read_file("/in/a")
