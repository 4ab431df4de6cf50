"""The files that wait for their turn."""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["Queue"]


class Queue:
    """Each path once, in the order in which they came.

    Args:
        owed_bytes: how much is owed of a path now.
    """

    def __init__(self, owed_bytes: Callable[[str], int]) -> None:
        self._owed_bytes = owed_bytes
        self._paths: dict[str, None] = {}
        self._by_size: list[tuple[int, int, str]] | None = None
        """A heap, once somebody asked for the smallest. May hold what is gone, or has grown."""
        self._order = 0

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    @property
    def first(self) -> str:
        """The one that waits longest."""
        return next(iter(self._paths))

    def add(self, path: str) -> None:
        """Put it at the end, unless it is there."""
        is_new = path not in self._paths
        self._paths[path] = None
        if is_new and self._by_size is not None:
            self._push(path)

    def take(self, *, smallest: bool) -> str:
        """Take out the one whose turn it is: the first, or the one that owes least."""
        path = self._smallest() if smallest else self.first
        del self._paths[path]
        if not self._paths:
            self._by_size = None
        return path

    def _smallest(self) -> str:
        if self._by_size is None:
            self._by_size = []
            for path in self._paths:
                self._push(path)
        while True:
            size, order, path = heapq.heappop(self._by_size)
            if path not in self._paths:
                continue
            now = self._owed_bytes(path)
            if now <= size:
                return path
            heapq.heappush(self._by_size, (now, order, path))

    def _push(self, path: str) -> None:
        assert self._by_size is not None
        self._order += 1
        heapq.heappush(self._by_size, (self._owed_bytes(path), self._order, path))
