"""Which files go in segments: those that were promised to grow, where the destination says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.flow import Window
from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.urls import parse_url
from pysubtask.watch import parse_watches
from tests.unit.shell_fakes import FakeClock, make_handover, make_state, quiet_log

CAN = Capabilities(positioned_write=False, sequential=True, atomic_replace=True)


@pytest.mark.parametrize("can_segments", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_segments(tmp_path: Path, can_segments: bool, asked: bool) -> None:
    """Whatever the destination's scheme: a transport of another package may have them."""
    watches = [{"file": "grows.csv", "growth": "append"}, "changes.csv"]
    handover = make_handover(
        tmp_path / "state",
        watches=parse_watches(watches, str(tmp_path)),
        destination=parse_url("sftp://edge@nowhere.invalid/in"),
        segments=asked,
    )
    context = Context(
        handover=handover,
        layout=make_state(tmp_path),
        disk=RealDisk(),
        clock=FakeClock(),
        log=quiet_log(),
        wake=lambda: None,
        status_changed=lambda: None,
    )
    subtask = TransferSubtask(context, make_transport=lambda: MemoryTransport(MemoryServer()))
    courier = subtask._make_courier(replace(CAN, segments=can_segments), Window())
    is_segmented = courier._session.hooks.is_segmented
    assert is_segmented(str(tmp_path / "grows.csv")) == (can_segments and asked)
    assert not is_segmented(str(tmp_path / "changes.csv"))
