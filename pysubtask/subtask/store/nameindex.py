"""Which local files have remote names that may be one."""

from __future__ import annotations

from pysubtask.core.names import name_key

__all__ = ["NameIndex"]


class NameIndex:
    """Local paths by what their remote names have in common, in the order in which they came.

    There may be 100,000 of them, and hardly ever two with one name: a number and a pointer each.
    """

    def __init__(self) -> None:
        self._first: dict[int, str] = {}
        self._more: dict[int, list[str]] = {}

    def note(self, path: str, remote: str) -> None:
        """The file has that remote name."""
        key = hash(name_key(remote))
        first = self._first.setdefault(key, path)
        if first != path:
            others = self._more.setdefault(key, [])
            if path not in others:
                others.append(path)

    def forget(self, path: str, remote: str) -> None:
        """It has another one from now on."""
        key = hash(name_key(remote))
        group = [other for other in self.group(remote) if other != path]
        self._first.pop(key, None)
        self._more.pop(key, None)
        for other in group:
            if self._first.setdefault(key, other) != other:
                self._more.setdefault(key, []).append(other)

    def group(self, remote: str) -> list[str]:
        """The paths whose remote names may be one with ``remote``, and now and then another."""
        key = hash(name_key(remote))
        first = self._first.get(key)
        return [] if first is None else [first, *self._more.get(key, ())]
