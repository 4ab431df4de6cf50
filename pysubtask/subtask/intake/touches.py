"""Touches: which ``.notify`` differs from the one that was served, and when its look is due."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from pysubtask.core.burst import ByteRule, Rule, notified
from pysubtask.seams.disk import Disk
from pysubtask.signals import StateLayout, notify_path
from pysubtask.subtask.intake.blanks import Blanks
from pysubtask.subtask.intake.looks import Looks
from pysubtask.subtask.intake.target import BLANK, Target, read_touch
from pysubtask.subtask.intake.targets import Targets

__all__ = ["Touches"]


_GONE = -2
"""A ``blank_mark``: one that was there has gone, and a blank one that is there later was made after
that."""


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
        self._fallback_names: set[str] = set()
        """What is in the state folder's place for ``.notify`` files."""

    def start(self, blank_marks: Mapping[str, int | None]) -> None:
        """Remember which ``.notify`` were blank; one that vanished since counts as a touch.

        Args:
            blank_marks: what the master saw at its start; it counts where nothing is remembered.
        """
        noted = self._blanks.load()
        for declared in self._targets.declared:
            declared.blank_mark = noted.get(declared.path, blank_marks.get(declared.path))

    def check_all(self, now: float) -> None:
        """Check the declared files, and the ``.notify`` files in the state folder."""
        try:
            names = {name for name, _ in self._disk.scan(self._layout.notify_dir)}
        except OSError:
            names = set()
        is_same_folder = names == self._fallback_names
        self._fallback_names = names
        times = self._disk.times  # there may be thousands of files, every timer_interval_secs
        for target in self._targets.declared:
            found = times(notify_path(target.path))
            if (found != target.checked or not is_same_folder) and self.check(target, now):
                target.checked = found
        for name in names:
            self._check_fallback(os.path.join(self._layout.notify_dir, name), now)

    def check(self, target: Target, now: float) -> bool:
        """Plan a look if the touch differs from the one that was seen last.

        Returns:
            False if it can't be told yet: a blank one is just being made.
        """
        target.checked = ...
        stamp, mark = read_touch(self._disk, target)
        if stamp == BLANK and mark is None:
            return False
        if stamp == BLANK:
            made_anew = target.blank_mark not in (None, mark)
            missed = made_anew or (target.saw_touch and target.touch_seen not in (None, BLANK))
        else:
            missed = stamp is None and target.blank_mark not in (None, _GONE)
        if stamp == target.touch_seen and not missed:
            if mark is not None:
                self._note_blank(target, mark)
            return True
        target.touch_seen = stamp
        target.saw_touch = stamp not in (None, BLANK)
        self._note_blank(target, _GONE if stamp is None else mark)
        if stamp == BLANK and not missed:
            return True
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
        self._looks.schedule_in_turn(target, look_at)
        return True

    def count_as_missed(self, target: Target, now: float) -> None:
        """There was a touch that nobody can see any more: look, whatever the stamps say."""
        target.is_complete = True
        self._looks.schedule(target, now)

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
        lasting = None if mark == _GONE else mark
        if self._targets.is_declared(target.path):
            target.blank_mark = mark
            self._blanks.note(target.path, lasting)
        else:  # one that is there later may have been made by whoever declares the file
            target.blank_mark = lasting

    def _size(self, path: str) -> int:
        try:
            return self._disk.stat(path).size
        except OSError:
            return 0
