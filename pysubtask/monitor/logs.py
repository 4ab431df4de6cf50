"""A log that strangers can't fill: what repeats itself is told now and then, with a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["Sparing", "spare_the_log"]

_EVERY_SECS = 60.0
_AT_ONCE = 5
_MAX_KINDS = 500


class Sparing(logging.Filter):
    """Lets five lines of a kind through in a minute, and says how many it left out.

    A kind is the message before its arguments are put in, so that other addresses or numbers in it
    make no other one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}
        """Since when each is counted, and how many there were."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        now, kind = self._clock(), (record.name, str(record.msg)[:200])
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= _EVERY_SECS:
            left_out = count - _AT_ONCE
            if left_out > 0:
                record.msg = f"{record.msg} (and {left_out} more like this before)"
            since, count = now, 0
        if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = (since, count + 1)
        return count < _AT_ONCE


def spare_the_log() -> None:
    """Have it so for all that strangers may cause."""
    for name in ("uvicorn.error", "asyncio", "pysubtask.monitor"):
        logging.getLogger(name).addFilter(Sparing())
