"""What a killed process has left half-written in the state folder goes; nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pysubtask.seams.disk import RealDisk
from pysubtask.signals import StateLayout
from pysubtask.subtask.shell.halfwritten import sweep_half_written
from tests.unit.core_fakes import HookedDisk, fail_with, nothing

LEFT = [
    "status.json.4711.tmp",
    "arrivals/0f.json.12.tmp",
    "pulls/ab.9.tmp",
    "signatures/c.7-1f.tmp",
]
KEPT = [
    "status.json",
    "journal",
    "arrivals/0f.json",
    "stop.1.tmp.json",
    "notes.tmp",
    "outbox/1.2.tmp",
]


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    for name in LEFT + KEPT:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{")
        _age(path, 2 * 3600)
    return StateLayout(str(tmp_path))


def _age(path: Path, secs: float) -> None:
    at = time.time() - secs
    os.utime(path, (at, at))


def _names(folder: str) -> set[str]:
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}


def test_only_those_go(layout: StateLayout) -> None:
    assert sweep_half_written(RealDisk(), layout, now=time.time()) == len(LEFT)
    assert _names(layout.state_dir) == set(KEPT)


def test_what_may_be_written_just_now_stays(layout: StateLayout) -> None:
    fresh = Path(layout.state_dir) / LEFT[0]
    _age(fresh, 60)
    assert sweep_half_written(RealDisk(), layout, now=time.time()) == len(LEFT) - 1
    assert fresh.exists()


def test_a_folder_that_is_not_there_and_a_file_that_can_not_go(tmp_path: Path) -> None:
    left = tmp_path / "status.json.1.tmp"
    left.write_text("{")
    _age(left, 2 * 3600)
    disk = HookedDisk()
    disk.before = fail_with(lambda: PermissionError(13, "denied"), "remove")
    layout = StateLayout(str(tmp_path))
    assert sweep_half_written(disk, layout, now=time.time()) == 0
    disk.before = nothing
    assert sweep_half_written(disk, layout, now=time.time()) == 1
    assert not left.exists()
