"""Two files with one name at the destination, with real processes: a folder, and a Dropbox."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pysubtask import TaskMaster
from tests.integration.promises import QUICK, wait_until
from tests.servers.dropbox import DropboxServer

LIMIT_SECS = 60


@contextmanager
def delivering(
    folder: pathlib.Path, watch: list[object], **settings: object
) -> Iterator[TaskMaster]:
    master = TaskMaster(
        watch,
        bak_to_folder=str(folder / "state"),
        log_to_folder=str(folder / "logs"),
        timer_interval_secs=0.5,
        settle_secs=0.2,
        **QUICK,
        **settings,  # type: ignore[arg-type]
    )
    master.start()
    try:
        yield master
    finally:
        master.stop(forcekill=True)


def two_folders(folder: pathlib.Path) -> list[object]:
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
    return [{"dir": str(folder / name)} for name in ("a", "b")]


def error_of(master: TaskMaster, path: pathlib.Path) -> str:
    found = master.status(str(path))
    return found.last_error or ""


def holds(path: pathlib.Path, data: bytes) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_bytes() == data


def test_two_watched_folders_with_one_file_name(tmp_path: pathlib.Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    first, second = tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"
    watch = two_folders(tmp_path)
    with delivering(tmp_path, watch, to=there.as_uri()) as master:
        first.write_bytes(b"first\n")
        wait_until(holds(there / "x.csv", b"first\n"), LIMIT_SECS)
        second.write_bytes(b"second\n")
        words = wait_until(lambda: error_of(master, second), LIMIT_SECS)
        assert f"{first} has that name at the destination" in words
        assert "give one of the watches another 'remote_dir'" in words
        assert words == master.status().last_error
        assert not master.flush(timeout=1)
        with first.open("ab") as file:
            file.write(b"goes on\n")
        wait_until(holds(there / "x.csv", b"first\ngoes on\n"), LIMIT_SECS)
    with second.open("ab") as file:
        file.write(b"goes on, too\n")
    with delivering(tmp_path, watch, to=there.as_uri()) as master:
        wait_until(lambda: error_of(master, second), LIMIT_SECS)
        assert [p.name for p in there.iterdir() if p.suffix == ".csv"] == ["x.csv"]
        assert (there / "x.csv").read_bytes() == b"first\ngoes on\n"
        os.remove(first)
        wait_until(holds(there / "x.csv", b"second\ngoes on, too\n"), LIMIT_SECS)
        (kept,) = there.glob("x.csv~*")
        assert kept.read_bytes() == b"first\ngoes on\n"
        wait_until(lambda: not error_of(master, second), LIMIT_SECS)


def test_another_remote_dir_ends_it(tmp_path: pathlib.Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    watch = two_folders(tmp_path)
    (tmp_path / "a" / "x.csv").write_bytes(b"first\n")
    with delivering(tmp_path, watch, to=there.as_uri()) as master:
        wait_until(holds(there / "x.csv", b"first\n"), LIMIT_SECS)
        (tmp_path / "b" / "x.csv").write_bytes(b"second\n")
        (tmp_path / "b" / "y.csv").write_bytes(b"third\n")
        wait_until(holds(there / "y.csv", b"third\n"), LIMIT_SECS)
        wait_until(lambda: error_of(master, tmp_path / "b" / "x.csv"), LIMIT_SECS)
    watch[1] = {"dir": str(tmp_path / "b"), "remote_dir": "b"}
    with delivering(tmp_path, watch, to=there.as_uri()) as master:
        wait_until(holds(there / "b" / "x.csv", b"second\n"), LIMIT_SECS)
        wait_until(holds(there / "b" / "y.csv", b"third\n"), LIMIT_SECS)
        assert master.flush(timeout=LIMIT_SECS)
        assert (there / "x.csv").read_bytes() == b"first\n"


def test_a_folder_that_tells_names_apart_has_both(tmp_path: pathlib.Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "probe").touch()
    if (there / "PROBE").exists():
        pytest.skip("this file system does not tell such names apart")
    (there / "probe").unlink()
    with delivering(tmp_path, two_folders(tmp_path), to=there.as_uri()) as master:
        (tmp_path / "a" / "x.csv").write_bytes(b"first\n")
        (tmp_path / "b" / "X.csv").write_bytes(b"second\n")
        wait_until(holds(there / "x.csv", b"first\n"), LIMIT_SECS)
        wait_until(holds(there / "X.csv", b"second\n"), LIMIT_SECS)
        assert master.flush(timeout=LIMIT_SECS)
        assert sorted(p.name for p in there.iterdir() if p.is_file()) == ["X.csv", "x.csv"]


def test_names_that_differ_in_case_are_one_in_a_dropbox(
    tmp_path: pathlib.Path, dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in dropbox.environment(None).items():
        monkeypatch.setenv(name, value)
    remote_name, there = dropbox.new_folder()
    first, second = tmp_path / "a" / "Site.csv", tmp_path / "b" / "site.CSV"
    settings = {
        "to": f"dropbox://{remote_name}",
        "ca_file": dropbox.ca_file,
        "dropbox_refresh_token": dropbox.refresh_token,
        "dropbox_app_key": dropbox.app_key,
    }
    with delivering(tmp_path, two_folders(tmp_path), **settings) as master:
        first.write_bytes(b"first\n")
        wait_until(holds(there / "Site.csv", b"first\n"), LIMIT_SECS)
        second.write_bytes(b"second\n")
        words = wait_until(lambda: error_of(master, second), LIMIT_SECS)
        assert f"{first} has that name at the destination" in words
        assert "which is one with Site.csv there" in words
        assert (there / "Site.csv").read_bytes() == b"first\n"
        shutil.move(first, tmp_path / "elsewhere.csv")

        def contents() -> set[bytes]:
            return {p.read_bytes() for p in there.iterdir() if p.name.lower().startswith("site")}

        wait_until(lambda: contents() == {b"first\n", b"second\n"}, LIMIT_SECS)
        wait_until(lambda: not error_of(master, second), LIMIT_SECS)
