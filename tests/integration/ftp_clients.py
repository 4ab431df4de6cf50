"""A transport connected to a real FTP server, for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pysubtask.errors import (
    RemoteError,
)
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Secret
from pysubtask.transports.contract import (
    Request,
    Result,
)
from pysubtask.transports.ftp.client import FtpTransport
from pysubtask.transports.ftp.login import FtpConnector
from tests.servers.ftp import FtpServer
from tests.servers.ftplink import FtpLink


def connector(server: FtpServer, **options: Any) -> FtpConnector:
    given: dict[str, Any] = {
        "user": server.user,
        "password": Secret(server.password),
        "tls": server.tls,
        "ca_file": server.ca_file or None,
        **options,
    }
    end = given.pop("at", server)
    return FtpConnector(given.pop("host", end.host), end.port, RealClock(), **given)


class Client:
    """A connected transport for one folder."""

    def __init__(self, server: FtpServer, folder: str, **options: Any) -> None:
        memory = options.pop("memory", server.memory)
        consumed = options.pop("consumed", False)
        self.transport = FtpTransport(
            connector(server, **options),
            RealClock(),
            folder=folder,
            client_id="0a1b2c3d",
            consumed=consumed,
            memory=memory,
        )
        self.transport.connect()

    def do(self, *requests: Request) -> list[Result]:
        for number, request in enumerate(requests):
            self.transport.submit(number, request)
        found: dict[int, Result] = {}
        while len(found) < len(requests):
            found.update(self.transport.collect())
        return [found[number] for number in range(len(requests))]

    def ask(self, request: Request) -> Result:
        (result,) = self.do(request)
        if isinstance(result, RemoteError):
            raise result
        return result

    def close(self) -> None:
        self.transport.close()


@contextmanager
def client_of(server: FtpServer, **options: Any) -> Iterator[tuple[Client, str, Path]]:
    remote, folder = server.new_folder()
    with closing(Client(server, remote, **options)) as client:
        yield client, remote, folder


def wait_until_quiet(way: FtpLink) -> None:
    """What is still on its way has been counted."""
    seen = -1
    while (now := way.bytes_up + way.bytes_down) != seen:
        seen = now
        time.sleep(0.1)
