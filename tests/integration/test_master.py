"""The master with a real subtask: a small user-written one that counts lines."""

from __future__ import annotations

import os
import pathlib
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pysubtask
from pysubtask.base import BaseTaskMaster
from pysubtask.ftp import FTPTaskMaster

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
PASSWORD = "correct horse/battery"

COUNTING = """
import os, pathlib
from pysubtask.base import BaseSubtask

class Count(BaseSubtask):
    def process_notify(self, path):
        lines = pathlib.Path(path).read_bytes().count(b"\\n")
        pathlib.Path(path + ".count").write_text(f"{lines}")

class Broken(BaseSubtask):
    def start(self):
        raise RuntimeError("no coffee")
"""


def wait_for(condition: Callable[[], Any], secs: float = 20.0) -> Any:
    """Whatever ``condition`` gives, as soon as it is true."""
    until = time.monotonic() + secs
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def is_running(pid: int) -> bool:
    """Whether there is such a process (a zombie counts as none)."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(folder: pathlib.Path) -> Iterator[Callable[..., BaseTaskMaster]]:
    masters: list[BaseTaskMaster] = []

    def build(subtask: str = "counting:Count", **settings: Any) -> BaseTaskMaster:
        settings.setdefault("timer_interval_secs", 0.05)
        masters.append(BaseTaskMaster(["data/a.csv"], subtask=subtask, **settings))
        return masters[-1]

    yield build
    for master in masters:
        master.stop(forcekill=True)


def counted(folder: pathlib.Path) -> str:
    try:
        return (folder / "data" / "a.csv.count").read_text()
    except FileNotFoundError:
        return ""


def log_of(folder: pathlib.Path, side: str) -> str:
    return (folder / "data" / "logs" / f"base_{side}.log.txt").read_text()


def test_a_whole_life(folder: pathlib.Path, make: Callable[..., BaseTaskMaster]) -> None:
    with make() as master:
        assert (folder / "data" / "a.csv.notify").exists()
        pid = master.status().pid
        assert pid is not None
        assert is_running(pid)
        assert master.notify("data/a.csv")
        assert master.flush(20)
        assert counted(folder) == "1"
        wait_for(lambda: "data/a.csv" in master.status().files)
        assert master.status().pid == pid
        assert master.status().link == "resting"
        assert master.status("data/a.csv").notified_at is not None
        state = folder / "data" / "upload" / "base"
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert not is_running(pid)
    assert master.status().pid is None
    assert master.status().link == "gone"
    for side in ("taskmaster", "subtask"):
        assert "STOP!" in log_of(folder, side)
    assert not (state / "stop").exists()


def test_a_touch_of_before_the_start_is_served(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    master = make()
    assert master.notify(0)
    with master:
        wait_for(lambda: counted(folder) == "1")


def test_a_stop_right_after_the_start_delivers_what_was_notified(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    with make() as master:
        assert master.notify(0)
    assert counted(folder) == "1"
    assert "killed" not in log_of(folder, "taskmaster")


def test_an_untouched_file_waits(folder: pathlib.Path, make: Callable[..., BaseTaskMaster]) -> None:
    with make() as master:
        assert master.flush(20)
        assert counted(folder) == ""


def test_waiting_for_the_snapshot(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    requests = folder / "data" / "upload" / "base" / "requests"
    with make() as master:
        assert master.notify(0, wait_secs=20) is True
        assert counted(folder) == "1"
        assert master.flush(0) is False  # an answer takes longer than that
        assert list(requests.iterdir()) == []  # what is asked is also taken back
        assert master.notify_all_files()
        master.check_pending_notifications()
        assert len(list(requests.iterdir())) <= 2
    assert list(requests.iterdir()) == []


def test_start_stop_and_reset_may_be_said_twice(make: Callable[..., BaseTaskMaster]) -> None:
    master = make()
    master.stop()
    master.start()
    first = master.status().pid
    master.start()
    assert master.status().pid == first
    master.reset()
    second = master.status().pid
    assert second is not None
    assert second != first
    assert master.flush(20)
    master.stop()
    master.stop()
    assert not is_running(first or 0)
    assert not is_running(second)


@posix
def test_a_killed_child_comes_back(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    master = make()
    master.start()
    first = master.status().pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: master.status().next_try)
    assert "SIGKILL" in str(master.status().last_error)
    assert master.notify(0)
    second = wait_for(lambda: master.status().pid)
    assert second != first
    wait_for(lambda: counted(folder) == "1")
    assert master.status().restarts == 1
    assert master.flush(20)


@posix
def test_a_stuck_child_is_killed_and_comes_back(make: Callable[..., BaseTaskMaster]) -> None:
    master = make(watchdog_secs=1.0)
    master.start()
    assert master.flush(20)
    first = master.status().pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    wait_for(lambda: master.status().restarts)
    assert not is_running(first)
    assert master.flush(20)


@posix
def test_stop_does_not_wait_longer_than_it_may(make: Callable[..., BaseTaskMaster]) -> None:
    for force, limit in ((False, 8.0), (True, 4.0)):
        master = make(stop_timeout_secs=0.3)
        master.start()
        assert master.flush(20)
        pid = master.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        master.stop(forcekill=force)
        assert time.monotonic() - began < limit
        assert not is_running(pid)


def test_without_restart_it_stays_away(make: Callable[..., BaseTaskMaster]) -> None:
    master = make(subtask="counting:Broken", restart=False)
    master.start()
    wait_for(lambda: master.status().pid is None)
    status = master.status()
    assert "no coffee" in str(status.last_error)
    assert (status.next_try, status.link) == (None, "gone")
    assert master.flush(60) is False


def test_a_newer_master_takes_over(make: Callable[..., BaseTaskMaster]) -> None:
    older, newer = make(), make()
    older.start()
    assert older.flush(20)
    newer.start()
    assert newer.flush(20)
    wait_for(lambda: older.status().taken_over)
    assert older.status().pid is None
    assert newer.status().pid is not None
    time.sleep(1.5)  # longer than the wait before a restart
    assert older.status().pid is None
    assert newer.status().restarts == 0


def run_program(folder: pathlib.Path, body: str) -> subprocess.Popen[str]:
    """A host program of its own; ``master`` is made, its child's pid is printed."""
    code = """
        import os, sys, time
        from pysubtask.base import BaseTaskMaster
        master = BaseTaskMaster(["data/a.csv"], subtask="counting:Count", orphan_secs=0.5)
        master.start()
        print(master.status().pid, flush=True)
        assert master.flush(30)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
    )


@posix
@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), 9)",
        "sys.exit(0)",
        "os._exit(0)",
        # a forked worker that lives on holds no life line open
        "if os.fork(): os.kill(os.getpid(), 9)\nos.close(1)\ntime.sleep(12)",
    ],
    ids=["killed", "exit", "_exit", "worker"],
)
def test_no_child_outlives_its_program(folder: pathlib.Path, body: str) -> None:
    with run_program(folder, body) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.wait(60)
        wait_for(lambda: not is_running(pid), 8)


def open_descriptors() -> set[str]:
    """What the open descriptors of this process lead to."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_holds_no_life_line(make: Callable[..., BaseTaskMaster]) -> None:
    before = open_descriptors()
    with make() as master:
        assert master.flush(20)
        assert master._supervisor is not None
        assert master._supervisor._child is not None
        stdin = master._supervisor._child._popen.stdin
        assert stdin is not None
        life_line = os.readlink(f"/proc/self/fd/{stdin.fileno()}")
        assert life_line in open_descriptors() - before
        pid = os.fork()
        if pid == 0:
            os._exit(1 if life_line in open_descriptors() else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert master.flush(20)


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_can_not_hurt(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    with make() as master:
        assert master.flush(20)
        pid = os.fork()
        if pid == 0:
            master.stop()  # not its child: nothing happens
            os._exit(0 if master.notify(0) and master.flush(20) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert counted(folder) == "1"
        assert master.status().restarts == 0


def test_modules_of_the_program_do_not_shadow(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    for name in ("queue", "logging", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit('shadowed')")
    with make() as master:
        assert master.notify(0)
        assert master.flush(20)
        assert counted(folder) == "1"


def test_more_to_say_than_a_pipe_holds(folder: pathlib.Path) -> None:
    names = [f"data/{number:04}-{'x' * 60}.csv" for number in range(2000)]
    began = time.monotonic()
    with BaseTaskMaster(names, subtask="counting:Count") as master:
        assert master.status().pid is not None
        (folder / names[7]).write_text("1\n2\n")
        assert master.notify(7)
        assert master.flush(60)
        assert (folder / f"{names[7]}.count").read_text() == "2"
    assert time.monotonic() - began < 90


def test_a_log_that_can_not_be_opened_is_no_reason_to_fail(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster]
) -> None:
    (folder / "data" / "logs").write_text("a file where the folder should be")
    with make() as master:
        assert master.notify(0)
        assert master.flush(20)


def test_state_goes_elsewhere_when_it_must(
    folder: pathlib.Path, make: Callable[..., BaseTaskMaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data" / "upload").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "elsewhere"))
    with make() as master:
        assert master.notify(0)
        assert master.flush(20)
    if sys.platform == "linux":
        assert list((folder / "elsewhere" / "pysubtask").iterdir())
    assert log_of(folder, "taskmaster").count("state is kept in") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_password_is_nowhere(folder: pathlib.Path) -> None:
    master = FTPTaskMaster(
        ["data/a.csv"],
        to="sftp://edge@127.0.0.1:1/in",
        password=PASSWORD,
        log_level="DEBUG",
        retry_short_wait_secs=0.1,
        stop_timeout_secs=0.5,
    )
    with master:
        pid = master.status().pid
        assert master.notify(0)
        wait_for(lambda: master.status().last_error)
        seen = [repr(master), str(master.status()), repr(vars(master))]
        for process in ("self", str(pid)):
            for name in ("cmdline", "environ"):
                seen.append(
                    pathlib.Path(f"/proc/{process}/{name}").read_bytes().decode("utf-8", "replace")
                )
        with pytest.raises(pysubtask.NotWatchedError) as caught:
            master.notify("x")
        seen.append("".join(traceback_with_locals(caught.value)))
    for root, _, names in os.walk(folder):
        for name in names:
            seen.append((pathlib.Path(root) / name).read_bytes().decode("utf-8", "replace"))
    for text in seen:
        for spelled in (PASSWORD, "correct%20horse", "battery"):
            assert spelled not in text


def traceback_with_locals(error: BaseException) -> list[str]:
    import traceback

    return list(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def test_the_example_works(folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "count_lines.py"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["all counted: True", "lines: 1000"]
