"""The temporary names of heartbeats."""

from __future__ import annotations

import re

from pysubtask.core.model import Entry
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.suffixes import TEMP_PREFIX

__all__ = ["BeatNames", "is_beat"]

_NAMES = 8
_BEAT = re.compile(re.escape(TEMP_PREFIX) + r"[0-9a-f]{8}0000000[0-7]")


def is_beat(name: str) -> bool:
    """Whether a temporary name is a heartbeat's."""
    return _BEAT.fullmatch(name) is not None


class BeatNames:
    """A few names in turn, since heartbeats come for ever and must not fill the destination. Each
    process begins with another one, and so does each connection after one that broke: a rename that
    the server carries out late must not put there what the next one has only begun.
    """

    def __init__(self, journal: RecordLog[Entry]) -> None:
        self._journal = journal
        self._turn = -1
        self._left: set[int] = set()
        """Names under which something may have been left."""

    def begin(self) -> str:
        """The name that is to be written to now."""
        if self._turn < 0:
            self._turn = 3 * self._journal.starts % _NAMES  # far from those of the one before
            self._left = set(range(_NAMES)) if self._journal.was_killed else set()
        self._left.add(self._turn)
        return self._name(self._turn)

    def done(self) -> None:
        """What was written has its place."""
        self._left.discard(self._turn)

    def broken(self) -> None:
        """The connection is gone; what was sent may still be carried out."""
        if self._turn in self._left:
            self._turn = (self._turn + 1) % _NAMES

    def left(self) -> list[str]:
        """What is to be removed."""
        return [self._name(turn) for turn in sorted(self._left - {self._turn})]

    def removed(self, name: str) -> None:
        """Nothing has that name any more."""
        self._left.discard(int(name[-1]))

    def _name(self, turn: int) -> str:
        return f"{TEMP_PREFIX}{self._journal.client_id}0000000{turn}"
