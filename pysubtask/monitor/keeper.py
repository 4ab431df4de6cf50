"""The monitor itself: scans, asks the rule, remembers, alerts, and shows what is so.

One thread scans and judges; whoever wants to know takes the latest ``Snapshot``, which nobody
changes any more. What people do (pause, tag, forget) goes through the same lock as a scan's
evaluation; the scan itself, which may wait for a disk, holds no lock.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pysubtask.monitor.alerts import Alerts, AlertSettings, trial_notice
from pysubtask.monitor.channels import Channel
from pysubtask.monitor.clients import Client, Settings
from pysubtask.monitor.dispatch import Dispatch
from pysubtask.monitor.fleet import Changes, Fleet, Scan
from pysubtask.monitor.history import History
from pysubtask.monitor.records import Records
from pysubtask.monitor.snapshot import Snapshot, SourceState, next_snapshot

__all__ = ["Monitor", "Source"]

_LONG_PAUSE_SECS = 300.0
_FORGET_SECS = 3600.0
_LOG = logging.getLogger("pysubtask.monitor")


class Source(Protocol):
    """Where heartbeat files are looked for."""

    def scan(self) -> Scan:
        """Look at all of them. Trouble is told in the scan, not raised."""

    def close(self) -> None:
        """Let go of what is held."""


class Monitor:
    """Everything but the pages.

    Args:
        source: where the files are.
        history: what is remembered; closed by ``stop``.
        scan_secs: the pause between two scans; longer where each scan takes long (at most a fifth
            of the time is spent on scanning, but no pause for that lasts more than five minutes).
        clock, monotonic: the two clocks; tests give their own.
    """

    def __init__(
        self,
        source: Source,
        history: History,
        *,
        settings: Settings | None = None,
        alert_settings: AlertSettings | None = None,
        channels: Sequence[Channel] = (),
        scan_secs: float = 5.0,
        ping_url: str | None = None,
        ping_secs: float = 60.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.history = source, history
        self.scan_secs = scan_secs
        self.channels = tuple(channels)
        self.fleet = Fleet(dataclasses.replace(settings or Settings(), look_secs=scan_secs))
        self.alerts = Alerts(alert_settings or AlertSettings())
        self.lock = threading.RLock()
        self.clock, self.monotonic = clock, monotonic
        self.dispatch = Dispatch(
            history,
            self.lock,
            self.channels,
            ping_url=ping_url,
            ping_secs=ping_secs,
            healthy=lambda: self.healthy,
        )
        self.snapshot = Snapshot.empty(str(source), clock())
        self.on_change: Callable[[Snapshot], None] = lambda snapshot: None
        """Called in the scanning thread after each scan."""
        self.records = Records(history, self.fleet, self.alerts, self.channels)
        self._scanned_at: float | None = None
        self._usual_secs = 0.0
        """From the end of a look to the end of the next, where each takes long."""
        self._next_forget = 0.0
        self._warnings: tuple[str, ...] = ()
        self._closed = False
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._recall()

    def _recall(self) -> None:
        for client in self.history.load_clients():
            self.fleet.add(client)
        self.fleet.root = self.history.get("root") or ""
        self.fleet.offset = self.history.get("offset") or 0.0
        last_look = self.history.get("last_look")
        self.alerts.recall(self.history.get("alerts"))
        step = self.fleet.remember_sight(last_look, self.clock())
        if step:
            self.alerts.shift(step)
            self.records.clock_was_set(step)
            _LOG.warning("the clock was set back by %.0f s at least since the last run", -step)
        if last_look is not None:
            self.records.turn(last_look + step, "the monitor did not run")

    @property
    def healthy(self) -> bool:
        """The last scan is not old, saw most clients, and what it saw could be written."""
        if self._scanned_at is None or self.fleet.blind or self.fleet.partly:
            return False
        if self.records.trouble is not None:
            return False
        return self.stalled_secs is None

    @property
    def stalled_secs(self) -> float | None:
        """How long ago it looked, if that is longer than it should be: a look may hang."""
        if self._scanned_at is None:
            return None
        age = self.monotonic() - self._scanned_at
        took = min(self.snapshot.source.took_secs, _LONG_PAUSE_SECS / 4)
        limit = max(30.0, 4 * (self.scan_secs + took), 2 * self._usual_secs)
        return age if age >= limit else None

    def start(self) -> None:
        """Start the threads."""
        self.dispatch.start()
        self._thread = threading.Thread(target=self._run, name="monitor scan", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the threads, write what is not yet written, close the history. Idempotent."""
        self._stop.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(timeout=30.0)
            self._thread = None
            self.dispatch.stop()
        with self.lock:
            if not self._closed:
                self._closed = True
                self.records.write(self.clock())
                self.history.close()
        self.source.close()

    def _run(self) -> None:
        took = 0.0
        while not self._stop.is_set():
            before, took = took, 0.0
            try:
                took = self.step().source.took_secs
            except Exception:  # a monitor that ends silently is the worst of all
                _LOG.exception("a scan failed")
            pause = self._pause_secs(before, took)
            self._usual_secs = min(before, took) + pause
            self._hurry.wait(timeout=pause)
            self._hurry.clear()

    def _pause_secs(self, *took: float) -> float:
        """One scan that hung is no reason to look seldom; two that took long are."""
        return max(self.scan_secs, min(4 * min(took), _LONG_PAUSE_SECS))

    def step(self) -> Snapshot:
        """One scan with all that follows from it."""
        try:
            scan = self.source.scan()
        except Exception as error:  # whatever it is: we can't see, and people are to be told so
            _LOG.exception("looking failed")
            scan = Scan(error=f"looking failed: {type(error).__name__}: {error}")
        now, monotonic = self.clock(), self.monotonic()
        with self.lock:
            if self._closed:
                return self.snapshot
            changes = self.fleet.observe(scan, now, monotonic)
            notices = self.alerts.observe(changes, self.fleet)
            self._scanned_at = monotonic
            due = self.records.take(changes, notices)
            self._forget_outdated(now, monotonic)
            if due:
                self.records.write(now)
            self._publish(changes, scan)
        if changes.step_secs:
            step = changes.step_secs
            _LOG.warning("the clock was set by %+.0f s; flips are held for one scan", step)
        if notices:
            self.dispatch.wake()
        return self.snapshot

    def _forget_outdated(self, now: float, monotonic: float) -> None:
        if monotonic < self._next_forget or self.fleet.blind is not None:
            return
        self._next_forget = monotonic + _FORGET_SECS
        for client in self.fleet.outdated(now):
            self.fleet.remove(client)
            self.records.forget(client.id)

    def _publish(self, changes: Changes, scan: Scan | None = None) -> None:
        old = self.snapshot.source
        if scan is not None:
            self._warnings = scan.warnings
        source = SourceState(
            str(self.source),
            changes.blind,
            self.fleet.blind_since if changes.blind else None,
            scan.took_secs if scan else old.took_secs,
            (*self._warnings, *self._own_warnings()),
            changes.step_secs if scan else old.step_secs,
            self.fleet.loss_since is not None,
            self.fleet.partly,
        )
        self.snapshot = next_snapshot(
            self.snapshot, self.fleet.clients.values(), changes.changed, changes.now, source
        )
        self.on_change(self.snapshot)

    def _own_warnings(self) -> list[str]:
        trouble = self.records.trouble
        if trouble is None:
            return []
        return [f"the history can't be written, and alerts wait for it: {trouble}"]

    # what people do

    def pause(self, client_id: str, until: str, secs: float | None = None) -> bool:
        """Pause a client until its next ``"beat"``, for ``"time"`` (``secs``), or by ``"hand"``."""
        with self.lock:
            client = self.fleet.clients.get(client_id)
            if client is None:
                return False
            client.pause = until
            client.pause_until = self.clock() + secs if until == "time" and secs else None
            self._changed(client)
            return True

    def resume(self, client_id: str) -> bool:
        """End a pause."""
        with self.lock:
            client = self.fleet.clients.get(client_id)
            if client is None:
                return False
            client.pause = client.pause_until = None
            self._changed(client)
            return True

    def tag(self, client_id: str, tags: Sequence[str]) -> bool:
        """Set a client's tags."""
        with self.lock:
            client = self.fleet.clients.get(client_id)
            if client is None:
                return False
            client.tags = tuple(dict.fromkeys(tags))
            self._changed(client)
            return True

    def forget(self, client_id: str) -> bool:
        """Remove a client whose file is gone, with its past."""
        with self.lock:
            client = self.fleet.clients.get(client_id)
            if client is None or client.present:
                return False
            self.fleet.remove(client)
            now = self.clock()
            self.records.forget(client_id)
            self.records.write(now)
            self._publish(Changes(now, blind=self.fleet.blind))
            return True

    def accept_loss(self) -> None:
        """Say that the files that vanished are meant to be gone."""
        with self.lock:
            self.fleet.accept_loss()
        self._hurry.set()

    def test_alerts(self) -> int:
        """Send a test notice to every channel; gives their number."""
        with self.lock:
            now = self.clock()
            self.records.take(Changes(now), [trial_notice(now)])
            self.records.write(now)
        self.dispatch.wake()
        return len(self.channels)

    def _changed(self, client: Client) -> None:
        now = self.clock()
        client.settled_until = 0.0
        flips = self.fleet.rejudge([client], now)
        changes = Changes(now, flips, [client], blind=self.fleet.blind)
        self.alerts.observe_flips(changes)
        self.records.take(changes)
        self.records.write(now)
        self._publish(changes)
