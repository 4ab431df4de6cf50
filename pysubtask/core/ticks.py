"""How coarse the time stamps of a file system are, told from the stamps themselves.

Kernels before Linux 6.13 stamp with the timer's tick, 1–10 ms (multigrain time stamps: Linux 6.13,
``Documentation/filesystems/multigrain-ts.rst``); HFS+ and ext3 with 1 s; FAT with 2 s. Two changes
within a tick can leave one stamp. A stamp of whole seconds is taken for a coarse one: on a fine
file system that is a rare accident, and costs a later second look, nothing else.
"""

from __future__ import annotations

from pysubtask.core.model import Stamp

__all__ = ["COARSE_TICK_SECS", "FINE_TICK_SECS", "tick_secs"]

FINE_TICK_SECS = 0.02
COARSE_TICK_SECS = 2.1
_SECOND_NS = 1_000_000_000


def tick_secs(stamp: Stamp) -> float:
    """Within how many seconds of a change another change may leave the same stamp."""
    whole = stamp.mtime_ns % _SECOND_NS == 0 and stamp.ctime_ns % _SECOND_NS == 0
    return COARSE_TICK_SECS if whole else FINE_TICK_SECS
