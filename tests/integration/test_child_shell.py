"""The shell of a child process, with real processes: how it begins, and each way in which it ends.

Every test reaps what it started, also when it fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pysubtask.secret import Secret
from pysubtask.signals import StateLayout, read_json, write_json
from tests.unit.shell_fakes import make_handover

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
    pytest.mark.timeout(60),
]

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("shell_child.py")
SECRET = "hunter2-\u00e9"


def wait_until(condition: Callable[[], Any], timeout_secs: float = 15.0) -> Any:
    """The first true value of ``condition``."""
    until = time.monotonic() + timeout_secs
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)
    return value


class Children:
    """Starts children and ends them all."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "work"
        self.folder.mkdir()
        self.state = tmp_path / "state"
        self.layout = StateLayout(str(self.state))
        self.log_dir = tmp_path / "logs"
        self._processes: list[subprocess.Popen[bytes]] = []

    def handover(self, mode: str, token: str = "first", **changes: Any) -> bytes:
        made = make_handover(
            self.state,
            subtask=mode,
            token=token,
            parent_pid=os.getpid(),
            log_dir=str(self.log_dir),
            work_dir=str(self.folder),
            **changes,
        )
        return made.to_line()

    def popen(self, **options: Any) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        given: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": environment,
            "start_new_session": True,
        }
        process = subprocess.Popen([sys.executable, "-P", str(PROGRAM)], **(given | options))
        self._processes.append(process)
        return process

    def start(self, mode: str = "idle", **changes: Any) -> subprocess.Popen[bytes]:
        """A child that has its hand-over, and is up."""
        process = self.popen()
        assert process.stdin is not None
        seen = self.said().count("start")
        process.stdin.write(self.handover(mode, **changes))
        process.stdin.flush()
        wait_until(lambda: self.said().count("start") > seen or process.poll() is not None)
        return process

    def said(self) -> list[str]:
        try:
            return (self.state / "events.txt").read_text().split()
        except FileNotFoundError:
            return []

    def log(self) -> str:
        return (self.log_dir / "base_subtask.log.txt").read_text()

    def end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children(tmp_path)
    yield made
    made.end()


def close_stdin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def output(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.read().decode()


# --- the beginning


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\n", b"{}\n", b"[1]\n", b'{"format": 99}\n', b"\xff\x00" * 999]
)
def test_garbage_on_standard_input(children: Children, content: bytes) -> None:
    process = children.popen()
    _, error = process.communicate(content, timeout=10)
    assert process.returncode == 4
    assert b"hand-over" in error or b"version" in error
    assert b"Traceback" not in error


def test_deep_garbage_does_not_crash(children: Children) -> None:
    process = children.popen()
    _, error = process.communicate(b"[" * 200_000 + b"\n", timeout=10)
    assert process.returncode == 4
    assert b"Traceback" not in error


def test_a_hand_over_without_end(children: Children) -> None:
    process = children.popen()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for _ in range(20):
            process.stdin.write(b"x" * (1 << 20))
    assert process.wait(10) == 4


def test_a_damaged_hand_over_does_not_show_the_secret(children: Children) -> None:
    line = children.handover("idle", password=Secret(SECRET)).replace(
        b'"timer_interval_secs": 2.0', b'"timer_interval_secs": "hunter2"'
    )
    process = children.popen()
    _, error = process.communicate(line, timeout=10)
    assert process.returncode == 4
    assert b"hunter2" not in error


def test_closed_standard_input(children: Children) -> None:
    process = children.popen(stdin=subprocess.DEVNULL)
    assert process.wait(10) == 4
    process = children.popen(stdin=None, preexec_fn=lambda: os.close(0))
    assert process.wait(10) == 4


def test_closed_output(children: Children) -> None:
    """As under pythonw: sys.stdout and sys.stderr are None."""

    def close_all() -> None:
        os.close(1)
        os.close(2)

    process = children.popen(stdout=None, stderr=None, preexec_fn=close_all)
    assert process.stdin is not None
    process.stdin.write(children.handover("closed-output", log_to_console=True))
    process.stdin.flush()
    wait_until(lambda: "start" in children.said())
    assert children.said() == ["fd-safe", "start"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_nobody_inherits_the_life_line(children: Children) -> None:
    process = children.start("grandchild")
    assert children.said() == ["grandchild-eof", "start"]
    process.terminate()
    assert process.wait(10) == 0


# --- serving


def test_questions_and_status(children: Children) -> None:
    """An event brings the question; the timer would come after a minute."""
    process = children.start(timer_interval_secs=60.0)
    layout = children.layout
    status = wait_until(lambda: read_json(layout.status))
    assert status["pid"] == process.pid
    write_json(layout.ask_path("0" * 16), {"ask": "status", "path": "/abc"})
    answer = wait_until(lambda: read_json(layout.answer_path("0" * 16)))
    assert answer["file"]["size_bytes"] == 4
    assert not os.path.exists(layout.ask_path("0" * 16))
    assert os.path.exists(layout.alive)
    process.terminate()
    assert process.wait(10) == 0


def test_an_event_brings_a_step(children: Children) -> None:
    process = children.start()
    time.sleep(0.3)
    (children.folder / "x").write_text("new")
    write_json(children.layout.ask_path("1" * 16), {"ask": "flush"})
    wait_until(lambda: read_json(children.layout.answer_path("1" * 16)))
    process.terminate()
    assert process.wait(10) == 0
    assert read_json(children.layout.status)["pending_bytes"] >= 2  # type: ignore[index]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_rest_costs_nearly_nothing(children: Children) -> None:
    process = children.start()
    time.sleep(1.0)

    def switches() -> int:
        count = 0
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            text = (task / "status").read_text()
            count += int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return count

    before = switches()
    time.sleep(4.0)
    assert switches() - before <= 8
    process.terminate()
    assert process.wait(10) == 0


# --- the end


def test_sigterm(children: Children) -> None:
    process = children.start()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert children.said() == ["start", "stop", "stopped"]
    assert "STOP!" in children.log()
    assert not os.path.exists(children.layout.holder)


def test_sigterm_though_the_master_blocked_it(children: Children) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = children.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_stop_file(children: Children) -> None:
    process = children.start()
    write_json(children.layout.stop, {"by": "master", "pid": os.getpid(), "token": "older"})
    time.sleep(0.3)
    assert process.poll() is None
    began = time.monotonic()
    write_json(children.layout.stop, {"by": "master", "pid": os.getpid(), "token": "first"})
    assert process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert children.said() == ["start", "stop", "stopped"]
    assert not os.path.exists(children.layout.stop)


def test_end_of_the_life_line(children: Children) -> None:
    process = children.start()
    began = time.monotonic()
    close_stdin(process)
    assert process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert children.said() == ["start", "stop", "stopped"]
    assert "the master is gone" in children.log()


def test_an_orphan_delivers_for_so_long(children: Children) -> None:
    process = children.start("slow-stop", orphan_secs=1.0)
    began = time.monotonic()
    close_stdin(process)
    assert process.wait(10) == 0
    assert 1.0 <= time.monotonic() - began < 3


@pytest.mark.parametrize("mode", ["hung-stop", "deaf"])
def test_an_orphan_that_hangs_is_ended(children: Children, mode: str) -> None:
    process = children.start(mode, orphan_secs=0.5)
    if mode == "deaf":
        wait_until(lambda: "deaf" in children.said())
    began = time.monotonic()
    close_stdin(process)
    assert process.wait(10) == 0
    assert 3.0 <= time.monotonic() - began < 5


FORKING_MASTER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-P", sys.argv[1]], stdin=subprocess.PIPE,
                         start_new_session=True)
line = sys.stdin.buffer.readline()
child.stdin.write(line.replace(b'"parent_pid": 0', b'"parent_pid": %d' % os.getpid()))
child.stdin.flush()
worker = os.fork()
if worker == 0:
    time.sleep(30)  # holds the write end of the life line
    os._exit(0)
print(child.pid, worker, flush=True)
time.sleep(30)
"""


@pytest.mark.parametrize("pidfd", [True, False])
def test_the_master_is_killed_while_a_forked_worker_holds_the_pipe(
    children: Children, pidfd: bool
) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    line = children.handover("idle").replace(b'"parent_pid": %d' % os.getpid(), b'"parent_pid": 0')
    program = PROGRAM
    if not pidfd:
        program = children.folder.parent / "no_pidfd.py"
        program.write_text(
            f"import os, runpy\ndel os.pidfd_open\nrunpy.run_path({str(PROGRAM)!r}, "
            "run_name='__main__')\n"
        )
    master = subprocess.Popen(
        [sys.executable, "-c", FORKING_MASTER, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    started: list[int] = []
    try:
        assert master.stdin is not None
        assert master.stdout is not None
        master.stdin.write(line)
        master.stdin.flush()
        started = [int(word) for word in master.stdout.readline().split()]
        wait_until(lambda: "start" in children.said())
        master.kill()
        master.wait(10)
        began = time.monotonic()
        wait_until(lambda: "stopped" in children.said(), 5)
        wait_until(lambda: not is_running(started[0]), 5)
        assert time.monotonic() - began < 4
        assert is_running(started[1])  # the worker still holds the pipe
    finally:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        master.kill()
        master.communicate(timeout=10)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie (whoever adopted it may be slow to reap)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


# --- crashes and faults


def test_crash(children: Children) -> None:
    process = children.start("interrupt")
    assert process.wait(10) == 1
    assert "Traceback" in children.log()
    assert "KeyboardInterrupt" in output(process)
    status = read_json(children.layout.status)
    assert status is not None
    assert status["link"] == "gone"
    assert "KeyboardInterrupt" in status["last_error"]
    again = children.start(token="second")  # nothing stands in the way of the next one
    again.terminate()
    assert again.wait(10) == 0


def test_no_secret_is_left_behind(children: Children) -> None:
    process = children.start("crash", password=Secret(SECRET))
    assert process.wait(10) == 5
    assert "connected with •••" in children.log()
    assert "connected with •••" in output(process)
    for folder in (children.state, children.log_dir):
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"hunter2" not in content, path


@pytest.mark.parametrize(("mode", "code"), [("bad-settings", 4), ("bad-state", 5)])
def test_faults_have_their_exit_code(children: Children, mode: str, code: int) -> None:
    process = children.start(mode)
    assert process.wait(10) == code
    words = output(process).strip().splitlines()[-1]
    assert "can't be right" in words or "another version" in words
    assert "Traceback" not in children.log()
    status = read_json(children.layout.status)
    assert status is not None
    assert status["last_error"] in words


def test_a_state_folder_that_cannot_be_made(children: Children) -> None:
    children.state.write_text("a file is in the way")
    process = children.popen()
    assert process.stdin is not None
    process.stdin.write(children.handover("idle"))
    process.stdin.flush()
    assert process.wait(10) == 5
    assert "bak_to_folder" in output(process)


# --- taking over


def test_polite_take_over(children: Children) -> None:
    first = children.start()
    began = time.monotonic()
    second = children.start(token="second")
    assert first.wait(10) == 3
    assert time.monotonic() - began < 3
    assert children.said() == ["start", "stop", "stopped", "start"]
    assert second.poll() is None
    assert not os.path.exists(children.layout.stop)
    holder = read_json(children.layout.holder)
    assert holder is not None
    assert (holder["pid"], holder["token"]) == (second.pid, "second")
    second.terminate()
    assert second.wait(10) == 0


def test_take_over_by_force(children: Children) -> None:
    first = children.start()
    first.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    second = children.start(token="second")
    assert 5 <= time.monotonic() - began < 9
    assert first.wait(10) == -signal.SIGKILL
    assert children.said() == ["start", "start"]
    second.terminate()
    assert second.wait(10) == 0


def test_take_over_of_an_orphan_that_still_delivers(children: Children) -> None:
    first = children.start("slow-stop", orphan_secs=60.0)
    close_stdin(first)
    wait_until(lambda: "stop" in children.said())
    began = time.monotonic()
    second = children.start(token="second")
    assert time.monotonic() - began < 5  # it left by itself, before it was killed
    assert first.wait(10) == 3
    second.terminate()
    assert second.wait(10) == 0


def test_a_child_that_waits_for_the_lock_can_be_stopped(children: Children) -> None:
    first = children.start()
    first.send_signal(signal.SIGSTOP)
    second = children.popen()
    assert second.stdin is not None
    second.stdin.write(children.handover("idle", token="second"))
    second.stdin.flush()
    wait_until(lambda: (read_json(children.layout.stop) or {}).get("by") == "takeover")
    second.terminate()
    assert second.wait(3) == 0
    assert not os.path.exists(children.layout.stop)
    first.send_signal(signal.SIGCONT)
    time.sleep(2.5)  # more than one look at the stop file
    assert first.poll() is None  # it does not leave for a newcomer that does not come
    first.terminate()
    assert first.wait(10) == 0
