"""How a subtask is stopped when it matters: by signal handlers, between two lives, on a full disk,
with a newer program at the door. And who answers for what, once that has taken over."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

import pysubtask
from pysubtask import TaskMaster
from tests.integration.promises import is_running, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.smalldisk import fill, small_disk

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SLOW = """
import time
from pysubtask.base import BaseSubtask

class Slow(BaseSubtask):
    def process_notify(self, path):
        time.sleep(2)
"""


@contextmanager
def a_program(folder: pathlib.Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """A host program of its own. It tells where it stands if it does not end within 45 s."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "a.csv").write_text("1\n")
    code = "import faulthandler, os, signal, sys, threading, time\n"
    code += "faulthandler.dump_traceback_later(45, exit=True)\n" + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
    ) as program:
        try:
            yield program
        finally:
            if program.poll() is None:
                program.kill()


def said_by(folder: pathlib.Path, body: str) -> str:
    """All that a program prints."""
    with a_program(folder, body) as program:
        return program.communicate(timeout=60)[0]


@contextmanager
def to_a_folder(tmp_path: pathlib.Path, *names: str, **settings: object) -> Iterator[TaskMaster]:
    """A master that delivers to ``dest``, not started; stopped by force in the end."""
    (tmp_path / "dest").mkdir(exist_ok=True)
    files = [str(tmp_path / name) for name in names]
    master = TaskMaster(files, to=(tmp_path / "dest").as_uri(), **settings)
    try:
        yield master
    finally:
        master.stop(forcekill=True)


# --- signal handlers


@posix
def test_a_signal_handler_may_stop_what_is_being_stopped(tmp_path: pathlib.Path) -> None:
    """SIGTERM while the program is inside ``stop()``: it would wait for itself for ever."""
    said = said_by(
        tmp_path,
        """
        from pysubtask.base import BaseTaskMaster
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow")
        signal.signal(signal.SIGTERM, lambda *_: (master.stop(), print("handled", flush=True)))
        master.start()
        assert master.flush(20)
        pid = master.status().pid
        master.notify("a.csv")
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        master.stop()
        print("stopped", master.status().pid, os.path.exists(f"/proc/{pid}"))
        """,
    )
    assert said.splitlines() == ["handled", "stopped None False"]


@posix
def test_a_second_signal_may_stop_by_force(tmp_path: pathlib.Path) -> None:
    """The handler of a second Ctrl-C has no patience; the first ``stop()`` ends with it."""
    said = said_by(
        tmp_path,
        """
        from pysubtask.ftp import FTPTaskMaster
        master = FTPTaskMaster(["a.csv"], to="ftp://me@127.0.0.1:9/x", stop_timeout_secs=600)
        signal.signal(signal.SIGINT, lambda *_: master.stop(forcekill=True))
        master.start()
        master.notify("a.csv")
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        master.stop()
        print("stopped", master.status().pid)
        """,
    )
    assert said.splitlines() == ["stopped None"]


@posix
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_handler_may_stop_what_is_being_started(
    tmp_path: pathlib.Path, moment: str
) -> None:
    """SIGTERM while ``start()`` makes the process: no child is left, and nobody waits."""
    said = said_by(
        tmp_path,
        f"""
        from pysubtask.base import BaseTaskMaster
        from pysubtask.master import _child, _launch
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow")
        signal.signal(signal.SIGTERM, lambda *_: master.stop())
        where, name = (_launch.Launch, "open_log") if {moment!r} == "before" else (_child, "_spawn")
        real = getattr(where, name)
        def signalled(*given):
            made = real(*given)
            os.kill(os.getpid(), signal.SIGTERM)
            return made
        setattr(where, name, signalled)
        master.start()
        print("started", master.status().pid)
        setattr(where, name, real)
        master.start()
        print("again", master.status().pid is not None)
        """,
    )
    assert said.splitlines() == ["started None", "again True"]


@posix
def test_a_handler_may_stop_while_the_program_holds_the_lock_of_its_log(
    tmp_path: pathlib.Path,
) -> None:
    """The signal comes while a line is being written to the program's own log. The subtask's end
    is told there, too, by another thread, which would wait for that line to be done."""
    said = said_by(
        tmp_path,
        """
        import logging
        from pysubtask.base import BaseTaskMaster
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow", stop_timeout_secs=30)
        class Handler(logging.Handler):
            def emit(self, record):
                if record.getMessage() == "now":
                    os.kill(os.getpid(), signal.SIGTERM)
        logging.basicConfig(level=logging.INFO, handlers=[Handler()])
        signal.signal(signal.SIGTERM, lambda *_: master.stop())
        master.start()
        assert master.flush(20)
        began = time.monotonic()
        logging.info("now")
        print("stopped", master.status().pid, time.monotonic() - began < 20)
        """,
    )
    assert said.splitlines() == ["stopped None True"]


@posix
def test_an_interrupted_start_leaves_a_child_that_can_be_stopped(tmp_path: pathlib.Path) -> None:
    """Ctrl-C in ``start()``, just after the process was made."""
    said = said_by(
        tmp_path,
        """
        from pysubtask.base import BaseTaskMaster
        from pysubtask.master import _child
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow")
        made = []
        real = _child._spawn
        def interrupted(*given):
            made.append(real(*given))
            os.kill(os.getpid(), signal.SIGINT)
            return made[-1]
        _child._spawn = interrupted
        try:
            master.start()
        except KeyboardInterrupt:
            print("interrupted")
        master.stop()
        print("stopped", master.status().pid, made[0].poll() is not None)
        """,
    )
    assert said.splitlines() == ["interrupted", "stopped None True"]


# --- between two lives


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_the_last_record_is_delivered_though_the_child_was_ended(
    tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    """A service manager signals all processes of a unit, the program writes its last record and
    stops: the child is gone by then, and the next one was not started yet."""
    data = tmp_path / "a.csv"
    data.write_text("1\n")
    with to_a_folder(tmp_path, "a.csv", stop_timeout_secs=60) as master:
        master.start()
        master.notify(str(data))
        assert master.flush(30)
        pid = master.status().pid
        assert pid is not None
        os.kill(pid, number)
        wait_until(lambda: master.status().next_try)
        data.write_text("1\nlast\n")
        assert master.notify(str(data))
        master.stop()
        assert (tmp_path / "dest" / "a.csv").read_text() == "1\nlast\n"
        assert master.status().pid is None


@posix
def test_the_last_record_is_delivered_though_the_child_is_leaving(tmp_path: pathlib.Path) -> None:
    """As above, but the child still runs when ``stop()`` is called: it has looked already."""
    data = tmp_path / "a.csv"
    data.write_text("1\n")
    for turn in range(3):
        with to_a_folder(tmp_path, "a.csv", stop_timeout_secs=60) as master:
            master.start()
            master.notify(str(data))
            assert master.flush(30)
            pid = master.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGTERM)
            with data.open("a") as file:
                file.write(f"last {turn}\n")
            assert master.notify(str(data))
            master.stop()
            assert (tmp_path / "dest" / "a.csv").read_text() == data.read_text()


def test_a_child_that_crashes_all_the_time_does_not_hold_up_a_stop(tmp_path: pathlib.Path) -> None:
    """One more try is made; ``stop_timeout_secs`` is not used up by them."""
    (tmp_path / "a.csv").write_text("1\n")
    with to_a_folder(tmp_path, "a.csv", stop_timeout_secs=600, python="/bin/false") as master:
        master.start()
        wait_until(lambda: master.status().next_try)
        began = time.monotonic()
        master.stop()
        assert time.monotonic() - began < 60


# --- troubles of the disk, and of time


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_stop_on_a_full_disk_is_no_kill(tmp_path: pathlib.Path, end: str) -> None:
    """There is no room for the stop file, nor for the child's name on the state folder's door: it
    would be waited for and killed after ``stop_timeout_secs``."""
    with ExitStack() as stack:
        small = enter_or_skip(stack, small_disk(tmp_path / "small", 1 << 20))
        (small / "a.csv").write_text("a\n")
        state = str(small / "state")
        given = {"bak_to_folder": state, "log_to_folder": None, "stop_timeout_secs": 600}
        with to_a_folder(tmp_path, "small/a.csv", **given) as master:
            master.start()
            master.notify(0)
            assert master.flush(30)
            master.stop(forcekill=end == "kill")  # the name of a killed one stays
        fill(small)
        with to_a_folder(tmp_path, "small/a.csv", **given) as master:
            master.start()
            wait_until(lambda: master.status().link == "resting")
            began = time.monotonic()
            master.stop()
            assert time.monotonic() - began < 60
            assert master.status().pid is None


def test_a_stop_may_take_longer_than_the_watchdog_waits(tmp_path: pathlib.Path) -> None:
    """A stop that goes on delivering was taken for a subtask that hangs, and killed."""
    (tmp_path / "a.csv").write_text("1\n")
    given = {"stop_timeout_secs": 12.0, "watchdog_secs": 4.0}
    master = TaskMaster([str(tmp_path / "a.csv")], to="ftp://me@127.0.0.1:9/x", **given)
    with master:
        assert master.notify(0)
        wait_until(lambda: master.status().last_error)
        began = time.monotonic()
        master.stop()
        took = time.monotonic() - began
    log = (tmp_path / "logs" / "ftp_taskmaster.log.txt").read_text()
    assert "stuck" not in log
    assert "killed" not in log
    assert took > 10  # it did not give up before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="becomes another user")
def test_a_program_that_gave_up_its_rights_may_stop(tmp_path: pathlib.Path) -> None:
    """After ``setuid`` it may neither signal its child nor write its state folder."""
    tmp_path.chmod(0o755)
    said = said_by(
        tmp_path,
        """
        from pysubtask.base import BaseTaskMaster
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow", orphan_secs=2.0)
        master.start()
        assert master.flush(20)
        os.setuid(65534)
        master.stop()
        print("stopped", master.status().pid)
        """,
    )
    assert said.splitlines() == ["stopped None"]


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors")
def test_a_program_that_closes_all_descriptors_may_stop(tmp_path: pathlib.Path) -> None:
    """As programs do that become daemons. The numbers are those of its own files afterwards, and
    nothing may be written there."""
    said = said_by(
        tmp_path,
        """
        from pysubtask.base import BaseTaskMaster
        master = BaseTaskMaster(["a.csv"], subtask="slow:Slow", log_to_folder=None)
        master.start()
        assert master.flush(20)
        os.closerange(3, 100)
        files = [open(f"file{number}", "w+b") for number in range(20)]
        began = time.monotonic()
        master.stop()
        print("stopped", master.status().pid, time.monotonic() - began < 20)
        print({os.path.getsize(f"file{number}") for number in range(20)})
        sys.stdout.flush()
        os._exit(0)
        """,
    )
    assert said.splitlines() == ["stopped None True", "{0}"]


# --- another program


@posix
def test_a_hung_child_that_a_newer_program_killed_is_not_started_again(
    tmp_path: pathlib.Path,
) -> None:
    """The older program would take the folder back, and the newer one's master give up."""
    data = tmp_path / "a.csv"
    body = f"""
        from pysubtask import TaskMaster
        to = {(tmp_path / "dest").as_uri()!r}
        with TaskMaster([{str(data)!r}], to=to) as master:
            assert master.flush(30)
            print(master.status().pid, flush=True)
            while not master.status().taken_over:
                time.sleep(0.05)
            print("taken over", flush=True)
            sys.stdin.read()
        """
    (tmp_path / "dest").mkdir()
    with a_program(tmp_path, body) as older:
        assert older.stdout is not None
        pid = int(older.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        with to_a_folder(tmp_path, "a.csv") as newer:
            newer.start()
            assert older.stdout.readline() == "taken over\n"
            assert not is_running(pid)
            newer.notify(0)
            assert newer.flush(30)
            time.sleep(2.0)  # longer than the wait before a restart
            assert not newer.status().taken_over
            assert newer.status().restarts == 0
        older.communicate("", timeout=30)


@posix
def test_a_newer_program_that_died_at_the_door_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    """It had the folder for a moment, between two lives of our subtask, and was killed with its
    own. Without: our master takes it for one that lives, and starts no subtask any more."""
    (tmp_path / "a.csv").write_text("1\n")
    with to_a_folder(tmp_path, "a.csv") as master:
        master.start()
        assert master.flush(20)
        first = master.status().pid
        assert first is not None
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_running(first))
        left = {"pid": dead.pid, "start": "before:1", "token": "f" * 16, "since": time.time()}
        pathlib.Path(master._layout.holder).write_text(json.dumps(left))
        wait_until(lambda: master.status().pid not in (None, first))
        assert not master.status().taken_over
        (tmp_path / "a.csv").write_text("1\n2\n")
        master.notify(str(tmp_path / "a.csv"))
        assert master.flush(20)
        assert (tmp_path / "dest" / "a.csv").read_text() == "1\n2\n"


def test_a_stop_while_the_interpreter_ends_does_not_wait_for_a_frozen_thread(
    tmp_path: pathlib.Path,
) -> None:
    """By the ``__del__`` of a global, say. Without: the program ends 16 s late, and an error in its
    log says that the subtask can't even be killed."""
    said = said_by(
        tmp_path,
        """
        import logging
        logging.basicConfig()
        from pysubtask import TaskMaster

        class App:
            def __init__(self):
                os.makedirs("dest")
                to = "file://" + os.getcwd() + "/dest"
                self.master = TaskMaster(["a.csv"], to=to, stop_timeout_secs=20)
                self.master.start()

            def __del__(self):
                self.master.stop()
                os.write(1, b"stopped\\n")

        app = App()
        assert app.master.flush(20)
        app.itself = app
        """,
    )
    assert "stopped" in said
    assert "does not end" not in said, said
    wait_until(lambda: not list((tmp_path / "upload").rglob("holder.json")))


def test_nothing_is_said_to_be_delivered_that_the_newer_program_does_not_deliver(
    tmp_path: pathlib.Path,
) -> None:
    """``flush()`` and ``notify(wait_secs=…)`` of a program that was taken over are answered by the
    newer one's subtask, if that is there for the same."""
    for name in "ab":
        (tmp_path / name).write_text("1\n")
    with (
        to_a_folder(tmp_path, "a") as older,
        to_a_folder(tmp_path, "b", "a") as newer,
        to_a_folder(tmp_path, "a", "b") as same,
    ):
        older.start()
        older.notify(0)
        assert older.flush(30)
        newer.start()
        wait_until(lambda: older.status().taken_over)
        assert newer.flush(30)
        assert older.notify(0)
        assert not older.flush(30)
        assert not older.notify(0, wait_secs=30)
        same.start()
        wait_until(lambda: newer.status().taken_over)
        assert newer.notify(0, wait_secs=30)
        assert newer.flush(30)
