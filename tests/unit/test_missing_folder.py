"""A destination folder that is not there yet is made, whatever is on its way to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import SEQUENTIAL, Remote, WatchedServer, numbered


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


@pytest.mark.parametrize("size", [100, 30_000, 3 << 20])
def test_the_first_try_makes_it(local: Local, size: int) -> None:
    """Of several writes in flight all are refused. Those refusals belong to the time before the
    folder was there, and must not end what comes after."""
    data = numbered(size)
    local.write(data)
    local.take()
    can = replace(SEQUENTIAL, max_write_bytes=16_384)
    remote = Remote(local, WatchedServer(can, "in/deep/a.csv"), root="in/deep")
    while not remote.is_settled():
        remote.step()
        assert remote.delivery.errors == {}
    assert remote.server.read_file("in/deep/a.csv") == data
