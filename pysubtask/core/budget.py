"""Budgets of a metered link: so much a day, spread so that it lasts, and so much a second.

Each limit is a token bucket. A day's limit fills it at nine tenths of the limit a day, and lets a
tenth gather: so no 24 hours see more than the limit, what comes after a quiet time goes at once,
and a busy day slows down instead of stopping in the afternoon. Pure: times are inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["DAY_SECS", "Bucket", "Limits", "day_bucket", "rate_bucket"]

DAY_SECS = 86_400.0
_AT_ONCE = 0.1
"""The share of a day's limit that may gather."""
_RATE_BURST_SECS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow; None: no limit."""

    bytes_per_day: int | None = None
    transactions_per_day: int | None = None
    bytes_per_sec: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(
            limit is not None
            for limit in (self.bytes_per_day, self.transactions_per_day, self.bytes_per_sec)
        )


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens that come at a rate and gather up to ``capacity``. ``level`` is that of ``at``, and
    below 0 if more was taken than there was."""

    per_sec: float
    capacity: float
    level: float
    at: float

    def filled(self, now: float) -> Bucket:
        """As it stands at ``now``; a clock that was set back fills nothing."""
        came = max(0.0, now - self.at) * self.per_sec
        return replace(self, level=min(self.capacity, self.level + came), at=now)

    def taken(self, count: float, now: float) -> Bucket:
        """With ``count`` tokens less, even if they are not there."""
        full = self.filled(now)
        return replace(full, level=full.level - count)

    def ready_at(self, count: float, now: float) -> float:
        """When ``count`` tokens are there, or a full bucket if that is less."""
        full = self.filled(now)
        wanted = min(count, self.capacity)
        # what rounding leaves to be waited for is nothing
        lacks = wanted - full.level
        return now if lacks <= 1e-9 * max(1.0, wanted) else now + lacks / self.per_sec


def day_bucket(limit: int, now: float, level: float | None = None) -> Bucket:
    """A bucket for ``limit`` a day (24 hours, at any hour); full if ``level`` is None."""
    capacity = max(1.0, limit * _AT_ONCE)
    per_sec = max(limit - capacity, 1.0) / DAY_SECS
    return Bucket(per_sec, capacity, capacity if level is None else min(level, capacity), now)


def rate_bucket(bytes_per_sec: int, now: float) -> Bucket:
    """A bucket for so many bytes a second; half a second's worth may gather."""
    capacity = max(1.0, bytes_per_sec * _RATE_BURST_SECS)
    return Bucket(bytes_per_sec, capacity, capacity, now)
