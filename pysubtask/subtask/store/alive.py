"""Reading for long without being taken for stuck: each reading is a sign of life."""

from __future__ import annotations

from collections.abc import Callable

from pysubtask.seams.disk import FileStat, ReadHandle

__all__ = ["AliveHandle"]


class AliveHandle:
    """An open file each reading of which says that things get on.

    Fingerprints read a MiB at a time. Of a file of 10 GB that takes minutes, longer than whoever
    watches the reading thread waits for its signs of life.

    Args:
        handle: the file; it is closed with this one.
        still_alive: called after each reading.
    """

    __slots__ = ("_handle", "_still_alive")

    def __init__(self, handle: ReadHandle, still_alive: Callable[[], None]) -> None:
        self._handle = handle
        self._still_alive = still_alive

    def stat(self) -> FileStat:
        """As :meth:`ReadHandle.stat`."""
        return self._handle.stat()

    def read_at(self, offset: int, length: int) -> bytes:
        """As :meth:`ReadHandle.read_at`."""
        data = self._handle.read_at(offset, length)
        self._still_alive()
        return data

    def close(self) -> None:
        """Let go of it."""
        self._handle.close()
