"""ProFTPD as an SFTP server: ``mod_sftp``, login by password."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

from tests.servers.ftp import Proftpd
from tests.servers.processes import ServerMissing, find_program

__all__ = ["ModSftp"]

_MODULE = Path("/usr/lib/proftpd/mod_sftp.so")


class ModSftp(Proftpd):
    """SFTP with ``posix-rename`` and ``fsync`` (1.3.8), without ``limits`` and ``copy-data``.

    Attributes:
        fingerprint: ``SHA256:…`` of its host key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fingerprint = ""

    def _find(self) -> None:
        super()._find()
        self._keygen = find_program("ssh-keygen")
        if not _MODULE.exists():
            raise ServerMissing("proftpd's mod_sftp")

    def _add_user(self) -> None:
        super()._add_user()
        key = self.base / "host"
        # mod_sftp reads PEM; of OpenSSH's own format only what its OpenSSL knows
        subprocess.run(
            [self._keygen, "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-f", str(key)],
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        public = (self.base / "host.pub").read_text().split()[1]
        digest = hashlib.sha256(base64.b64decode(public)).digest()
        self.fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def _lines(self) -> list[str]:
        return [
            "LoadModule mod_sftp.c",
            *super()._lines(),
            "SFTPEngine on",
            f"SFTPHostKey {self.base}/host",
            "SFTPAuthMethods password",
            f"SFTPLog {self.base}/sftp.log",
        ]

    @property
    def url(self) -> str:
        """Of the login folder, with the login, ending in a slash."""
        return f"sftp://{self.user}:{self.password}@{self.host}:{self.port}/"

    def new_folder(self) -> tuple[str, Path]:
        """A fresh folder: as the server (whose root is the login folder) and as this machine name
        it."""
        name, path = super().new_folder()
        return f"/{name}", path
