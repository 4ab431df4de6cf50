"""What befalls the link, one at a time: toxiproxy's toxics.

https://github.com/Shopify/toxiproxy#toxics, re-made in :mod:`tests.servers.proxy`.
"""

from __future__ import annotations

import random

from tests.servers.proxy import TcpProxy

__all__ = ["FAULTS", "Weather"]

FAULTS = (
    "latency",
    "down",
    "bandwidth",
    "slow_close",
    "timeout",
    "reset_peer",
    "slicer",
    "limit_data",
)


class Weather:
    """Begins a fault; the next one, or :meth:`clear`, ends it.

    Args:
        rng: for what a fault is like: a little or a lot of it.
    """

    def __init__(self, link: TcpProxy, rng: random.Random) -> None:
        self._link = link
        self._rng = rng

    def begin(self, fault: str) -> None:
        """One of :data:`FAULTS`."""
        self.clear()
        link, between = self._link, self._rng.uniform
        if fault == "latency":
            link.delay_secs, link.jitter_secs = between(0.01, 0.4), between(0.0, 0.2)
        elif fault == "down":
            link.go_down()
        elif fault == "bandwidth":
            link.bytes_per_sec = 1000.0 * 100 ** self._rng.random()  # 1 to 100 kB a second
        elif fault == "slow_close":
            link.slow_close_secs = between(0.1, 2.0)
            link.cut(reset=False)  # so that something closes
        elif fault == "timeout":
            link.swallow(between(0.1, 2.0))
        elif fault == "reset_peer":
            link.reset_in(between(0.0, 1.0))
        elif fault == "slicer":
            link.slice_bytes = self._rng.randint(20, 2000)
            link.slice_gap_secs = between(0.0, 0.005)
        elif fault == "limit_data":
            link.end_after_bytes = int(2000 * 500 ** self._rng.random())  # 2 kB to 1 MB
        else:
            raise ValueError(fault)

    def clear(self) -> None:
        """A link without limits or trouble."""
        self._link.calm_down()
        self._link.bytes_per_sec, self._link.delay_secs = None, 0.0
