"""Sends what is to be told, until it is told: threads of its own, and a queue in the history.

A mail server that hangs must not delay a scan, nor another channel: each channel has a thread. A
restart must not lose an alert. Each channel of each notice is tried again with growing waits for a
day; after a failure the channel's other notices wait a little, too, for its server may be away.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pysubtask.errors import PysubtaskError
from pysubtask.monitor.alerts import Notice
from pysubtask.monitor.channels import Channel, ping
from pysubtask.monitor.history import History

__all__ = ["Dispatch", "store_notices"]

_WAITS_SECS = (10.0, 30.0, 60.0, 300.0, 900.0)
_GIVE_UP_SECS = 86_400.0
_MAX_HOLD_SECS = 60.0
_STOP_SECS = 20.0
_LOOK_SECS = 2.0
_LOG = logging.getLogger("pysubtask.monitor")


def store_notices(history: History, notices: Iterable[Notice], channels: Iterable[Channel]) -> None:
    """Write what is to be told; the dispatcher finds it there."""
    names = [channel.name for channel in channels]
    for notice in notices:
        history.query(
            "INSERT INTO notices (at, kind, title, body, facts) VALUES (?, ?, ?, ?, ?)",
            notice.at,
            notice.kind,
            notice.title,
            notice.body,
            json.dumps(notice.facts()),
        )
        number = history.query("SELECT last_insert_rowid()")[0][0]
        for name in names:
            history.query(
                "INSERT OR IGNORE INTO deliveries (notice, channel, next_try) VALUES (?, ?, ?)",
                number,
                name,
                notice.at,
            )


class _Result(NamedTuple):
    error: str | None
    next_try: float
    done_at: float | None


class Dispatch:
    """Delivers from the history's queue.

    Args:
        lock: guards the history; never held while something is being sent.
        healthy: whether the monitor sees its clients; only then is the outside pinged.
    """

    def __init__(
        self,
        history: History,
        lock: threading.RLock,
        channels: Sequence[Channel],
        *,
        ping_url: str | None = None,
        ping_secs: float = 60.0,
        healthy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._history = history
        self._lock = lock
        self.channels = {channel.name: channel for channel in channels}
        self._ping_url, self._ping_secs, self._healthy = ping_url, ping_secs, healthy
        self._results: dict[str, dict[int, _Result]] = {name: {} for name in self.channels}
        """What became of notices and could not be written yet: on a full disk they would be sent
        again and again."""
        self._failures: dict[str, int] = {}
        self._held: dict[str, float] = {}
        """Until when (wall clock) a channel that failed is left alone."""
        self._news = threading.Condition()
        self._count = 0
        self._stop = False
        self._next_ping = 0.0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        tasks = [partial(self._deliver, name) for name in self.channels]
        for task in (*tasks, self._drop_strangers, self._ping):
            thread = threading.Thread(
                target=self._run, args=(task,), name="monitor alerts", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the threads, after the tries that are under way."""
        with self._news:
            self._stop = True
            self._news.notify_all()
        limit = time.monotonic() + _STOP_SECS
        for thread in self._threads:
            thread.join(timeout=max(0.0, limit - time.monotonic()))

    def wake(self) -> None:
        """There is something new."""
        with self._news:
            self._count += 1
            self._news.notify_all()

    def _run(self, task: Callable[[float], object]) -> None:
        while not self._stop:
            count = self._count
            try:
                task(time.time())
            except Exception:  # the thread must outlive what nobody thought of
                _LOG.exception("sending alerts failed")
            with self._news:
                self._news.wait_for(partial(self._is_news, count), _LOOK_SECS)

    def _is_news(self, count: int) -> bool:
        return self._stop or self._count != count

    def _ping(self, _: float) -> None:
        if self._ping_url is None or time.monotonic() < self._next_ping:
            return
        self._next_ping = time.monotonic() + self._ping_secs
        if not self._healthy():
            return
        try:
            ping(self._ping_url)
        except PysubtaskError as error:
            _LOG.warning("%s", error)

    def deliver_due(self, now: float) -> int:
        """Try everything that is due, one channel after the other; gives how many arrived."""
        self._drop_strangers(now)
        return sum(self._deliver(name, now) for name in self.channels)

    def _drop_strangers(self, now: float) -> None:
        """What was for channels that are no longer set up is given up."""
        with self._lock:
            names = self._history.query(
                "SELECT DISTINCT channel FROM deliveries WHERE done_at IS NULL"
            )
            for (name,) in names:
                if name not in self.channels:
                    _LOG.warning("%s is no longer set up: its notices are given up", name)
                    self._history.query(
                        "UPDATE deliveries SET error = ?, done_at = ? "
                        "WHERE channel = ? AND done_at IS NULL",
                        "this channel is no longer set up",
                        now,
                        name,
                    )

    def _deliver(self, name: str, now: float) -> int:
        """Try what is due for one channel, until one fails. New notices go before those that
        failed; ``now``: by the wall clock, which may have been set meanwhile."""
        if not self._note_results(name) or 0 < self._held.get(name, now) - now <= _MAX_HOLD_SECS:
            return 0
        with self._lock:
            due = self._history.query(
                "SELECT notice, tries, at, facts FROM deliveries JOIN notices ON number = notice "
                "WHERE channel = ? AND done_at IS NULL AND (next_try <= ? OR next_try > ?) "
                "ORDER BY tries, notice LIMIT 50",
                name,
                now,
                now + _WAITS_SECS[-1],
            )
        done = 0
        began = time.monotonic()
        for notice, tries, at, facts in due:
            if self._stop:
                break
            error, again = self._try(self.channels[name], json.loads(facts))
            then = now + time.monotonic() - began
            again = again and then - at < _GIVE_UP_SECS
            if error is not None:
                _LOG.warning("notice %s: %s%s", notice, error, "" if again else "; given up")
            wait = _WAITS_SECS[min(tries, len(_WAITS_SECS) - 1)]
            self._results[name][notice] = _Result(error, then + wait, None if again else then)
            done += error is None
            if again:
                self._hold(name, then)
            else:
                self._failures.pop(name, None)
            if not self._note_results(name) or again:
                break
        return done

    def _note_results(self, name: str) -> bool:
        """Write what became of a channel's notices; False if that can't be done now."""
        results = self._results[name]
        try:
            with self._lock:
                for notice, result in list(results.items()):
                    self._history.query(
                        "UPDATE deliveries SET tries = tries + 1, error = ?, next_try = ?, "
                        "done_at = ? WHERE notice = ? AND channel = ?",
                        result.error,
                        result.next_try,
                        result.done_at,
                        notice,
                        name,
                    )
                    del results[notice]
        except sqlite3.Error:
            return False  # who writes the history says so
        return True

    def _hold(self, name: str, now: float) -> None:
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        wait = _WAITS_SECS[min(failures, len(_WAITS_SECS) - 1)]
        self._held[name] = now + min(wait, _MAX_HOLD_SECS)

    def _try(self, channel: Channel, facts: dict[str, Any]) -> tuple[str | None, bool]:
        """What went wrong, if anything did, and whether another try may do."""
        try:
            channel.send(facts)
        except PysubtaskError as trouble:
            return str(trouble), trouble.retryable
        except Exception as trouble:
            _LOG.exception("channel %s failed", channel.name)
            return f"{type(trouble).__name__}: {trouble}", True
        return None, False
