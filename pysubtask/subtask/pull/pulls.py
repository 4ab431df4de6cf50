"""All sources of one subtask, each with its thread, its journal and its connection."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pysubtask.errors import StateError
from pysubtask.status import PullStatus
from pysubtask.subtask.context import Context

if TYPE_CHECKING:
    from pysubtask.pull import Pull
    from pysubtask.subtask.pull.worker import Worker
    from pysubtask.transports import Transport

__all__ = ["Pulls"]


class Pulls:
    """Fetches from all sources of a subtask; there may be none, and then none of the code for it
    is loaded.

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
        self._workers: list[Worker] = []
        if not context.handover.sources:
            return
        from pysubtask.subtask.pull.worker import make_workers

        self._workers = make_workers(
            context,
            boot=boot,
            rng=rng,
            make_transport=make_transport,
            threaded=threaded,
        )

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
                with suppress(OSError):  # it is repeated before the journal is synced again
                    worker.places.sync_if_changed()
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
                worker.journal.close(clean=worker.puller.is_settled)
