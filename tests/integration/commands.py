"""Commands as their users run them, in a folder and with a state folder of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import psutil
import pytest
from click.testing import CliRunner, Result

import pysubtask
from pysubtask.cli.app import app
from tests.servers.openssh import OpenSshServer

__all__ = [
    "LIMIT_SECS",
    "Started",
    "Target",
    "elsewhere",
    "message",
    "messages",
    "run",
    "start",
    "wait_for",
]

LIMIT_SECS = 30.0
_ROOT = pathlib.Path(pysubtask.__file__).parent.parent
_SCHEMA = json.loads((_ROOT / "docs" / "cli-messages.schema.json").read_text("utf-8"))
_VALIDATOR = jsonschema.Draft202012Validator(_SCHEMA)
Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PYSUBTASK_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")


@pytest.fixture
def start() -> Iterator[Started]:
    """Starts commands as processes; each is ended and its subtasks with it."""
    running: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pysubtask", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        children = psutil.Process(process.pid).children(True) if process.poll() is None else []
        for one in [process, *children]:
            try:
                one.kill()
            except psutil.Error:
                pass
        process.communicate(timeout=10)
        psutil.wait_procs(children, timeout=10)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def wait_for(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECS
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Target:
    """A folder at the server, as the command line and as this machine name it."""

    def __init__(self, server: OpenSshServer, port: int | None = None) -> None:
        self.remote, self.folder = server.new_folder()
        self.url = f"sftp://{server.user}@{server.host}:{port or server.port}{self.remote}"
        self.options = [
            "--to", self.url, "--key-file", server.key_file, "--host-key", server.fingerprint,
        ]  # fmt: skip


def message(line: str) -> dict[str, Any]:
    """A line of ``--json``, which the schema must allow."""
    found: dict[str, Any] = json.loads(line)
    _VALIDATOR.validate(found)
    return found


def messages(text: str) -> list[dict[str, Any]]:
    return [message(line) for line in text.splitlines()]
