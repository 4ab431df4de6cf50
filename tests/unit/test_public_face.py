"""What the package shows, what an import loads, and what TaskMaster chooses."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import pysubtask
from pysubtask import PysubtaskError, SettingsError, TaskMaster
from pysubtask.base import BaseTaskMaster
from pysubtask.dropbox import DropboxTaskMaster
from pysubtask.folder import FolderTaskMaster
from pysubtask.ftp import FTPTaskMaster
from pysubtask.master import _command

URL = "sftp://edge@collector.example/incoming"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_exported() -> None:
    assert pysubtask.__all__ == sorted(pysubtask.__all__)
    for name in pysubtask.__all__:
        assert hasattr(pysubtask, name), name
    errors = {
        name
        for name, value in vars(pysubtask.errors).items()
        if isinstance(value, type) and issubclass(value, PysubtaskError)
    }
    assert errors <= set(pysubtask.__all__)
    assert pysubtask.__version__.startswith("2.")


@pytest.mark.parametrize(
    "statement",
    [
        "import pysubtask",
        "from pysubtask.ftp import FTPTaskMaster",
        "from pysubtask.base import BaseTaskMaster",
        "from pysubtask.folder import FolderTaskMaster",
        "from pysubtask.dropbox import DropboxTaskMaster",
        "import pysubtask as p; p.TaskMaster(['x'], to='dropbox:///d', dropbox_access_token='t')",
        "import pysubtask; pysubtask.TaskMaster(['x'], to='sftp://a@b/c').status()",
    ],
)
def test_the_host_loads_nothing_of_the_child(statement: str) -> None:
    code = f"""{statement}
import sys, threading
heavy = ("paramiko", "cryptography", "inotify_simple", "watchdog", "filelock", "psutil",
         "platformdirs", "dropbox", "requests", "asyncio", "ssl", "sqlite3", "logging",
         "subprocess")
found = [name for name in sys.modules
         if name.startswith(("pysubtask.subtask", "pysubtask.transports", "pysubtask.core"))
         or name in heavy]
assert not found, found
assert threading.active_count() == 1
"""
    root = pathlib.Path(pysubtask.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)


def test_the_extension_follows_from_the_url() -> None:
    sftp = TaskMaster(["a"], to=URL)
    assert type(sftp) is FTPTaskMaster
    assert isinstance(sftp, TaskMaster)
    assert type(TaskMaster(["a"], to="ftps://h/x")) is FTPTaskMaster
    assert type(TaskMaster(["a"], host="h", use_sftp=False)) is FTPTaskMaster
    assert type(TaskMaster(["a"], to="file:///mnt/share")) is FolderTaskMaster
    by_token = {"to": "dropbox:///in", "dropbox_access_token": "t"}
    assert type(TaskMaster(["a"], **by_token)) is DropboxTaskMaster
    assert repr(TaskMaster(["a"], to="dropbox://:s3cret@/in")).endswith("to dropbox:///in>")
    section = {"UseDropbox": True, "AccessToken": "t", "HostPath": "in/x"}
    assert repr(TaskMaster(["a"], {"dropbox": section})).endswith("to dropbox:///in/x>")
    assert type(TaskMaster(["a"], subtask="json:JSONEncoder")) is BaseTaskMaster
    assert type(TaskMaster(["a"], host="collector", username="edge")) is FTPTaskMaster
    config = SimpleNamespace(ftp=SimpleNamespace(Host="collector", User="edge"))
    assert type(TaskMaster(["a"], config)) is FTPTaskMaster
    assert repr(sftp) == f"<FTPTaskMaster of 1 watches to {URL}>"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "says no destination"),
        ({"to": "ftps://h/x", "ftp_tls": "off"}, "does not go with ftps://"),
        ({"to": "ftps://h/x", "ftp_tls": "maybe"}, "must be one of"),
        ({"to": "dropbox:///x"}, "dropbox_refresh_token: is missing"),
        ({"to": "dropbox:///x", "dropbox_refresh_token": "t"}, "dropbox_app_key: is missing"),
        ({"to": "dropbox://folder", "dropbox_access_token": "t"}, "three slashes"),
        ({"to": "gopher://h"}, "it can do sftp://, ftp://, ftps://, dropbox://, file://"),
        ({"config": {"dropbox": {"UseDropbox": True}}}, "dropbox_refresh_token: is missing"),
        ({"to": URL, "subtask": 5}, "must be text"),
        ({"to": URL, "timer": 5}, "no such setting"),
    ],
)
def test_what_can_not_be_is_refused_at_once(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        TaskMaster(["a"], **given)
    assert words in str(caught.value)


def test_each_master_knows_its_trade(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SettingsError, match="TaskMaster picks"):
        FTPTaskMaster(["a"], to="file:///mnt")
    with pytest.raises(SettingsError, match="delivers to a folder"):
        FolderTaskMaster(["a"], to=URL)
    with pytest.raises(SettingsError, match="BaseTaskMaster"):
        FTPTaskMaster(["a"], to=URL, subtask="json")
    with pytest.raises(SettingsError, match="watched itself"):
        FolderTaskMaster([{"dir": tmp_path}], to=tmp_path.as_uri())


@pytest.mark.parametrize(
    ("subtask", "words"),
    [
        ("__main__", "a module of its own"),
        ("__main__:Count", "a module of its own"),
        ("no_such_module_at_all", "there is no module"),
        ("a b", "is no module"),
        ("json:", None),
        ("json.encoder:JSONEncoder", None),
    ],
)
def test_own_subtasks_are_checked(subtask: str, words: str | None) -> None:
    if words is None:
        assert BaseTaskMaster(["a"], subtask=subtask)
        return
    with pytest.raises(SettingsError, match=words):
        BaseTaskMaster(["a"], subtask=subtask)


def test_a_frozen_program_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(SettingsError, match=r"run_child\(\)"):
        TaskMaster(["a"], to=URL).start()
    assert _command.child_command("pysubtask.ftp", sys.executable)[0] == sys.executable
    monkeypatch.setattr(_command, "_frozen_program", None)
    pysubtask.run_child()
    assert _command.child_command("pysubtask.ftp", None) == [
        sys.executable,
        "--pysubtask-child",
        "pysubtask.ftp",
    ]


def test_a_frozen_child_runs_its_module_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_command, "_frozen_program", None)
    monkeypatch.setattr(sys, "argv", ["app", "--pysubtask-child", "os"])
    with pytest.raises(SystemExit, match="no subtask"):
        pysubtask.run_child()
    monkeypatch.setattr(sys, "argv", ["app", "--pysubtask-child", "pysubtask.defaults_config"])
    with pytest.raises(SystemExit) as caught:
        pysubtask.run_child()
    assert caught.value.code == 0


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python-anywhere", "/tmp"])
def test_an_interpreter_that_is_none_is_refused(python: str) -> None:
    with pytest.raises(SettingsError, match="python"):
        TaskMaster(["a"], to=URL, python=python).start()
    with pytest.raises(SettingsError, match="python"):
        _embedded()


def _embedded() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", "/usr/sbin/uwsgi")
        _command.child_command("pysubtask.ftp", None)


def test_the_child_is_started_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    home = str(pathlib.Path(pysubtask.__file__).parent.parent)
    monkeypatch.setattr(_command, "_finds_by_itself", lambda folder: folder == home)
    monkeypatch.setattr(_command, "_speaks_utf8_by_option", lambda: False)
    assert _command.child_command("pysubtask.ftp", None) == [
        sys.executable, "-P", "-m", "pysubtask.ftp",
    ]  # fmt: skip
    monkeypatch.setattr(_command, "_finds_by_itself", lambda folder: False)
    command = _command.child_command("pysubtask.defaults_config", None)
    assert command[1:3] == ["-P", "-c"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert b"DeadTimeMilli" in done.stdout


def test_a_relative_interpreter_is_counted_from_where_the_master_was_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all relative paths are: a program may change its current folder before ``start()``."""
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    master = BaseTaskMaster(["a"], python="venv/python")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with master:
        assert master.status().pid is not None


@pytest.mark.skipif(sys.platform != "linux", reason="the locale says how file names are spoken")
def test_the_child_speaks_file_names_as_the_program_does(tmp_path: pathlib.Path) -> None:
    """``python -X utf8`` in an ASCII locale: the child would look for other names, and nothing
    would ever arrive, or be said."""
    code = (
        "import pathlib, sys; from pysubtask import TaskMaster\n"
        "path = pathlib.Path('\\u00e4.csv'); path.write_text('x')\n"
        "pathlib.Path('dest').mkdir()\n"
        "with TaskMaster([str(path)], to=pathlib.Path('dest').absolute().as_uri()) as master:\n"
        "    assert master.notify(0) and master.flush(30)\n"
    )
    surroundings = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    home = str(pathlib.Path(pysubtask.__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=tmp_path,
        env={**os.environ, **surroundings, "PYTHONPATH": home},
        timeout=60,
        check=True,
    )
    assert os.listdir(os.fsencode(str(tmp_path / "dest"))) == ["\u00e4.csv".encode()]


def test_dangerous_folders_are_not_swept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    for watch, words in (
        ("a", "home folder"),
        ("repo/a", ".git"),
        ("project/a", "pyproject.toml"),
        ("/a", "root"),
    ):
        with pytest.raises(SettingsError, match=words):
            TaskMaster([watch], to=URL).start(precleanup_old_files=True)
    with pytest.raises(SettingsError, match=r"\.git"):
        TaskMaster(["data/a", {"dir": "repo"}], to=URL).start(precleanup_old_files=True)
