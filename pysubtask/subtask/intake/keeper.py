"""Keeping what is owed while it can't be delivered: copies after a minute, as far as there is room.

What a program appends is left in its file at first. Once the link has owed it for a minute it is
copied to the outbox, so that whatever becomes of the file can't lose it. At a limit of the disk
(:mod:`~pysubtask.subtask.store.space`) it stays in the file.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeAlias

from pysubtask.core.model import Entry
from pysubtask.core.space import live_runs, without_source
from pysubtask.seams.clock import Clock
from pysubtask.subtask.intake.rescue import Rescue
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import Sources
from pysubtask.subtask.store.space import Space

__all__ = ["Keeper"]

_COPY_AFTER_SECS = 60.0
_ASK_AGAIN_SECS = 5.0
"""A disk that refused is not asked again sooner, however often somebody asks whether a copy is
there: it would be copied to, and the log written to, at each question."""

_Key: TypeAlias = tuple[str, int]
"""Path and version number."""


class Keeper:
    """Copies what only its file has, and lets go of what there is no room for. Main thread.

    Args:
        changed: the status is another.
        look: has a look at a file planned.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        sources: Sources,
        rescue: Rescue,
        space: Space,
        *,
        log: logging.Logger,
        changed: Callable[[], None],
        look: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._sources = sources
        self._rescue = rescue
        self._space = space
        self._log = log
        self._changed = changed
        self._look = look
        self._since: dict[_Key, float] = {}
        self._refused_at: dict[_Key, float] = {}
        """When the disk refused a copy last (monotonic), of what somebody waits for."""

    def interval(self) -> None:
        """Copy what the link has owed for a minute, so that rotation can't lose it."""
        now = self._clock.monotonic()
        since, self._since = self._since, {}
        left: list[_Key] = []
        is_source = False
        for path in list(self._ledger.owed):
            entry = self._ledger.get(path)
            for version in entry.versions if entry is not None else ():
                if all(p.name is not None for p in version.pieces):
                    continue
                is_source = True
                key = (path, version.number)
                began = since.get(key, now)
                if now - began < _COPY_AFTER_SECS:
                    self._since[key] = began
                elif not self.secure(*key):
                    # no room: asked again at once, for that costs nothing; a disk that refused,
                    # in a minute
                    self._since[key] = now if self._space.full is None else began
                    left.append(key)
        self._refused_at = {k: v for k, v in self._refused_at.items() if k in self._since}
        self._let_go_of_deleted(left)
        self._let_go_of_delivered()
        self._sources.tidy()
        self._ledger.outbox.remove_left_over()
        self._space.review(is_needed=is_source)

    def secure_all(self, path: str) -> bool:
        """As :meth:`secure` for all versions of a file; to be asked as often as one likes."""
        entry = self._ledger.get(path)
        now = self._clock.monotonic()
        safe = True
        for version in entry.versions if entry is not None else ():
            if all(p.name is not None for p in version.pieces):
                continue
            refused_at = self._refused_at.get((path, version.number), -math.inf)
            is_asked = now - refused_at >= _ASK_AGAIN_SECS
            safe = is_asked and self.secure(path, version.number) and safe
        return safe

    def secure(self, path: str, number: int) -> bool:
        """Copy what only the file has of a version. False if there is no room, the disk refused,
        or deliveries ended while the copies were made, so that it may help to ask again."""
        entry = self._ledger.get(path)
        version = entry.version(number) if entry is not None else None
        runs = live_runs(version.pieces) if version is not None else []
        if version is None or not runs:
            return True
        if not self._space.has_room(min(run[-1].end - run[0].start for _, run in runs)):
            return False
        try:
            with self._sources.borrow(path, version) as handle:
                noted = self._rescue.copy_live_pieces(path, number, handle)
        except OSError as error:
            self._log.warning("copy %s to the outbox: %s", path, error)
            if isinstance(error, FileNotFoundError):
                return True  # gone: there is nothing left to keep
            self._refused_at[path, number] = self._clock.monotonic()
            return False
        self._refused_at.pop((path, number), None)
        entry = self._ledger.get(path)
        version = entry.version(number) if entry is not None else None
        if entry is None or version is None:
            return True
        if live_runs(version.pieces):  # there is no room, or the file is another by now
            return noted and self._space.full is None
        if version is not entry.current:
            self._sources.release(path, number)  # a deleted file takes no room any longer
        return True

    def _let_go_of_deleted(self, left: list[_Key]) -> None:
        """Deleted files that are held open take room that nobody can see. Beyond the limits the
        latest are given up: the earlier ones, with what was copied, are a beginning. Those whose
        upload has begun go last, and one that is being read stays: its room would not be had."""
        deleted = {key: size for key in left if (size := self._deleted_bytes(key))}
        self._space.pinned_bytes = sum(deleted.values())
        if not self._space.over_bytes():
            return
        for path, number in sorted(deleted, key=self._worth, reverse=True):
            if not self._space.over_bytes():
                break
            if not self._sources.is_used(path, number):
                self._space.pinned_bytes -= deleted[path, number]
                self._give_up(path, number)

    def _let_go_of_delivered(self) -> None:
        """A file may have been deleted without an event, or while it was owed: a look reads it to
        its end, and lets go of it. One that has another in its place has its look to come, unless
        that has been found to be the same content."""
        for path, number, inode in self._sources.unneeded_deleted():
            entry = self._ledger.get(path)
            current = entry.current if entry is not None else None
            if current is None or (current.number, current.identity.ino) != (number, inode):
                self._sources.release(path, number)
            elif self._sources.is_gone(path):
                self._look(path)

    def _worth(self, key: _Key) -> tuple[bool, float, int]:
        """Sorts what is to be kept longest to the front."""
        path, number = key
        entry = self._ledger.get(path)
        if entry is None:
            return True, 0.0, number
        begun = entry.upload is not None and entry.upload.version == number
        # of one file never the earlier one first, though the clock was set back between them
        taken_at = max((v.taken_at for v in entry.versions if v.number <= number), default=0.0)
        return not begun, taken_at, number

    def _deleted_bytes(self, key: _Key) -> int:
        try:
            return self._sources.deleted_bytes(*key)
        except OSError:
            return 0

    def _give_up(self, path: str, number: int) -> None:
        lost = 0

        def drop(entry: Entry) -> Entry:
            nonlocal lost
            shorter, lost = without_source(entry, number)
            return shorter

        self._ledger.update(path, drop, must=False)
        self._sources.release(path, number)
        self._ledger.given_up_bytes += lost
        self._log.error(
            "%s: %d bytes of a file that was deleted before they could be delivered are given up: "
            "%s",
            path,
            lost,
            self._space.full or "there is no room to keep them",
        )
        self._changed()
