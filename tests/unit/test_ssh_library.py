"""paramiko is imported when it is needed, and without what nobody needs."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_paramiko_comes_without_the_parts_that_run_commands() -> None:
    code = """
import sys
from pysubtask.transports.sftp.ssh import SshConnector
connector = SshConnector("localhost", user="edge")
assert "paramiko" not in sys.modules
connector.prepare()
assert "paramiko" in sys.modules
print(any(name.startswith(("invoke", "unittest")) for name in sys.modules))
import invoke
print(invoke.__name__)
"""
    pytest.importorskip("invoke")
    assert _run(code).split() == ["False", "invoke"]


def test_who_has_imported_invoke_keeps_it() -> None:
    pytest.importorskip("invoke")
    code = """
import invoke, sys
from pysubtask.transports.sftp.library import load_paramiko
load_paramiko()
load_paramiko()
print(sys.modules["invoke"] is invoke, "paramiko" in sys.modules)
"""
    assert _run(code).split() == ["True", "True"]
