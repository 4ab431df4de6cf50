"""FTP servers: vsftpd, ProFTPD and pyftpdlib, on loopback, with their own configuration.

vsftpd and ProFTPD need root, for the users that they serve. pyftpdlib runs as anybody, in a process
of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

from pysubtask.transports.ftp.client import Memory
from tests.servers.certificates import make_certificates
from tests.servers.processes import Child, ServerMissing, find_program, free_port
from tests.servers.users import add_user, remove_user

__all__ = ["FtpServer", "Proftpd", "Pyftpd", "Vsftpd"]

_ROOT = Path(__file__).parent.parent.parent
Tls = Literal["off", "explicit", "implicit"]


class FtpServer:
    """``with Vsftpd(tls="explicit") as server:``

    Args:
        tls: ``explicit``: login and data only with TLS, data connections only with the session of
            the control connection, where the server can ask for that.
        config: more lines for its configuration (pyftpdlib: attributes of its handler, as
            ``name=JSON``).

    Attributes:
        host, port: where it listens.
        user, password: a login; the login folder is :attr:`root`.
        root: the folder for the test's files; writable for the server's user.
        ca_file: the authority to trust.
        handles_raw_names: names that are not UTF-8 pass unharmed.
        is_mute_when_full: once it can't write it never answers.
        is_root: its sessions work as the user who runs the tests, not as one of their own.
    """

    name = ""
    handles_raw_names = True
    is_root = False
    is_mute_when_full = False

    def __init__(self, *, tls: Tls = "off", config: Sequence[str] = ()) -> None:
        self.tls = tls
        self._config = list(config)
        self._child: Child | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self.user = f"pst{secrets.token_hex(4)}"
        self.password = secrets.token_urlsafe(12)
        self.memory = Memory()
        """What transports learn of it, for those that share it."""

    def __enter__(self) -> FtpServer:
        self._find()
        self.base = Path(tempfile.mkdtemp(prefix=f"pysubtask-{self.name}-"))
        try:
            self.base.chmod(0o755)
            self.root = self.base / "root"
            self.root.mkdir()
            self.root.chmod(0o777)
            self.ca_file = ""
            if self.tls != "off":
                authority, self._certificate, self._key = make_certificates(self.base)
                self.ca_file = str(authority)
            self._add_user()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._remove_user()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def url(self) -> str:
        """Of the login folder, with the login, ending in a slash."""
        scheme = "ftp" if self.tls == "off" else "ftps"
        return f"{scheme}://{self.user}:{self.password}@{self.host}:{self.port}/"

    def start(self) -> None:
        """Start it; again on the same port after :meth:`stop`."""
        self.port = self.port or free_port()
        self._child = Child(self._command(), self.base / "server.out")
        self._child.wait_for_port(self.port, host=self.host)

    def stop(self) -> None:
        """End it and its sessions."""
        if self._child is not None:
            self.kill_sessions()
            self._child.stop()
            self._child = None

    def session_pids(self) -> list[int]:
        """Processes of the sessions that are open now; none where they are threads."""
        if self._child is None:
            return []
        try:
            return [child.pid for child in psutil.Process(self._child.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_sessions(self) -> int:
        """Kill all sessions, the server itself stays; how many processes were hit."""
        pids = self.session_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        return len(pids)

    def new_folder(self) -> tuple[str, Path]:
        """A fresh folder: as the server (below the login folder) and as this machine name it."""
        path = Path(tempfile.mkdtemp(dir=self.root))
        path.chmod(0o777)
        return path.name, path

    def log(self) -> str:
        """What it wrote, to its output and to its log."""
        found = [self.base / "server.out", self.base / "server.log"]
        return "\n".join(path.read_text("utf-8", "replace") for path in found if path.exists())

    def _find(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _add_user(self) -> None:
        pass

    def _remove_user(self) -> None:
        pass


class Vsftpd(FtpServer):
    """vsftpd: no MLST; SIZE and MDTM; hidden names only with ``LIST -a``; one word for all
    troubles. With TLS it asks for the session to be reused (``require_ssl_reuse``)."""

    name = "vsftpd"

    def _find(self) -> None:
        self._program = find_program("vsftpd", "/usr/sbin", "/usr/local/sbin")
        if os.geteuid() != 0 or shutil.which("useradd") is None:
            raise ServerMissing("vsftpd (needs root and useradd)")
        self._user_made = False

    def _command(self) -> list[str]:
        path = self.base / "vsftpd.conf"
        path.write_text("\n".join(self._lines()) + "\n")
        return [self._program, str(path)]

    def _lines(self) -> list[str]:
        (self.base / "empty").mkdir(exist_ok=True)
        lines = [
            "listen=YES",
            "background=NO",
            f"listen_address={self.host}",
            f"listen_port={self.port}",
            "local_enable=YES",
            "anonymous_enable=NO",
            "write_enable=YES",
            "local_umask=022",
            "nopriv_user=nobody",
            f"secure_chroot_dir={self.base}/empty",
            "pam_service_name=vsftpd",
            # not to be had inside of containers
            "seccomp_sandbox=NO",
            "isolate=NO",
            "isolate_network=NO",
            "log_ftp_protocol=YES",
            f"vsftpd_log_file={self.base}/server.log",
            "xferlog_enable=YES",
            "delay_failed_login=0",
            "delay_successful_login=0",
            "connect_from_port_20=NO",
        ]
        if self.tls != "off":
            lines += [
                "ssl_enable=YES",
                f"implicit_ssl={'YES' if self.tls == 'implicit' else 'NO'}",
                "force_local_logins_ssl=YES",
                "force_local_data_ssl=YES",
                "require_ssl_reuse=YES",
                "ssl_ciphers=HIGH",
                f"rsa_cert_file={self._certificate}",
                f"rsa_private_key_file={self._key}",
            ]
        return lines + self._config

    def _add_user(self) -> None:
        self._user_made = True
        add_user(self.user, self.root, self.password)

    def _remove_user(self) -> None:
        if self._user_made:
            remove_user(self.user)


class Proftpd(FtpServer):
    """ProFTPD with mod_facts (MLST), and mod_tls where it is asked for.

    Args:
        restartable: ``AllowStoreRestart``, which is off by default: then neither REST + STOR nor
            APPE are to be had.
    """

    name = "proftpd"

    def __init__(
        self, *, tls: Tls = "off", config: Sequence[str] = (), restartable: bool = True
    ) -> None:
        super().__init__(tls=tls, config=config)
        self._restartable = restartable

    def _find(self) -> None:
        self._program = find_program("proftpd", "/usr/sbin", "/usr/local/sbin")
        find_program("openssl")
        if os.geteuid() != 0:
            raise ServerMissing("proftpd (needs root)")
        if self.tls != "off" and not Path("/usr/lib/proftpd/mod_tls.so").exists():
            raise ServerMissing("proftpd's mod_tls")

    def _command(self) -> list[str]:
        path = self.base / "proftpd.conf"
        path.write_text("\n".join(self._lines()) + "\n")
        return [self._program, "--nodaemon", "--config", str(path)]

    def _lines(self) -> list[str]:
        lines = [
            *(["LoadModule mod_tls.c"] if self.tls != "off" else []),
            'ServerName "test"',
            "ServerType standalone",
            f"DefaultAddress {self.host}",
            f"Port {self.port}",
            "SocketBindTight on",
            "UseIPv6 off",
            "UseReverseDNS off",
            "User nobody",
            "Group nogroup",
            "RequireValidShell off",
            "AuthOrder mod_auth_file.c",
            f"AuthUserFile {self.base}/passwd",
            f"AuthGroupFile {self.base}/group",
            "DefaultRoot ~",
            "AllowOverwrite on",
            f"AllowStoreRestart {'on' if self._restartable else 'off'}",
            "AllowRetrieveRestart on",
            "MaxInstances 100",
            "TimesGMT on",
            "WtmpLog off",
            f"PidFile {self.base}/pid",
            "ScoreboardFile none",  # its lock costs up to 0.4 s per session
            f"DelayTable {self.base}/delay",
            "DelayEngine off",
            f"SystemLog {self.base}/server.log",
            "TransferLog none",
        ]
        if self.tls != "off":
            lines += [
                "TLSEngine on",
                "TLSRequired on",
                f"TLSECCertificateFile {self._certificate}",
                f"TLSECCertificateKeyFile {self._key}",
                f"TLSLog {self.base}/tls.log",
                *(["TLSOptions UseImplicitSSL"] if self.tls == "implicit" else []),
            ]
        return lines + self._config

    def _add_user(self) -> None:
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],
            input=self.password,
            text=True,
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout.strip()
        passwd = self.base / "passwd"
        passwd.write_text(f"{self.user}:{hashed}:65534:65534::{self.root}:/bin/sh\n")
        group = self.base / "group"
        group.write_text("nogroup:x:65534:\n")
        for path in (passwd, group):
            path.chmod(0o600)


class Pyftpd(FtpServer):
    """pyftpdlib, in a process of its own.

    Args:
        without: commands that it does not know.
        host: ``::1`` for IPv6.
    """

    name = "pyftpd"
    handles_raw_names = False  # it takes file names for text
    is_root = True

    def __init__(
        self,
        *,
        tls: Tls = "off",
        config: Sequence[str] = (),
        without: Sequence[str] = (),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(tls=tls, config=config)
        self.is_mute_when_full = tls != "off"  # handlers/ftps/ssl.py: an error closes, and no more
        self.host = host
        self._without = list(without)

    def _find(self) -> None:
        try:
            import pyftpdlib  # noqa: F401
        except ImportError:
            raise ServerMissing("pyftpdlib") from None

    def _command(self) -> list[str]:
        given = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "root": str(self.root),
            "tls": self.tls,
            "certificate": str(self._certificate) if self.tls != "off" else None,
            "key": str(self._key) if self.tls != "off" else None,
            "without": self._without,
            "handler": dict(line.split("=", 1) for line in self._config),
        }
        path = self.base / "pyftpd.json"
        path.write_text(json.dumps(given))
        (self.base / "password").write_text(self.password)
        return [sys.executable, str(_ROOT / "tests" / "servers" / "pyftpd_main.py"), str(path)]
