"""Files that a killed process has left half-written in the state folder."""

from __future__ import annotations

import os

from pysubtask.seams.disk import Disk
from pysubtask.signals import StateLayout
from pysubtask.suffixes import is_half_written

__all__ = ["sweep_half_written"]

_OLD_SECS = 3600.0


def sweep_half_written(disk: Disk, layout: StateLayout, *, now: float) -> int:
    """Remove them; each kill may have left one more. The outbox looks after its own.

    Younger ones than an hour stay: a master that asks something, or a child that wants the folder,
    may be writing them.

    Args:
        now: Unix seconds.

    Returns:
        How many there were. What can't be removed stays, until the next start.
    """
    removed = 0
    for folder in (layout.state_dir, layout.signatures, layout.pulls, layout.arrivals):
        try:
            found = list(disk.scan(folder))
        except OSError:
            continue  # it is not there, or can't be read now
        for name, st in found:
            if st is None or not st.is_file or not is_half_written(name):
                continue
            if now - st.mtime_ns / 1e9 < _OLD_SECS:
                continue
            try:
                disk.remove(os.path.join(folder, name))
            except OSError:
                continue
            removed += 1
    return removed
