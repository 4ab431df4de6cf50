"""What a transport remembers from one connection to the next, and from one process to the next."""

from __future__ import annotations

import json
from typing import Any

from pysubtask.seams.disk import Disk

__all__ = ["Notes"]

_LIMIT_BYTES = 1 << 16


class Notes:
    """A small JSON object, in a file of the state folder.

    Args:
        disk, path: where; ``None``: in memory only.

    Losing it is no harm beyond what the transport says of it: a file that is missing or damaged
    reads as an empty object.
    """

    def __init__(self, disk: Disk | None = None, path: str | None = None) -> None:
        self._disk = disk
        self._path = path
        self._held: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """What was written last."""
        if self._held is None:
            self._held = self._load()
        return dict(self._held)

    def write(self, value: dict[str, Any]) -> None:
        """Keep it.

        Raises:
            OSError: the local disk refuses; then it is kept in memory.
        """
        if value == self.read():
            return
        self._held = dict(value)
        if self._disk is not None and self._path is not None:
            self._disk.write_whole(self._path, json.dumps(value).encode("ascii"), sync=True)

    def _load(self) -> dict[str, Any]:
        if self._disk is None or self._path is None:
            return {}
        try:
            value = json.loads(self._disk.read_whole(self._path, _LIMIT_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
