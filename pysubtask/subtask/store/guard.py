"""Somebody deletes or overwrites our state while we use it: noticed, mended, told.

The journal is in memory as well, so it can be written anew at any time. A state folder that was
removed takes the lock with it: another child could take a new one there and then. So what is in
memory is written, and this process makes room for one that takes the lock again.
"""

from __future__ import annotations

import logging

from pysubtask.errors import StateError
from pysubtask.seams.disk import Disk
from pysubtask.signals import StateLayout
from pysubtask.subtask.store.journal import Journal

__all__ = ["StateGuard"]


class StateGuard:
    """Compares the state folder with what it should hold, every now and then.

    Args:
        layout: the folder, whose lock is held.
    """

    def __init__(
        self, disk: Disk, layout: StateLayout, journal: Journal, log: logging.Logger
    ) -> None:
        self._disk = disk
        self._layout = layout
        self._journal = journal
        self._log = log
        self._lock = self._identity()
        self._seen: tuple[int, int, int] | None = None

    def check(self) -> None:
        """Mend what is wrong; call it from the main thread.

        Raises:
            StateError: the lock is gone, and this process must make room for another.
        """
        if self._lock is not None:
            lock = self._identity()
            if lock is None:
                self._leave("it was removed while it was in use")
            elif lock != self._lock:
                raise StateError(
                    "it was replaced while it was in use",
                    operation="use the state folder",
                    path=self._layout.state_dir,
                    retryable=True,
                )
        trouble = self._trouble()
        if trouble is not None:
            self._log.error(
                "journal %s %s while it was in use; written anew from memory",
                self._layout.journal,
                trouble,
            )
            self._write()
        try:
            self._disk.stat(self._layout.outbox)
        except FileNotFoundError:
            self._make(self._layout.outbox)
        except OSError:
            pass  # the next look that needs it says why

    def _trouble(self) -> str | None:
        """What somebody else has done to the journal, in words; None if it is as we left it (as far
        as its identity, its size and its last line tell)."""
        path = self._layout.journal
        with self._journal.lock:
            ours = self._journal.last_written
            if ours is None:
                return None
            rewrites, size, tail = ours
            try:
                st = self._disk.stat(path)
                seen = (rewrites, st.dev, st.ino)
                if self._seen is not None and self._seen != seen and self._seen[0] == rewrites:
                    return "was replaced"
                self._seen = seen
                same = st.size == size and self._read(path, size - len(tail), len(tail)) == tail
            except FileNotFoundError:
                return "was removed"
            except OSError:
                return None  # a disk in trouble says so elsewhere
            return None if same else "was overwritten"

    def _read(self, path: str, offset: int, length: int) -> bytes:
        handle = self._disk.open_read(path)
        try:
            return handle.read_at(offset, length)
        finally:
            handle.close()

    def _leave(self, why: str) -> None:
        if self._make(self._layout.state_dir):
            self._write()
        raise StateError(
            why,
            operation="use the state folder",
            path=self._layout.state_dir,
            retryable=True,
            hint="it is made anew; what is not at the destination is read from the files again",
        )

    def _write(self) -> None:
        try:
            self._journal.write_anew()
        except OSError as error:
            self._log.error("write journal %s: %s", self._layout.journal, error)

    def _make(self, folder: str) -> bool:
        try:
            self._disk.make_dirs(folder)
        except OSError as error:
            self._log.error("make %s: %s", folder, error)
            return False
        return True

    def _identity(self) -> tuple[int, int] | None:
        """Of the lock file; None if it is not there. One that can't be looked at has not moved."""
        try:
            st = self._disk.stat(self._layout.lock)
        except FileNotFoundError:
            return None
        except OSError:
            return self._lock if hasattr(self, "_lock") else None
        return st.dev, st.ino
