"""SFTP clients of the tests: connected, and waited for."""

from __future__ import annotations

import os
import threading
import time

import psutil

from pysubtask.seams.clock import RealClock
from pysubtask.transports.contract import Result
from pysubtask.transports.sftp.channel import Connector
from pysubtask.transports.sftp.client import SftpTransport
from pysubtask.transports.sftp.process import ProcessConnector
from pysubtask.transports.sftp.ssh import SshConnector
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer

__all__ = ["Client", "by_key", "by_ssh", "programs"]


def programs() -> list[str]:
    """The programs that ``ssh_command`` has started and that still run."""
    names = [child.name() for child in psutil.Process().children() if child.is_running()]
    return [name for name in names if name in ("sh", "ssh", "sleep")]


class Client:
    """A connected transport and what is needed to wait for it."""

    def __init__(self, connector: Connector, **options: float) -> None:
        self.news = threading.Event()
        self.transport = SftpTransport(connector, RealClock(), wake=self.news.set, **options)  # type: ignore[arg-type]
        self.transport.connect()

    def results(self, count: int, limit_secs: float = 30.0) -> dict[int, Result]:
        found: dict[int, Result] = {}
        deadline = time.monotonic() + limit_secs
        while len(found) < count and time.monotonic() < deadline:
            self.news.clear()
            before = len(found)
            found.update(self.transport.collect())
            if len(found) == before:
                self.news.wait(0.05)
        assert len(found) == count
        return found

    def do(self, *requests: object) -> list[Result]:
        for number, request in enumerate(requests):
            self.transport.submit(number, request)  # type: ignore[arg-type]
        found = self.results(len(requests))
        return [found[number] for number in range(len(requests))]

    def close(self) -> None:
        self.transport.close()


def by_key(server: OpenSshServer | RcloneServer | TcpProxy, **options: object) -> SshConnector:
    target = options.pop("at", server)
    settings: dict[str, object] = {
        "user": server.user,  # type: ignore[union-attr]
        "key_file": server.key_file,  # type: ignore[union-attr]
        "host_key": server.fingerprint,  # type: ignore[union-attr]
        **options,
    }
    return SshConnector(target.host, port=target.port, **settings)  # type: ignore[arg-type, attr-defined]


def by_ssh(server: OpenSshServer, *options: str, port: int | None = None) -> ProcessConnector:
    command = (
        f"ssh -F {os.devnull} -o BatchMode=yes -o IdentitiesOnly=yes -i {server.key_file}"
        f" -o UserKnownHostsFile={server.known_hosts} {' '.join(options)}"
    )
    return ProcessConnector(command, server.host, user=server.user, port=port or server.port)
