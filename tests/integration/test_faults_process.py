"""Processes that die, hang or meet; clocks that jump."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from pysubtask.errors import LinkError
from pysubtask.master import _process
from pysubtask.signals import next_touch_ns
from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import delivering, is_running
from tests.servers.openssh import OpenSshServer
from tests.unit.core_fakes import HookedDisk, ManualClock, close_all
from tests.unit.core_local import Local
from tests.unit.core_remote import WatchedServer, WatchedTransport, make_remote

__all__ = ["row", "rows"]


@fault(
    "the subtask is killed (by somebody, or by the system because memory ran out)",
    "the subtask ended: killed by SIGKILL (by somebody, or by the system for want of memory)",
    "It is started again after 1 s, 2 s … 60 s; the journal has kept everything. `status()` goes "
    "on saying why it was restarted",
    "if it comes back: look for the OOM killer in the system's log",
)
@fault(
    "the subtask hangs (stopped, or stuck in a library)",
    "the subtask ended: it gave no sign of life for … s",
    "`watchdog_secs` (60) after its last sign of life it is killed, and started again as above",
    "nothing; should it come back, report it with the log",
)
def test_killed_and_stuck(
    tmp_path: pathlib.Path,
    openssh: OpenSshServer,
    rows: list[Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_process, "FIRST_WAIT_SECS", 0.5)
    killed, stuck = rows
    with delivering(tmp_path, openssh, ["a"], watchdog_secs=2.0) as made:
        made.append("a", b"1\n")
        made.flush()
        first = made.master.status().pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert "no subtask runs" in killed.shown(made.master)
        made.append("a", b"2\n")
        made.wait_for("a", b"1\n2\n")
        assert "restarted because the subtask ended: killed by SIGKILL" in str(made.master.status())
        second = made.master.status().pid
        assert second is not None
        os.kill(second, signal.SIGSTOP)
        stuck.shown(made.master)
        made.append("a", b"3\n")
        made.wait_for("a", b"1\n2\n3\n")
        assert not is_running(second)
        assert made.master.status().restarts >= 2


@fault(
    "a second program uses the same state folder",
    "another program has taken over the state folder",
    "The newer one takes over within seconds; the older one's subtask leaves and stays away",
    "give each program its own `bak_to_folder`, or stop one of them",
)
def test_two_masters_on_one_state(
    tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in one program it would be refused
    monkeypatch.setattr("pysubtask.master._master.others_running", lambda master: [])
    with (
        delivering(tmp_path, openssh, ["a"]) as older,
        delivering(tmp_path, openssh, ["a"], start=False) as newer,
    ):
        older.append("a", b"1\n")
        older.flush()
        newer.master.start()
        row.shown(older.master)
        assert older.master.status().taken_over
        assert older.master.status().pid is None
        newer.append("a", b"2\n")
        newer.flush()
        assert newer.master.status().restarts == 0
        assert older.remote_bytes("a") == b"1\n"


class Away(WatchedTransport):
    """A server that is away until a time."""

    clock: ManualClock
    back_at = 0.0

    def connect(self) -> None:
        if self.clock.now < self.back_at:
            raise LinkError("Connection refused", operation="connect to", path="memory")
        super().connect()


@pytest.fixture
def local(tmp_path: pathlib.Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


@fault(
    "the server is back after 15 minutes (or after days)",
    None,
    "It is found within 30 s of its return, and everything arrives in order",
    "nothing",
)
def test_back_after_15_minutes(local: Local) -> None:
    """In simulated time."""
    server = WatchedServer()
    tries: list[float] = []

    def make() -> Away:
        tries.append(local.clock.now)
        transport = Away(server)
        transport.clock, transport.back_at = local.clock, back_at
        return transport

    remote = make_remote(local, make_transport=make)
    back_at = local.clock.now + 900
    while local.clock.now < back_at:
        local.write(b"%d\n" % local.clock.now, "ab")
        local.take("append")  # 10 s later
        remote.step()
        assert local.clock.now >= back_at or server.read_file("a.csv") is None
    assert 30 <= len(tries) <= 150
    remote.settle(back_at + 31 - local.clock.now)
    assert server.read_file("a.csv") == pathlib.Path(local.path).read_bytes()
    close_all()


@fault(
    "the clock is set an hour forward or back",
    None,
    "Waits, dead time and the watchdog run by a clock that nobody sets; a touch counts because it "
    "differs, not because it is newer",
    "nothing",
)
@pytest.mark.parametrize("step_secs", [3600.0, -3600.0])
def test_the_clock_is_set(local: Local, step_secs: float) -> None:
    remote = make_remote(local)
    local.write(b"1\n")
    local.take("append")
    remote.settle()
    local.clock._offset += step_secs
    before = local.clock.now
    local.write(b"2\n", "ab")
    local.take("append")
    remote.settle(1)
    assert local.clock.now - before < 11
    assert remote.server.read_file("a.csv") == b"1\n2\n"
    assert remote.connections == 1  # the dead time did not pass
    touched = 1_700_000_000_000_000_000
    later = touched + round(step_secs * 1e9) + 1_000_000
    assert next_touch_ns(touched, later) != touched
    close_all()
