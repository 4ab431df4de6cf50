"""A subtask loads what it needs, and no more: small machines have little memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNNEEDED = """
    _hashlib hashlib hmac secrets ssl filelock psutil platformdirs
    asyncio concurrent multiprocessing unittest http email csv zipfile urllib.request
    paramiko cryptography nacl bcrypt invoke dropbox requests watchdog click rich
    pysubtask.cli pysubtask.monitor pysubtask.doctor pysubtask.subtask.archive
    pysubtask.subtask.pull.puller pysubtask.subtask.pull.worker
    pysubtask.transports.ftp pysubtask.transports.dropbox
""".split()
"""With the system's ``ssh``, or a folder, and nothing to fetch or to tidy up."""


def run(code: str) -> list[str]:
    """The modules that there are in the end."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("extension", "transport"), [("ftp", "sftp.process"), ("folder", "folder")]
)
def test_without_a_library_for_the_transfer(extension: str, transport: str) -> None:
    loaded = run(
        f"import pysubtask.{extension}, pysubtask.subtask.shell.main, pysubtask.subtask.transfer\n"
        f"import pysubtask.transports.{transport}"
    )
    assert f"pysubtask.transports.{transport}" in loaded
    assert [name for name in UNNEEDED if name in loaded] == []


def test_names_of_ascii_are_looked_up_without_the_tables_of_unicode() -> None:
    loaded = run(
        "from pysubtask.transports.sockets import _look_up\n_look_up('localhost', 9, 10.0)"
    )
    assert [name for name in ("encodings.idna", "stringprep") if name in loaded] == []
