"""Sends what is to be told, until it is told: a thread of its own, and a queue in the history.

A mail server that hangs must not delay a scan, and a restart must not lose an alert. Each channel
of each notice is tried again with growing waits for a day.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from pysubtask.errors import PysubtaskError
from pysubtask.monitor.alerts import Notice
from pysubtask.monitor.channels import Channel, ping
from pysubtask.monitor.history import History

__all__ = ["Dispatch", "store_notices"]

_WAITS_SECS = (10.0, 30.0, 60.0, 300.0, 900.0)
_GIVE_UP_SECS = 86_400.0
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
        self._wake = threading.Event()
        self._stop = False
        self._next_ping = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="monitor alerts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the try that is under way."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=20.0)

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stop:
            self._wake.clear()
            try:
                self.deliver_due(time.time())
                self._ping()
            except Exception:  # the thread must outlive what nobody thought of
                _LOG.exception("sending alerts failed")
            self._wake.wait(timeout=2.0)

    def _ping(self) -> None:
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
        """Try everything that is due; gives how many were delivered."""
        with self._lock:
            due = self._history.query(
                "SELECT notice, channel, tries, at, facts FROM deliveries "
                "JOIN notices ON number = notice "
                "WHERE done_at IS NULL AND next_try <= ? ORDER BY notice LIMIT 50",
                now,
            )
        done = 0
        for notice, name, tries, at, facts in due:
            if self._stop:
                break
            error: str | None = None
            again = False
            channel = self.channels.get(name)
            if channel is None:
                error = "this channel is no longer set up"
            else:
                try:
                    channel.send(json.loads(facts))
                except PysubtaskError as trouble:
                    error, again = str(trouble), trouble.retryable
                except Exception as trouble:
                    error, again = f"{type(trouble).__name__}: {trouble}", True
                    _LOG.exception("channel %s failed", name)
            again = again and now - at < _GIVE_UP_SECS
            done += error is None
            if error is not None:
                _LOG.warning("notice %s: %s%s", notice, error, "" if again else "; given up")
            wait = _WAITS_SECS[min(tries, len(_WAITS_SECS) - 1)]
            with self._lock:
                self._history.query(
                    "UPDATE deliveries SET tries = tries + 1, error = ?, next_try = ?, "
                    "done_at = ? WHERE notice = ? AND channel = ?",
                    error,
                    now + wait,
                    None if again else time.time(),
                    notice,
                    name,
                )
        return done
