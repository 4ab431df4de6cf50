"""Delivery: the connection's life, and which file is on it.

One thread calls :meth:`Delivery.step` over and over. It connects when something is owed, retries
as the rules say, runs one job per file (:mod:`~pysubtask.subtask.delivery.courier`), lets a file
that the server refuses wait without holding up the others, and rests when nothing has been owed for
the dead time.
"""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable, Iterator

from pysubtask.core.costs import costs_of
from pysubtask.core.flow import Window
from pysubtask.core.retry import RetryRule
from pysubtask.errors import AskedToWait, LinkError, LoginRefused
from pysubtask.seams.clock import Clock
from pysubtask.subtask.delivery.account import Account
from pysubtask.subtask.delivery.allowance import Allowance, BudgetSpent
from pysubtask.subtask.delivery.beats import BeatNames
from pysubtask.subtask.delivery.courier import Courier
from pysubtask.subtask.delivery.engine import BULK, SMALL, URGENT, Engine
from pysubtask.subtask.delivery.linklog import LinkLog
from pysubtask.subtask.delivery.linkstate import LinkBoard, LinkState
from pysubtask.subtask.delivery.queue import Queue
from pysubtask.subtask.delivery.waiting import HeldFiles, LinkWaits, Littered, error_words
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.transports.contract import Capabilities, Transport

__all__ = ["Delivery"]

_SMALL_BYTES = 1 << 20
_MAX_JOBS = 2048
_PROGRESS_BYTES = 64 * 1024
_SILENT_SECS = 5.0


class Delivery:
    """Delivers what the ledger owes.

    Args:
        make_transport: a new, unconnected transport.
        make_courier: a courier for a connected one.
        dead_time_secs: idle time after which the connection is closed.
        jitter: waits are lengthened by a random part of up to this fraction.
        status_changed: called when :attr:`link` or the files' errors change.
        account: keeps the log's account of what was delivered.
        taken: why nothing of a file may be sent, if that is known without asking anybody.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        *,
        make_transport: Callable[[], Transport],
        make_courier: Callable[[Capabilities, Window], Courier],
        retry_rule: RetryRule,
        dead_time_secs: float,
        ack_timeout_secs: float,
        jitter: float = 0.0,
        rng: random.Random | None = None,
        log: logging.Logger,
        destination: str = "",
        status_changed: Callable[[], None] = lambda: None,
        allowance: Allowance,
        account: Account | None = None,
        taken: Callable[[str], Exception | None] = lambda path: None,
    ) -> None:
        self._taken = taken
        self._allowance = allowance
        self._account = account
        self._clock = clock
        self._ledger = ledger
        self._make_transport = make_transport
        self._make_courier = make_courier
        self._dead_time_secs = dead_time_secs
        self._ack_timeout_secs = ack_timeout_secs
        self.silent_secs = min(_SILENT_SECS, ack_timeout_secs / 2)
        """A server that is silent for so long is worth a word, before the link counts as dead."""
        self._log = log
        self._says = LinkLog(clock, log, destination)
        self._status_changed = status_changed
        self._offers: dict[str, None] = {}
        self._offers_lock = threading.Lock()
        self._queue = Queue(lambda path: ledger.owed.get(path, 0))
        self._active: dict[str, None] = {}
        self._again: dict[str, None] = {}
        self._held = HeldFiles(clock, retry_rule, log)
        self._littered = Littered(clock)
        self._beat_names = BeatNames(ledger.journal)
        self._waits = LinkWaits(clock, retry_rule, jitter, rng or random.Random())
        self._transport: Transport | None = None
        self._engine: Engine | None = None
        self._courier: Courier | None = None
        self._max_jobs = 1
        self._last_busy = 0.0
        self._connected_at = 0.0
        self._connecting_since: float | None = None
        self._beat: tuple[str, bytes] | None = None
        self._purge_refused = False
        self._beating = False
        self._opened_for_beat = False
        self._board = LinkBoard(clock, status_changed)
        self._limits: tuple[str, ...] = ()

    # -- from any thread ---------------------------------------------------------------------

    def offer(self, path: str) -> None:
        """Something of ``path`` is owed."""
        with self._offers_lock:
            self._offers[path] = None

    def beat(self, name: str, text: bytes) -> None:
        """Publish a heartbeat as ``name`` as soon as it can be; a newer one takes its place."""
        with self._offers_lock:
            self._beat = (name, text)

    @property
    def beat_waits(self) -> bool:
        """A heartbeat is not delivered yet."""
        return self._beat is not None

    @property
    def errors(self) -> dict[str, str]:
        """Files that the destination refuses, with the reason in words. What has arrived all the
        same is not among them, though its job may still have a step to go."""
        return {path: h.error for path, h in self._held.items() if self._is_owed(path)}

    def refused(self) -> Iterator[str]:
        """The paths of :attr:`errors`, for those who need only some of very many."""
        return (path for path, _ in self._held.items() if self._is_owed(path))

    def error_of(self, path: str) -> str | None:
        """The reason of :attr:`errors` for one file."""
        held = self._held.get(path)
        return held.error if held is not None and self._is_owed(path) else None

    @property
    def first_error(self) -> str | None:
        """The first reason of :attr:`errors`."""
        return next((self.error_of(path) for path in self.refused()), None)

    @property
    def link(self) -> LinkState:
        """The connection; ``conflict`` while it could deliver but a file must wait, because
        another hand keeps changing it at the destination."""
        state = self._board.state
        if state.link in ("connected", "resting"):
            words = self._held.conflict
            if words is not None:
                return LinkState("conflict", state.since, state.next_try, words)
        return state

    @property
    def is_engaged(self) -> bool:
        """There is a connection, or one is being made: the server may be silent."""
        return self._connecting_since is not None or self._engine is not None

    @property
    def silence(self) -> str | None:
        """In words, if the server has kept silent for longer than it should; else None."""
        since, engine = self._connecting_since, self._engine
        words = "no answer from the server yet"
        if since is None and engine is not None:
            since = engine.waits_since
            words = f"no acknowledgement from the server for more than {self.silent_secs:g} s"
        silent = since is not None and self._clock.monotonic() - since > self.silent_secs
        return words if silent else None

    @property
    def limits(self) -> tuple[str, ...]:
        """What the destination lacks and what that costs, as the last connection found it."""
        return self._limits

    @property
    def is_idle(self) -> bool:
        """No file is offered, queued, on its way, or held."""
        return not (self._offers or self._queue or self._active or self._held)

    # -- the delivering thread ---------------------------------------------------------------

    def step(self) -> float:
        """Do what can be done now. Gives the monotonic time at which to be called again.

        Blocks only while it connects, within the transport's limits.
        """
        now = self._clock.monotonic()
        if not self._littered.is_started:
            self._littered.start(e.path for e in self._ledger.journal.entries() if e.litter)
        self._take_offers(now)
        if self._engine is None:
            while self._queue and self._is_none(self._queue.first):
                self._queue.take(smallest=False)
            if not self._queue and self._beat is None and not self._must_purge:
                self._board.fine("resting")  # what a lost link was needed for had arrived
                return self._next_due()
            if now < self._waits.next_try:
                return self._waits.next_try
            if not self._connect():
                return self._waits.next_try
        assert self._engine is not None
        try:
            while True:
                self._dispatch()
                overdue = self._engine.run()
                if not self._queue or self._is_full(self._engine) or self._engine.has_more:
                    break
        except LinkError as error:
            self._lost(error)
            return self._waits.next_try if self._queue else self._next_due()
        self._allowance.save()
        now = self._clock.monotonic()
        if self._engine.has_more:
            return now  # between two turns new offers, and a stop, are seen
        if self._engine.jobs:
            self._last_busy = now
            return min(overdue if overdue is not None else math.inf, self._next_due())
        relax = getattr(self._transport, "relax", None)
        if relax is not None:
            relax()  # nothing is on its way
        if self._opened_for_beat and self._beat is None:
            self.close()  # it was no reason to stay connected
            return self._next_due()
        rest_at = self._last_busy + self._dead_time_secs
        if now >= rest_at:
            self._rest()
            return self._next_due()
        return min(rest_at, self._next_due())

    def prepare(self) -> None:
        """Make ready, while there is time, what the first connection needs. What fails here will
        fail there, and be told."""
        prepare = getattr(self._make_transport, "prepare", None)
        if prepare is not None and self._transport is None:
            try:
                prepare()
            except Exception as error:
                self._log.debug("prepare the first connection: %s", error)

    def retry_now(self) -> None:
        """Forget the waits (stop, flush): what is held or waiting for the link is tried at once."""
        self._held.retry_now()
        self._waits.forget()

    def close(self) -> None:
        """End the connection now."""
        self._allowance.save(now=True)
        if self._engine is not None:
            self._engine.abandon()
        if self._transport is not None:
            self._transport.close()
        self._engine = self._transport = self._courier = None
        self._beat_names.broken()
        self._board.fine("resting")

    def _next_due(self) -> float:
        return min(self._held.next_due(), self._littered.next_due())

    def _take_offers(self, now: float) -> None:
        with self._offers_lock:
            offers, self._offers = self._offers, {}
        for path in offers:
            held = self._held.get(path)
            if held is not None and now < held.until:
                continue
            if path in self._active:
                self._again[path] = None
            else:
                self._queue.add(path)
        for path in self._held.take_due(now):
            if path not in self._active:
                self._queue.add(path)
        for path in self._littered.take_due(now):
            if path not in self._active and self._held.get(path) is None:
                self._queue.add(path)

    def _connect(self) -> bool:
        transport = self._make_transport()
        began = self._clock.monotonic()
        self._connecting_since = began
        self._board.connecting()
        try:
            transport.connect()
        except LinkError as error:
            transport.close()
            self._failed(error)
            return False
        finally:
            self._connecting_since = None
        self._transport = transport
        can = transport.capabilities
        window = Window()
        self._engine = Engine(
            transport,
            self._clock,
            window,
            ack_timeout_secs=self._ack_timeout_secs,
            allowance=self._allowance,
        )
        self._courier = self._make_courier(can, window)
        self._max_jobs = max(1, min(_MAX_JOBS, can.max_files))
        self._beating = False
        self._opened_for_beat = not self._queue
        self._last_busy = self._connected_at = self._clock.monotonic()
        took = self._connected_at - began
        self._says.connected(took, str(getattr(transport, "described", "")))
        costs = costs_of(can)
        self._limits = (*can.limits, *costs)
        self._says.lacks(can.limits, costs)
        self._board.fine("connected")
        if self._purge_is_due:
            self._engine.spawn(self._courier.purge(), priority=BULK, done=self._note_purged)
        return True

    def _note_purged(self, error: Exception | None) -> None:
        self._ledger.journal.purged = error is None
        self._purge_refused = error is not None
        if error is not None:
            self._log.warning("look for temporary files left there: %s", error_words(error))

    @property
    def _purge_is_due(self) -> bool:
        """The power may have taken temporary names of ours from the journal."""
        journal = self._ledger.journal
        return journal.unclean_boot and not journal.purged and len(journal) > 0

    @property
    def _must_purge(self) -> bool:
        """That is worth a connection of its own. Once: after a refusal it waits for the next."""
        return self._purge_is_due and not self._purge_refused

    def _dispatch(self) -> None:
        assert self._engine is not None
        assert self._courier is not None
        beat = self._beat  # once: a newer one may come at any moment
        if beat is not None and not self._beating:
            self._beating = True
            job = self._courier.beat(*beat, self._beat_names)
            self._engine.spawn(job, priority=URGENT, done=self._beat_done_with(beat))
        while self._queue and not self._is_full(self._engine):
            # where a budget may end soon, the small ones first
            path = self._queue.take(smallest=self._allowance.is_limited)
            entry = self._ledger.get(path)
            if entry is None or self._is_none(path):
                continue
            if not self._may_begin(path, is_begun=entry.upload is not None):
                continue
            self._active[path] = None
            self._opened_for_beat = False
            self._last_busy = self._clock.monotonic()
            if self._account is not None:
                self._account.began(path)
            priority = SMALL if entry.pending_bytes <= _SMALL_BYTES else BULK
            self._engine.spawn(
                self._courier.deliver(path), priority=priority, done=self._done_with(path)
            )

    def gives_way(self, path: str) -> bool:
        """Whether others wait for the job of this file, which has delivered a version, to end. If
        so, it is called again: one that gets new versions all the time must not hold them up."""
        if self._engine is None or not self._queue or not self._is_full(self._engine):
            return False
        self._again[path] = None
        return True

    def _is_full(self, engine: Engine) -> bool:
        """No more files at once. A heartbeat is none: were it waited for, frequent ones on a slow
        link would let nothing else begin."""
        return engine.jobs - self._beating >= self._max_jobs

    def _is_none(self, path: str) -> bool:
        """Nothing of it is owed, or may be sent: it needs no connection."""
        entry = self._ledger.get(path)
        if entry is None or not self._is_owed(path):
            self._held.let_go(path)
            return True
        taken = None if entry.litter else self._taken(path)
        if taken is not None:
            self._hold(path, taken)
        return taken is not None

    def _may_begin(self, path: str, *, is_begun: bool) -> bool:
        """Not where a budget is spent: not even a look at the destination is paid for then, nor
        one more try to finish what is begun and was refused."""
        held = self._held.get(path)
        try:
            if not is_begun:
                self._allowance.admit()
            elif held is not None and held.failures:
                self._allowance.go_on()
        except BudgetSpent as spent:
            self._hold(path, spent)
            return False
        return True

    def _beat_done_with(self, sent: tuple[str, bytes]) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._beating = False
            with self._offers_lock:
                if self._beat == sent:
                    self._beat = None  # one that was refused is not repeated: the next one comes
            if error is not None:
                self._log.warning("deliver the heartbeat: %s", error_words(error))
            else:
                self._waits.over()

        return done

    def _is_owed(self, path: str) -> bool:
        if path in self._ledger.unverified:
            return True
        entry = self._ledger.get(path)
        return entry is not None and bool(
            entry.next_owed is not None or entry.upload is not None or entry.litter
        )

    def _done_with(self, path: str) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._active.pop(path, None)
            self._last_busy = self._clock.monotonic()
            self._waits.over()
            if error is None:
                entry = self._ledger.get(path)
                self._littered.ended(path, is_left=entry is not None and bool(entry.litter))
                if self._account is not None:
                    self._account.ended(path)
                if self._held.let_go(path):
                    self._log.info("deliver %s: the trouble is over", path)
                    self._status_changed()
            else:
                self._hold(path, error)
            if path in self._again:
                del self._again[path]
                self.offer(path)
                if error is None:
                    self._queue.add(path)

        return done

    def _hold(self, path: str, error: Exception) -> None:
        self._held.hold(path, error)
        self._status_changed()

    def _lost(self, error: LinkError) -> None:
        assert self._engine is not None
        self._engine.abandon()
        if self._transport is not None:
            self._transport.close()
        lived = self._clock.monotonic() - self._connected_at
        achieved = self._engine.acked_bytes
        self._engine = self._transport = self._courier = None
        self._beat_names.broken()
        for path in self._active | self._again:
            self._queue.add(path)
        self._active.clear()
        self._again.clear()
        if not self._queue and self._beat is None:
            self._says.lost_idle(error_words(error))
            self._board.fine("resting")
            return
        if achieved:
            self._waits.got_on()
        told = isinstance(error, AskedToWait | LoginRefused)
        gets_on = achieved >= _PROGRESS_BYTES and not told  # it got somewhere: go on at once
        wait = 0.0 if gets_on else self._waits.after(error)
        self._says.lost(error_words(error), lived, wait)
        self._retry_in(wait, error)

    def _failed(self, error: LinkError) -> None:
        wait = self._waits.after(error)
        self._says.failed(error_words(error), wait)
        self._retry_in(wait, error)

    def _retry_in(self, wait_secs: float, error: LinkError) -> None:
        self._waits.next_try = self._clock.monotonic() + wait_secs
        self._board.retrying(error, wait_secs)

    def _rest(self) -> None:
        self._says.resting(self._dead_time_secs)
        self.close()
