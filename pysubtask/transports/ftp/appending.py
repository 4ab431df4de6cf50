"""Growing a file with APPE, where the server can't write at an offset.

APPE adds at the end, whatever that is when the server gets to it. Bytes of a connection that broke
may still be on their way into the file, and would be there twice. So after a break a file is
appended to only when its size was the same twice, 10 s apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.seams.clock import Clock
from pysubtask.transports.ftp.files import Files
from pysubtask.transports.ftp.transfers import Transfers

__all__ = ["QUIET_SECS", "Appending", "Quiet"]

QUIET_SECS = 10.0
_MAX_NAMES = 20_000


@dataclass(slots=True)
class Quiet:
    """Which files are known to hold still; outlives the connections of a process."""

    secs: float = QUIET_SECS
    """How long a file has to hold still; 0: not at all (for tests)."""
    settled: set[str] = field(default_factory=set)
    """The last write to them was acknowledged."""
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Others: the size that was seen, and when (monotonic seconds)."""


class Appending:
    """Writes at the end of files, over one session."""

    def __init__(
        self, transfers: Transfers, files: Files, clock: Clock, quiet: Quiet, *, readable: bool
    ) -> None:
        self._transfers = transfers
        self._files = files
        self._clock = clock
        self._quiet = quiet
        self._readable = readable

    def begin(self, path: str, data: memoryview) -> int:
        """A new temporary file; what was there goes."""
        self.unsettle(path)
        sent = self._transfers.store(path, data)
        self.settle(path)
        return sent

    def write(self, path: str, offset: int, data: memoryview, size: int, *, temp: bool) -> int:
        """Have ``data`` at ``offset`` of a file that has ``size`` bytes, no fewer than ``offset``.

        Raises:
            RemoteError: it can't be, or not yet; RemoteNotFound: the temporary file was no good
                and is gone.
        """
        there = min(size - offset, len(data))
        if there and self._readable:
            found = self._transfers.fetch(path, offset, there)
            if found != data[:there]:
                if temp:
                    self._files.remove(path)
                    raise RemoteNotFound("it was damaged; removed", operation="write", path=path)
                raise RemoteError(
                    "its bytes differ from ours, and the server can't write over them",
                    operation="write",
                    path=path,
                )
        if there == len(data):
            return there
        self._check_quiet(path, size)
        self.unsettle(path)
        sent = self._transfers.store(path, data[there:], append=True)
        self.settle(path)
        return there + sent

    def renamed(self, path: str, target: str) -> None:
        """What is known of a file holds under its new name."""
        if path in self._quiet.settled:
            self.unsettle(path)
            self.settle(target)
        else:
            self.unsettle(target)

    def unsettle(self, path: str) -> None:
        """A write to it begins: how it held still before says nothing any more."""
        self._quiet.settled.discard(path)
        self._quiet.seen.pop(path, None)

    def settle(self, path: str) -> None:
        """A write to it was acknowledged: nothing of it can still arrive."""
        if len(self._quiet.settled) >= _MAX_NAMES:
            self._quiet.settled.clear()  # they wait once more
        self._quiet.settled.add(path)
        self._quiet.seen.pop(path, None)

    def _check_quiet(self, path: str, size: int) -> None:
        if path in self._quiet.settled or not self._quiet.secs:
            return
        now = self._clock.monotonic()
        before = self._quiet.seen.get(path)
        if before is not None and before[0] == size and now - before[1] >= self._quiet.secs:
            return
        if before is None or before[0] != size:
            if len(self._quiet.seen) >= _MAX_NAMES:
                self._quiet.seen.clear()
            self._quiet.seen[path] = size, now
        raise RemoteError(
            f"it is appended to when its size has held still for {self._quiet.secs:.0f} s, since "
            "what an earlier connection sent may still arrive",
            operation="append to",
            path=path,
        )
