"""A disk that refuses again and again: what to do then, and what to say of it."""

from __future__ import annotations

__all__ = ["Refusals"]

_AGAIN_SECS = 1.0
_MOST_TRIES = 10
_SAID_SECS = 60.0


class Refusals:
    """Refusals in a row, up to the next success."""

    def __init__(self) -> None:
        self._count = 0
        self._said: dict[str, float] = {}

    @property
    def is_lasting(self) -> bool:
        """There were so many that it will hardly get better by waiting."""
        return self._count >= _MOST_TRIES

    @property
    def wait_secs(self) -> float:
        """How long to wait before the next try; much longer once it is lasting, since each one
        writes all of the log anew."""
        return _AGAIN_SECS * (_MOST_TRIES if self.is_lasting else 1)

    def note(self, error: OSError, now: float) -> bool:
        """It refused once more. Gives whether to say so: the same words once a minute.

        Args:
            now: monotonic.
        """
        self._count += 1
        words = str(error)
        due = now >= self._said.get(words, now)
        if due:
            self._said[words] = now + _SAID_SECS
        return due

    def clear(self) -> None:
        """It took everything."""
        self._count = 0
        self._said.clear()
