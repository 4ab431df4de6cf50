"""The graceful stop of one child, as the supervising thread conducts it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from pysubtask.master._child import Child
from pysubtask.signals import StateLayout, read_json, write_json

__all__ = ["Farewell", "sign_of_life"]

STARTING_LOOK_SECS = 0.02


class Farewell:
    """Asks a child to leave: by the stop file, and by a signal, which is quicker.

    Args:
        layout: the state folder.
        child: it runs.
        born: the sign of life (:func:`sign_of_life`) that was there before the child.
        until: monotonic time at which it is killed.
        say: the log.
    """

    def __init__(
        self,
        layout: StateLayout,
        child: Child,
        *,
        born: int | None,
        until: float,
        say: Callable[..., None],
    ) -> None:
        self._layout = layout
        self._child = child
        self._born = born
        self._until = until
        self._hurried = False
        self._asked = True
        request = {"by": "master", "pid": os.getpid(), "token": child.token}
        try:
            write_json(layout.stop, request)
        except OSError as error:
            self._asked = False
            if isinstance(error, PermissionError):  # the program has become another user since
                self._hurried = True
                child.close_life_line()
            say(logging.WARNING, "%s can't be written: %s", layout.stop, error)

    def step(self) -> float:
        """Send the signal once the child is ready for it. Gives how long to sleep at most.

        A signal would kill a child that is still starting, and with it the delivery of what was
        just notified. Once it holds the lock it has its handlers.
        """
        if not self._hurried:
            if not self._is_ready():
                return STARTING_LOOK_SECS
            self._hurried = True
            self._child.hurry()
        return max(0.0, self._until - time.monotonic())

    def was_heard(self, code: int) -> bool:
        """Whether the child, which has ended, left because of us. A crash or somebody's signal may
        have come first: then it may not have looked at what was notified since."""
        if self._asked:
            return (read_json(self._layout.stop) or {}).get("token") != self._child.token
        return self._hurried and code == 0  # the disk takes no stop file: there are other ways

    def take_back(self) -> None:
        """Remove what nobody has to read any more."""
        if self._asked and (read_json(self._layout.stop) or {}).get("token") == self._child.token:
            try:
                os.unlink(self._layout.stop)
            except OSError:
                pass

    def _is_ready(self) -> bool:
        holder = read_json(self._layout.holder)
        if (holder or {}).get("token") == self._child.token:
            return True
        # A full disk has no room for a name on the door. But a sign of life needs none, and the
        # status is written into the room that it has.
        if holder is None:
            return sign_of_life(self._layout) not in (None, self._born)
        return (read_json(self._layout.status) or {}).get("pid") == self._child.pid


def sign_of_life(layout: StateLayout) -> int | None:
    """When a child gave its last sign of life; None if it has no way to give one."""
    try:
        if not os.access(layout.alive, os.W_OK):  # a file system that became read-only
            return None
        return os.stat(layout.alive).st_mtime_ns
    except OSError:
        return None
