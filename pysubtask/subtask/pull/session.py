"""What the jobs of one connection have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from pysubtask.core.flow import Window
from pysubtask.core.pull import HEAD_BYTES, Growth, Mark, Pulled, print_of, tail_start
from pysubtask.errors import RemoteError
from pysubtask.subtask.delivery.engine import Step, flight
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.telling import Telling
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.transports.contract import Capabilities, Read, RemoteStat

__all__ = ["Changed", "Session", "Steps", "mark_of"]

Steps = Generator[Step, Any, None]


class Changed(RemoteError):
    """It became another file while it was read; it is looked at again."""


def mark_of(st: RemoteStat) -> Mark:
    """What the server told, as the journal keeps it."""
    return Mark(st.size, st.mtime, st.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One connection to one source."""

    can: Capabilities
    """What the server can do."""
    window: Window
    journal: RecordLog[Pulled]
    places: Places
    """The folder that the files go to."""
    telling: Telling
    log: logging.Logger
    growth: Growth
    """What the program promised of the files."""
    token_hex: Callable[[], str]
    """16 hex digits for a temporary name, which begin with the journal's id."""
    now: Callable[[], float]
    """Unix seconds."""
    moved: Callable[[int], None]
    """Called with each number of bytes that came."""
    believed: bool
    """False after a loss of power: what was not on the disk for sure is not."""

    def entry(self, path: str) -> Pulled:
        """What is known of a file; it is known."""
        entry = self.journal.get(path)
        assert entry is not None
        return entry

    def update(self, path: str, change: Callable[[Pulled], Pulled]) -> Pulled:
        """Note something of a file.

        Raises:
            OSError: it can't be written.
        """
        return self.journal.update(path, change)

    def chunk_bytes(self) -> int:
        """How much one request may move."""
        return self.window.chunk_bytes(self.can.max_read_bytes)

    def read_range(self, name: str, start: int, length: int) -> Generator[Step, Any, bytes]:
        """Some bytes of a remote file; fewer only at its end."""
        chunk = self.chunk_bytes()
        requests = [
            Read(name, at, min(chunk, start + length - at))
            for at in range(start, start + length, chunk)
        ]
        return b"".join((yield from self.read_all(*requests)))

    def read_all(self, *requests: Read) -> Generator[Step, Any, list[bytes]]:
        """Several parts in one flight.

        Raises:
            RemoteError: the server refused one.
        """
        results = yield from flight(*requests)
        for result in results:
            if isinstance(result, RemoteError):
                raise result
        self.moved(sum(len(part) for part in results))
        return results

    def read_prints(self, name: str, size: int) -> Generator[Step, Any, tuple[str, str]]:
        """The prints of the first ``size`` bytes of a remote file."""
        start = tail_start(size)
        head, tail = yield from self.read_all(
            Read(name, 0, min(HEAD_BYTES, size)), Read(name, start, size - start)
        )
        return print_of(head), print_of(tail)
