"""What of an upload was acknowledged is noted while it goes on, and shown."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from pysubtask.subtask.delivery.allowance import Allowance
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import SEQUENTIAL, Remote, WatchedServer

_MIB = 1 << 20


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def test_each_mib_is_noted_when_it_is_acknowledged(local: Local) -> None:
    """Not after 64 writes: those may be 16 MiB, and a broken link would have to begin anew."""
    data = bytes(8 * _MIB)
    local.write(data)
    local.take()
    remote = Remote(local, WatchedServer(replace(SEQUENTIAL, max_write_bytes=_MIB // 4)))
    noted: list[int] = []

    def before(operation: str, path: str) -> None:
        local.clock.now += 0.01  # a link of 25 MB/s: the window is what it carries in a moment
        entry = local.ledger.get(local.path)
        if operation == "write" and entry is not None and entry.upload is not None:
            noted.append(entry.upload.acked)

    remote.server.fault_before = before
    remote.settle()
    assert remote.server.read_file("a.csv") == data
    assert noted == sorted(noted)
    assert len(set(noted)) >= 4


def test_a_clock_that_jumps_while_a_budget_is_asked_for_ends_nothing(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be bytes to spend at one moment, and none at the next."""
    data = bytes(2 * _MIB)
    local.write(data)
    local.take()
    answers = itertools.cycle([False, True])
    monkeypatch.setattr(Allowance, "has_bytes", property(lambda self: next(answers)))
    remote = Remote(local, WatchedServer(replace(SEQUENTIAL, max_write_bytes=_MIB // 4)))
    remote.settle()
    assert remote.server.read_file("a.csv") == data
