"""What may still be sent, by the budgets of the settings; what was sent survives a restart."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Any

from pysubtask.core.budget import Bucket, Limits, day_bucket, rate_bucket
from pysubtask.errors import RemoteError
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk

__all__ = ["Allowance", "BudgetSpent"]

_SAVE_SECS = 5.0
_MOST_BYTES = 4096


class BudgetSpent(RemoteError):
    """A budget is spent; the file waits until ``until`` (Unix seconds)."""

    def __init__(self, message: str, until: float) -> None:
        super().__init__(message, operation="deliver")
        self.until = until

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.until)


class Allowance:
    """The budgets of one destination. Used by the thread that delivers.

    Args:
        path: where what was spent is kept.
    """

    def __init__(
        self, disk: Disk, clock: Clock, limits: Limits, path: str, log: logging.Logger
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._limits = limits
        self._path = path
        self._log = log
        self._days: dict[str, Bucket] = {}
        self._rate: Bucket | None = None
        self._saved_at = -math.inf
        self._changed = False

    def open(self) -> None:
        """Read what was spent before."""
        saved = self._load()
        now = self._clock.time()
        for name, limit in (
            ("bytes", self._limits.bytes_per_day),
            ("transactions", self._limits.transactions_per_day),
        ):
            if limit is not None:
                level, at = saved.get(name, (None, now))
                self._days[name] = day_bucket(limit, min(at, now), level).filled(now)
        if self._limits.bytes_per_sec is not None:
            self._rate = rate_bucket(self._limits.bytes_per_sec, self._clock.monotonic())

    @property
    def is_limited(self) -> bool:
        """Whether it matters what goes first."""
        return bool(self._days)

    @property
    def has_pace(self) -> bool:
        """Whether there is a limit per second."""
        return self._rate is not None

    @property
    def has_bytes(self) -> bool:
        """Whether any bytes may be sent today, for now."""
        bucket = self._days.get("bytes")
        if bucket is None:
            return True
        now = self._clock.time()
        return bucket.ready_at(1, now) <= now

    def admit(self, *, has_paid: bool = False) -> None:
        """A delivery is to begin.

        Args:
            has_paid: looking at the destination for it was paid for, perhaps with the last bytes:
                they must not be in vain.

        Raises:
            BudgetSpent: not now.
        """
        self._check("transactions", 1, self._limits.transactions_per_day, "deliveries")
        if not has_paid:
            self.go_on()

    def go_on(self, worth_bytes: float = 1) -> None:
        """More bytes of a delivery are to be sent.

        Args:
            worth_bytes: if there are none now, it is worth going on once there are so many, or
                as many as can gather (an upload that goes on reads some of it back first).

        Raises:
            BudgetSpent: not now.
        """
        if not self.has_bytes:
            self._check("bytes", worth_bytes, self._limits.bytes_per_day, "bytes")

    def _check(self, name: str, count: float, limit: int | None, unit: str) -> None:
        bucket = self._days.get(name)
        if bucket is None:
            return
        now = self._clock.time()
        until = bucket.ready_at(count, now)
        if until > now:
            when = time.strftime("%H:%M:%S", time.localtime(until))
            raise BudgetSpent(
                f"the budget of {limit:,} {unit} a day is spent; more at {when}", until
            )

    def began(self) -> None:
        """A delivery was begun."""
        self._take("transactions", 1)

    def sent(self, size: int) -> None:
        """So many bytes go over the link, either way."""
        self._take("bytes", size)
        if self._rate is not None:
            self._rate = self._rate.taken(size, self._clock.monotonic())

    def ready_at(self, size: int) -> float:
        """The monotonic time at which so many bytes may leave, by the limit per second."""
        now = self._clock.monotonic()
        return now if self._rate is None else self._rate.ready_at(size, now)

    def chunk_bytes(self, most: int) -> int:
        """How much one request may move: no more than gathers in a bucket."""
        if self._rate is not None:
            most = min(most, max(1024, int(self._rate.capacity)))
        return most

    def save(self, *, now: bool = False) -> None:
        """Keep what was spent, at most every 5 seconds unless ``now``."""
        at = self._clock.monotonic()
        if not self._changed or (not now and at - self._saved_at < _SAVE_SECS):
            return
        self._saved_at = at
        self._changed = False
        record = {name: [bucket.level, bucket.at] for name, bucket in self._days.items()}
        try:
            self._disk.write_whole(self._path, json.dumps(record).encode("ascii"))
        except OSError as error:
            self._log.debug("write %s: %s", self._path, error)
            self._changed = True

    def _take(self, name: str, count: int) -> None:
        bucket = self._days.get(name)
        if bucket is not None:
            self._days[name] = bucket.taken(count, self._clock.time())
            self._changed = True

    def _load(self) -> dict[str, tuple[float, float]]:
        try:
            record = json.loads(self._disk.read_whole(self._path, _MOST_BYTES))
            return {str(name): (float(level), float(at)) for name, (level, at) in record.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # none was kept: as after a day's rest
