"""The child's clock, as a seam: the simulator replaces it."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "RealClock"]


class Clock(Protocol):
    """Readings in seconds."""

    def time(self) -> float:
        """Wall clock, Unix seconds: for people and for file times. It may step."""

    def monotonic(self) -> float:
        """For every interval and deadline. It never steps back."""

    def thread_secs(self) -> float:
        """Processor time that the calling thread has used."""

    def sleep(self, secs: float) -> None:
        """Do nothing for a short, bounded time."""


class RealClock:
    """The operating system's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def thread_secs(self) -> float:
        return time.thread_time()

    def sleep(self, secs: float) -> None:
        time.sleep(secs)
