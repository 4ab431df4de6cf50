"""What pages, API and streams show: the latest snapshot, unless it is too old to be true."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pysubtask.monitor.snapshot import Snapshot, stalled_snapshot

if TYPE_CHECKING:
    from pysubtask.monitor.keeper import Monitor

__all__ = ["View"]

_WHY = "its last look is older than it should be; the next one may hang"


class View:
    """Looks at a monitor whose own looks may hang (a dead mount, a process that was stopped).

    While one hangs, the snapshot stays as it was, with everybody in it online for ever.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._stalled: tuple[Snapshot, Snapshot] | None = None

    @property
    def stalled(self) -> bool:
        """Whether the latest snapshot is too old."""
        # without sight nobody is called anything anyway
        snapshot = self._monitor.snapshot
        return snapshot.source.blind is None and self._monitor.stalled_secs is not None

    @property
    def snapshot(self) -> Snapshot:
        """What may be said now."""
        snapshot = self._monitor.snapshot
        if not self.stalled:
            return snapshot
        with self._lock:
            made = self._stalled
            if made is None or made[0] is not snapshot:
                made = self._stalled = (snapshot, stalled_snapshot(snapshot, _WHY))
        return made[1]
