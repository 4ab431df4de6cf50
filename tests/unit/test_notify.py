"""notify() in the host: what it touches, what it refuses, what it survives."""

from __future__ import annotations

import os
import pathlib
import stat
import sys
import threading
from typing import Any

import pytest

from pysubtask import NotWatchedError, TaskMaster
from pysubtask.signals import StateLayout, is_blank_touch, make_blank_notify, touch

needs_permissions = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="this user may write everywhere"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "logs" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*watch: Any, **settings: Any) -> TaskMaster:
    return TaskMaster(list(watch), to="sftp://edge@collector/in", **settings)


def mtime(path: str | pathlib.Path) -> int:
    return os.stat(path).st_mtime_ns


def test_any_way_to_a_declared_file_touches_it(folder: pathlib.Path) -> None:
    master = make("logs/a.csv", "logs/b.csv")
    file = folder / "logs" / "a.csv.notify"
    last = 0
    ways: list[Any] = [
        "logs/a.csv",
        b"logs/a.csv",
        pathlib.Path("logs/a.csv"),
        "./logs/../logs/a.csv",
        str(folder / "logs" / "a.csv"),
        0,
    ]
    for way in ways:
        assert master.notify(way) is True
        assert mtime(file) > last
        last = mtime(file)
    assert master.notify_file_by_index(1) is True
    assert (folder / "logs" / "b.csv.notify").exists()


@pytest.mark.parametrize("way", ["{0}/logs/out", "logs/out", "./logs/out/", 1])
def test_a_watched_folder_inside_another_is_no_file_of_it(
    folder: pathlib.Path, way: str | int
) -> None:
    """``notify`` of the inner one would touch ``out.notify`` in the outer one, and none of its
    files."""
    (folder / "logs" / "out" / "a.csv").write_text("1\n")
    master = make({"dir": "logs"}, {"dir": "logs/out"})
    assert master.notify(way.format(folder) if isinstance(way, str) else way) is True
    assert os.listdir(folder / "logs") == ["out"]
    assert sorted(os.listdir(folder / "logs" / "out")) == ["a.csv", "a.csv.notify"]
    assert master.notify(folder / "logs" / "out" / "a.csv") is True


@pytest.mark.parametrize("path", ["lo\0gs/a.csv", "logs/a\0.csv", b"lo\0gs/a.csv"])
def test_a_name_that_no_file_can_have_is_watched_by_nobody(path: Any) -> None:
    """Not a bare ``ValueError`` out of ``notify``, where nobody expects one."""
    master = make("logs/a.csv", {"dir": "logs/out"})
    for call in (master.notify, master.status):
        with pytest.raises(NotWatchedError):
            call(path)


def test_nothing_else_is_made_in_the_folder_before_start(folder: pathlib.Path) -> None:
    make("logs/a.csv").notify(0)
    assert sorted(os.listdir(folder / "logs")) == ["a.csv.notify", "out"]


def test_relative_paths_do_not_follow_the_program_around(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = make("logs/a.csv", {"dir": "logs/out"})
    monkeypatch.chdir("/")
    assert master.notify("logs/a.csv")
    assert master.notify("./logs/a.csv")
    assert master.notify("logs/out/new.jpg")
    assert (folder / "logs" / "a.csv.notify").exists()
    assert (folder / "logs" / "out" / "new.jpg.notify").exists()


def test_links_to_the_folder_lead_to_the_file(folder: pathlib.Path) -> None:
    (folder / "way").symlink_to(folder / "logs", target_is_directory=True)
    assert make("logs/a.csv").notify("way/a.csv")
    assert (folder / "logs" / "a.csv.notify").exists()


@pytest.mark.parametrize(
    "which",
    ["logs/x.csv", "a.csv", 2, -1, "logs/out/sub/x", "logs/out/.hidden", "", "logs/a.csv.notify",
     "logs/out/a.notify", 1.5, None],
)  # fmt: skip
def test_what_nobody_declared_is_refused(which: Any) -> None:
    with pytest.raises(NotWatchedError):
        make("logs/a.csv", {"dir": "logs/out"}).notify(which)


def test_a_folder_stands_for_its_files(folder: pathlib.Path) -> None:
    out = folder / "logs" / "out"
    for name in ("1.jpg", "2.jpg", ".hidden"):
        (out / name).write_text("x")
    (out / "sub").mkdir()
    master = make("logs/a.csv", {"dir": "logs/out"})
    for way in ("logs/out", "logs/out/", 1, out):
        assert master.notify(way)
        assert {name for name in os.listdir(out) if name.endswith(".notify")} == {
            "1.jpg.notify",
            "2.jpg.notify",
        }
        for name in ("1.jpg.notify", "2.jpg.notify"):
            (out / name).unlink()


def test_notify_all_files_touches_the_declared_ones(folder: pathlib.Path) -> None:
    master = make("logs/a.csv", {"dir": "logs/out"}, "logs/b.csv")
    assert master.notify_all_files()
    assert sorted(os.listdir(folder / "logs")) == ["a.csv.notify", "b.csv.notify", "out"]


def test_a_name_too_long_is_touched_in_the_state_folder(folder: pathlib.Path) -> None:
    name = "logs/" + "x" * 252
    master = make(name)
    layout = StateLayout(str(folder / "logs" / "upload" / "ftp"))
    assert master.notify(name)
    place = layout.fallback_notify_path(str(folder / name))
    assert pathlib.Path(place).read_bytes() == os.fsencode(folder / name)
    first = mtime(place)
    assert master.notify(0)
    assert mtime(place) > first
    assert stat.S_IMODE(os.stat(layout.notify_dir).st_mode) == 0o700
    assert master.status().notify_failures == 0


def test_a_folder_that_is_gone_is_no_reason_to_raise(folder: pathlib.Path) -> None:
    master = make("data/a.csv", bak_to_folder=str(folder / "state"))
    assert master.notify(0) is True  # in the state folder
    assert not (folder / "data").exists()


def test_no_place_at_all_gives_false_and_is_tried_again(folder: pathlib.Path) -> None:
    (folder / "block").write_text("a file where the state folder should be")
    master = make("data/a.csv", bak_to_folder=str(folder / "block"))
    assert master.notify("data/a.csv") is False
    assert master.notify_all_files() is False
    status = master.status()
    assert status.notify_failures == 2
    assert "a.csv.notify" in str(status.last_notify_error)
    (folder / "data").mkdir()
    assert master.check_pending_notifications() is False
    assert (folder / "data" / "a.csv.notify").exists()
    assert master.notify(0) is True


@needs_permissions
def test_a_read_only_folder(folder: pathlib.Path) -> None:
    os.chmod(folder / "logs", 0o500)
    try:
        assert make("logs/a.csv", bak_to_folder=str(folder / "state")).notify(0)
        assert os.listdir(folder / "state" / "notify")
    finally:
        os.chmod(folder / "logs", 0o700)


def test_threads_never_give_a_stamp_that_was_there(folder: pathlib.Path) -> None:
    master = make("logs/a.csv")
    failures: list[object] = []

    def work() -> None:
        for _ in range(300):
            if master.notify(0) is not True:
                failures.append("refused")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert master.status().notify_failures == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_may_notify_while_others_do(folder: pathlib.Path) -> None:
    master = make("logs/a.csv")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            master.notify(0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                done = master.notify(0) and not master.flush(0) and master.status() is not None
                os._exit(0 if done else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        thread.join(10)


def test_a_blank_never_replaces_a_touch(folder: pathlib.Path) -> None:
    file = str(folder / "logs" / "a.csv.notify")
    make_blank_notify(file)
    assert is_blank_touch(mtime(file))
    assert sorted(os.listdir(folder / "logs")) == ["a.csv.notify", "out"]
    make("logs/a.csv").notify(0)
    touched = mtime(file)
    assert not is_blank_touch(touched)
    make_blank_notify(file)
    assert mtime(file) == touched
    with pytest.raises(OSError, match=r"\S"):
        make_blank_notify(str(folder / "missing" / "x.notify"))


def test_blanks_and_touches_at_once(folder: pathlib.Path) -> None:
    for number in range(200):
        file = str(folder / f"{number}.notify")
        ready = threading.Barrier(2)

        def blank(file: str = file, ready: threading.Barrier = ready) -> None:
            ready.wait(10)
            make_blank_notify(file)

        thread = threading.Thread(target=blank)
        thread.start()
        ready.wait(10)
        touch(file, 0)
        thread.join(10)
        assert not is_blank_touch(mtime(file))
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_flush_without_a_subtask_says_no_at_once() -> None:
    assert make("logs/a.csv").flush(timeout=60) is False
    assert make("logs/a.csv").notify(0, wait_secs=60) is False
