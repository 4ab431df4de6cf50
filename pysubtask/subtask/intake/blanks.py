"""Touches that another subtask took away, together with their ``.notify``.

Two masters may watch one file, each for its own destination. They share its ``.notify``; each
subtask compares it with what it served itself. At a clean stop a subtask removes a ``.notify``
that it has served, and the next start of its master makes a blank one. To the other subtask,
a ``.notify`` that vanished counts as a touch; but one that was touched, served, removed and made
anew while the other was busy, or away, looks to it as if nobody had ever touched it. So the
subtask remembers when each blank one was made, over restarts, too: another one in its place says
that there was a touch.
"""

from __future__ import annotations

import json
import logging

from pysubtask.seams.disk import Disk

__all__ = ["Blanks"]

_LIMIT_BYTES = 64 << 20


class Blanks:
    """What is remembered of blank ``.notify`` files: path of the watched file → when it was made.

    Losing it costs nothing but a touch of the kind above.
    """

    def __init__(self, disk: Disk, path: str, log: logging.Logger) -> None:
        self._disk = disk
        self._path = path
        self._log = log
        self._marks: dict[str, int] = {}
        self._changed = False

    def load(self) -> dict[str, int]:
        """What a former process saw last; nothing, if that can't be read."""
        try:
            found = json.loads(self._disk.read_whole(self._path, _LIMIT_BYTES))
        except (OSError, ValueError, RecursionError):
            found = {}
        if isinstance(found, dict):
            self._marks = {p: m for p, m in found.items() if isinstance(m, int)}
        return dict(self._marks)

    def note(self, path: str, mark: int | None) -> None:
        """``mark``: when the blank ``.notify`` of ``path`` was made; None: there is none."""
        if self._marks.get(path) == mark:
            return
        self._changed = True
        if mark is None:
            self._marks.pop(path, None)
        else:
            self._marks[path] = mark

    def save(self) -> None:
        """Write what has changed since the last time."""
        if not self._changed:
            return
        self._changed = False
        try:
            self._disk.write_whole(self._path, json.dumps(self._marks).encode("ascii"))
        except OSError as error:
            self._log.debug("write %s: %s", self._path, error)
