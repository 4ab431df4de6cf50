"""Watched folders: which file in them is new or changed, and complete."""

from __future__ import annotations

import logging
import os

from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat
from pysubtask.signals import NOTIFY_SUFFIX
from pysubtask.subtask.intake.facts import differs
from pysubtask.subtask.intake.looks import Looks
from pysubtask.subtask.intake.targets import Targets
from pysubtask.subtask.intake.touches import Touches
from pysubtask.subtask.store.ledger import Ledger

__all__ = ["Folders"]

_SCAN_SHARE = 200


class Folders:
    """Reads watched folders and plans the looks at what it finds there.

    A folder is read every ``timer_interval_secs``, and all of them together at most 1 % of the time
    (equal ones half of that). A slow one waits for its own reading, not the others for it.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        targets: Targets,
        looks: Looks,
        touches: Touches,
        *,
        timer_interval_secs: float,
        settle_secs: float,
        log: logging.Logger,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._targets = targets
        self._looks = looks
        self._touches = touches
        self._timer_secs = timer_interval_secs
        self._settle_secs = settle_secs
        self._log = log
        self._next_scan: dict[str, float] = {}
        self._took_secs: dict[str, float] = {}
        """How long reading each folder took last."""

    def scan_due(self, now: float, *, everything: bool) -> None:
        """Read the folders whose time has come, or all."""
        for folder in self._targets.folders:
            if everything or now >= self._next_scan.get(folder, 0.0):
                self._scan(folder, now)

    def follow(self, path: str, complete: bool, now: float) -> None:
        """Something happened to a file; ``complete``: it was closed by its writer, or renamed
        in."""
        target = self._targets.known(path)
        if target is not None and not target.watch.is_dir:
            self._looks.hurry_if_gone(target, now)
            return
        st = self._stat(path)
        if st is None:
            entry = self._ledger.get(path)
            target = self._targets.in_folder(path)
            if target is not None and entry is not None and entry.versions:
                self._looks.schedule(target, now)  # renamed or deleted: read it to its end
            return
        self._consider(path, st, complete, now)

    def _scan(self, folder: str, now: float) -> None:
        began = self._clock.monotonic()
        try:
            for name, st in self._disk.scan(folder):
                path = os.path.join(folder, name)
                if name.endswith(NOTIFY_SUFFIX):
                    target = self._targets.in_folder(path[: -len(NOTIFY_SUFFIX)])
                    if target is not None:
                        self._touches.check(target, now)
                elif st is not None and self._targets.is_data(path):
                    self._consider(path, st, False, now)
        except OSError as error:
            self._log.warning("scan %s: %s", folder, error)
        self._took_secs[folder] = self._clock.monotonic() - began
        # Either of the two keeps all of them within the share. A quick folder pauses for its equal
        # part of the time, and a slow one no longer than if it had what the quick ones leave.
        took = self._took_secs[folder] * len(self._targets.folders)
        pause = _SCAN_SHARE * min(took, sum(self._took_secs.values()))
        self._next_scan[folder] = now + max(self._timer_secs, pause)

    def _consider(self, path: str, st: FileStat, complete: bool, now: float) -> None:
        """A file in a watched folder: look if it is complete, or wait until it has settled."""
        if not st.is_file:
            return
        entry = self._ledger.get(path)
        if not complete and entry is not None and not differs(entry, st):
            return
        target = self._targets.in_folder(path)
        if target is None:
            return
        if complete or target.is_complete:
            target.is_complete = True
            self._looks.schedule(target, now)
        elif target.failures:
            return  # its next look is planned, ever later
        elif target.settle_facts != st:
            target.settle_facts = st
            target.settle_until = now + self._settle_secs
            self._looks.schedule(target, target.settle_until)

    def _stat(self, path: str) -> FileStat | None:
        try:
            return self._disk.stat(path)
        except OSError:
            return None
