"""The server does not take us for who we are, or is not who it was."""

from __future__ import annotations

import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import delivering, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.openssh import OpenSshServer

__all__ = ["row", "rows"]

SLOW = "Tries after 30 s, 60 s … 15 minutes: servers ban who knocks too often. Snapshots go on"


@pytest.fixture(scope="module")
def sshd() -> Iterator[OpenSshServer]:
    """An sshd of this module's own: its host key changes, its user is locked."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, OpenSshServer(password=True))


def url(server: OpenSshServer, folder: str) -> str:
    return f"sftp://{server.password_user}@{server.host}:{server.port}{folder}"


@fault(
    "the password is wrong",
    "login refused: wrong password for …",
    SLOW,
    "give the right `password`; `reset()` tries at once",
)
def test_wrong_password(tmp_path: pathlib.Path, sshd: OpenSshServer, row: Fault) -> None:
    name, _ = sshd.new_folder()
    with delivering(tmp_path, sshd, ["a"], to=url(sshd, name), password="no idea") as made:
        made.append("a", b"1\n")
        row.shown(made.master)
        status = made.master.status()
        assert status.link == "retrying"
        assert status.next_try is not None
        assert 20 < status.next_try - time.time() <= 30
        assert status.pending_bytes == 2
        assert "no idea" not in made.log()
        assert "login refused: wrong password" in made.log()


@fault(
    "the account is locked or expired",
    "login refused: wrong password for … (or the account is locked",
    SLOW + ". The server does not tell a locked account from a wrong password",
    "have the account unlocked",
)
def test_a_locked_account(tmp_path: pathlib.Path, sshd: OpenSshServer, row: Fault) -> None:
    name, remote = sshd.new_folder()
    user = sshd.password_user
    assert user is not None
    subprocess.run(["usermod", "--lock", user], check=True, capture_output=True, timeout=30)
    try:
        given = {"to": url(sshd, name), "password": sshd.password}
        with delivering(tmp_path, sshd, ["a"], **given) as made:
            made.append("a", b"1\n")
            row.shown(made.master)
            subprocess.run(["usermod", "--unlock", user], check=True, capture_output=True)
            made.master.stop(forcekill=True)
            made.master.start()
            wait_until(lambda: (remote / "a").exists(), 10, "it is delivered once unlocked")
    finally:
        subprocess.run(["usermod", "--unlock", user], check=False, capture_output=True)


@fault(
    "the key is not accepted",
    "login refused: the key … is not accepted for …",
    SLOW,
    "add the public key to the account's `authorized_keys`, or set `key_file`",
)
def test_a_key_that_is_not_accepted(
    tmp_path: pathlib.Path, sshd: OpenSshServer, row: Fault
) -> None:
    keys = sshd.base / "authorized_keys"
    before = keys.read_bytes()
    keys.write_bytes(b"")
    try:
        with delivering(tmp_path, sshd, ["a"]) as made:
            made.append("a", b"1\n")
            row.shown(made.master)
    finally:
        keys.write_bytes(before)


@fault(
    "the server's host key is unknown",
    "host key unknown: … shows SHA256:…",
    "Nothing is sent, not even the password. Tries as for a refused login",
    "compare the fingerprint with the server's, then set `host_key`, or add the key to "
    "`known_hosts`",
)
def test_an_unknown_host_key(tmp_path: pathlib.Path, sshd: OpenSshServer, row: Fault) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    with delivering(tmp_path, sshd, ["a"], host_key=(), known_hosts=str(known)) as made:
        made.append("a", b"1\n")
        assert sshd.fingerprint in row.shown(made.master)
        assert made.remote_bytes("a") is None


@fault(
    "the server's host key has changed",
    "host key changed: … shows SHA256:…, … has SHA256:…",
    "Nothing is sent, not even the password. Tries as for a refused login",
    "if the server really has a new key: replace the line of `known_hosts` that is named",
)
def test_a_changed_host_key(
    tmp_path: pathlib.Path, open_sshd: Callable[..., OpenSshServer], row: Fault
) -> None:
    server = open_sshd()
    known = server.known_hosts
    new = server.new_host_key()
    with delivering(tmp_path, server, ["a"], host_key=(), known_hosts=known) as made:
        made.append("a", b"1\n")
        text = row.shown(made.master)
        assert new in text
        assert known in text
        assert made.remote_bytes("a") is None
