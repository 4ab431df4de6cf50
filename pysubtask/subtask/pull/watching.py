"""Being told of changes at a source, where the server can tell: then it need not be polled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from pysubtask.errors import PysubtaskError
from pysubtask.transports.contract import ChangeWaiter

__all__ = ["ChangeWatch", "News"]

News: TypeAlias = Literal["changed", "failed"]


class ChangeWatch:
    """One thread that waits, at most one at a time.

    It is a daemon that nobody joins: what it waits in may not be interruptible, and a stop must
    not take longer for it.

    Args:
        source: as a URL, for the log.
        wake: called, by that thread, when there is news.
    """

    def __init__(self, source: str, wake: Callable[[], None], log: logging.Logger) -> None:
        self._source = source
        self._wake = wake
        self._log = log
        self._lock = threading.Lock()
        self._waiter: ChangeWaiter | None = None
        self._news: News | None = None
        self._closed = False
        self._trouble: str | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether a change will be told: somebody waits, and the last answer was one."""
        return self._waiter is not None and self._trouble is None

    def begin(self, waiter: ChangeWaiter) -> None:
        """Wait for a change; nothing happens if an earlier wait goes on, which will tell of all
        that this one would."""
        with self._lock:
            if self._waiter is not None or self._closed:
                return
            self._waiter, self._news = waiter, None
        threading.Thread(
            target=self._wait, args=(waiter,), name="pysubtask-changes", daemon=True
        ).start()

    def take(self) -> News | None:
        """What there is to be told, once."""
        with self._lock:
            news, self._news = self._news, None
            return news

    def close(self) -> None:
        """Wait no more; returns at once. Idempotent."""
        with self._lock:
            self._closed = True
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.close()

    def _wait(self, waiter: ChangeWaiter) -> None:
        news: News = "failed"
        try:
            while not self._closed and not waiter.wait():
                self._note(None)
            news = "changed"
            self._note(None)
        except PysubtaskError as error:
            self._note(str(error))
        except Exception as error:
            self._log.exception("waiting for changes at %s failed", self._source)
            self._trouble = str(error)
        with self._lock:
            if self._closed:
                return
            self._waiter, self._news = None, news
        self._wake()

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble and not self._closed:
            self._log.info("no word of changes at %s: %s; looking instead", self._source, trouble)
        self._trouble = trouble
