"""``start(precleanup_old_files=True)``: what former runs left is delivered."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pysubtask import TaskMaster


def test_declared_and_residual_files_are_sent(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    data.mkdir()
    there.mkdir()
    (data / "today.csv").write_text("1\n")
    (data / "yesterday.csv").write_text("0\n")
    (data / "long_ago.csv").write_text("-\n")
    os.utime(data / "long_ago.csv", (time.time() - 4 * 86_400,) * 2)
    (data / "notes.txt").write_text("not of this kind\n")
    (data / ".hidden.csv").write_text("no\n")
    (data / "below").mkdir()
    (data / "below" / "deep.csv").write_text("no\n")
    master = TaskMaster([str(data / "today.csv")], to=f"file://{there}")
    master.start(precleanup_old_files=True)
    try:
        assert master.flush(timeout=20)
    finally:
        master.stop()
    assert {path.name: path.read_text() for path in there.iterdir()} == {
        "today.csv": "1\n",
        "yesterday.csv": "0\n",
    }


def test_without_it_a_declared_file_waits_for_its_first_touch(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    data.mkdir()
    there.mkdir()
    (data / "today.csv").write_text("1\n")
    with TaskMaster([str(data / "today.csv")], to=f"file://{there}") as master:
        assert master.flush(timeout=20)
        assert list(there.iterdir()) == []
        master.notify(str(data / "today.csv"))
        assert master.flush(timeout=20)
    assert [path.name for path in there.iterdir()] == ["today.csv"]
