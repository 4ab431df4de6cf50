"""What the jobs of one connection share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.flow import Window
from pysubtask.core.model import Delivered, Entry, Version
from pysubtask.core.plan import Policy, Remote
from pysubtask.errors import RemoteError, RemoteExists
from pysubtask.seams.clock import Clock
from pysubtask.subtask.delivery.allowance import Allowance
from pysubtask.subtask.delivery.engine import Step, flight
from pysubtask.subtask.delivery.lines import LineHold
from pysubtask.subtask.delivery.names import Names
from pysubtask.subtask.store.ledger import Ledger, drop_superseded, record_delivery
from pysubtask.subtask.store.reader import VersionReader
from pysubtask.subtask.store.signatures import Signatures
from pysubtask.subtask.store.sources import Sources
from pysubtask.suffixes import TEMP_PREFIX
from pysubtask.transports.contract import MakeDir, RemoteStat, Stat

__all__ = ["TEMP_PREFIX", "Hooks", "Session", "Steps"]

Steps: TypeAlias = Generator[Step, Any, None]
"""A part of a job that gives nothing back."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a courier needs of its surroundings."""

    is_held: Callable[[str], bool]
    """Whether a burst holds the file back."""
    look_again: Callable[[str], None]
    """The snapshot of the file is no good any more: take a new one."""
    delivered: Callable[[str, int, str], None]
    """Bytes of a file have arrived: path, how many, how."""
    token_hex: Callable[[], str]
    """16 random hex digits for a temporary name."""
    is_segmented: Callable[[str], bool] = lambda path: False
    """Whether the file is delivered piece by piece, each a file of its own."""
    progress: Callable[[], None] = lambda: None
    """More of an upload has been acknowledged."""
    gives_way: Callable[[str], bool] = lambda path: False
    """Whether others wait for this job to end: it has a later turn then, if there is more."""
    folders: Callable[[], Iterable[str]] = tuple
    """The folders below the destination into which files may go."""


@dataclass(slots=True)
class Session:
    """One connection's surroundings, and what was learnt over it.

    Args:
        root: the destination's folder, ``""`` for the login folder.
    """

    ledger: Ledger
    sources: Sources
    clock: Clock
    can: Capabilities
    policy: Policy
    hooks: Hooks
    log: logging.Logger
    root: str
    verify_up_to_bytes: int
    window: Window
    signatures: Signatures
    lines: LineHold
    allowance: Allowance
    names: Names | None = None
    known: dict[str, Remote] = field(default_factory=dict)
    """What the destination showed of each local path when this connection looked last."""
    folders: set[str] = field(default_factory=set)
    """Remote folders that are there."""

    def chunk_bytes(self) -> int:
        """How many bytes one write should carry now."""
        window = self.window
        if self.can.upload_tokens:
            most = window.lone_chunk_bytes(self.can.max_write_bytes)
        else:
            most = window.chunk_bytes(self.can.max_write_bytes)
        return self.allowance.chunk_bytes(most)

    def copying_failed(self, path: str, error: RemoteError) -> None:
        """The server can't do what it said: over this connection nothing is copied there again."""
        self.log.warning("deliver %s: %s; changed files are sent whole", path, error)
        self.can = replace(self.can, server_copy=False)

    def reader(self, path: str, version: Version) -> VersionReader:
        """Reads the bytes of a version; to be closed."""
        return VersionReader(path, version, self.ledger.outbox, self.sources, now=self.clock.time)

    def remote_name(self, entry: Entry) -> str:
        """The full remote path of an entry."""
        return self.full_name(entry.remote)

    def full_name(self, remote: str) -> str:
        """The full remote path of what lies below the destination under that name."""
        if not self.root or remote.startswith("/"):
            return remote
        return f"{self.root}{remote}" if self.root[-1] == "/" else f"{self.root}/{remote}"

    def record(self, path: str, number: int, size: int, base: int, mtime: float | None) -> None:
        """The destination shows ``[base, size)`` of a version now."""
        done = Delivered(number, size, base, mtime, self.clock.time())
        self.ledger.update(path, lambda e: drop_superseded(record_delivery(e, done)), must=False)

    def make_folders(self, folder: str) -> Steps:
        """Make a remote folder that is not there (any more), and its parents.

        Raises:
            RemoteError: the folder itself is refused.
        """
        parts = folder.split("/")
        self.folders -= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        for count in range(1, len(parts) + 1):
            parent = "/".join(parts[:count])
            if parent and parent not in self.folders:
                (result,) = yield from flight(MakeDir(parent))
                if isinstance(result, RemoteError):
                    yield from self._refuse_file_in_the_way(parent)
                    if count == len(parts):
                        raise result
                self.folders.add(parent)

    def _refuse_file_in_the_way(self, folder: str) -> Steps:
        """Servers do not tell why a folder can't be made (OpenSSH says "Failure")."""
        (found,) = yield from flight(Stat(folder))
        if isinstance(found, RemoteStat) and not found.is_dir:
            raise RemoteExists(
                "a file stands where the folder should be",
                operation="make folder",
                path=folder,
                hint="remove or rename it on the server",
            )
