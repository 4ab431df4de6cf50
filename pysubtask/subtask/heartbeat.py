"""The heartbeat file beside the first watch: written here, delivered by whoever can."""

from __future__ import annotations

import logging
import os
import socket

from pysubtask.core.liveness import Beat, beat_text, expect_secs
from pysubtask.handover import Handover
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk
from pysubtask.signals import HEARTBEAT_SUFFIX
from pysubtask.version import __version__
from pysubtask.watch import home_folder

__all__ = ["Heartbeat"]


class Heartbeat:
    """Says every ``heartbeat_interval_secs`` that the subtask lives; 0 means never.

    The file is ``<heartbeat_name>.heartbeat`` (default: the host name) in the folder of the first
    watch, or in the state folder where that can't be written.
    """

    def __init__(self, handover: Handover, disk: Disk, clock: Clock, log: logging.Logger) -> None:
        settings = handover.settings
        self._interval_secs = settings.heartbeat_interval_secs
        self._disk = disk
        self._clock = clock
        self._log = log
        self._places = [handover.home_dir or home_folder(handover.watches), handover.state_dir]
        self._sequence = 0
        self._due_at = 0.0
        self.name = (settings.heartbeat_name or socket.gethostname()) + HEARTBEAT_SUFFIX
        self.path = os.path.join(self._places[0], self.name)
        self.note: str | None = None
        """What the next one says beside."""
        self.text = b""
        """What the last one said."""

    @property
    def due_at(self) -> float | None:
        """The monotonic time of the next one; the first is due at once. None: never."""
        return self._due_at if self._interval_secs > 0 else None

    def write(self, beat: Beat, *, goodbye: bool = False) -> None:
        """Write the file anew; ``goodbye`` says that no other will follow."""
        now = self._clock.monotonic()
        missed = now - self._due_at > self._interval_secs
        self._due_at = now + self._interval_secs if missed else self._due_at + self._interval_secs
        expect = 0 if goodbye else expect_secs(self._interval_secs)
        self.text = beat_text(expect, beat)
        for place in self._places:
            path = os.path.join(place, self.name)
            try:
                self._disk.write_whole(path, self.text)
            except OSError as error:
                self._log.debug("write %s: %s", path, error)
                continue
            self.path = path
            return

    def next_beat(self, backlog_bytes: int, oldest_at: float | None, error: str | None) -> Beat:
        """What to say now."""
        self._sequence += 1
        now = self._clock.time()
        return Beat(self._sequence, now, backlog_bytes, oldest_at, error, __version__, self.note)

    def remove(self) -> None:
        """Take the local file away (a clean stop), unless somebody else has written it since."""
        try:
            if self._disk.read_whole(self.path, len(self.text) + 1) == self.text:
                self._disk.remove(self.path)
        except OSError as error:
            self._log.debug("remove %s: %s", self.path, error)
