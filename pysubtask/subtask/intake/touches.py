"""Touches: which ``.notify`` differs from the one that was served, and when its look is due."""

from __future__ import annotations

import logging
import os

from pysubtask.core.burst import ByteRule, Rule, notified
from pysubtask.seams.disk import Disk
from pysubtask.signals import StateLayout
from pysubtask.subtask.intake.blanks import Blanks
from pysubtask.subtask.intake.looks import Looks
from pysubtask.subtask.intake.target import BLANK, Target, read_stamp, read_touch
from pysubtask.subtask.intake.targets import Targets

__all__ = ["Touches"]


class Touches:
    """Reads the ``.notify`` files and plans the looks that they ask for.

    Args:
        hold_looks: a burst holds back the look itself, not only the delivery.
    """

    def __init__(
        self,
        disk: Disk,
        layout: StateLayout,
        targets: Targets,
        looks: Looks,
        *,
        burst_rule: Rule,
        hold_looks: bool,
        log: logging.Logger,
    ) -> None:
        self._disk = disk
        self._layout = layout
        self._targets = targets
        self._looks = looks
        self._burst_rule = burst_rule
        self._hold_looks = hold_looks
        self._blanks = Blanks(disk, layout.blanks, log)

    def start(self, now: float) -> None:
        """Remember which ``.notify`` were blank; one that vanished meanwhile counts as a touch."""
        noted = self._blanks.load()
        for declared in self._targets.declared:
            declared.blank_mark = noted.get(declared.path)
            if declared.blank_mark is not None and read_stamp(self._disk, declared) is None:
                self._looks.schedule(declared, now)

    def check_all(self, now: float) -> None:
        """Check the declared files, and the ``.notify`` files in the state folder."""
        for target in self._targets.declared:
            self.check(target, now)
        try:
            names = [name for name, _ in self._disk.scan(self._layout.notify_dir)]
        except OSError:
            return
        for name in names:
            self._check_fallback(os.path.join(self._layout.notify_dir, name), now)

    def check(self, target: Target, now: float) -> None:
        """Plan a look if the touch differs from the one that was seen last."""
        stamp, mark = read_touch(self._disk, target)
        if stamp == BLANK:
            made_anew = target.blank_mark is not None and mark not in (None, target.blank_mark)
            missed = made_anew or (target.saw_touch and target.touch_seen not in (None, BLANK))
        else:
            missed = False
        if stamp == target.touch_seen and not missed:
            if mark != target.blank_mark and (mark is not None or stamp is None):
                self._note_blank(target, mark)
            return
        target.touch_seen = stamp
        target.saw_touch = stamp not in (None, BLANK)
        self._note_blank(target, mark)
        if stamp == BLANK and not missed:
            return
        target.touch_seen_at = now
        target.is_complete = True
        look_at = now
        if target.watch.burstmode:
            size = self._size(target.path) if isinstance(self._burst_rule, ByteRule) else 0
            target.burst, go = notified(target.burst, now, self._burst_rule, size)
            if not go and self._hold_looks and target.burst.release_at is not None:
                look_at = target.burst.release_at
                target.look_at = None  # a look that was planned waits as well
            if not go and target.burst.release_at is not None:
                self._looks.wake(target, target.burst.release_at)
        self._looks.schedule(target, look_at)

    def follow(self, notify_file: str, data_path: str, now: float) -> None:
        """Something happened to a ``.notify``; ``data_path`` is the file that it lies beside."""
        if os.path.dirname(notify_file) == self._layout.notify_dir:
            self._check_fallback(notify_file, now)
            return
        target = self._targets.find(data_path)
        if target is not None:
            self.check(target, now)

    def save(self) -> None:
        """Write down which are blank, if that has changed."""
        self._blanks.save()

    def _check_fallback(self, notify_file: str, now: float) -> None:
        """A ``.notify`` in the state folder; it holds the path that it stands for."""
        try:
            path = os.fsdecode(self._disk.read_whole(notify_file, 65_536))
        except OSError:
            return
        target = self._targets.find(path)
        if target is not None:
            self.check(target, now)

    def _note_blank(self, target: Target, mark: int | None) -> None:
        target.blank_mark = mark
        if self._targets.is_declared(target.path):
            self._blanks.note(target.path, mark)

    def _size(self, path: str) -> int:
        try:
            return self._disk.stat(path).size
        except OSError:
            return 0
