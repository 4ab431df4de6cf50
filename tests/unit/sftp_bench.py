"""A connected SFTP client, its scripted server and its clock."""

from __future__ import annotations

from pysubtask.transports.contract import (
    Request,
    Result,
)
from pysubtask.transports.sftp.client import SftpTransport
from tests.servers import scripted as s
from tests.servers.scripted import OPENSSH_EXTENSIONS, ManualClock, ScriptedServer, Sent

__all__ = ["GO_EXTENSIONS", "Bench", "kinds"]

GO_EXTENSIONS = (
    (b"hardlink@openssh.com", b"1"),
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
)


class Bench:
    """A connected client, its server and its clock."""

    def __init__(
        self, extensions: tuple[tuple[bytes, bytes], ...] = OPENSSH_EXTENSIONS, handles: int = 100
    ) -> None:
        self.clock = ManualClock()
        has_limits = (b"limits@openssh.com", b"1") in extensions
        limit_reply = s.limits(0, open_handles=handles) if has_limits else b""
        self.server = ScriptedServer(self.clock, s.version(extensions), limit_reply)
        self.wakes = 0
        self.client = SftpTransport(self.server, self.clock, wake=self._wake)
        self.client.connect()
        self._ticket = 0

    def _wake(self) -> None:
        self.wakes += 1

    def submit(self, *requests: Request) -> None:
        """Tickets count from 1."""
        for request in requests:
            self._ticket += 1
            self.client.submit(self._ticket, request)

    def collect(self) -> dict[int, Result]:
        return dict(self.client.collect())

    def sent(self) -> list[Sent]:
        """What went out with the next ``collect``."""
        assert self.collect() == {}
        return self.server.requests()

    def no_file_systems(self) -> None:
        """Answer what it asks about file systems: that can't be told."""
        for request in self.sent():
            assert (request.name, request.first) == ("EXTENDED", b"statvfs@openssh.com")
            self.server.answer(s.status(request.id, 8))

    def opened(self, name: bytes = b"H") -> None:
        """Answer the one OPEN that is out."""
        (request,) = self.sent()
        assert request.name in ("OPEN", "OPENDIR")
        self.server.answer(s.handle(request.id, name))


def kinds(requests: list[Sent]) -> list[str]:
    return [request.name for request in requests]
