"""A member of the side-by-side program, at its smallest, against a real sshd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("openssh")  # skipped without it
@pytest.mark.parametrize("name", ["files", "start"])
def test_a_benchmark_runs_and_writes_json(name: str) -> None:
    options = ["--only", name, "--quick", "--rounds", "1", "--without-peers", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["benchmarks"]
    assert found["benchmark"] == name
    assert {figure["who"] for figure in found["figures"]} >= (
        {"pysubtask", "pysubtask, ssh_command"} if name == "files" else {"start()", "child ready"}
    )
    assert all(figure["median"] > 0 for figure in found["figures"])
    assert found["before"]["cores"]
