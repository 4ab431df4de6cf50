"""status.json: five writes a second at most, none at rest, and no trouble from a full disk."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from pysubtask.status import FileStatus, Status
from pysubtask.subtask.shell.statusfile import (
    MAX_INTERVAL_SECS,
    MIN_INTERVAL_SECS,
    SignOfLife,
    StatusFile,
)
from tests.unit.shell_fakes import FailingDisk, FakeClock, quiet_log


class Source:
    def __init__(self) -> None:
        self.pending = 0
        self.more: dict[str, Any] = {}

    def __call__(self) -> Status:
        return Status(link="connected", pending_bytes=self.pending, **self.more)


def make(tmp_path: Path) -> tuple[StatusFile, Source, FailingDisk, FakeClock, Path]:
    source, disk, clock = Source(), FailingDisk(), FakeClock()
    path = tmp_path / "status.json"
    file = StatusFile(str(path), source, disk=disk, clock=clock, log=quiet_log())
    return file, source, disk, clock, path


def test_at_most_five_writes_a_second(tmp_path: Path) -> None:
    file, source, disk, clock, path = make(tmp_path)
    for pending in range(1, 1001):  # a change each millisecond
        source.pending = pending
        file.changed()
        file.write_if_due()
        clock.now += 0.001
    assert disk.writes == 4
    clock.now += MAX_INTERVAL_SECS
    file.write_if_due()
    shown = json.loads(path.read_bytes())
    assert shown["pending_bytes"] == 1000
    assert shown["pid"] == os.getpid()
    assert shown["updated_at"] == pytest.approx(clock.time(), abs=1)


def test_once_a_second_while_it_changes_all_the_time(tmp_path: Path) -> None:
    file, source, disk, clock, _ = make(tmp_path)
    for pending in range(1, 6001):  # a minute
        source.pending = pending
        file.changed()
        file.write_if_due()
        clock.now += 0.01
    assert 58 <= disk.writes <= 63
    clock.now += 3.0  # it was quiet
    for pending in range(2):
        source.pending = pending
        file.changed()
        assert file.due() <= clock.now
        file.write_if_due()
        clock.now += MIN_INTERVAL_SECS


def test_names_that_are_no_utf8_and_names_in_other_letters(tmp_path: Path) -> None:
    file, source, _, _, path = make(tmp_path)
    for name in ("größe.csv", "\udcff.csv"):
        source.more = {"files": {name: FileStatus(size_bytes=1)}}
        file.write()
        assert list(json.loads(path.read_bytes())["files"]) == [name]


def test_none_at_rest(tmp_path: Path) -> None:
    file, _, disk, clock, _ = make(tmp_path)
    file.write_if_due()
    assert disk.writes == 1
    assert file.due() == float("inf")
    clock.now += 3600
    file.write_if_due()
    file.changed()  # a false alarm: nothing differs
    file.write_if_due()
    assert disk.writes == 1


def test_a_slow_disk_is_written_less_often(tmp_path: Path) -> None:
    file, source, disk, clock, _ = make(tmp_path)
    plain_write = disk.write_whole

    def slow(path: str, data: bytes, *, sync: bool = False) -> None:
        clock.now += 0.5
        plain_write(path, data, sync=sync)

    disk.write_whole = slow  # type: ignore[method-assign]
    began = clock.now
    file.write()
    source.pending = 1
    file.changed()
    assert file.due() - began == pytest.approx(10.0)


def test_a_full_disk_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, source, disk, clock, path = make(tmp_path)
    caplog.set_level(logging.INFO)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    for _ in range(2000):
        source.pending += 1
        file.changed()
        file.write_if_due()
        clock.now += 0.1
    assert disk.writes <= 13  # 1 + 2 + 4 + … + 30 + 30 s
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    disk.error = None
    clock.now += 30
    file.write_if_due()
    assert json.loads(path.read_bytes())["pending_bytes"] == source.pending
    assert "can be written again" in caplog.records[-1].getMessage()


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    name = os.fsdecode(b"/data/\xff\n.csv")
    file = StatusFile(
        str(path),
        lambda: Status(last_error=name),
        disk=FailingDisk(),
        clock=FakeClock(),
        log=quiet_log(),
    )
    file.write()
    assert json.loads(path.read_bytes())["last_error"] == name


def test_sign_of_life_moves_the_time_of_its_file(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "alive"
    sign = SignOfLife(str(path), 15.0, clock=clock, log=quiet_log())
    sign.touch_if_due()
    os.utime(path, (1, 1))
    clock.now += 14.9
    sign.touch_if_due()
    assert path.stat().st_mtime == 1
    clock.now += 0.2
    sign.touch_if_due()
    assert path.stat().st_mtime > 1


def test_sign_of_life_survives_a_missing_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    sign = SignOfLife(str(tmp_path / "gone" / "alive"), 1.0, clock=clock, log=quiet_log())
    for _ in range(5):
        sign.touch_if_due()
        clock.now += 1
    assert len(caplog.records) == 1
    (tmp_path / "gone").mkdir()
    sign.touch_if_due()
    assert (tmp_path / "gone" / "alive").exists()


def test_no_sign_of_life_without_a_watchdog(tmp_path: Path) -> None:
    sign = SignOfLife(str(tmp_path / "alive"), 0.0, clock=FakeClock(), log=quiet_log())
    sign.touch_if_due()
    assert sign.due() == float("inf")
    assert not (tmp_path / "alive").exists()


def test_a_full_disk_is_told_in_the_room_that_the_file_has(tmp_path: Path) -> None:
    file, source, disk, _, path = make(tmp_path)
    file.write()
    size, inode = path.stat().st_size, path.stat().st_ino
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    source.pending = 7
    file.changed()
    file.write()
    assert json.loads(path.read_bytes())["pending_bytes"] == 7
    assert (path.stat().st_size, path.stat().st_ino) == (size, inode)
    disk.error = OSError(errno.EIO, "Input/output error")
    source.pending = 8
    file.changed()
    file.write()
    assert json.loads(path.read_bytes())["pending_bytes"] == 7


def test_on_a_full_disk_files_are_left_out_if_there_is_no_room(tmp_path: Path) -> None:
    file, source, disk, _, path = make(tmp_path)
    file.write()
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    files = {f"file {n}": FileStatus(last_error="full") for n in range(1000)}
    source.more = {"files": files, "last_error": "the local disk is full"}
    file.changed()
    file.write()
    shown = json.loads(path.read_bytes())
    assert (shown["files"], shown["files_left_out"]) == ({}, 1000)
    assert shown["last_error"] == "the local disk is full"


def test_what_others_overwrite_or_remove_is_written_again(tmp_path: Path) -> None:
    file, _, disk, clock, path = make(tmp_path)
    file.write()
    file.check()
    assert file.due() == float("inf")
    for harm in (lambda: path.write_bytes(b"rubbish"), path.unlink):
        harm()
        file.check()
        clock.now += 1
        file.write_if_due()
        assert json.loads(path.read_bytes())["link"] == "connected"
    assert disk.writes == 3
