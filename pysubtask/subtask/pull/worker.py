"""What works for one source: its thread, its journal and its connection."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from pysubtask.blake import blake2b
from pysubtask.core.pull import Pulled, pulled_from_json, pulled_to_json
from pysubtask.handover import Source
from pysubtask.pull import Pull
from pysubtask.subtask.context import Context
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.stepping import LifeClock, StepThread, stuck_after_secs
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.subtask.waker import Waker
from pysubtask.transports import Transport, transport_factory

__all__ = ["Worker", "make_workers"]

_PULLED: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)


class Worker(NamedTuple):
    """One source."""

    puller: Puller
    places: Places
    journal: RecordLog[Pulled]
    thread: StepThread


def make_workers(
    context: Context,
    *,
    boot: str,
    rng: random.Random,
    make_transport: Callable[[Pull], Callable[[], Transport]] | None,
    threaded: bool,
) -> list[Worker]:
    """One for each source; the arguments are those of ``Pulls``."""
    news = News(context.disk, context.clock, context.layout.arrivals, context.log)
    return [
        _make_worker(
            context,
            number,
            source,
            news,
            boot=boot,
            rng=rng,
            make_transport=make_transport,
            threaded=threaded,
        )
        for number, source in enumerate(context.handover.sources, 1)
    ]


def _make_worker(
    context: Context,
    number: int,
    source: Source,
    news: News,
    *,
    boot: str,
    rng: random.Random,
    make_transport: Callable[[Pull], Callable[[], Transport]] | None,
    threaded: bool,
) -> Worker:
    pull, settings = source.pull, source.settings
    waker, life = Waker(), LifeClock(context.clock)
    name = blake2b(
        f"{pull.source}{pull.suffix}\0{pull.to}".encode("utf-8", "surrogateescape"),
        digest_size=8,
    ).hexdigest()
    places = Places(context.disk, context.clock, pull.to, keep_free_bytes=settings.keep_free_bytes)
    journal: RecordLog[Pulled] = RecordLog(
        context.disk,
        context.clock,
        f"{context.layout.pulls}/{name}",
        codec=_PULLED,
        sync_secs=settings.sync_secs,
        boot_id=boot,
        new_id=lambda: rng.randbytes(4).hex(),
        before_sync=places.sync_if_changed,
        log=context.log,
    )
    made = (
        make_transport(pull)
        if make_transport is not None
        else transport_factory(pull.source, settings, life, waker.wake, lambda: journal.client_id)
    )
    puller = Puller(
        pull,
        settings,
        context.clock,
        journal,
        places,
        news,
        make_transport=made,
        token_hex=lambda: journal.client_id + rng.randbytes(4).hex(),
        rng=rng,
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
        threaded=threaded,
    )
    return Worker(puller, places, journal, thread)
