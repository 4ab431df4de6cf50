"""Commands in an empty folder, without a server: for the tests of the command line."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result

import pysubtask
from pysubtask.cli.app import COMMANDS, app

__all__ = ["ROOT", "SCHEMA", "URL", "VALIDATOR", "Run", "elsewhere", "leaves", "lines", "run"]

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "cli-messages.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
URL = "sftp://edge@collector.example/incoming"

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PYSUBTASK_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    def invoke(*args: str) -> Result:
        return CliRunner().invoke(app, list(args))

    return invoke


def leaves() -> list[tuple[str, ...]]:
    """Every command, those of groups one by one."""
    found: list[tuple[str, ...]] = []
    for name, module in COMMANDS.items():
        command = importlib.import_module(module).command
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
        else:
            found.append((name,))
    return found


def lines(result: Result) -> list[dict[str, Any]]:
    """The NDJSON of a result, each line checked against the schema."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    for line in found:
        VALIDATOR.validate(line)
    return found
