"""Asking a subtask to deliver or to fetch everything, until it is done or there is no hope."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pysubtask.cli.exits import Failure
from pysubtask.cli.hopeless import Doing, is_hopeless
from pysubtask.status import Status

__all__ = ["Asking"]

_FOREVER_SECS = 30 * 86_400.0


class Asking:
    """One question, which a thread asks again only if the subtask ended before its answer: each
    asking makes the subtask try the server at once.

    Args:
        ask: with a time limit in seconds; True once it is done.
        doing: the command that asks.
    """

    def __init__(self, ask: Callable[[float], bool], doing: Doing) -> None:
        self._ask = ask
        self._doing = doing
        self._done = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether it is done, or given up."""
        return self._done.is_set()

    def start(self) -> None:
        """Ask."""
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, secs: float) -> None:
        """Wait until it is over, at most so long."""
        self._done.wait(secs)

    def give_up(self) -> None:
        """Nothing more is to be expected."""
        self._done.set()

    def give_up_if_hopeless(self, status: Status, give_up_after: float) -> None:
        """Give up if nothing got on for so many seconds, or the server refuses.

        Args:
            status: its link is the one that matters.

        Raises:
            Failure: there is no connection, and there won't be one soon.
        """
        if self.is_over:
            return
        try:
            hopeless = is_hopeless(status, self._doing, give_up_after)
        except Failure:
            self._done.set()
            self._doing.close_bars()
            raise
        if hopeless:
            self._done.set()

    def _run(self) -> None:
        while not self.is_over:
            if self._ask(_FOREVER_SECS):
                self._done.set()
            else:
                self._done.wait(1)  # the subtask ended and is started again
