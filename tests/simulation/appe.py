"""FTP servers that can only append: STOR from the start, APPE at whatever is the end.

What decides when that is safe is the child's own (:mod:`pysubtask.transports.ftp.writing`,
:mod:`~pysubtask.transports.ftp.appending`); below it is the simulated server's disk. When a
connection breaks in the middle of an APPE, some of its bytes may reach the file seconds later.
"""

from __future__ import annotations

import random
from typing import Any

from pysubtask.errors import LinkLost, RemoteError, RemoteNotFound
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import Wake
from pysubtask.transports.ftp.appending import Appending, Quiet
from pysubtask.transports.ftp.trial import Learned
from pysubtask.transports.ftp.writing import Writing
from tests.simulation.calls import CallsTransport
from tests.simulation.clock import Killed
from tests.simulation.network import SimConnector
from tests.simulation.remote import RemoteFile, RemoteRefusal

__all__ = ["AppeTransport"]

_LATE_NS = 9_500_000_000
_LEARNED = Learned(tried=True, appends=True, readable=True)


class AppeTransport(CallsTransport):
    """One session. ``quiet`` outlives the sessions of a process."""

    has_size = True

    def __init__(
        self,
        connector: SimConnector,
        wake: Wake,
        *,
        clock: Clock,
        quiet: Quiet,
        rng: random.Random,
        consumed: bool,
    ) -> None:
        super().__init__(connector, wake)
        self._rng = rng
        us: Any = self  # we are its session, its transfers and its files
        self._appending = Appending(us, us, clock, quiet, readable=True)
        self._writing = Writing(
            us,
            us,
            us,
            self._appending,
            clock,
            _LEARNED,
            scratch=".pysubtask-00000000fffffff",
            consumed=consumed,
        )

    # -- what the contract asks for --------------------------------------------------------------

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        if not data:
            self._writing.make_empty(path, create=create)
        done = 0
        while done < len(data):
            rest = memoryview(data)[done:]
            done += self._writing.store(path, offset + done, rest, create=create)

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        super().rename(path, target, replace=replace)
        self._appending.renamed(path, target)

    # -- what writing asks for -------------------------------------------------------------------

    def size(self, path: str) -> int | None:
        """As SIZE."""
        try:
            found = self.stat(path)
        except RemoteNotFound:
            return None
        return None if found.is_dir else found.size

    def fetch(self, path: str, offset: int, length: int) -> bytes:
        """As RETR after REST."""
        return self.read(path, offset, length)

    def why_not_written(self, error: RemoteError, path: str) -> RemoteError:
        """The simulated server says why."""
        return error

    def store(self, path: str, data: memoryview, *, append: bool = False) -> int:
        """As STOR, or APPE."""
        arrived = False

        def take() -> int:
            nonlocal arrived
            arrived = True
            disk = self._disk
            file = disk.open(path, write=True, create=True, truncate=not append, exclusive=False)
            disk.write(file, len(file.content), bytes(data))
            return len(data)

        self._server.write_bytes += len(data)
        try:
            self._call("write", path, take, len(data))
        except (LinkLost, Killed):
            file = self._disk.files.get(path)
            if append and not arrived and file is not None and self._rng.random() < 0.7:
                some = bytes(data[: self._rng.randrange(len(data) + 1)])
                delay_ns = self._rng.randrange(_LATE_NS)
                self._server.clock.after(delay_ns, lambda: self._trickle_in(file, some))
            raise
        return len(data)

    def _trickle_in(self, file: RemoteFile, data: bytes) -> None:
        """What a broken connection had on its way reaches the open file."""
        if self._server.trace is not None:
            self._server.trace(f"late: {len(data)} bytes at {len(file.content)} of {file.names}")
        try:
            self._disk.write(file, len(file.content), data)
        except RemoteRefusal:
            pass  # nobody is there to be told
