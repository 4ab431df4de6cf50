"""Supervision of a child, with stand-ins for the child; logs; the choice of the state folder."""

from __future__ import annotations

import errno
import gc
import logging
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pysubtask import StartError, StateError
from pysubtask.base import BaseTaskMaster
from pysubtask.master import _process, _state
from pysubtask.master._child import Child
from pysubtask.master._log import close_log, open_log
from pysubtask.master._state import is_network_mount, log_file, place_state
from pysubtask.master._waker import Waker
from pysubtask.settings import Secret, Settings

FAKE_CHILD = """
import json, os, signal, sys, time
line = json.loads(sys.stdin.buffer.readline())
kind = line["settings"]["subtask_description"]
state = line["state_dir"]
with open(os.path.join(state, "seen"), "a") as file:
    file.write(line["token"] + "\\n")
if kind == "crash":
    sys.exit("no bread, " + str(line["settings"]["password"]))
if kind == "loud":
    sys.stderr.write("x" * 1_000_000)
    sys.stderr.flush()
if kind in ("slow to leave", "dies slowly"):
    def leave(*_):
        time.sleep(0.5)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if kind == "dies slowly":
            os.kill(os.getpid(), signal.SIGTERM)
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    open(os.path.join(state, "ready"), "w").close()
    time.sleep(60)
if kind.startswith("exit"):
    sys.exit(int(kind[4:]))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if kind == "deaf":
    while True:
        time.sleep(0.05)
while not os.path.exists(os.path.join(state, "stop")):
    os.utime(os.path.join(state, "alive"))
    time.sleep(0.01)
stop = json.load(open(os.path.join(state, "stop")))
os.unlink(os.path.join(state, "stop"))
sys.exit(0 if stop == {"by": "master", "pid": os.getppid(), "token": line["token"]} else 1)
"""


class FakeMaster(BaseTaskMaster):
    module = "fake_child"


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "fake_child.py").write_text(FAKE_CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_process, "FIRST_WAIT_SECS", 0.05)
    monkeypatch.setattr(_process, "LONGEST_WAIT_SECS", 0.2)
    return tmp_path


def make(kind: str, **settings: Any) -> FakeMaster:
    settings.setdefault("stop_timeout_secs", 20)
    return FakeMaster(["data/a"], subtask_description=kind, **settings)


def wait_for(condition: Callable[[], Any], secs: float = 20.0) -> None:
    until = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def tokens(folder: pathlib.Path) -> list[str]:
    try:
        return (folder / "data" / "upload" / "base" / "seen").read_text().split()
    except FileNotFoundError:
        return []


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is POSIX")
def test_stop_names_the_child_it_means(folder: pathlib.Path) -> None:
    with make("well"):
        wait_for(lambda: tokens(folder))
    log = (folder / "data" / "logs" / "base_taskmaster.log.txt").read_text()
    assert "exit code 0" in log
    assert not (folder / "data" / "upload" / "base" / "stop").exists()


def test_a_crashing_child_is_started_again_and_again(folder: pathlib.Path) -> None:
    master = make("crash", password="hunter2")
    master.start()
    try:
        wait_for(lambda: master.status().restarts >= 3)
        assert len(set(tokens(folder))) == len(tokens(folder)) >= 3
        assert "it crashed: no bread, •••" in str(master.status().last_error)
    finally:
        master.stop()
    log = (folder / "data" / "logs" / "base_taskmaster.log.txt").read_text()
    assert "no bread" in log
    assert "hunter2" not in log


@pytest.mark.parametrize(
    ("password", "words"),
    [("", "no bread,"), ("n", "no bread, •••"), ("two words'", "no bread, •••")],
)
def test_the_last_words_stay_readable_without_the_secret(
    folder: pathlib.Path, password: str, words: str
) -> None:
    """An empty password would be masked between all letters, one of a letter within words."""
    master = make("crash", password=Secret(password), restart=False)
    master.start()
    try:
        wait_for(lambda: master.status().last_error)
        assert str(master.status().last_error).endswith(words)
    finally:
        master.stop()


def test_one_that_was_taken_over_is_left_alone(folder: pathlib.Path) -> None:
    master = make("exit3")
    master.start()
    wait_for(lambda: master.status().taken_over)
    time.sleep(0.3)
    assert len(tokens(folder)) == 1
    assert master.status().pid is None
    master.stop()


def test_waits_grow_and_are_forgotten_after_health(monkeypatch: pytest.MonkeyPatch) -> None:
    master = make("exit1")
    waits: list[float] = []
    supervisor_class = _process.Supervisor
    original = supervisor_class._start_again

    def note(self: Any, child: Any, wait: float) -> Any:
        waits.append(wait)
        if len(waits) == 4:
            monkeypatch.setattr(_process, "HEALTHY_AFTER_SECS", 0.0)
        return original(self, child, wait)

    monkeypatch.setattr(supervisor_class, "_start_again", note)
    master.start()
    try:
        wait_for(lambda: len(waits) >= 6)
    finally:
        master.stop(forcekill=True)
    assert waits[:4] == [0.05, 0.1, 0.2, 0.2]
    assert waits[4:6] == [0.05, 0.05]


def test_a_deaf_child_is_killed_by_stop_and_by_the_watchdog(folder: pathlib.Path) -> None:
    master = make("deaf", stop_timeout_secs=0.2)
    master.start()
    wait_for(lambda: tokens(folder))
    master.stop()
    assert master.status().pid is None
    master = make("deaf", watchdog_secs=0.4)
    master.start()
    wait_for(lambda: master.status().restarts)
    assert "no sign of life" in str(master.status().last_error)
    master.stop(forcekill=True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("kind", ["slow to leave", "dies slowly"])
def test_a_stop_of_what_was_asked_to_leave_by_the_system_is_no_error(
    folder: pathlib.Path, kind: str
) -> None:
    """The end of a service: all of its processes have the signal, and the program stops then."""
    master = make(kind, restart=False)
    master.start()
    wait_for((folder / "data" / "upload" / "base" / "ready").exists)
    supervisor: Any = master._supervisor
    os.kill(supervisor.pid, signal.SIGTERM)
    master.stop()
    assert supervisor.last_error is None
    log = (folder / "data" / "logs" / "base_taskmaster.log.txt").read_text()
    assert "subtask ended (" in log
    assert "ERROR" not in log


def test_standard_error_never_fills_the_disk(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make("loud", watchdog_secs=0.4):
        stderr = folder / "data" / "upload" / "base" / "stderr"
        wait_for(lambda: tokens(folder) and stderr.exists() and stderr.stat().st_size == 0)


def test_a_start_that_the_system_refuses(folder: pathlib.Path) -> None:
    bad = folder / "python-that-is-none"
    bad.write_text("#!/nowhere/at/all\n")
    bad.chmod(0o755)
    master = make("well", python=str(bad))
    with pytest.raises(StartError):
        master.start()
    assert master.status().pid is None
    master.stop()


def test_a_start_that_was_interrupted_before_it_began_may_be_repeated(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before there is a thread: "it runs already" would be said for ever after."""

    class Interrupted(threading.Thread):
        def start(self) -> None:
            raise KeyboardInterrupt

    master = make("well")
    with monkeypatch.context() as patch:
        patch.setattr(_process.threading, "Thread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            master.start()
    master.stop()
    with master:
        wait_for(lambda: tokens(folder))
    assert master.status().pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has no descriptor")
@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
def test_a_wake_up_call_that_was_closed_is_heard_and_touches_nothing(
    lost: tuple[int, ...],
) -> None:
    """A program that becomes a daemon closes all; an event loop of its own has the numbers then."""
    waker = Waker()
    ends = waker._ends
    assert not waker.wait(0.0)
    waker.wake()
    assert waker.wait(0.0)
    waker.wake()  # nobody has noticed it when it is closed
    stranger = os.eventfd(0, os.EFD_NONBLOCK)
    for number in lost:
        os.dup2(stranger, ends[number])
    assert waker.fd == -1
    for _ in range(2):
        assert waker.wait(0.0)
        assert not waker.wait(0.0)
        waker.wake()
    waker.noticed()
    del waker
    gc.collect()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(stranger)
    for number, fd in enumerate(ends):
        if number in lost:
            os.close(fd)  # which the waker has left open
        else:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
    os.close(stranger)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of a process has no number")
@pytest.mark.parametrize("stranger", ["none", "eventfd", "pidfd"])
@pytest.mark.parametrize("alive", [True, False])
def test_the_end_of_a_child_is_told_though_its_descriptor_was_closed(
    folder: pathlib.Path, stranger: str, alive: bool
) -> None:
    """A program that becomes a daemon closes all. What it opens then looks much the same, may be
    readable, and stays open."""
    cat = Child(["/bin/cat"], lambda token: b"x", token="t", stderr=None, cwd=str(folder))
    number, waker = cat._pidfd, Waker()
    assert not cat.ended(0.0, waker)
    if not alive:
        cat.close_life_line()
        time.sleep(0.2)
    os.close(number)
    if stranger != "none":
        fd = os.eventfd(1) if stranger == "eventfd" else os.pidfd_open(os.getpid())
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)
    if alive:
        assert not cat.ended(0.0, waker)
        cat.close_life_line()
    assert cat.ended(20.0, waker)
    assert cat.reap() == 0
    if stranger != "none":
        os.close(number)


def test_many_lives_leave_nothing_behind(folder: pathlib.Path) -> None:
    master = make("well")
    master.start()
    master.stop(forcekill=True)
    before = holdings()
    for _ in range(15):
        master.start()
        master.stop(forcekill=True)
    # what others held before may have gone meanwhile, and a thread that ends holds on for a moment
    wait_for(lambda: all(now <= then for now, then in zip(holdings(), before, strict=True)))


def holdings() -> tuple[int, int, int]:
    """Log handlers, threads and open files of this process."""
    gc.collect()
    return len(logging._handlerList), threading.active_count(), open_files()  # type: ignore[attr-defined]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


def log_with(path: pathlib.Path, **options: Any) -> logging.Logger:
    given: dict[str, Any] = {
        "level": "INFO", "max_bytes": 4096, "backup_count": 2, "to_console": False,
    }  # fmt: skip
    return open_log("ftp.X", path=str(path), **{**given, **options})


def test_a_thousand_logs_leak_no_handler(folder: pathlib.Path) -> None:
    before, loggers = holdings(), len(logging.root.manager.loggerDict)
    for number in range(1000):
        logger = log_with(folder / "log.txt")
        logger.info("line %d", number)
        close_log(logger)
    del logger
    assert len(logging.root.manager.loggerDict) == loggers
    wait_for(lambda: all(now <= then for now, then in zip(holdings(), before, strict=True)))


def test_the_log_rotates_and_can_not_be_forged(folder: pathlib.Path) -> None:
    logger = log_with(folder / "logs" / "log.txt")
    logger.propagate = False  # not every runner of tests can print lone surrogates
    for number in range(400):
        logger.info("line %d of a file called %s", number, "a\udcff\x1b[31m")
    logger.info("x\n2026-01-01 00:00:00 [ftp.X.1]: INFO: forged")
    close_log(logger)
    names = sorted(os.listdir(folder / "logs"))
    assert names == ["log.txt", "log.txt.1", "log.txt.2"]
    assert all((folder / "logs" / name).stat().st_size <= 4096 for name in names)
    text = (folder / "logs" / "log.txt").read_text()
    assert "line 399" in text
    assert "\x1b" not in text
    assert "\n    2026-01-01" in text
    for line in text.splitlines():
        assert f"[ftp.X.{os.getpid()}]: INFO: " in line or line.startswith("    ")


def test_the_log_is_heard_by_the_programs_own_logging(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = log_with(folder / "log.txt")
    with caplog.at_level(logging.INFO, "pysubtask"):
        logger.info("hello")
    close_log(logger)
    assert "hello" in caplog.text


def test_a_log_without_a_place_is_silent(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "block").write_text("")
    logger = log_with(folder / "block" / "log.txt")
    logger.error("nobody hears")
    close_log(logger)
    assert capsys.readouterr().err == ""


def test_the_state_folder(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = str(folder / "x" / "state")
    assert place_state(wanted).folder == wanted
    assert os.stat(wanted).st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))
    monkeypatch.setattr(_state, "is_network_mount", lambda path: path == wanted)
    place = place_state(wanted)
    assert place.instead_of == wanted
    assert "network" in str(place.why)
    assert place_state(wanted).folder == place.folder  # the same one each time
    monkeypatch.setattr(_state, "is_network_mount", lambda path: True)
    with pytest.raises(StateError, match="network mount"):
        place_state(wanted)


@pytest.mark.parametrize("code", ["ENOSPC", "EMFILE", "EIO"])
def test_the_state_folder_stays_where_it_is_when_the_disk_is_full(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """With the journal left behind, what it owes is not delivered in this run, and all the rest is
    compared anew; another child may use the folder that was left, too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))

    def refuse(**_: Any) -> Any:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    wanted = str(folder / "x" / "state")
    assert place_state(wanted).folder == wanted
    monkeypatch.setattr(_state.tempfile, "mkstemp", refuse)
    assert place_state(wanted).folder == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/mountinfo")
def test_network_mounts_are_told_by_their_type(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_network_mount(str(folder / "not" / "there")) is False
    assert is_network_mount("/proc") is False
    kind = _state._mount_type(str(folder))
    assert kind
    monkeypatch.setattr(_state, "_NETWORK_TYPES", frozenset([kind]))
    assert is_network_mount(str(folder / "not" / "there")) is True


def test_where_logs_go(folder: pathlib.Path) -> None:
    def place(**settings: Any) -> tuple[str | None, str]:
        given = Settings(**settings)
        return log_file(given, "subtask", "ftp", str(folder / "data"), str(folder), None)

    assert place() == (str(folder / "data" / "logs"), "ftp_subtask.log.txt")
    assert place(log_to_folder="/var/log/x") == ("/var/log/x", "ftp_subtask.log.txt")
    assert place(log_to_folder=None)[0] is None
    assert place(subtask_log_file_name="s.txt") == (str(folder / "data" / "logs"), "s.txt")
    assert place(subtask_log_file_name="./logs/s.txt") == (str(folder / "logs"), "s.txt")
