"""Files that notify, the logging handler, the follower: a master that is not even started."""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Callable

import pytest

from pysubtask import NotWatchedError, SettingsError, TaskMaster
from pysubtask.follow import Follower
from pysubtask.logging import NotifyingHandler


@pytest.fixture
def master(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> TaskMaster:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "share").mkdir()
    watched = ["logs/a.csv", {"dir": "out"}]
    return TaskMaster(watched, to=(tmp_path / "share").as_uri())


def touched(path: str) -> int:
    """The stamp of a file's latest touch; 0: none."""
    try:
        return os.stat(f"{path}.notify").st_mtime_ns
    except FileNotFoundError:
        return 0


# --- open


def test_a_flush_that_wrote_notifies(master: TaskMaster) -> None:
    with master.open("logs/a.csv") as file:
        file.write("1,ä\n")
        assert touched("logs/a.csv") == 0
        file.flush()
        first = touched("logs/a.csv")
        assert first > 0
        assert pathlib.Path("logs/a.csv").read_bytes() == "1,ä\n".encode()
        file.flush()  # nothing new
        assert touched("logs/a.csv") == first
        file.write("2\n")
    assert touched("logs/a.csv") > first
    assert pathlib.Path("logs/a.csv").read_bytes() == "1,ä\n2\n".encode()


def test_it_appends_unless_told_otherwise(master: TaskMaster) -> None:
    pathlib.Path("logs/a.csv").write_text("old\n")
    with master.open("logs/a.csv") as file:
        file.write("new\n")
    assert pathlib.Path("logs/a.csv").read_text() == "old\nnew\n"
    with master.open("logs/a.csv", "w"):
        pass
    before = touched("logs/a.csv")
    assert pathlib.Path("logs/a.csv").read_text() == ""
    with pytest.raises(FileExistsError):
        master.open("logs/a.csv", "x")
    assert touched("logs/a.csv") == before


def test_unbuffered_notifies_with_each_write(master: TaskMaster) -> None:
    with master.open("out/b.bin", "ab", buffering=0) as file:
        file.write(b"1")
        first = touched("out/b.bin")
        assert pathlib.Path("out/b.bin").read_bytes() == b"1"
        file.write(b"2")
        assert touched("out/b.bin") > first > 0
        assert pathlib.Path("out/b.bin").read_bytes() == b"12"
    with pytest.raises(ValueError, match="unbuffered"):
        master.open("logs/a.csv", buffering=0)


def test_bytes_lines_and_files_in_folders(master: TaskMaster) -> None:
    with master.open("out/b.bin", "wb") as raw:
        raw.write(b"\x00\xff")
        raw.write(b"x" * 100_000)  # beyond the buffer: the file has it, so it is notified
        assert touched("out/b.bin") > 0
    assert pathlib.Path("out/b.bin").stat().st_size == 100_002
    with master.open("logs/a.csv", buffering=1, encoding="latin-1", newline="\r\n") as file:
        file.write("ä\n")
        assert touched("logs/a.csv") > 0
        assert pathlib.Path("logs/a.csv").read_bytes() == b"\xe4\r\n"


def test_a_path_stays_the_masters_when_the_program_moves(
    master: TaskMaster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "out")
    with master.open("logs/a.csv") as file:
        file.write("x")
    assert (tmp_path / "logs" / "a.csv").read_text() == "x"


def test_what_can_not_be_opened(master: TaskMaster) -> None:
    with pytest.raises(NotWatchedError):
        master.open("other.csv")
    for mode in ("r", "rb", "r+", "a+", "wb+", "q", "abt"):
        with pytest.raises(SettingsError, match="not one for writing only"):
            master.open("logs/a.csv", mode)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="binary"):
        master.open("logs/a.csv", "ab", encoding="utf-8")  # type: ignore[call-overload]
    assert touched("logs/a.csv") == 0


def test_a_notify_that_fails_is_no_matter_of_the_file(
    master: TaskMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master._notifier, "touch", lambda path: None)  # as a full disk
    with master.open("logs/a.csv") as file:
        file.write("x")
    assert pathlib.Path("logs/a.csv").read_text() == "x"


# --- logging


def handler_of(master: TaskMaster, **options: int) -> tuple[logging.Logger, NotifyingHandler]:
    handler = NotifyingHandler(master, "logs/a.csv", **options)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, handler


def test_each_record_is_written_and_notified(master: TaskMaster) -> None:
    logger, handler = handler_of(master)
    assert not pathlib.Path("logs/a.csv").exists()
    logger.info("one")
    first = touched("logs/a.csv")
    assert first > 0
    assert pathlib.Path("logs/a.csv").read_text() == "one\n"
    logger.info("two")
    assert touched("logs/a.csv") > first
    handler.close()


def test_it_rotates_and_loses_nothing(master: TaskMaster) -> None:
    logger, handler = handler_of(master, max_bytes=60, backup_count=9)
    for number in range(20):
        logger.info("record %02d", number)
    handler.close()
    parts = [f"logs/a.csv.{number}" for number in range(9, 0, -1)]
    text = "".join(pathlib.Path(p).read_text() for p in parts if os.path.exists(p))
    text += pathlib.Path("logs/a.csv").read_text()
    assert text == "".join(f"record {number:02d}\n" for number in range(20))
    assert touched("logs/a.csv") > 0


def test_a_handler_that_would_lose_data_is_refused(master: TaskMaster) -> None:
    with pytest.raises(SettingsError, match="empties the file"):
        NotifyingHandler(master, "logs/a.csv", max_bytes=10, backup_count=0)
    with pytest.raises(NotWatchedError):
        NotifyingHandler(master, "other.log")


def test_the_masters_own_log_may_go_there(master: TaskMaster) -> None:
    """A master logs while it starts: no lock may be taken twice."""
    handler = NotifyingHandler(master, "logs/a.csv")
    logger = logging.getLogger("pysubtask")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        master.start()
        master.stop(forcekill=True)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        handler.close()
    assert "HELLO!" in pathlib.Path("logs/a.csv").read_text()


# --- follow


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_follower_notifies_what_changed(master: TaskMaster) -> None:
    follower = Follower(master)
    assert follower.look() == 0  # the file is not there
    pathlib.Path("logs/a.csv").write_text("1")
    assert follower.look() == 1
    first = touched("logs/a.csv")
    assert follower.look() == 0
    with open("logs/a.csv", "a") as file:
        file.write("2")
    assert follower.look() == 1
    assert touched("logs/a.csv") > first
    os.rename("logs/a.csv", "logs/b.csv")
    assert follower.look() == 0
    pathlib.Path("logs/a.csv").write_text("12")  # another file of the same size
    assert follower.look() == 1


def test_a_touch_that_fails_is_tried_again(
    master: TaskMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pathlib.Path("logs/a.csv").write_text("1")
    follower = Follower(master)
    with monkeypatch.context() as patch:
        patch.setattr(master, "notify", lambda path: False)
        assert follower.look() == 0
    assert follower.look() == 1


def test_a_follower_by_itself(master: TaskMaster) -> None:
    with Follower(master, secs=0.01):
        pathlib.Path("logs/a.csv").write_text("1")
        wait_for(lambda: touched("logs/a.csv") > 0)
    first = touched("logs/a.csv")
    pathlib.Path("logs/a.csv").write_text("1234")
    time.sleep(0.05)
    assert touched("logs/a.csv") == first
