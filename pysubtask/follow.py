"""Notifies for programs that give none: looks at files and touches for those that changed.

The command line uses it (``push --follow``, ``run``); a program may, too, for files that somebody
else writes::

    follower = Follower(master, secs=1.0)
    follower.start()

Watched folders need none of it: the subtask looks into them by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["Follower"]

_Seen = tuple[int, int, int]


class Follower:
    """Compares size, modified time and inode of the declared files every ``secs`` seconds.

    A poll, so that it works on every file system; one ``stat`` a file and poll.

    Args:
        master: whose declared files are looked at.
        secs: seconds between two looks.
        paths: only these; all declared files by default.
    """

    def __init__(
        self, master: TaskMaster, *, secs: float = 1.0, paths: Sequence[str] | None = None
    ) -> None:
        self._master = master
        self._secs = secs
        self._paths = list(master.declared_files if paths is None else paths)
        self._seen: dict[str, _Seen | None] = {}
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> int:
        """Look once; gives how many files were notified.

        A file that is seen for the first time counts as changed; one that vanished does not.
        """
        notified = 0
        for path in self._paths:
            seen = _look_at(path)
            if seen == self._seen.get(path):
                continue
            if seen is not None and not self._master.notify(path):
                continue  # the touch could not be written: again at the next look
            self._seen[path] = seen
            notified += seen is not None
        return notified

    def start(self) -> None:
        """Look now, and then by a thread until :meth:`stop`."""
        self.look()
        if self._thread is None:
            self._leave.clear()
            self._thread = threading.Thread(
                target=self._run, name="pysubtask-follower", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and look a last time. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._leave.set()
            thread.join(5)
            self.look()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._leave.wait(self._secs):
            self.look()


def _look_at(path: str) -> _Seen | None:
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_size, st.st_mtime_ns, st.st_ino
