"""The limits of the local disk: ``outbox_max_bytes`` and ``keep_free_bytes``.

Whoever wants to copy asks first. At a limit nothing is copied any more: what is owed is delivered
from the files themselves, for as long as they are there, and everybody is told. A deleted file that
is held open takes room on the disk as a copy does, and counts as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask.core.space import Limit, Room, limit_of, room
from pysubtask.seams.disk import Disk
from pysubtask.status import size_words
from pysubtask.subtask.store.outbox import Outbox

__all__ = ["Space"]


@dataclass(frozen=True, slots=True)
class _Refusal:
    size: int
    limit: Limit


class Space:
    """Says whether there is room for a copy. Any thread.

    Args:
        folder: the state folder, on whose file system the outbox lies.
        changed: called when :attr:`full` begins or ends.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        outbox: Outbox,
        *,
        outbox_max_bytes: int | None,
        keep_free_bytes: int,
        log: logging.Logger,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._outbox = outbox
        self._configured = outbox_max_bytes
        self._keep_free_bytes = keep_free_bytes
        self._log = log
        self._changed = changed
        self._refusal: _Refusal | None = None
        self.limit_bytes = 0 if outbox_max_bytes is None else outbox_max_bytes
        self.pinned_bytes = 0
        """In deleted files that are held open because they are owed."""

    def open(self) -> None:
        """Find out the limit, once the outbox is open."""
        if self._configured is None:
            self.limit_bytes = limit_of(None, self._free_bytes(), self._outbox.held_bytes)

    def has_room(self, size: int) -> bool:
        """Whether ``size`` more bytes may be copied; if not, that is told."""
        now = self._room()
        if size <= now.size:
            return True
        if self._refusal is None:
            self._refusal = _Refusal(size, now.limit)
            self._log.warning("%s", self.full)
            self._changed()
        return False

    def over_bytes(self) -> int:
        """By how much the limits are exceeded."""
        over = self._outbox.held_bytes + self.pinned_bytes - self.limit_bytes
        if self._keep_free_bytes:
            over = max(over, self._keep_free_bytes - self._free_bytes())
        return max(0, over)

    def review(self, is_needed: bool) -> None:
        """See whether there is room again. ``is_needed``: something is owed that has no copy."""
        refused = self._refusal
        if refused is None or (is_needed and self._room().size < refused.size):
            return
        self._refusal = None
        self._log.info("there is room for copies in the outbox again")
        self._changed()

    @property
    def full(self) -> str | None:
        """Which limit keeps new data from being copied, in words; None if none does."""
        refused = self._refusal
        if refused is None:
            return None
        if refused.limit == "disk":
            why = (
                f"less than {size_words(self._keep_free_bytes)} would be left of the local disk "
                "(keep_free_bytes)"
            )
        else:
            taken = size_words(self._outbox.held_bytes + self.pinned_bytes)
            why = (
                f"the outbox is full with {taken} of {size_words(self.limit_bytes)} "
                "(outbox_max_bytes)"
            )
        return f"{why}: new data are not copied and must stay in their files until delivered"

    def _room(self) -> Room:
        taken = self._outbox.held_bytes + self.pinned_bytes
        free = self._free_bytes() if self._keep_free_bytes else 1 << 62
        return room(self.limit_bytes, taken, self._keep_free_bytes, free)

    def _free_bytes(self) -> int:
        try:
            return self._disk.free_bytes(self._folder)
        except OSError:
            return 1 << 62  # it can't tell: then a refused write will
