"""How much of what a look has found is still to come."""

from __future__ import annotations

__all__ = ["Coming"]


class Coming:
    """Counts bytes; about right, since what is read to compare is counted in.

    Read from any thread, changed by one.
    """

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}
        self._moved = 0

    @property
    def pending_bytes(self) -> int:
        """What is still to come."""
        return max(0, sum(list(self._expected.values())) - self._moved)

    def begin(self) -> None:
        """Nothing is expected any more."""
        self._expected.clear()
        self._moved = 0

    def expect(self, path: str, size: int) -> None:
        """So many bytes of a file are to come."""
        self._expected[path] = size

    def moved(self, size: int) -> None:
        """So many bytes came."""
        self._moved += size

    def done(self, path: str) -> None:
        """Nothing more of a file comes in this round."""
        self._moved = max(0, self._moved - self._expected.pop(path, 0))
