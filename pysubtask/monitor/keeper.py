"""The monitor itself: scans, asks the rule, remembers, alerts, and shows what is so.

One thread scans and judges; whoever wants to know takes the latest ``Snapshot``, which nobody
changes any more. What people do (pause, tag, forget) goes through the same lock as a scan's
evaluation; the scan itself, which may wait for a disk, holds no lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pysubtask.monitor.alerts import Alerts, AlertSettings, Notice, trial_notice
from pysubtask.monitor.channels import Channel
from pysubtask.monitor.clients import Client, Settings
from pysubtask.monitor.dispatch import Dispatch, store_notices
from pysubtask.monitor.fleet import Changes, Fleet, Scan
from pysubtask.monitor.history import History
from pysubtask.monitor.snapshot import Snapshot, SourceState, next_snapshot

__all__ = ["Monitor", "Source"]

_SAVE_SECS = 60.0
_SAMPLE_SECS = 600.0
_PRUNE_SECS = 3600.0
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
        scan_secs: the pause between two scans; longer where a scan takes long (at most a fifth of
            the time is spent on scanning).
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
        self.fleet = Fleet(settings)
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
        self._unsaved: dict[str, Client] = {}
        self._sampled: dict[str, tuple[float, int | None, int | None]] = {}
        self._next_save = self._next_prune = 0.0
        self._scanned_at: float | None = None
        self._closed = False
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._recall()

    def _recall(self) -> None:
        for client in self.history.load_clients():
            self.fleet.add(client)
        self.fleet.root = self.history.get("root") or ""
        last_look = self.history.get("last_look")
        self.fleet.remember_sight(last_look)
        self.alerts.recall(self.history.get("alerts"))
        if last_look is not None:
            with self.history.writing():
                self.history.begin_blind(last_look, "the monitor did not run")

    @property
    def healthy(self) -> bool:
        """The last scan is not old, and it could see."""
        if self._scanned_at is None or self.fleet.blind is not None:
            return False
        return self.stalled_secs is None

    @property
    def stalled_secs(self) -> float | None:
        """How long ago it looked, if that is longer than it should be: a look may hang."""
        if self._scanned_at is None:
            return None
        age = self.monotonic() - self._scanned_at
        took = self.snapshot.source.took_secs
        return age if age >= max(30.0, 4 * (self.scan_secs + took)) else None

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
                with self.history.writing():
                    self._save(self.clock())
                self.history.close()
        self.source.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            took = 0.0
            try:
                took = self.step().source.took_secs
            except Exception:  # a monitor that ends silently is the worst of all
                _LOG.exception("a scan failed")
            self._hurry.wait(timeout=max(self.scan_secs, 4 * took))
            self._hurry.clear()

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
            self._remember(changes, notices)
            self._publish(changes, scan)
        if changes.step_secs:
            step = changes.step_secs
            _LOG.warning("the clock was set by %+.0f s; flips are held for one scan", step)
        if notices:
            self.dispatch.wake()
        return self.snapshot

    def _publish(self, changes: Changes, scan: Scan | None = None) -> None:
        old = self.snapshot.source
        source = SourceState(
            str(self.source),
            changes.blind,
            self.fleet.blind_since if changes.blind else None,
            scan.took_secs if scan else old.took_secs,
            scan.warnings if scan else old.warnings,
            changes.step_secs if scan else old.step_secs,
            self.fleet.loss_since is not None,
        )
        self.snapshot = next_snapshot(
            self.snapshot, self.fleet.clients.values(), changes.changed, changes.now, source
        )
        self.on_change(self.snapshot)

    def _remember(self, changes: Changes, notices: Sequence[Notice]) -> None:
        now, history = changes.now, self.history
        for client in changes.changed:
            self._unsaved[client.id] = client
        for flip in changes.flips:
            self._unsaved[flip.client.id] = flip.client
        turned = changes.sight_back or changes.went_blind
        if not (changes.flips or notices or turned or now >= self._next_save):
            return
        with history.writing():
            if changes.blind is None:
                history.end_blind(now)
            elif changes.went_blind:
                history.begin_blind(self.fleet.blind_since or now, changes.blind)
            history.add_flips(changes.flips)
            store_notices(history, notices, self.channels)
            self._save(now)
            if now >= self._next_prune:
                history.prune(now)
                self._next_prune = now + _PRUNE_SECS

    def _save(self, now: float) -> None:
        self._next_save = now + _SAVE_SECS
        self.history.save_clients(self._unsaved.values())
        self.history.add_samples(self._samples(now))
        self._unsaved.clear()
        if self.fleet.blind is None:
            self.history.put("last_look", now)
            self.history.put("root", self.fleet.root)
        self.history.put("alerts", self.alerts.keep())

    def _samples(self, now: float) -> list[tuple[str, float, int | None, int | None]]:
        """Of clients whose figures changed; at most one in ten minutes each."""
        found = []
        for client in self._unsaved.values():
            figures = client.facts.backlog_bytes, client.data_bytes
            last = self._sampled.get(client.id)
            if figures == (None, None) or (last is not None and last[1:] == figures):
                continue
            if last is None or now - last[0] >= _SAMPLE_SECS or now < last[0]:
                self._sampled[client.id] = (now, *figures)
                found.append((client.id, now, *figures))
        return found

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
            self._unsaved.pop(client_id, None)
            with self.history.writing():
                self.history.forget(client_id)
            self._publish(Changes(self.clock(), blind=self.fleet.blind))
            return True

    def accept_loss(self) -> None:
        """Say that the files that vanished are meant to be gone."""
        with self.lock:
            self.fleet.accept_loss()
        self._hurry.set()

    def test_alerts(self) -> int:
        """Send a test notice to every channel; gives their number."""
        with self.lock, self.history.writing():
            store_notices(self.history, [trial_notice(self.clock())], self.channels)
        self.dispatch.wake()
        return len(self.channels)

    def _changed(self, client: Client) -> None:
        now = self.clock()
        client.settled_until = 0.0
        flips = self.fleet.rejudge([client], now)
        changes = Changes(now, flips, [client], blind=self.fleet.blind)
        with self.history.writing():
            self.history.add_flips(flips)
            self.history.save_clients([client])
        self.alerts.observe_flips(changes)
        self._publish(changes)
