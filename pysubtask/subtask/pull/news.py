"""Telling the program what has arrived: a small file in the state folder, and a touch beside it."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading

import msgspec

from pysubtask.arrivals import Arrival, arrived_path, news_name
from pysubtask.core.pull import Told
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk
from pysubtask.subtask.pull.places import TEMP_PREFIX

__all__ = ["News"]

_MOST_BYTES = 65_536


class News:
    """Writes what :func:`pysubtask.arrivals.take_arrivals` reads.

    Args:
        folder: ``<state>/arrivals``.
    """

    def __init__(self, disk: Disk, clock: Clock, folder: str, log: logging.Logger) -> None:
        self._disk = disk
        self._clock = clock
        self._folder = folder
        self._log = log
        self._number = 0
        self._lock = threading.Lock()  # each source has its thread

    def tell(self, place: str, remote: str, told: Told, size: int, temp: str) -> None:
        """``place`` holds so many bytes now, of which those from ``told.start`` on are news.

        What was not taken yet is told along with it.

        Args:
            temp: a temporary name that nobody uses.

        Raises:
            OSError: it can't be written, or ``<file>.arrived`` can't; it has to be told later.
        """
        self._disk.make_dirs(self._folder)
        name = f"{self._folder}/{news_name(place)}"
        kind, start = told.kind, told.start
        before = self.pending(place)
        if before is not None and kind == "grown":
            kind, start = before.kind, min(start, before.start_bytes)
        with self._lock:
            number = self._number = max(self._number + 1, int(self._clock.time() * 1e6))
        arrival = Arrival(
            path=place,
            kind=kind,  # type: ignore[arg-type]  # as the journal kept it
            remote=remote,
            start_bytes=start,
            size_bytes=size,
            at=self._clock.time(),
            number=number,
        )
        line = json.dumps(msgspec.to_builtins(arrival)).encode("ascii")
        self._disk.write_whole(name, line, sync=True)
        self._disk.sync_dir(self._folder)
        self._touch(place, line, temp)

    def withdraw(self, place: str) -> None:
        """Nothing is to be told of that name any more: its file has another one."""
        try:
            self._disk.remove(f"{self._folder}/{news_name(place)}")
        except OSError:
            pass  # it is told twice then

    def pending(self, place: str) -> Arrival | None:
        """What the program was told of a name and has not dealt with."""
        name = f"{self._folder}/{news_name(place)}"
        try:
            return msgspec.convert(json.loads(self._disk.read_whole(name, _MOST_BYTES)), Arrival)
        except (OSError, ValueError):  # msgspec's error is a ValueError
            return None

    def _touch(self, place: str, line: bytes, temp: str) -> None:
        """``<file>.arrived`` appears, or changes its times; it holds the same line."""
        folder = os.path.dirname(place)
        mine = f"{folder}/{TEMP_PREFIX}{temp}"
        try:
            handle = self._disk.open_append(mine, create_new=True, private=False)
            try:
                handle.append(line + b"\n")
                handle.sync()
            finally:
                handle.close()
            self._disk.rename(mine, arrived_path(place))
        except OSError as error:
            try:
                self._disk.remove(mine)
            except OSError:
                pass
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._log.warning("touch %s: %s", arrived_path(place), error)
