"""What a client with a budget may have spent: an account of our own, beside the child's.

A day's limit is a tenth that may gather, and nine tenths that come over the day, so that no 24
hours see more. What one job has begun it may finish, and what a killed process had not noted yet is
forgotten: the account may be overdrawn by that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Spending"]

_DAY_SECS = 86_400.0
_NOTED_EVERY_SECS = 5.0
_REQUESTS_BYTES = 1_000
_LOOKS = 2
"""At the temporary file and at the file that it is to become."""


class Spending:
    """The account of one history: a day's limits by the machine's wall clock, the pace by the time
    that passes.

    Args:
        settings: the child's.
        wall_secs: the time as it is shown.
        true_secs: the time that has passed, whatever is shown.
        jobs: how many may be under way; each may spend one comparison and one request beyond, and
            what little goes with them.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        wall_secs: Callable[[], float],
        true_secs: Callable[[], float],
        jobs: int,
    ) -> None:
        self._limit = settings.get("max_bytes_per_day")
        self._rate = settings.get("max_rate_bytes_per_sec")
        self._wall_secs = wall_secs
        self._true_secs = true_secs
        self._jobs = jobs
        self._at = wall_secs()
        self._left = (self._limit or 0) * 0.1
        self._recent: list[tuple[float, int]] = []
        self._largest = 0
        self._free_looks = 0
        """So many a job that goes on after a break has to take, whatever is left."""
        self._paced_at = true_secs()
        self._paced_left = (self._rate or 0) * 0.5
        self.broken = ""
        """What was overdrawn, in words."""

    def sent(self, weight: int, *, is_look: bool = False) -> None:
        """A request leaves; it moves so many bytes, either way."""
        now = self._wall_secs()
        self._largest = max(self._largest, weight)
        is_free = is_look and self._free_looks > 0
        self._free_looks -= is_free
        if self._limit is not None and not is_free:
            came = max(0.0, now - self._at) * self._limit * 0.9 / _DAY_SECS
            self._left = min(self._limit * 0.1, self._left + came) - weight
            self._at = now
            self._recent = [r for r in self._recent if 0 <= now - r[0] <= _NOTED_EVERY_SECS]
            self._recent.append((now, weight))
            if self._left < -self._jobs * (2 * self._largest + _REQUESTS_BYTES):
                self.broken = (
                    f"{-self._left:.0f} bytes more than {self._limit} a day allow were sent"
                )
        if self._rate is not None:
            true_now = self._true_secs()
            came = (true_now - self._paced_at) * self._rate
            self._paced_left = min(self._rate * 0.5, self._paced_left + came) - weight
            self._paced_at = true_now
            if self._paced_left < -self._largest - _REQUESTS_BYTES:
                self.broken = (
                    f"{-self._paced_left:.0f} bytes more than {self._rate} a second were sent"
                )

    def closed(self) -> None:
        """A connection is over: what is at the destination has to be looked at once more."""
        self._free_looks = self._jobs * _LOOKS

    def process_died(self, *, with_its_machine: bool) -> None:
        """What it had not noted yet is not known to the next, and a loss of power may take all of
        its note; the pace begins anew."""
        most = (self._limit or 0) * 0.1
        noted = self._left + sum(weight for _, weight in self._recent)
        self._left = most if with_its_machine else min(noted, most)
        self._recent.clear()
        self._paced_left = (self._rate or 0) * 0.5
