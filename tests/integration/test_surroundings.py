"""What others do to a whole program: systemd's SIGTERM to each of its processes, Ctrl-C to its
group, a working folder that can't be written."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from pysubtask import TaskMaster
from tests.integration.promises import is_running, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.smalldisk import make_read_only, small_disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

ROOT = pathlib.Path(__file__).parent.parent.parent
CONTENT = b"".join(b"%d\n" % number for number in range(40_000))
SLOW_BYTES_PER_SEC = 300_000.0
"""At which CONTENT takes most of a second."""

PROGRAM = """
import json, os, signal, sys, time
from pysubtask import TaskMaster
given = json.loads(sys.argv[1])
{before}
with TaskMaster([given["file"]], **given["settings"]) as master:
    with open(given["file"], "wb") as file:
        file.write(b"".join(b"%d\\n" % number for number in range(40_000)))
    master.notify(0)
    print(master.status().pid, flush=True)
    {loop}
print("left the block", flush=True)
"""
SLEEP = "while True: time.sleep(0.1)"
POLITE = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"


class Running:
    """The program, which has notified just now and whose link is slow."""

    def __init__(self, process: subprocess.Popen[str], arrived: pathlib.Path, log: pathlib.Path):
        assert process.stdout is not None
        self.process = process
        self.child = int(process.stdout.readline())
        self.arrived = arrived
        self.log = log

    def wait_for_connection(self) -> None:
        """The subtask is at work, and not done."""
        wait_until(lambda: self.log.exists() and "connected" in self.log.read_text(), 20)

    def ends_well(self) -> int:
        """Everything arrived, nothing is left; the program's exit code."""
        code = self.process.wait(30)
        wait_until(lambda: not is_running(self.child), 15, "the subtask leaves")
        log = self.log.read_text()
        assert self.arrived.exists(), log
        assert self.arrived.read_bytes() == CONTENT, log
        assert log.rstrip().endswith("STOP!"), log
        assert list(self.arrived.parent.iterdir()) == [self.arrived]
        return code


@pytest.fixture
def run(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Callable[..., TcpProxy]
) -> Iterator[Callable[..., Any]]:
    slow = link(openssh, bytes_per_sec=SLOW_BYTES_PER_SEC)

    @contextmanager
    def start(before: str = "", loop: str = SLEEP) -> Iterator[Running]:
        name, remote = openssh.new_folder()
        (tmp_path / "data").mkdir()
        settings = {
            "to": f"sftp://{openssh.user}@{slow.host}:{slow.port}{name}",
            "key_file": openssh.key_file,
            "host_key": openssh.fingerprint,
        }
        given = {"file": str(tmp_path / "data" / "a.csv"), "settings": settings}
        import json

        code = textwrap.dedent(PROGRAM).format(before=before, loop=loop)
        with subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,  # as a terminal or a service manager does
        ) as process:
            try:
                log = tmp_path / "data" / "logs" / "ftp_subtask.log.txt"
                yield Running(process, remote / "a.csv", log)
            finally:
                process.kill()

    return start


@pytest.mark.parametrize(
    ("before", "code", "first"),
    [("", -signal.SIGTERM, "program"), (POLITE, 7, "program"), (POLITE, 7, "subtask")],
    ids=["dies of it", "handles it", "after the subtask"],
)
def test_systemd_terminates_both(
    before: str, code: int, first: str, run: Callable[..., Any]
) -> None:
    """``KillMode=control-group``, the default: SIGTERM to each process of the unit, in any order
    (systemd.kill(5)); whether the program handles it or dies of it."""
    with run(before) as program:
        program.wait_for_connection()
        pids = [program.process.pid, program.child]
        for pid in pids if first == "program" else reversed(pids):
            os.kill(pid, signal.SIGTERM)
        assert program.ends_well() == code


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(times: int, run: Callable[..., Any]) -> None:
    """The terminal sends SIGINT to its foreground group. Pressed again, while the program already
    stops, it ends the program's waiting, not the delivery."""
    with run() as program:
        program.wait_for_connection()
        assert os.getpgid(program.child) != os.getpgid(program.process.pid)
        os.killpg(program.process.pid, signal.SIGINT)
        if times == 2:
            stop = program.log.parent.parent / "upload" / "ftp" / "stop"
            ended = program.process.poll
            wait_until(lambda: stop.exists() or ended() is not None, 20, "the program stops")
            program.process.send_signal(signal.SIGINT)
        assert program.ends_well() == -signal.SIGINT


def test_a_closed_terminal(run: Callable[..., Any]) -> None:
    """SIGHUP to the program's group ends it; the subtask delivers and leaves."""
    with run() as program:
        program.wait_for_connection()
        os.killpg(program.process.pid, signal.SIGHUP)
        assert program.ends_well() == -signal.SIGHUP


def test_a_working_folder_that_can_not_be_written(
    tmp_path: pathlib.Path, openssh: OpenSshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was begun elsewhere goes on writing; nothing of ours can lie beside its file:
    touch, state and logs are kept in the user's state folder, and it is said once."""
    name, remote = openssh.new_folder()
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    with ExitStack() as stack:
        folder = enter_or_skip(stack, small_disk(tmp_path / "work", 1 << 20))
        file = stack.enter_context((folder / "a.csv").open("wb", buffering=0))
        file.write(b"1\n")
        make_read_only(folder)
        stack.callback(make_read_only, folder, False)
        monkeypatch.chdir(folder)
        stack.callback(monkeypatch.undo)
        with TaskMaster(
            ["a.csv"],
            to=f"sftp://{openssh.user}@{openssh.host}:{openssh.port}{name}",
            key_file=openssh.key_file,
            host_key=openssh.fingerprint,
            heartbeat_interval_secs=60,
        ) as master:
            for number in range(2, 5):
                file.write(b"%d\n" % number)
                assert master.notify(0)
                assert master.flush(20), str(master.status())
                assert (remote / "a.csv").read_bytes() == b"".join(
                    b"%d\n" % line for line in range(1, number + 1)
                )
            pid = master.status().pid
            assert pid is not None
            assert psutil.Process(pid).cwd() == str(folder)
            assert os.listdir(folder) == ["a.csv"]
        logs = [path.read_text() for path in home.rglob("*_taskmaster.log.txt")]
        assert len(logs) == 1
        assert logs[0].count("state is kept in") == 1
