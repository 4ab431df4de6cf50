"""The system's real ``sshd`` with ``internal-sftp``, on loopback, with its own keys and config."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.servers.processes import Child, ServerMissing, find_program, free_port
from tests.servers.users import add_user, remove_user

__all__ = ["OpenSshServer"]


class OpenSshServer:
    """``with OpenSshServer() as server:``: a real SFTP server, reaped at the end.

    The user who runs the tests logs in with :attr:`key_file`. With ``password=True`` a throw-away
    system user is made (by ``useradd``, so only root can), who logs in as :attr:`password_user`
    with :attr:`password`; both see :attr:`root`.

    Args:
        denied: SFTP requests that the server refuses, as ``internal-sftp -P`` takes them.
        read_only: nothing can be changed (``internal-sftp -R``).
        password: a user with a password is wanted.
        key_types: host keys, the first one being :attr:`fingerprint`'s.
        config: more lines for ``sshd_config``.

    Attributes:
        host, port: where it listens.
        user: logs in by key.
        root: the folder for the test's files; writable for every user of this server.
        base: its parent, with keys, config and log.
        fingerprint: ``SHA256:…`` of the first host key.
        known_hosts: a file that knows all host keys.
        key_file: the client's private key, without passphrase.
    """

    def __init__(
        self,
        *,
        denied: Sequence[str] = (),
        read_only: bool = False,
        password: bool = False,
        key_types: Sequence[str] = ("ed25519",),
        config: Sequence[str] = (),
    ) -> None:
        self._denied = list(denied)
        self._read_only = read_only
        self._wants_password = password
        self._key_types = list(key_types)
        self._config = list(config)
        self._child: Child | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self.user = getpass.getuser()
        self.password_user: str | None = None
        self.password = secrets.token_urlsafe(12)

    def __enter__(self) -> OpenSshServer:
        sshd = find_program("sshd", "/usr/sbin", "/usr/local/sbin")
        self._keygen = find_program("ssh-keygen")
        if self._wants_password and (os.geteuid() != 0 or shutil.which("useradd") is None):
            raise ServerMissing("sshd with a password (needs root and useradd)")
        # Not pytest's folder: that one is closed to other users.
        self.base = Path(tempfile.mkdtemp(prefix="pysubtask-sshd-"))
        try:
            self.base.chmod(0o755)
            self.root = self.base / "root"
            self.root.mkdir()
            self.root.chmod(0o777)
            if self._wants_password:
                self.password_user = f"pst{secrets.token_hex(4)}"
                add_user(self.password_user, self.root, self.password)
            self._make_keys()
            self.start(sshd)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.password_user is not None:
            _end_processes_of(self.password_user)
            remove_user(self.password_user)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, sshd: str | None = None) -> None:
        """Start the server; again on the same port after :meth:`stop`."""
        program = sshd or find_program("sshd", "/usr/sbin", "/usr/local/sbin")
        if os.geteuid() == 0:  # where sshd confines itself before the login
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.port = self.port or free_port()
        config = self.base / "sshd_config"
        config.write_text("\n".join(self._config_lines()) + "\n")
        command = [program, "-D", "-e", "-f", str(config)]
        self._child = Child(command, self.base / "sshd.log")
        self._child.wait_for_port(self.port)

    def stop(self) -> None:
        """End the server and its sessions. They are in groups of their own: found by descent."""
        if self._child is None:
            return
        family = self.session_pids()
        self._child.stop()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._child = None

    def session_pids(self) -> list[int]:
        """Processes of the sessions that are open now."""
        assert self._child is not None
        try:
            return [child.pid for child in psutil.Process(self._child.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_sessions(self) -> int:
        """Kill all sessions, the server itself stays; how many processes were hit."""
        return self.signal_sessions(signal.SIGKILL)

    def signal_sessions(self, number: int) -> int:
        """Send a signal (SIGSTOP, SIGCONT, SIGKILL) to the processes of all sessions."""
        pids = self.session_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(pids)

    def new_folder(self) -> tuple[str, Path]:
        """A fresh folder that every user may write to: the server's and this machine's name."""
        path = Path(tempfile.mkdtemp(dir=self.root))
        path.chmod(0o777)
        return str(path), path

    def log(self) -> str:
        return (self.base / "sshd.log").read_text("utf-8", "replace")

    def new_host_key(self) -> str:
        """Give the server another host key (after a restart), as a reinstalled machine has; the
        old ``known_hosts`` stays. Returns the new fingerprint."""
        for kind in self._key_types:
            for suffix in ("", ".pub"):
                (self.base / f"host_{kind}{suffix}").unlink()
            self._generate(f"host_{kind}", kind)
        self.stop()
        self.start()
        self.fingerprint = self._fingerprint(f"host_{self._key_types[0]}.pub")
        return self.fingerprint

    def fingerprint_of(self, key_type: str) -> str:
        return self._fingerprint(f"host_{key_type}.pub")

    def _config_lines(self) -> list[str]:
        sftp = "internal-sftp" + (" -R" if self._read_only else "")
        if self._denied:
            sftp += " -P " + ",".join(self._denied)
        return [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            *(f"HostKey {self.base}/host_{kind}" for kind in self._key_types),
            f"PidFile {self.base}/sshd.pid",
            f"AuthorizedKeysFile {self.base}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PubkeyAuthentication yes",
            f"PasswordAuthentication {'yes' if self._wants_password else 'no'}",
            "KbdInteractiveAuthentication no",
            "PrintMotd no",
            # Tests open many connections at once.
            "MaxStartups 100",
            "LogLevel VERBOSE",
            f"Subsystem sftp {sftp} -d {self.root}",
            *self._config,
        ]

    def _make_keys(self) -> None:
        for kind in self._key_types:
            self._generate(f"host_{kind}", kind)
        self._generate("client", "ed25519")
        self.key_file = str(self.base / "client")
        authorized = self.base / "authorized_keys"
        authorized.write_bytes((self.base / "client.pub").read_bytes())
        authorized.chmod(0o644)
        self.fingerprint = self._fingerprint(f"host_{self._key_types[0]}.pub")

    @property
    def known_hosts(self) -> str:
        """A ``known_hosts`` file with this server's keys; written when first asked for."""
        path = self.base / "known_hosts"
        if not path.exists():
            lines = []
            for kind in self._key_types:
                key_type, key, *_ = (self.base / f"host_{kind}.pub").read_text().split()
                lines.append(f"[{self.host}]:{self.port} {key_type} {key}\n")
            path.write_text("".join(lines))
        return str(path)

    def _generate(self, name: str, kind: str, passphrase: str = "") -> None:
        size = ["-b", "2048"] if kind == "rsa" else []
        subprocess.run(
            [self._keygen, "-q", "-t", kind, *size, "-N", passphrase, "-f", str(self.base / name)],
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def client_key(self, passphrase: str = "", kind: str = "ed25519") -> str:
        """A further private key that the server accepts; returns its path."""
        name = f"client_{secrets.token_hex(4)}"
        self._generate(name, kind, passphrase)
        with (self.base / "authorized_keys").open("ab") as file:
            file.write((self.base / f"{name}.pub").read_bytes())
        return str(self.base / name)

    def _fingerprint(self, name: str) -> str:
        shown = subprocess.run(
            [self._keygen, "-l", "-E", "sha256", "-f", str(self.base / name)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return shown.stdout.split()[1]


def _end_processes_of(user: str) -> None:
    uid = pwd.getpwnam(user).pw_uid
    for process in psutil.process_iter(["uids"]):
        uids = process.info["uids"]
        if uids is not None and uids.real == uid:
            with contextlib.suppress(psutil.Error):
                process.kill()
