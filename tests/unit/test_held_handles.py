"""Handles that keep bytes readable are let go of, or deleted files would fill the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pysubtask.core.model import Piece
from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.store.outbox import Outbox
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local


@pytest.mark.parametrize("growth", ["auto", "append"])
def test_rotated_and_deleted_files_are_closed(tmp_path: Path, growth: str) -> None:
    disk = HookedDisk()
    local = Local(tmp_path, ManualClock(), disk)
    for number in range(12):
        local.write(b"%d first\n" % number)
        local.take(growth)
        local.write(b"%d second\n" % number, "ab")
        local.take(growth)
        os.rename(local.path, f"{local.path}.1")
        local.write(b"")
        local.take(growth)
        os.unlink(f"{local.path}.1")
    local.write(b"last\n")
    local.take(growth)
    assert len(disk.open_handles) <= 2


@pytest.mark.parametrize("growth", ["append", "auto"])
@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("operations", [("fstat", "read"), ("read",)])
@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
def test_a_handle_that_went_stale_keeps_no_look_from_its_file(
    tmp_path: Path, code: int, operations: tuple[str, ...], replaced: bool, growth: str
) -> None:
    """The mount went away and came back. All looks at the file would fail until the next start,
    and each leave a handle open."""
    disk = HookedDisk()
    local = Local(tmp_path, ManualClock(), disk)
    local.write(b"one,")
    local.take(growth)
    local.write(b"two,", "ab")
    assert local.take(growth).result == "taken"
    local.deliver_all()
    disk.go_stale(code, *operations)
    if replaced:  # by another client: nothing says what became of the file that is open
        Path(local.path + ".new").write_bytes(b"one,two,")
        os.replace(local.path + ".new", local.path)
    looks = []
    for _ in range(12):
        local.write(b"more,", "ab")
        looks.append(local.take(growth).result)
    assert looks[-1] == "taken"
    assert looks[0] == "taken" or (replaced and code == errno.EIO)
    assert len(disk.open_handles) <= 1
    start = 8 if local.current.number == 1 else 0
    assert local.content(start=start).endswith(b"more," * 12)


def test_long_copies_give_signs_of_life(tmp_path: Path) -> None:
    """Or the master's watchdog would end a child that copies a big file."""
    signs: list[int] = []
    outbox = Outbox(RealDisk(), str(tmp_path / "outbox"), still_alive=lambda: signs.append(1))
    outbox.open(())
    name, size, digest = outbox.store([b"a" * 1000] * 5)
    assert len(signs) >= 5
    signs.clear()
    assert outbox.is_whole(Piece(0, size, name, digest))
    assert signs
    signs.clear()
    outbox.sync()
    assert signs
