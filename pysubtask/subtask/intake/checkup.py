"""Looking for edits that samples can't show: large files with ``growth="auto"``, in the background.

Above ``verify_up_to_bytes`` a look compares a file by its head, its tail and 16 places between. So
from time to time all of it is compared with the signature of what was sent, a few MiB at a time,
such that this takes no more than a hundredth of the time, and only where the file's modified time
has moved since the last one.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask.core.delta import Signature
from pysubtask.core.model import Version
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, ReadHandle
from pysubtask.subtask.store.ledger import Ledger

__all__ = ["Checkup"]

_SLICE_BYTES = 2 << 20
_REST = 99
"""So many times as long as a slice took nothing is done."""


@dataclass(slots=True)
class _Running:
    path: str
    number: int
    mtime_ns: int
    handle: ReadHandle
    signature: Signature
    block: int = 0


class Checkup:
    """Compares one file after the other.

    Args:
        read_signature: the signature of a version of a path, if there is one.
        changed: called with the path of a file that is not what was sent of it.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        *,
        read_signature: Callable[[str, int], Signature | None],
        changed: Callable[[str], None],
        log: logging.Logger,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._read_signature = read_signature
        self._changed = changed
        self._log = log
        self._waiting: dict[str, None] = {}
        self._checked: dict[str, tuple[int, int]] = {}
        self._early: set[str] = set()
        """Checked, or to be checked, while they were owed: all of it has no signature yet."""
        self._running: _Running | None = None
        self._next_at = 0.0

    def note(self, path: str) -> None:
        """There was a look at the file."""
        version = self._version(path)
        if version is None:
            self._checked.pop(path, None)
            self._waiting.pop(path, None)
        elif self._checked.get(path) != (version.number, version.stamp.mtime_ns):
            self._waiting.setdefault(path)

    def step(self, now: float) -> float:
        """Do a slice if it is time to. Gives the monotonic time of the next; infinity for none."""
        for path in [path for path in self._early if path not in self._ledger.owed]:
            self._early.discard(path)
            self._checked.pop(path, None)
            self.note(path)
        if self._running is None and not self._waiting:
            return math.inf
        if now >= self._next_at:
            if self._running is None:
                self._begin()
            if self._running is not None:
                self._slice(self._running)
            took = self._clock.monotonic() - now
            self._next_at = now + took + max(took * _REST, 0.01)
        return self._next_at

    def close(self) -> None:
        """Give up what is running."""
        if self._running is not None:
            self._running.handle.close()
            self._running = None

    def _version(self, path: str) -> Version | None:
        entry = self._ledger.get(path)
        version = entry.current if entry is not None else None
        return version if version is not None and version.print.kind == "samples" else None

    def _begin(self) -> None:
        path = next(iter(self._waiting))
        del self._waiting[path]
        version = self._version(path)
        if version is not None and path in self._ledger.owed:
            self._early.add(path)  # what it becomes known by is made as it is sent
        signature = None if version is None else self._read_signature(path, version.number)
        if version is None or signature is None:
            return
        try:
            handle = self._disk.open_read(path)
        except OSError:
            return
        mtime_ns = version.stamp.mtime_ns
        self._running = _Running(path, version.number, mtime_ns, handle, signature)

    def _slice(self, check: _Running) -> None:
        version = self._version(check.path)
        if version is None or version.number != check.number:
            self.close()
            return
        block_bytes = check.signature.block_bytes
        slice_bytes = max(_SLICE_BYTES, block_bytes)  # one block at least: a big file has big ones
        try:
            data = check.handle.read_at(check.block * block_bytes, slice_bytes)
            same_file = check.handle.stat().ino == version.identity.ino
        except OSError as error:
            self._log.warning("check %s: %s", check.path, error)
            self.close()
            return
        if not same_file:
            self.close()  # replaced since: that shows in the next look
            return
        with memoryview(data) as view:
            for at in range(0, len(data) - block_bytes + 1, block_bytes):
                if check.block >= len(check.signature):
                    break
                if not check.signature.matches(check.block, view[at : at + block_bytes]):
                    self._found(check)
                    return
                check.block += 1
        if check.block >= len(check.signature) or len(data) < slice_bytes:
            self._checked[check.path] = (check.number, check.mtime_ns)
            self.close()

    def _found(self, check: _Running) -> None:
        self._log.warning(
            "check %s: it was edited near byte %d, which its samples had not shown; it is sent "
            'anew. Declare it with growth="rewrite" if it is edited now and then.',
            os.path.basename(check.path),
            check.block * check.signature.block_bytes,
        )
        self.close()
        self._changed(check.path)
