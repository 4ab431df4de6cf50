"""A new state folder must itself survive a loss of power: its name, and its parents' names."""

from __future__ import annotations

import errno
import os

from pysubtask.seams.disk import Disk

__all__ = ["NewFolder"]

_LEVELS = 3
"""How many levels of a state folder may be new: ``upload/ftp`` in a folder of the program."""
_MOST_TRIES = 10
_REFUSED_NOW = {errno.EIO, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class NewFolder:
    """Syncs the folders above a file, until it has succeeded once or was tried ten times: a file
    system that never does it must not keep the journal from the disk for ever.

    Args:
        path: the file.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._tries = 0
        self.is_due = False
        """It was refused, and is to be tried again."""

    def sync(self) -> None:
        """Sync them.

        Raises:
            OSError: the disk refuses now.
        """
        self._tries += 1
        self.is_due = self._tries < _MOST_TRIES
        folder = self._path
        for _ in range(_LEVELS + 1):
            parent = os.path.dirname(folder)
            if parent == folder:
                break
            folder = parent
            try:
                self._disk.sync_dir(folder)
            except OSError as error:
                if error.errno in _REFUSED_NOW:
                    raise
                break  # a parent that we may not read was there before
        self.is_due = False
