"""Where a page's examples run: a folder of their own, and real servers in the places of
``collector.example`` and of Dropbox."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.docs.blocks import Block
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer
from tests.servers.openssh import OpenSshServer

LIMIT_SECS = 90.0
ENDLESS = ("--follow", "--watch", "pysubtask run", "pysubtask-monitor serve")
ENDLESS_SECS = 4.0
FETCHED = "orders"
INTERRUPTED = (0, 130, -signal.SIGINT)


class Bench:
    """One page's folder.

    Args:
        folder: an empty one.
        fixture: gives a server by the name of its fixture, and skips the test if there is none.
    """

    def __init__(self, folder: pathlib.Path, fixture: Callable[[str], Any]) -> None:
        self.folder = folder / "work"
        self.home = folder / "home"
        self.share = folder / "share"
        for path in (self.folder, self.home, self.share):
            path.mkdir()
        self.incoming: pathlib.Path | None = None
        self._fixture = fixture
        self._replacements: dict[str, str] = {}
        self._background: list[tuple[Block, subprocess.Popen[bytes]]] = []
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYSUBTASK_", "XDG_", "SSH_"))
        }
        beside = str(pathlib.Path(sys.executable).parent)
        self.env |= {
            "HOME": str(self.home),
            "PATH": beside + os.pathsep + self.env.get("PATH", ""),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        self._make_files()

    def _make_files(self) -> None:
        """What a reader of the page would have: files that grow, and folders."""
        for name in ("logs/test1.csv", "logs/raw.dat", "data/a.csv", "data/b.csv", "log.csv"):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("1,2,3\n")
        (self.folder / "service.toml").write_text(
            f'to = "{self.share.as_uri()}"\nwatch = ["logs/test1.csv"]\n'
        )
        for name in ("0000000000000000", "0000000000004711"):  # segments, fetched from a Dropbox
            path = self.folder / "test1.csv.d" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("1,2,3\n")
        (self.folder / "logs/outgoing").mkdir()
        (self.folder / "logs/outgoing/picture.raw").write_bytes(os.urandom(3000))

    # --- servers

    def replace(self, text: str) -> str:
        """The text with names of this machine in the place of the examples'."""
        if "sftp://" in text or "known_hosts" in text:
            self._use_sftp()
        for scheme in ("ftps", "ftp"):
            if re.search(rf"\b{scheme}://edge@", text):
                self._use_ftp(scheme)
        if "dropbox" in text:
            self._use_dropbox()
        text = text.replace("file:///mnt/share", self.share.as_uri())
        text = text.replace("/mnt/share", str(self.share))
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

    def _use_sftp(self) -> None:
        if (self.home / ".ssh").exists():
            return
        server: OpenSshServer = self._fixture("openssh")
        _, self.incoming = server.new_folder()
        (self.incoming / FETCHED).mkdir()  # what pages fetch from
        (self.incoming / FETCHED / "site7.cfg").write_text("rate = 5\n")
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        shutil.copy(server.key_file, ssh / "id_ed25519")
        (ssh / "id_ed25519").chmod(0o600)
        shutil.copy(server.known_hosts, ssh / "known_hosts")
        shutil.copy(server.known_hosts, self.folder / "known_hosts")
        shutil.copy(server.key_file, self.folder / "id_ed25519")
        (self.folder / "id_ed25519").chmod(0o600)
        where = f"sftp://{server.user}@{server.host}:{server.port}"
        for host in ("collector.example", "other.example"):
            self._replacements[f"sftp://edge@{host}/~/"] = f"{where}/~/{self.incoming.name}/"
            self._replacements[f"sftp://edge@{host}/"] = f"{where}{self.incoming}/"
        self._replacements["SHA256:/Q9lGGilik+wrCTvmIcm4/DxaIITqGnDHo+j0LMWzXA"] = (
            server.fingerprint
        )

    def _use_ftp(self, scheme: str) -> None:
        key = f"{scheme}://edge@collector.example/"
        if key in self._replacements:
            return
        server: FtpServer = self._fixture("vsftpd_tls" if scheme == "ftps" else "vsftpd")
        remote, _ = server.new_folder()
        secret = self.folder / "secret"
        secret.mkdir(exist_ok=True)
        (secret / "collector").write_text(server.password + "\n")
        (secret / "collector").chmod(0o600)
        if server.ca_file:
            shutil.copy(server.ca_file, self.folder / "collector-ca.pem")
        self._replacements[key] = (
            f"{scheme}://{server.user}@{server.host}:{server.port}/{remote.strip('/')}/"
        )

    def _use_dropbox(self) -> None:
        if "dropbox:///" in self._replacements:
            return
        server: DropboxServer = self._fixture("dropbox")
        name, _ = server.new_folder()
        self.env |= server.environment()
        self.env["REQUESTS_CA_BUNDLE"] = str(server.ca_file)
        self._replacements["dropbox:///"] = f"dropbox://{name}/"
        self._replacements['dropbox_app_key="…"'] = f'dropbox_app_key="{server.app_key}"'
        token = f'dropbox_refresh_token="{server.refresh_token}", ca_file="{server.ca_file}"'
        self._replacements['dropbox_refresh_token="…"'] = token
        saved = self.folder / "dropbox.toml"
        saved.write_text(
            f'[settings]\ndropbox_app_key = "{server.app_key}"\n'
            f'dropbox_refresh_token = "{server.refresh_token}"\nca_file = "{server.ca_file}"\n'
        )
        saved.chmod(0o600)

    # --- running

    def run(self, block: Block) -> None:
        """Run a block of Python or of commands, as its comment says."""
        text = self.replace(block.text)
        if block.word == "file":
            path = self.folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            return
        if block.word == "lines":
            for line in text.splitlines():
                words = line.partition("  #")[0].strip()
                if words and not words.startswith("#"):
                    endless = any(one in words for one in ENDLESS)
                    until = None
                    if "pysubtask run" in words:
                        until = self._has_arrived
                    elif "pysubtask pull" in words and endless:
                        until = self._is_fetched
                    self._call(
                        block,
                        ["bash", "-c", f"exec {words}" if endless else words],
                        ENDLESS_SECS if endless else None,
                        until=until,
                    )
            return
        if block.language == "python":
            name = f"block{block.line}.py"
            (self.folder / name).write_text(text, "utf-8")
            command = [sys.executable, "-W", "error", name]
        else:
            command = ["bash", "-euo", "pipefail", "-c", text]
        if block.word == "background":
            self._background.append((block, self._start(command)))
            time.sleep(3)  # what comes next looks at it
        elif block.word == "answers":
            self._answer(block, command)
        else:
            secs = float(block.value) if block.word == "secs" else None
            self._call(block, command, secs)

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.STDOUT)
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, start_new_session=True, **options
        )

    def _has_arrived(self) -> bool:
        """Something is at a destination: a service does what it is for."""
        places = [place for place in (self.share, self.incoming) if place is not None]
        found = (path for place in places for path in place.rglob("*") if path.is_file())
        return any(path.parent.name != FETCHED for path in found)

    def _is_fetched(self) -> bool:
        return (self.folder / "inbox" / "site7.cfg").exists()

    def _call(
        self,
        block: Block,
        command: list[str],
        interrupt_secs: float | None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        wanted = (int(block.value),) if block.word == "fails" else (0,)
        process = self._start(command)
        if interrupt_secs is not None:
            wanted = INTERRUPTED
            if until is not None:
                wanted = (0,) if until == self._has_arrived else INTERRUPTED  # a graceful stop
                limit = time.monotonic() + LIMIT_SECS
                while not until() and process.poll() is None and time.monotonic() < limit:
                    time.sleep(0.1)
                assert until(), f"{block}: nothing arrives"
            time.sleep(interrupt_secs)
            assert process.poll() is None, f"{block}: ended by itself\n{_rest_of(process)}"
            _interrupt(process)
        output = _rest_of(process)
        shown = shlex.join(command)
        assert process.returncode in wanted, f"{block}: {process.returncode}\n{shown}\n{output}"

    def _answer(self, block: Block, command: list[str]) -> None:
        import pty

        ours, theirs = pty.openpty()
        process = self._start(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.write(ours, block.value.encode() + b"\n")
        output = b""
        with contextlib.suppress(OSError):  # EIO: all of it is read
            while part := os.read(ours, 65_536):
                output += part
        os.close(ours)
        process.wait(LIMIT_SECS)
        assert process.returncode == 0, f"{block}: {process.returncode}\n{output.decode()}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Bench]:
        """At the end what runs in the background is interrupted, as by Ctrl-C, and reaped."""
        try:
            yield self
            for block, process in self._background:
                assert process.poll() is None, f"{block}: ended by itself\n{_rest_of(process)}"
                _interrupt(process)
                output = _rest_of(process)
                assert process.returncode in INTERRUPTED, f"{block}\n{output}"
        finally:
            for _, process in self._background:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
                if process.stdout is not None:
                    process.stdout.close()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C goes to the whole group of a terminal's foreground."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def _rest_of(process: subprocess.Popen[bytes]) -> str:
    try:
        output, _ = process.communicate(timeout=LIMIT_SECS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=10)
        output += b"\n(killed: it did not end)"
    return (output or b"").decode("utf-8", "replace")
