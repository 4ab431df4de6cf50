"""The SFTP server that ``demo.py`` delivers to if nobody names another one."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["OwnServer"]


class OwnServer:
    """An SFTP server on loopback, in a thread of this process: it can't outlive the demo.

    One user with a random password, confined to a temporary folder; no shell, no forwarding, no
    links (a link could lead out of the folder).
    """

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="pysubtask-demo-"))
        self.files = self.base / "server"
        self.files.mkdir()
        self.user = "demo"
        self.password = secrets.token_urlsafe(16)
        self.port = 0
        self.is_up = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._prepare()
            self.up()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        import asyncssh

        logging.getLogger("asyncssh").setLevel(logging.CRITICAL)  # cut links are part of the show
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.fingerprint: str = key.get_fingerprint()
        self._connections: set[Any] = set()
        outer = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                self._conn = conn
                outer._connections.add(conn)

            def connection_lost(self, exc: Exception | None) -> None:
                outer._connections.discard(self._conn)

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                given = f"{username}\0{password}".encode()
                return hmac.compare_digest(given, f"{outer.user}\0{outer.password}".encode())

        class Confined(asyncssh.SFTPServer):
            def __init__(self, chan: Any) -> None:
                super().__init__(chan, chroot=os.fsencode(outer.files))

            def symlink(self, oldpath: bytes, newpath: bytes) -> None:
                raise asyncssh.SFTPPermissionDenied("links are not allowed here")

            link = symlink

        async def listen() -> Any:
            return await asyncssh.listen(
                "127.0.0.1",
                self.port,
                server_factory=Door,
                server_host_keys=[key],
                sftp_factory=Confined,
                agent_forwarding=False,
                x11_forwarding=False,
            )

        self._listen = listen

    def up(self) -> None:
        """Listen; the first time on a port that the kernel picks."""
        self._acceptor = self._run(self._listen())
        self.port = self._acceptor.get_port()
        self.is_up = True

    def down(self) -> None:
        """Stop listening and cut every connection."""

        async def cut() -> None:
            self._acceptor.close()
            for connection in list(self._connections):
                connection.abort()

        self._run(cut())
        self.is_up = False

    def close(self) -> None:
        """End the server and remove its folder."""

        async def drop_the_rest() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=2)

        if self.is_up:
            with suppress(Exception):
                self.down()
        with suppress(Exception):
            self._run(drop_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def url(self, path: str) -> str:
        """Of something in its folder."""
        return f"sftp://{self.user}@127.0.0.1:{self.port}/{path}"

    def settings(self) -> dict[str, Any]:
        """How to reach it, for a master. The state goes with the server's folder."""
        return {
            "to": self.url("incoming"),
            "password": self.password,
            "host_key": self.fingerprint,
            "bak_to_folder": str(self.base / "state"),
            "orphan_secs": 2,  # should the demo be killed, its server is gone as well
        }

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
