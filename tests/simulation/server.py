"""An SFTP version 3 server at the level of bytes, in two tempers.

``sequential``, as OpenSSH's ``sftp-server``: one request after another. ``parallel``, as servers on
Go's ``pkg/sftp`` (``packet-manager.go``, ``workerChan``): reads and writes run on workers in any
order, and CLOSE waits for the earlier ones of its handle. With ``ordered_commands`` the other
requests keep their order among themselves, as there; without it they do not: the protocol's draft
promises none, and our rule for sending counts on CLOSE alone.

Sources: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.clock import SimClock
from tests.simulation.packets import ALL_EXTENSIONS, GO_EXTENSIONS
from tests.simulation.remote import RemoteDisk, RemoteFile, RemoteRefusal
from tests.simulation.session import Session

__all__ = ["ALL_EXTENSIONS", "GO_EXTENSIONS", "NO_REPLACE", "ServerKind", "Session", "SimServer"]

NO_REPLACE = tuple(pair for pair in ALL_EXTENSIONS if pair[0] != b"posix-rename@openssh.com")


@dataclass(frozen=True, slots=True)
class ServerKind:
    """What kind of server it is."""

    parallel: bool = False
    ordered_commands: bool = True
    ordered_replies: bool = False
    """Replies leave in the order of the requests, as Go's packet manager sends them."""
    extensions: tuple[tuple[bytes, bytes], ...] = ALL_EXTENSIONS
    acks_short: bool = False
    """A write of which only a part fits is acknowledged."""
    software: str = ""
    """What it calls itself."""
    readable: bool = True
    max_handles: int = 19_995
    calls: str = ""
    """``ftp``, ``sessions``, ``appe``: its clients make calls (:mod:`tests.simulation.calls`,
    :mod:`tests.simulation.appe`); ``folder``: they are the operating system
    (:mod:`tests.simulation.folderos`)."""
    folds_names: bool = False
    """Names that differ in case, or in the form of their letters, are one."""
    cached: bool = False
    """A folder on a mount: the machine that writes keeps back what it has not synced."""
    refuses_late: bool = False
    """What a mount writes back by itself may be refused: it is told once, at a later call."""
    service_ns: int = 0
    """A request takes up to this long; 0: it is done at once (sequential only)."""


class SimServer:
    """The machine that sessions run on."""

    def __init__(
        self,
        clock: SimClock,
        rng: random.Random,
        disk: RemoteDisk,
        kind: ServerKind,
        home: str = "/",
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.disk = disk
        self.kind = kind
        self.home = home
        self.executed = 0
        self.uploads: dict[str, bytearray] = {}
        """Begun by a call and not committed yet, by token."""
        self.cache: dict[RemoteFile, list[tuple[int, bytes]]] = {}
        """What a machine that has mounted it has written and kept back, with the offsets."""
        self.cache_errors: set[RemoteFile] = set()
        """Some of it was refused, which the next sync is to tell (errseq_t, Linux 4.13)."""
        self.write_bytes = 0
        """Payload of all WRITE requests that arrived."""
        self.cut_at = 0
        """Cut the connection when the request of this number is executed (0: never)."""
        self.cut_before = False
        """Cut before it acts, not after it acted and before it answers."""
        self.cut: Callable[[Session], None] = lambda session: None
        self.trace: Callable[[str], None] | None = None
        self.echo: tuple[int, int] | None = None
        """The answer to the request of this number comes once more, so much later (ns)."""
        self.lag: tuple[int, int] | None = None
        """The answer to the request of this number comes so much later (ns)."""
        self.refusal: tuple[int, int] | None = None
        """The request of this number is refused, with this status."""
        self.on_refusal: Callable[[], None] = lambda: None
        """Told of it."""
        self.down_at = 0
        """Instead of executing the request of this number, it goes down (0: never)."""
        self.goes_down: Callable[[], None] = lambda: None
        self.sessions: list[Session] = []

    def begin_request(self) -> None:
        """One more request is executed.

        Raises:
            RemoteRefusal: it is the one that is to be refused.
        """
        if self.executed == self.down_at:
            self.down_at = 0
            self.goes_down()
        if self.refusal is not None and self.executed == self.refusal[0]:
            (_, code), self.refusal = self.refusal, None
            self.on_refusal()
            raise RemoteRefusal(code)

    def go_down(self) -> None:
        """The machine stops: nothing that has arrived is done any more."""
        for session in self.sessions:
            if not session.broken:
                session.hang_up()

    def session(self, reply: Callable[[bytes], None]) -> Session:
        """A new connection; ``reply`` carries bytes back."""
        self.sessions.append(Session(self, reply))
        return self.sessions[-1]
