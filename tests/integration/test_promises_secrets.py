"""Promise 5: the password is where it is needed, and nowhere else."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import textwrap
import traceback
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from pysubtask import PysubtaskError, TaskMaster
from pysubtask.base import BaseTaskMaster
from tests.integration.promises import Delivery, delivering, is_running, wait_until
from tests.servers.openssh import OpenSshServer
from tests.servers.rclone import RcloneServer
from tests.unit.ftp_bench import IN, hostile

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux' /proc")
pytestmark = linux


def forms(password: str) -> list[bytes]:
    """How it could be written down: as it is, in a URL, in JSON."""
    return [password.encode(), quote(password, safe="").encode()]


def traces_in_proc(pids: list[int], password: str) -> list[str]:
    """Places in the processes' arguments and environments, threads included, that show it."""
    found = []
    for pid in pids:
        tasks = pathlib.Path(f"/proc/{pid}/task").glob("*") if is_running(pid) else []
        for task in [pathlib.Path(f"/proc/{pid}"), *tasks]:
            for name in ("cmdline", "environ", "comm", "stat"):
                try:
                    data = (task / name).read_bytes()
                except OSError:
                    continue
                found += [str(task / name) for form in forms(password) if form in data]
    return found


def traces_in_files(folders: list[pathlib.Path], password: str) -> list[str]:
    """Files, or names of files, that show it."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            data += os.fsencode(path.name)
            found += [str(path) for form in forms(password) if form in data]
    return found


def family(pid: int) -> list[int]:
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def assert_kept(made: Delivery, password: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing that a person or another program may see shows it."""
    master = made.master
    pid = master.status().pid
    if pid is not None:
        assert traces_in_proc([os.getpid(), *family(pid)], password) == []
    assert traces_in_files([made.data, made.state, made.logs], password) == []
    shown = [repr(master), str(master), repr(master.status()), str(master.status())]
    shown += [repr(vars(master)), repr(master.status().to_plain()), *capfd.readouterr()]
    for text in shown:
        assert not any(form.decode() in text for form in forms(password)), text


@pytest.fixture(params=["in the URL", "as a setting", "in a section"])
def by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def login(by: str, server: OpenSshServer, password: str) -> dict[str, Any]:
    """The same password, given in three ways."""
    user = server.password_user
    place = f"{server.host}:{server.port}{server.root}"
    if by == "in the URL":
        return {"to": f"sftp://{user}:{quote(password, safe='')}@{place}", "password": None}
    to = f"sftp://{user}@{place}"
    if by == "as a setting":
        return {"to": to, "password": password}
    return {"to": to, "password": None, "config": {"ftp": {"Password": password}}}


@pytest.mark.parametrize("right", [True, False], ids=["accepted", "refused"])
def test_a_login_by_password(
    tmp_path: pathlib.Path,
    openssh_with_password: OpenSshServer,
    by: str,
    right: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = openssh_with_password
    password = server.password if right else "wr0ng/horse:battery@staple"
    given = login(by, server, password)
    if given["password"] is None:
        del given["password"]
        given["key_file"] = None
    if not right:
        given["stop_timeout_secs"] = 1.0  # what is refused is not delivered
    with delivering(
        tmp_path, server, ["a.csv"], log_level="DEBUG", log_to_console=True, **given
    ) as made:
        made.append("a.csv", b"1\n")
        if right:
            made.flush()
            assert (server.root / "a.csv").read_bytes() == b"1\n"
            (server.root / "a.csv").unlink()
        else:
            wait_until(lambda: "refused" in str(made.master.status()), 10, "it is refused")
        assert_kept(made, password, capfd)
        pid = made.master.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)  # a crash that may leave a stack trace
        wait_until(lambda: "subtask ended" in (made.master.status().last_error or ""))
        assert_kept(made, password, capfd)
        made.master.stop()
        assert_kept(made, password, capfd)


def test_a_password_from_a_variable(
    tmp_path: pathlib.Path,
    openssh_with_password: OpenSshServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The program's environment has it, the child's has not."""
    server = openssh_with_password
    monkeypatch.setenv("COLLECTOR_PW", server.password)
    to = f"sftp://{server.password_user}@{server.host}:{server.port}{server.root}"
    given: dict[str, Any] = {"to": to, "password_env": "COLLECTOR_PW", "key_file": None}
    with delivering(tmp_path, server, ["a.csv"], **given) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        assert (server.root / "a.csv").read_bytes() == b"1\n"
        (server.root / "a.csv").unlink()
        assert_kept(made, server.password, capfd)


def test_rclone_by_password(
    tmp_path: pathlib.Path, rclone: RcloneServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with delivering(
        tmp_path, rclone, ["a.csv"], log_level="DEBUG", password=rclone.password
    ) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        assert_kept(made, rclone.password, capfd)
        made.master.stop()
        assert_kept(made, rclone.password, capfd)


def test_a_server_that_repeats_the_password(tmp_path: pathlib.Path) -> None:
    """Its words are the reason why nothing is delivered: status and heartbeat show them, and the
    heartbeat goes to the destination and to the monitor."""
    password = "hunter2-secret/horse"
    replies = {**IN, b"PASS": b"500 'PASS " + password.encode() + b"': command not understood\r\n"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_bytes(b"1\n")
    with hostile(replies) as server:
        master = TaskMaster(
            [str(tmp_path / "data" / "a.csv")],
            to=f"ftp://edge:{quote(password, safe='')}@127.0.0.1:{server.port}/in",
            heartbeat_interval_secs=1,
            bak_to_folder=str(tmp_path / "state"),
            log_to_folder=str(tmp_path / "logs"),
            stop_timeout_secs=3,
        )
        with master:
            master.notify(0)

            def tells(path: pathlib.Path) -> bool:
                return path.is_file() and b"login refused" in path.read_bytes()

            wait_until(lambda: "login refused" in str(master.status()), 10, "it is refused")
            wait_until(
                lambda: any(map(tells, (tmp_path / "data").iterdir())), 20, "the heartbeat tells"
            )
            shown = str(master.status())
            assert "PASS •••" in shown
            assert not any(form.decode() in shown for form in forms(password))
            assert traces_in_files([tmp_path], password) == []


CRASHING = """
from pysubtask.base import BaseSubtask

class Shows(BaseSubtask):
    '''Crashes with all that it was given in its message.'''
    def start(self):
        raise RuntimeError(f"{vars(self)} {self.context} {self.context.handover.settings}")
"""


@pytest.fixture
def crashing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "crashing.py").write_text(textwrap.dedent(CRASHING))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return "crashing:Shows"


def test_a_child_that_crashes(
    tmp_path: pathlib.Path, crashing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its message and its traceback are logged: they say that there is a secret, and not which."""
    password = "correct horse/battery"
    (tmp_path / "data").mkdir()
    master = BaseTaskMaster(
        [str(tmp_path / "data" / "a.csv")],
        subtask=crashing,
        password=password,
        key_passphrase=password,
        log_to_folder=str(tmp_path / "logs"),
        bak_to_folder=str(tmp_path / "state"),
        log_to_console=True,
    )
    try:
        master.start()
        wait_until(lambda: "subtask ended" in (master.status().last_error or ""))
        logged = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
        assert "RuntimeError" in logged
        assert "Secret(" in logged
    finally:
        master.stop(forcekill=True)
    assert (
        traces_in_files([tmp_path / "data", tmp_path / "logs", tmp_path / "state"], password) == []
    )
    for text in (repr(master), str(master.status()), repr(vars(master)), *capfd.readouterr()):
        assert password not in text


@pytest.mark.parametrize(
    "mistake",
    [
        {"to": "sftp://edge:PASSWORD@host:notaport/in"},
        {"to": "sftp://edge:PASSWORD@/in"},
        {"to": "gopher://edge:PASSWORD@host/in"},
        {"to": "sftp://edge:PASSWORD@host/in", "passwort": "PASSWORD"},
        {"to": "sftp://edge@host/in", "password": ["PASSWORD"]},
        {"to": "sftp://edge@host/in", "password": "PASSWORD", "timer_interval_secs": "soon"},
        {"to": "sftp://edge@host/in", "config": {"ftp": {"Password": {"is": "PASSWORD"}}}},
    ],
    ids=range(7),
)
def test_mistakes_in_settings(tmp_path: pathlib.Path, mistake: dict[str, Any]) -> None:
    """They raise at once, and what is raised does not show the password, however it is printed."""
    secret = "s3cr3t-battery"
    given = json.loads(json.dumps(mistake).replace("PASSWORD", secret))
    with pytest.raises(PysubtaskError) as caught:
        TaskMaster([str(tmp_path / "a.csv")], **given)
    text = "".join(traceback.format_exception(caught.value, chain=True))
    shown = [line for line in text.splitlines() if not line.lstrip().startswith("File ")]
    assert secret not in "\n".join(shown)
    assert secret not in repr(caught.value)
