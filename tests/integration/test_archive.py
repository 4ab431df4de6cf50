"""``start(precleanup_old_files=True)`` with a real subtask: old files move aside, data not before
they are delivered."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pysubtask import SettingsError, TaskMaster
from tests.integration.promises import QUICK, wait_until

OLD_SECS = 5 * 86_400.0


def make_old(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    at = time.time() - OLD_SECS
    os.utime(path, (at, at))
    return path


def day() -> str:
    return datetime.fromtimestamp(time.time() - OLD_SECS).strftime("%Y%m/%d")


@contextmanager
def sweeping(
    folder: Path, *watch: Any, there: str = "there", **settings: Any
) -> Iterator[TaskMaster]:
    (folder / "there").mkdir(exist_ok=True)
    settings = {"timer_interval_secs": 0.2, **QUICK, **settings}
    master = TaskMaster(list(watch), to=f"file://{folder / there}", **settings)
    master.start(precleanup_old_files=True)
    try:
        yield master
    finally:
        master.stop()


def log_of(folder: Path) -> str:
    path = folder / "data/logs/folder_subtask.log.txt"
    return path.read_text("utf-8") if path.exists() else ""


def test_old_files_move_and_data_are_delivered_first(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    declared = make_old(data / "today.csv", "1\n")
    (data / "yesterday.csv").write_text("0\n")
    make_old(data / "long_ago.csv", "-\n")
    make_old(data / "notes.txt", "no data\n")
    make_old(data / ".hidden", "no\n")
    make_old(data / "below/deep.csv", "no\n")
    make_old(data / "out/picture.jpg", "JPEG")
    make_old(data / f"archive/{day()}/notes.txt", "an older one\n")
    with sweeping(tmp_path, str(declared), {"dir": str(data / "out")}) as master:
        wait_until(lambda: not (data / "out/picture.jpg").exists(), what="it is archived")
        wait_until(lambda: not (data / "notes.txt").exists(), what="it is archived")
        assert master.flush(timeout=20)
        assert {p.name: p.read_text() for p in there.iterdir()} == {
            "today.csv": "1\n",
            "yesterday.csv": "0\n",
            "picture.jpg": "JPEG",
        }
    archive = data / "archive" / day()
    assert {p.name: p.read_text() for p in archive.iterdir()} == {
        "long_ago.csv": "-\n",
        "notes.txt": "an older one\n",
        "notes_1.txt": "no data\n",
    }
    assert (data / "out/archive" / day() / "picture.jpg").read_text() == "JPEG"
    left = {p.name for p in data.iterdir() if p.is_file() and p.suffix != ".notify"}
    assert left == {"today.csv", "yesterday.csv", ".hidden"}
    assert (data / "below/deep.csv").exists()
    assert "archived " in log_of(tmp_path)


def test_what_is_owed_waits_for_the_link(tmp_path: Path) -> None:
    data = tmp_path / "data"
    declared = make_old(data / "today.csv", "1\n")
    picture = make_old(data / "out/picture.jpg", "JPEG")
    notes = make_old(data / "notes.txt", "no data\n")
    watch = (str(declared), {"dir": str(data / "out")})
    with sweeping(tmp_path, *watch, there="mounted later") as master:
        wait_until(lambda: not notes.exists(), what="what is no data moves at once")
        wait_until(lambda: master.status().link == "retrying", what="there is no link")
        wait_until(lambda: master.status().pending_bytes == 6, what="both are owed")
        assert picture.exists()
        (tmp_path / "mounted later").mkdir()
        wait_until(lambda: not picture.exists(), what="it is delivered, and moves")
        assert (tmp_path / "mounted later/picture.jpg").read_text() == "JPEG"
    assert (data / "out/archive" / day() / "picture.jpg").read_text() == "JPEG"
    assert declared.exists()


def test_a_known_residual_file_that_changed_is_delivered_before_it_moves(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    declared = make_old(data / "today.csv", "1\n")
    residual = data / "yesterday.csv"
    residual.write_text("0\n")
    with sweeping(tmp_path, str(declared)) as master:
        assert master.flush(timeout=20)
    make_old(residual, "0\nappended to while nobody looked\n")
    with sweeping(tmp_path, str(declared)):
        wait_until(lambda: not residual.exists(), what="it is archived")
    wanted = "0\nappended to while nobody looked\n"
    assert (there / "yesterday.csv").read_text() == wanted
    assert (data / "archive" / day() / "yesterday.csv").read_text() == wanted


def test_an_archive_that_can_not_be_made_hurts_nothing_else(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    declared = make_old(data / "today.csv", "1\n")
    notes = make_old(data / "notes.txt", "no data\n")
    (data / "archive").write_text("a file is in the way\n")
    with sweeping(tmp_path, str(declared)) as master:
        wait_until(lambda: "old files stay in" in log_of(tmp_path), what="it is told")
        with declared.open("a") as file:
            file.write("2\n")
        assert master.notify(str(declared))
        assert master.flush(timeout=20)
        assert (there / "today.csv").read_text() == "1\n2\n"
        assert master.status().last_error is None
    assert notes.exists()
    assert log_of(tmp_path).count("archive:") == 1
    assert "Traceback" not in log_of(tmp_path)


def test_none_means_that_they_stay(tmp_path: Path) -> None:
    data = tmp_path / "data"
    declared = make_old(data / "today.csv", "1\n")
    notes = make_old(data / "notes.txt", "no data\n")
    with sweeping(tmp_path, str(declared), archive_to_folder=None) as master:
        assert master.flush(timeout=20)
    assert notes.exists()
    assert not (data / "archive").exists()


@pytest.mark.parametrize("sign", [".git", "pyproject.toml"])
def test_a_project_s_folder_is_refused(tmp_path: Path, sign: str) -> None:
    data = tmp_path / "data"
    declared = make_old(data / "today.csv", "1\n")
    notes = make_old(data / "notes.txt", "precious\n")
    (data / sign).mkdir()
    with (
        pytest.raises(SettingsError, match=f"holds {sign}.*project"),
        sweeping(tmp_path, str(declared)),
    ):
        pass
    assert notes.exists()
