"""The log's account of what was delivered: each file, how many bytes, how fast, how late."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask.core.digest import Arrival, Digest, Summary
from pysubtask.seams.clock import Clock
from pysubtask.subtask.store.ledger import Ledger

__all__ = ["Account"]


@dataclass(slots=True)
class _Job:
    began: float
    taken_at: float
    size_bytes: int = 0


class Account:
    """Follows the jobs of all files and logs their ends, as :mod:`pysubtask.core.digest` says.

    Both threads use it.

    Args:
        names: gives a file's group and name, as the program declared them, for its path.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        log: logging.Logger,
        names: Callable[[str], tuple[str, str]],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._log = log
        self._names = names
        self._digest = Digest()
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def began(self, path: str) -> None:
        """A job of the file begins, or begins again after a break or a refusal."""
        entry = self._ledger.get(path)
        version = entry.next_owed if entry is not None else None
        taken_at = version.taken_at if version is not None else self._clock.time()
        with self._lock:
            if path not in self._jobs:
                self._jobs[path] = _Job(self._clock.monotonic(), taken_at)

    def moved(self, path: str, size_bytes: int) -> None:
        """So many bytes of it are in place."""
        with self._lock:
            job = self._jobs.get(path)
            if job is not None:
                job.size_bytes += size_bytes

    def ended(self, path: str) -> None:
        """The job is done: nothing of the file is owed."""
        now = self._clock.monotonic()
        with self._lock:
            job = self._jobs.pop(path, None)
            if job is None or not job.size_bytes:
                return
            group, name = self._names(path)
            behind = max(0.0, self._clock.time() - job.taken_at)
            arrival = Arrival(group, name, job.size_bytes, now - job.began, behind)
            told = self._digest.note(now, arrival)
        if told is not None:
            self._log.info("%s", _full_words(told))

    def tick(self, *, everything: bool = False) -> None:
        """Log the summaries that are due; ``everything``: at the end."""
        now = self._clock.monotonic()
        with self._lock:
            if not everything and now < self._digest.due():
                return
            summaries = self._digest.summaries(now, everything=everything)
        if not summaries:
            return
        owed = self._owed_words()
        for summary in summaries:
            self._log.info("%s; %s", _summary_words(summary), owed)

    def _owed_words(self) -> str:
        owed = dict(self._ledger.owed)
        if not owed:
            return "nothing is owed"
        oldest: float | None = None
        for path in owed:
            entry = self._ledger.get(path)
            version = entry.next_owed if entry is not None else None
            if version is not None and (oldest is None or version.taken_at < oldest):
                oldest = version.taken_at
        words = f"{sum(owed.values()):,} bytes of {_files(len(owed))} are owed"
        if oldest is not None:
            words += f", the oldest for {max(0.0, self._clock.time() - oldest):.0f} s"
        return words


def _full_words(arrival: Arrival) -> str:
    return (
        f"delivered {arrival.name}: {arrival.size_bytes:,} bytes in {_secs(arrival.took_secs)}, "
        f"{_secs(arrival.behind_secs)} after the snapshot"
    )


def _summary_words(summary: Summary) -> str:
    if summary.files == summary.times > 1:
        what = f"{summary.files:,} more files of {summary.group}"
    else:
        of = f"{_files(summary.files)} of " if summary.files > 1 else ""
        times = f"{summary.times:,} more times" if summary.times > 1 else "once more"
        what = f"{of}{summary.group} {times}"
    return (
        f"delivered {what} in {_secs(summary.span_secs)}: {summary.size_bytes:,} bytes, "
        f"at most {_secs(summary.behind_secs)} after the snapshot"
    )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _secs(secs: float) -> str:
    return f"{secs:.0f} s" if secs >= 10 else f"{secs:.2g} s" if secs >= 0.1 else f"{secs:.3f} s"
