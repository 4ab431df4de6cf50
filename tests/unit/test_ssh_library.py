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


def test_who_has_asked_for_metadata_gets_all_of_it() -> None:
    code = """
import sys
from pysubtask.transports.sftp.library import load_paramiko
load_paramiko()
import paramiko
print("importlib.metadata" in sys.modules)
from importlib import metadata
print(metadata.version("paramiko") == paramiko.__version__, len(metadata.files("paramiko")) > 9)
"""
    assert _run(code).split() == ["False", "True", "True"]


def test_a_version_that_no_folder_tells_is_asked_for() -> None:
    code = """
import sys
from pysubtask.transports.sftp import library
with library._instead("importlib.metadata", library._Metadata("importlib.metadata")):
    from importlib import metadata
    try:
        metadata.version("no-such-package")
    except metadata.PackageNotFoundError as error:
        print(error.name)
import importlib.metadata
print(len(importlib.metadata.version("pysubtask")) > 0)
"""
    assert _run(code).split() == ["no-such-package", "True"]


def test_who_imports_metadata_meanwhile_has_it() -> None:
    code = """
import sys
from pysubtask.transports.sftp import library
with library._instead("importlib.metadata", library._Metadata("importlib.metadata")):
    import importlib.metadata
    print(importlib.metadata.version("paramiko")[0].isdigit())
print("importlib.metadata" in sys.modules, hasattr(importlib, "metadata"))
import importlib.metadata
print(len(importlib.metadata.files("paramiko")) > 9)
"""
    assert _run(code).split() == ["True", "False", "False", "True"]
