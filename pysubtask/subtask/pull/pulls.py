"""All sources of one subtask, each with its thread, its journal and its connection."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from pysubtask.core.pull import Pulled, pulled_from_json, pulled_to_json
from pysubtask.errors import StateError
from pysubtask.handover import Source
from pysubtask.pull import Pull
from pysubtask.status import PullStatus
from pysubtask.subtask.context import Context
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.stepping import LifeClock, StepThread, stuck_after_secs
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.subtask.waker import Waker
from pysubtask.transports import Transport, transport_factory

__all__ = ["Pulls"]

_PULLED: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)


class _Worker(NamedTuple):
    """One source."""

    puller: Puller
    journal: RecordLog[Pulled]
    thread: StepThread


class Pulls:
    """Fetches from all sources of a subtask; there may be none.

    Args:
        boot: names this boot of the machine.
        rng: for temporary names and jitter.
        make_transport: instead of the one that a source's scheme names (tests).
        threaded: False where somebody else calls :meth:`step` (the simulator).
    """

    def __init__(
        self,
        context: Context,
        *,
        boot: str,
        rng: random.Random,
        make_transport: Callable[[Pull], Callable[[], Transport]] | None = None,
        threaded: bool = True,
    ) -> None:
        self._context = context
        self._boot = boot
        self._rng = rng
        self._make_transport = make_transport
        self._threaded = threaded
        news = News(context.disk, context.clock, context.layout.arrivals, context.log)
        self._workers = [
            self._make(number, source, news)
            for number, source in enumerate(context.handover.sources, 1)
        ]

    def _make(self, number: int, source: Source, news: News) -> _Worker:
        context, pull, settings = self._context, source.pull, source.settings
        waker, life = Waker(), LifeClock(context.clock)
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
            self._make_transport(pull)
            if self._make_transport is not None
            else transport_factory(
                pull.source, settings, life, waker.wake, lambda: journal.client_id
            )
        )
        puller = Puller(
            pull,
            settings,
            context.clock,
            journal,
            Places(context.disk, context.clock, pull.to, keep_free_bytes=settings.keep_free_bytes),
            news,
            make_transport=made,
            token_hex=lambda: journal.client_id + self._rng.randbytes(4).hex(),
            rng=self._rng,
            log=context.log,
            status_changed=context.status_changed,
            wake=waker.wake,
        )
        thread = StepThread(
            f"pull-{number}",
            life,
            puller,
            waker,
            stuck_after_secs=stuck_after_secs(settings),
            crashed=context.wake,
            log=context.log,
            threaded=self._threaded,
        )
        return _Worker(puller, journal, thread)

    def start(self) -> None:
        """Open the journals, and begin.

        Raises:
            StateError: a journal can't be used.
        """
        if not self._workers:
            return
        folder = self._context.layout.pulls
        try:
            self._context.disk.make_dirs(folder)
            for worker in self._workers:
                worker.journal.open()
                worker.puller.start()
        except OSError as error:
            raise StateError(
                error.strerror or str(error),
                operation="open the journal of what is fetched",
                path=folder,
            ) from error
        for worker in self._workers:
            worker.thread.start()

    def check(self) -> None:
        """Raise what crashed one of the threads, or RuntimeError if it is stuck."""
        for worker in self._workers:
            worker.thread.check()

    def step(self) -> float:
        """Do what is due for all of them (not ``threaded``)."""
        return min((worker.puller.step() for worker in self._workers), default=math.inf)

    def ask(self) -> Callable[[], bool]:
        """Look at all sources now; the returned function says when what they had is here."""
        asked = [(worker.puller, worker.puller.ask()) for worker in self._workers]
        for worker in self._workers:
            worker.thread.wake()
        return lambda: all(puller.is_done(number) for puller, number in asked)

    def status(self) -> tuple[PullStatus, ...]:
        """How they are."""
        return tuple(worker.puller.status() for worker in self._workers)

    def leave(self) -> None:
        """Tell all of them to end, without waiting for that."""
        for worker in self._workers:
            worker.thread.leave()

    def stop(self) -> None:
        """End at once: what was begun goes on at the next start."""
        self.leave()
        for worker in self._workers:
            if worker.thread.stop(worker.thread.crash):
                worker.journal.close()
