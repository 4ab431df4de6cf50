"""``records="lines"``: a reader at the destination sees whole lines, until one has waited enough.

What is snapshotted is owed as always; only how much of it is published is decided here. A file that
was rotated or rewritten is published to its end: nothing will complete its last line.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from pysubtask.core.model import Entry, Version
from pysubtask.seams.clock import Clock

__all__ = ["LineHold"]

ReadAt = Callable[[int, int], bytes]
_STEP_BYTES = 65_536


class LineHold:
    """How far each file may be published. Thread-safe.

    Args:
        wait_secs: so long a beginning of a line is held back at most.
        has_lines: whether the watch of a path says ``records="lines"``.
    """

    def __init__(self, clock: Clock, wait_secs: float, has_lines: Callable[[str], bool]) -> None:
        self._clock = clock
        self._wait_secs = wait_secs
        self._has_lines = has_lines
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, int, float]] = {}
        """By path: the version, where its unfinished line begins, since when."""
        self._released: dict[str, tuple[int, int]] = {}

    def concerns(self, path: str, entry: Entry, version: Version) -> bool:
        """Whether :meth:`limit` has anything to say. If not (a rotated file is delivered to its
        end), nothing of it waits any longer."""
        current = entry.current
        if current is not None and current.number == version.number and self._has_lines(path):
            return True
        with self._lock:
            self._held.pop(path, None)
            self._released.pop(path, None)
        return False

    def limit(self, path: str, version: Version, start: int, read_at: ReadAt) -> int:
        """Up to where ``version`` may be published now.

        Args:
            start: so much is published already.
        """
        end = _last_line_end(start, version.size, read_at)
        now = self._clock.monotonic()
        with self._lock:
            if end == version.size or self._released.get(path, (0, 0)) >= (
                version.number,
                version.size,
            ):
                self._held.pop(path, None)
                return version.size
            held = self._held.get(path)
            if held is None or held[:2] != (version.number, end):
                held = self._held[path] = (version.number, end, now)
            if now - held[2] >= self._wait_secs:
                del self._held[path]
                self._released[path] = (version.number, version.size)  # also when asked again
                return version.size
        return max(start, end)

    def cut(self, path: str, data: bytes) -> bytes:
        """What one request may show of ``data``: whole lines. A line that is longer than the
        request has to come in parts."""
        if not self._has_lines(path):
            return data
        return data[: data.rfind(b"\n") + 1] or data

    def release(self, path: str, number: int, size: int) -> None:
        """Everything up to ``size`` of a version is to be published (flush, stop)."""
        if self._has_lines(path):
            with self._lock:
                self._released[path] = (number, size)

    def due(self) -> tuple[list[str], float]:
        """The paths whose last line has waited enough, and the monotonic time of the next."""
        now = self._clock.monotonic()
        with self._lock:
            ends = {path: held[2] + self._wait_secs for path, held in self._held.items()}
        ready = [path for path, end in ends.items() if end <= now]
        return ready, min((end for end in ends.values() if end > now), default=math.inf)


def _last_line_end(start: int, size: int, read_at: ReadAt) -> int:
    """Behind the last line feed in ``[start, size)``; ``start`` if there is none."""
    end = size
    while end > start:
        begin = max(start, end - _STEP_BYTES)
        at = read_at(begin, end - begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return start
