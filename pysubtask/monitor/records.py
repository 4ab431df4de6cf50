"""What is still to be written, and the writing of it: nothing is lost while the disk is full.

The fleet and the alerts have taken note of a flip before it is written, and won't tell it twice. So
what a scan brought is owed to the history until a transaction with all of it was committed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from pysubtask.monitor.alerts import Alerts, Notice
from pysubtask.monitor.channels import Channel
from pysubtask.monitor.clients import Client
from pysubtask.monitor.dispatch import store_notices
from pysubtask.monitor.fleet import Changes, Fleet, Flip
from pysubtask.monitor.history import History

__all__ = ["Records"]

_SAVE_SECS = 60.0
_SAMPLE_SECS = 600.0
_PRUNE_SECS = 3600.0
_OWED = 100_000
"""So many flips (and notices) wait for a disk; then the oldest are given up."""
_LOG = logging.getLogger("pysubtask.monitor")


class Records:
    """The history's writer. Under the monitor's lock.

    Args:
        channels: where each notice is to go.
    """

    def __init__(
        self, history: History, fleet: Fleet, alerts: Alerts, channels: Sequence[Channel]
    ) -> None:
        self.history = history
        self.trouble: str | None = None
        """Why nothing can be written; None: all is well."""
        self._fleet, self._alerts, self._channels = fleet, alerts, channels
        self._clients: dict[str, Client] = {}
        self._flips: deque[Flip] = deque(maxlen=_OWED)
        self._notices: deque[Notice] = deque(maxlen=_OWED)
        self._forgotten: dict[str, None] = {}
        self._turns: deque[tuple[float, str | None]] = deque(maxlen=_OWED)
        """When it went blind (and why), or saw again (None)."""
        self._sampled: dict[str, tuple[float, int | None, int | None]] = {}
        self._step_secs = 0.0
        self._next_save = self._next_prune = 0.0

    def take(self, changes: Changes, notices: Sequence[Notice] = ()) -> bool:
        """Note what is to be written. True if it is not to wait for the next minute."""
        for client in changes.changed:
            self._clients[client.id] = client
        for flip in changes.flips:
            self._clients[flip.client.id] = flip.client
        self._flips += changes.flips
        self._notices += notices
        turned = changes.sight_back or changes.went_blind
        if turned and changes.blind is None:
            self.turn(changes.now, None)
        elif turned:
            self.turn(self._fleet.blind_since or changes.now, changes.blind)
        if changes.stalled_since is not None:
            self.turn(changes.stalled_since, "the monitor did not look")
            self.turn(changes.now, None)
            turned = True
        if changes.step_secs:
            self.clock_was_set(changes.step_secs)
        return bool(changes.flips or notices or turned) or changes.now >= self._next_save

    def clock_was_set(self, by: float) -> None:
        """Times to come are no longer what they were."""
        self._step_secs += by
        self._next_save = self._next_prune = 0.0

    def turn(self, at: float, blind: str | None) -> None:
        """The monitor can't see from here on, or (None) sees again."""
        self._turns.append((at, blind))

    def forget(self, client_id: str) -> None:
        """Remove a client and its past."""
        self._clients.pop(client_id, None)
        self._sampled.pop(client_id, None)
        self._forgotten[client_id] = None

    def write(self, now: float) -> None:
        """Write all that is owed; what can't be is owed further, and ``trouble`` says why."""
        samples = self._samples(now)
        try:
            with self.history.writing():
                self._write(now, samples)
        except Exception as error:  # what is shown and judged must not depend on the disk
            if self.trouble is None:
                _LOG.exception("the history can't be written; trying again at each look")
            self.trouble = f"{type(error).__name__}: {error}"
            self._next_save = 0.0
            return
        if self.trouble is not None:
            _LOG.warning("the history can be written again")
        self.trouble = None
        self._step_secs = 0.0
        self._next_save = now + _SAVE_SECS
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_SECS
        self._sampled.update((one[0], one[1:]) for one in samples)
        for owed in (self._clients, self._flips, self._notices, self._forgotten, self._turns):
            owed.clear()

    def _write(
        self, now: float, samples: Sequence[tuple[str, float, int | None, int | None]]
    ) -> None:
        history = self.history
        if self._step_secs:
            history.clock_was_set(self._step_secs)
        for at, blind in self._turns:
            if blind is None:
                history.end_blind(at)
            else:
                history.begin_blind(at, blind)
        history.add_flips(self._flips)
        store_notices(history, self._notices, self._channels)
        for client_id in self._forgotten:
            history.forget(client_id)
        history.save_clients(self._clients.values())
        history.add_samples(samples)
        if self._fleet.blind is None:
            history.end_blind(now)
            history.put("last_look", now)
            history.put("root", self._fleet.root)
            history.put("offset", self._fleet.offset)
        history.put("alerts", self._alerts.keep())
        if now >= self._next_prune:
            history.prune(now)

    def _samples(self, now: float) -> list[tuple[str, float, int | None, int | None]]:
        """Of clients whose figures changed; at most one in ten minutes each."""
        found = []
        for client in self._clients.values():
            figures = client.facts.backlog_bytes, client.data_bytes
            last = self._sampled.get(client.id)
            if figures == (None, None) or (last is not None and last[1:] == figures):
                continue
            if last is None or now - last[0] >= _SAMPLE_SECS or now < last[0]:
                found.append((client.id, now, *figures))
        return found
