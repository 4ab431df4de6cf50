"""All sources of one subtask, each with its thread, its journal and its connection."""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable
from hashlib import blake2b

from pysubtask.core.pull import Pulled, pulled_from_json, pulled_to_json
from pysubtask.errors import StateError
from pysubtask.handover import Source
from pysubtask.pull import Pull
from pysubtask.status import PullStatus
from pysubtask.subtask.context import Context
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.subtask.waker import Waker
from pysubtask.transports import Transport, transport_factory

__all__ = ["Pulls"]

_PULLED: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)
_JOIN_SECS = 1.0
_LONGEST_WAIT_SECS = 3600.0


class _Worker:
    """One source."""

    def __init__(self, puller: Puller, journal: RecordLog[Pulled], waker: Waker) -> None:
        self.puller = puller
        self.journal = journal
        self.waker = waker
        self.thread: threading.Thread | None = None
        self.busy_since: float | None = None


class Pulls:
    """Fetches from all sources.

    Args:
        boot: names this boot of the machine.
        rng: for temporary names and jitter.
        make_transport: instead of the one that a source's scheme names (tests).
        threaded: False where somebody else calls :meth:`step` (the simulator).
    """

    def __init__(
        self,
        context: Context,
        sources: list[Source],
        *,
        boot: str,
        rng: random.Random,
        make_transport: Callable[[Pull], Callable[[], Transport]] | None = None,
        threaded: bool = True,
    ) -> None:
        self._context = context
        self._log: logging.Logger = context.log
        self._threaded = threaded
        self._leaving = False
        self._boot = boot
        self._rng = rng
        self.crash: BaseException | None = None
        """What ended a thread that should not have ended."""
        news = News(context.disk, context.clock, context.layout.arrivals, context.log)
        self._workers = [self._make(source, news, make_transport) for source in sources]

    def _make(
        self,
        source: Source,
        news: News,
        make_transport: Callable[[Pull], Callable[[], Transport]] | None,
    ) -> _Worker:
        context, pull, settings = self._context, source.pull, source.settings
        waker = Waker()
        name = blake2b(
            f"{pull.source}{pull.suffix}\0{pull.to}".encode("utf-8", "surrogateescape"),
            digest_size=8,
        ).hexdigest()
        journal: RecordLog[Pulled] = RecordLog(
            context.disk,
            context.clock,
            f"{context.layout.pulls}/{name}",
            codec=_PULLED,
            sync_secs=settings.sync_secs,
            boot_id=self._boot,
            new_id=lambda: self._rng.randbytes(4).hex(),
            log=context.log,
        )
        made = (
            make_transport(pull)
            if make_transport is not None
            else transport_factory(
                pull.source, settings, context.clock, waker.wake, lambda: journal.client_id
            )
        )
        puller = Puller(
            pull,
            settings,
            context.clock,
            journal,
            Places(context.disk, context.clock, pull.to),
            news,
            make_transport=made,
            token_hex=lambda: journal.client_id + self._rng.randbytes(4).hex(),
            rng=self._rng,
            log=context.log,
            status_changed=context.status_changed,
        )
        return _Worker(puller, journal, waker)

    def start(self) -> None:
        """Open the journals, and begin.

        Raises:
            StateError: a journal can't be used.
        """
        disk = self._context.disk
        try:
            disk.make_dirs(self._context.layout.pulls)
            for worker in self._workers:
                worker.journal.open()
                worker.puller.start()
        except OSError as error:
            raise StateError(
                error.strerror or str(error),
                operation="open the journal of what is fetched",
                path=self._context.layout.pulls,
            ) from error
        for number, worker in enumerate(self._workers if self._threaded else ()):
            worker.thread = threading.Thread(
                target=self._run, args=(worker,), name=f"pysubtask-pull-{number}", daemon=True
            )
            worker.thread.start()

    def step(self) -> float:
        """Do what is due for all of them (not ``threaded``)."""
        return min((worker.puller.step() for worker in self._workers), default=math.inf)

    def longest_step_secs(self) -> float:
        """For how long the slowest thread has been in one step."""
        now = self._context.clock.monotonic()
        busy = [w.busy_since for w in self._workers if w.busy_since is not None]
        return now - min(busy, default=now)

    def ask(self) -> Callable[[], bool]:
        """Look at all sources now; the returned function says when what they had is here."""
        asked = [(worker.puller, worker.puller.ask()) for worker in self._workers]
        for worker in self._workers:
            worker.waker.wake()
        return lambda: all(puller.is_done(number) for puller, number in asked)

    def status(self) -> tuple[PullStatus, ...]:
        """How they are."""
        return tuple(worker.puller.status() for worker in self._workers)

    def stop(self) -> None:
        """End at once: what was begun goes on at the next start."""
        self._leaving = True
        for worker in self._workers:
            worker.waker.wake()
        for worker in self._workers:
            if worker.thread is not None:
                worker.thread.join(_JOIN_SECS)
            if worker.thread is None or not worker.thread.is_alive():
                worker.puller.close()
                worker.journal.close()

    def _run(self, worker: _Worker) -> None:
        clock = self._context.clock
        try:
            while not self._leaving:
                worker.busy_since = clock.monotonic()
                due = worker.puller.step()
                worker.busy_since = None
                wait = due - clock.monotonic()
                if wait > 0 and not self._leaving:
                    worker.waker.wait(min(wait, _LONGEST_WAIT_SECS))
        except BaseException as error:  # the main thread ends the process with it
            self.crash = error
            self._context.wake()
