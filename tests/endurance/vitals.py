"""What a process holds: descriptors, threads, memory; and whether that stays flat."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

import psutil

__all__ = ["Track", "Vitals", "vitals_of"]


@dataclass(frozen=True)
class Vitals:
    """Of one process at one time."""

    files: int
    """Open descriptors (handles on Windows)."""
    threads: int
    memory_bytes: int
    """Resident."""


def vitals_of(pid: int) -> Vitals:
    """Of a process that runs now.

    Raises:
        psutil.NoSuchProcess: it does not.
    """
    process = psutil.Process(pid)
    with process.oneshot():
        files = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
        return Vitals(files, process.num_threads(), process.memory_info().rss)


@dataclass
class Track:
    """Vitals over time. The first quarter is left out: everything is made for the first time then.

    Args:
        name: whose they are.
        most_growth_bytes: memory that may be gained from the second to the last quarter.
    """

    name: str
    most_growth_bytes: int
    seen: list[Vitals] = field(default_factory=list)

    def note(self, vitals: Vitals) -> None:
        self.seen.append(vitals)

    def _quarter(self, number: int) -> list[Vitals]:
        size = max(1, len(self.seen) // 4)
        return self.seen[-size:] if number == 4 else self.seen[size : 2 * size] or self.seen[:1]

    @property
    def growth_bytes(self) -> float:
        """How much more memory the last quarter took than the second."""
        late, early = ([v.memory_bytes for v in self._quarter(n)] for n in (4, 2))
        return statistics.median(late) - statistics.median(early)

    def faults(self) -> list[str]:
        """What was not flat, in words."""
        found = []
        for what in ("files", "threads"):
            early = max(getattr(v, what) for v in self._quarter(2))
            late = min(getattr(v, what) for v in self._quarter(4))
            if late > early:
                found.append(f"{self.name}: {what} grew from {early} to {late}")
        if self.growth_bytes > self.most_growth_bytes:
            found.append(f"{self.name}: memory grew by {self.growth_bytes / 1e6:.1f} MB")
        return found

    def __str__(self) -> str:
        if not self.seen:
            return f"{self.name}: not seen"
        files = [v.files for v in self.seen]
        threads = [v.threads for v in self.seen]
        first, last = self._quarter(2)[0], self.seen[-1]
        return (
            f"{self.name}: {min(files)}–{max(files)} descriptors, {min(threads)}–{max(threads)} "
            f"threads, memory {first.memory_bytes / 1e6:.1f} → {last.memory_bytes / 1e6:.1f} MB "
            f"({len(self.seen)} looks)"
        )
