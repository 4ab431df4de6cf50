"""``doctor`` and ``trust`` on real servers, good ones and broken ones: the right cause is named."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from pysubtask.cli.app import app
from pysubtask.core.costs import ABILITIES
from tests.integration.commands import messages
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer
from tests.servers.modsftp import ModSftp
from tests.servers.openssh import OpenSshServer
from tests.servers.processes import find_program
from tests.servers.rclone import RcloneServer

Server = OpenSshServer | RcloneServer
GOOD = {"dns", "port", "identity", "login", "folder", "write", "read", "append", "replace",
        "copy", "order", "sync", "clock", "space", "delete"}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.chdir(tmp_path)


class Report:
    """What ``doctor --json`` said."""

    def __init__(self, args: Sequence[str]) -> None:
        result = CliRunner().invoke(app, ["doctor", *args, "--json"])
        found = messages(result.stdout)
        self.exit_code = result.exit_code
        self.checks = {line["name"]: line for line in found if line["message_type"] == "check"}
        self.error: dict[str, Any] = found[-1] if found[-1]["message_type"] == "error" else {}

    def verdicts(self, verdict: str) -> set[str]:
        return {name for name, check in self.checks.items() if check["verdict"] == verdict}


def url(server: Server, folder: str, *, user: str | None = None) -> str:
    return f"sftp://{user or server.user}@{server.host}:{server.port}{folder}"


def examine(server: Server, folder: str, *more: str, known: bool = True) -> Report:
    known_hosts = ["--known-hosts", server.known_hosts] if known else []
    return Report([url(server, folder), "--key-file", server.key_file, *known_hosts, *more])


def test_openssh_can_do_everything(openssh: OpenSshServer) -> None:
    remote, folder = openssh.new_folder()
    report = examine(openssh, remote)
    assert report.verdicts("ok") == GOOD, report.checks
    assert report.exit_code == 0
    assert list(folder.iterdir()) == []


def test_rclone_lacks_order_copy_and_sync(rclone: RcloneServer) -> None:
    remote, _ = rclone.new_folder()
    report = examine(rclone, remote)
    assert report.exit_code == 0, report.error
    assert {"order", "copy", "sync"} <= report.verdicts("missing")
    assert {"write", "read", "append", "replace"} <= report.verdicts("ok")
    costs = {ability.cost for ability in ABILITIES}
    for name in ("order", "copy", "sync"):
        assert report.checks[name]["cost"] in costs


def test_a_server_without_extensions(open_sshd: Callable[..., Any]) -> None:
    denied = ["posix-rename", "copy-data", "fsync", "statvfs"]
    server = open_sshd(denied=denied)
    remote, folder = server.new_folder()
    report = examine(server, remote)
    assert report.verdicts("missing") == {"replace", "copy", "sync"}
    assert report.verdicts("unknown") == {"space"}
    assert report.exit_code == 0
    assert list(folder.iterdir()) == []


def test_a_folder(tmp_path: pathlib.Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    report = Report([share.as_uri()])
    assert report.exit_code == 0
    assert report.verdicts("missing") == {"copy"}
    assert not {"dns", "port", "identity", "login"} & set(report.checks)
    assert list(share.iterdir()) == []


def test_a_dropbox(dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dropbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYSUBTASK_DROPBOX_REFRESH_TOKEN", dropbox.refresh_token)
    name, _ = dropbox.new_folder()
    options = [f"dropbox://{name}", "--set", f"dropbox_app_key={dropbox.app_key}",
               "--set", f"ca_file={dropbox.ca_file}"]  # fmt: skip
    report = Report(options)
    assert report.exit_code == 0, report.checks
    assert {"login", "folder", "write", "read", "replace", "delete"} <= report.verdicts("ok")
    assert report.verdicts("missing") == {"append", "copy"}
    assert report.verdicts("failed") == report.verdicts("skipped") == set()
    assert "PYSUBTASK_DROPBOX_REFRESH_TOKEN" not in os.environ
    monkeypatch.setenv("PYSUBTASK_DROPBOX_REFRESH_TOKEN", "nonsense")
    broken(Report(options), "login", 12, "", "")


@pytest.mark.parametrize("name", ["vsftpd", "proftpd", "pyftpd_bare"])
def test_ftp(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    server: FtpServer = request.getfixturevalue(name)
    remote, folder = server.new_folder()
    monkeypatch.setenv("FTP_PW", server.password)
    where = f"ftp://{server.user}@{server.host}:{server.port}/{remote}"
    report = Report([where, "--password-env", "FTP_PW"])
    assert report.exit_code == 0, report.checks
    assert report.verdicts("failed") == report.verdicts("skipped") == set()
    assert {"dns", "port", "login", "folder", "write"} <= report.verdicts("ok")
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("FTP_PW", "wrong")
    broken(Report([where, "--password-env", "FTP_PW"]), "login", 12, "", "")


def test_mod_sftp_lacks_copy(
    modsftp: ModSftp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, folder = modsftp.new_folder()
    monkeypatch.setenv("SFTP_PW", modsftp.password)
    where = f"sftp://{modsftp.user}@{modsftp.host}:{modsftp.port}{remote}"
    report = Report([where, "--password-env", "SFTP_PW", "--host-key", modsftp.fingerprint])
    assert report.exit_code == 0, report.checks
    assert report.verdicts("missing") == {"copy"}
    assert report.verdicts("failed") == report.verdicts("skipped") == set()
    assert list(folder.iterdir()) == []


def test_a_certificate_that_nobody_vouches_for(
    vsftpd_tls: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, _ = vsftpd_tls.new_folder()
    monkeypatch.setenv("FTP_PW", vsftpd_tls.password)
    where = f"ftps://{vsftpd_tls.user}@{vsftpd_tls.host}:{vsftpd_tls.port}/{remote}"
    options = [where, "--password-env", "FTP_PW"]
    report = Report(options)
    assert report.exit_code == report.error["exit_code"] == 13, report.checks
    assert "certificate" in report.error["message"]
    assert report.error["try"]
    monkeypatch.setenv("FTP_PW", vsftpd_tls.password)
    trusting = Report([*options, "--set", f"ca_file={vsftpd_tls.ca_file}"])
    assert trusting.exit_code == 0, trusting.checks


def test_a_folder_that_is_made_later(openssh: OpenSshServer) -> None:
    remote, folder = openssh.new_folder()
    report = examine(openssh, f"{remote}/2026/11")
    assert report.verdicts("missing") == {"folder"}
    assert "tried in" in report.checks["folder"]["cost"]
    assert list(folder.iterdir()) == []


# --- broken set-ups


@contextmanager
def listener(greeting: bytes) -> Iterator[int]:
    """Somebody who answers the port, but is no SSH server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        client.sendall(greeting)
                        client.recv(100)
                    except OSError:
                        pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def broken(report: Report, check: str, exit_code: int, words: str, remedy: str) -> None:
    assert report.verdicts("failed") == {check}, report.checks
    assert report.exit_code == report.error["exit_code"] == exit_code
    assert words in report.checks[check]["detail"]
    assert remedy in report.error["try"]
    names = list(report.checks)
    after = names[names.index(check) + 1 :]
    if check in ("dns", "port", "identity", "login"):
        assert all(report.checks[name]["verdict"] == "skipped" for name in after)


def test_a_name_that_nobody_has() -> None:
    report = Report(["sftp://edge@no-such-host.invalid/in"])
    broken(report, "dns", 10, "no-such-host.invalid", "typing mistake")


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    broken(Report([f"sftp://edge@127.0.0.1:{port}/in"]), "port", 10, "nobody listens", "running")


def test_a_port_of_another_service() -> None:
    with listener(b"220 collector FTP server ready\r\n") as port:
        report = Report([f"sftp://edge@127.0.0.1:{port}/in", "--set", "login_timeout_secs=3"])
    broken(report, "identity", 10, "", "the port of an SSH server?")


def test_an_unknown_host_key(openssh: OpenSshServer) -> None:
    report = examine(openssh, "/", known=False)
    broken(report, "identity", 13, openssh.fingerprint, "pysubtask trust sftp://")


def test_a_changed_host_key(openssh: OpenSshServer, tmp_path: pathlib.Path) -> None:
    known_hosts = fake_known_hosts(openssh, tmp_path)
    report = examine(openssh, "/", "--known-hosts", known_hosts, known=False)
    broken(report, "identity", 13, "host key changed", "pysubtask trust --replace")
    pinned = "SHA256:" + "A" * 43
    report = examine(openssh, "/", "--host-key", pinned, known=False)
    broken(report, "identity", 13, "host key changed", "ask who runs the server")


def test_a_pinned_key_of_any_type_is_good(openssh: OpenSshServer) -> None:
    """Which of the server's keys is pinned can't be seen from the fingerprint."""
    remote, _ = openssh.new_folder()
    rsa = openssh._fingerprint("host_rsa.pub")
    report = examine(openssh, remote, "--host-key", rsa, known=False)
    assert report.exit_code == 0
    assert rsa in report.checks["identity"]["detail"]


def test_a_key_that_is_not_accepted(openssh: OpenSshServer, tmp_path: pathlib.Path) -> None:
    other = make_key(tmp_path / "other")
    report = Report([url(openssh, "/"), "--key-file", other, "--known-hosts", openssh.known_hosts])
    broken(report, "login", 12, "is not accepted", "another user in the URL")


def test_a_wrong_password(
    openssh_with_password: OpenSshServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = openssh_with_password
    assert server.password_user is not None
    where = [url(server, "/", user=server.password_user), "--known-hosts", server.known_hosts]
    monkeypatch.setenv("COLLECTOR_PW", "wrong-one")
    report = Report([*where, "--password-env", "COLLECTOR_PW"])
    broken(report, "login", 12, f"wrong password for {server.password_user}", "--password-file")
    assert "wrong-one" not in json.dumps(report.checks) + json.dumps(report.error)
    assert "COLLECTOR_PW" not in os.environ  # no subtask is to inherit it
    secret = tmp_path / "pw"
    secret.write_text(f"{server.password}\n")
    secret.chmod(0o600)
    remote, _ = server.new_folder()
    where[0] = url(server, remote, user=server.password_user)
    for way in (["--password-file", str(secret)], ["--password-command", f"cat {secret}"]):
        assert Report([*where, *way]).checks["login"]["verdict"] == "ok"


def test_no_sftp_for_this_user(open_sshd: Callable[..., Any]) -> None:
    server = open_sshd(config=["ForceCommand /bin/false"])
    report = examine(server, "/")
    broken(report, "login", 10, "closed the connection", "its log says why")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="chroot needs root")
def test_a_chroot_that_others_may_write(
    open_sshd: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    """``sshd_config(5)``: all components must be root's own, and nobody else's to write."""
    (tmp_path / "jail").mkdir(mode=0o777)
    (tmp_path / "jail").chmod(0o777)
    server = open_sshd(config=[f"ChrootDirectory {tmp_path / 'jail'}"])
    report = examine(server, "/")
    broken(report, "login", 10, "closed the connection", "ChrootDirectory")
    assert "pysubtask doctor" not in report.error["try"]


def test_the_folder_is_a_file(openssh: OpenSshServer) -> None:
    remote, folder = openssh.new_folder()
    (folder / "x").write_text("x")
    report = examine(openssh, f"{remote}/x")
    broken(report, "folder", 1, "is a file", "name a folder")


def test_nothing_may_be_written(open_sshd: Callable[..., Any]) -> None:
    server = open_sshd(read_only=True)
    remote, _ = server.new_folder()
    report = examine(server, remote)
    broken(report, "write", 1, "permission", "allow it to this login")
    assert report.checks["space"]["verdict"] == "ok"


def test_nothing_may_be_renamed(open_sshd: Callable[..., Any]) -> None:
    server = open_sshd(denied=["rename", "posix-rename"])
    remote, folder = server.new_folder()
    report = examine(server, remote)
    assert list(folder.iterdir()) == []
    broken(report, "replace", 1, "", "allow it to this login")
    assert {"write", "read", "append"} <= report.verdicts("ok")


def test_nothing_may_be_deleted(open_sshd: Callable[..., Any]) -> None:
    server = open_sshd(denied=["remove"])
    remote, _ = server.new_folder()
    report = examine(server, remote)
    broken(report, "delete", 1, ".pysubtask-", "allow it to this login, or remove")


# --- trust


def make_key(path: pathlib.Path) -> str:
    keygen = find_program("ssh-keygen")
    subprocess.run(
        [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60
    )
    return str(path)


def fake_known_hosts(server: OpenSshServer, folder: pathlib.Path) -> str:
    """A file that holds another key for the server, a comment, and a key of another host."""
    public = pathlib.Path(make_key(folder / "fake") + ".pub").read_text().split()
    path = folder / "fake_known_hosts"
    path.write_text(
        f"# mine\n[{server.host}]:{server.port} {public[0]} {public[1]}\n"
        f"other.example {public[0]} {public[1]}\n"
    )
    return str(path)


def trust(*args: str, answer: str | None = None) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["trust", *args, "--json"], input=answer)
    return result.exit_code, messages(result.stdout)[0]


def test_trust_pins_what_a_connection_then_accepts(
    openssh: OpenSshServer, tmp_path: pathlib.Path
) -> None:
    remote, _ = openssh.new_folder()
    where = url(openssh, remote)
    known_hosts = str(tmp_path / "new" / "known_hosts")
    code, key = trust(where, "--known-hosts", known_hosts, "--show")
    assert (code, key["state"], key["fingerprint"]) == (0, "unknown", openssh.fingerprint)
    assert not os.path.exists(known_hosts)
    code, key = trust(where, "--known-hosts", known_hosts)  # nobody says yes
    assert (code, key["state"]) == (13, "unknown")
    wrong = "SHA256:" + "A" * 43
    code, key = trust(where, "--known-hosts", known_hosts, "--fingerprint", wrong)
    assert (code, key["state"]) == (13, "refused")
    assert not os.path.exists(known_hosts)
    good = ["--known-hosts", known_hosts, "--fingerprint", openssh.fingerprint]
    code, key = trust(where, *good)
    assert (code, key["state"]) == (0, "pinned")
    if os.name == "posix":
        assert os.stat(known_hosts).st_mode & 0o777 == 0o600
    assert trust(where, *good)[1]["state"] == "known"
    with open(known_hosts, encoding="utf-8") as file:
        assert len(file.readlines()) == 1
    report = examine(openssh, remote, "--known-hosts", known_hosts, known=False)
    assert report.exit_code == 0


def test_trust_replaces_only_when_told(openssh: OpenSshServer, tmp_path: pathlib.Path) -> None:
    known_hosts = fake_known_hosts(openssh, tmp_path)
    before = pathlib.Path(known_hosts).read_text()
    options = ["--known-hosts", known_hosts, "--fingerprint", openssh.fingerprint]
    code, key = trust(url(openssh, "/"), *options)
    assert (code, key["state"]) == (13, "changed")
    assert pathlib.Path(known_hosts).read_text() == before
    code, key = trust(url(openssh, "/"), *options, "--replace")
    assert (code, key["state"]) == (0, "pinned")
    lines = pathlib.Path(known_hosts).read_text().splitlines()
    assert [line.split()[0] for line in lines] == [
        "#", "other.example", f"[{openssh.host}]:{openssh.port}",
    ]  # fmt: skip
    assert pathlib.Path(f"{known_hosts}.old").read_text() == before
    report = examine(openssh, "/", "--known-hosts", known_hosts, known=False)
    assert report.checks["identity"]["verdict"] == "ok"


def test_a_person_says_yes(openssh: OpenSshServer, tmp_path: pathlib.Path) -> None:
    """At a terminal it asks, and the default is no."""
    pty = pytest.importorskip("pty")
    known_hosts = str(tmp_path / "known_hosts")
    command = [
        "-P", "-m", "pysubtask", "trust", url(openssh, "/"), "--known-hosts", known_hosts,
    ]  # fmt: skip
    for answer, code in ((b"\n", 13), (b"y\n", 0)):
        main, side = pty.openpty()
        with ExitStack() as stack:
            stack.callback(os.close, main)
            import sys

            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=side, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(process.kill)
            os.close(side)
            os.write(main, answer)
            output, _ = process.communicate(timeout=60)
        assert process.returncode == code, output
        assert b"Is that the fingerprint of your server?" in output
        assert os.path.exists(known_hosts) == (code == 0)
