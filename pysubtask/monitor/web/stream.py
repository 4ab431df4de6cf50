"""One stream of server-sent events for each open page (WHATWG HTML, section 9.2).

A page gets deltas with a sequence number. One that fell behind, or was asleep, is told to fetch
everything again, so nothing has to be queued for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from pysubtask.monitor.rule import State
from pysubtask.monitor.snapshot import Snapshot
from pysubtask.monitor.web.view import View

__all__ = ["STATES", "Hub", "delta"]

STATES = tuple(State)
"""A state's number in messages to the page is its place here."""
MAX_STREAMS = 500
_ALIVE_SECS = 15.0
_MAX_ROWS = 5_000


def delta(snapshot: Snapshot, client_id: str | None, now: float) -> dict[str, Any]:
    """What a page has to know of one step. ``now``: when that is sent, by the monitor's clock."""
    rows = snapshot.rows
    turned = [
        [key, STATES.index(rows[key].state), int(bool(rows[key].flags))]
        for key in snapshot.turned
        if key in rows
    ]
    return {
        "n": snapshot.number,
        "at": round(now, 3),
        "blind": snapshot.source.blind,
        "counts": {state.value: snapshot.counts.get(state, 0) for state in State},
        "all": snapshot.all_new or len(turned) > _MAX_ROWS,
        "rows": turned if len(turned) <= _MAX_ROWS else [],
        "beats": len(snapshot.changed),
        "mine": client_id is not None and client_id in snapshot.changed,
    }


class Hub:
    """Wakes the streams. ``publish`` may be called from any thread, the rest from the loop's.

    Args:
        limit: at most so many streams.
    """

    view: View | None = None
    """What is looked at now and then even if nothing is published: the monitor may stall."""

    def __init__(self, limit: int = MAX_STREAMS, clock: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self.clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self._latest: Snapshot | None = None
        self.closing = False

    def begin(self) -> None:
        """The loop runs."""
        self._loop = asyncio.get_running_loop()

    def publish(self, snapshot: Snapshot) -> None:
        """There is a new snapshot."""
        self._latest = snapshot
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody listens
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        self._wake()

    @property
    def full(self) -> bool:
        """Whether no further stream is taken."""
        return len(self._waiting) >= self._limit

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def events(self, known: int, client_id: str | None) -> AsyncIterator[str]:
        """The text of one stream, for a page that knows the snapshot number ``known``."""
        event = asyncio.Event()
        stale = False
        self._waiting.add(event)
        try:
            yield "retry: 3000\n\n"
            while not self.closing:
                latest = self._latest
                if latest is not None and latest.number != known:
                    stale = False
                    facts = delta(latest, client_id, self.clock())
                    if latest.number != known + 1:
                        facts["all"], facts["mine"] = True, client_id is not None
                    known = latest.number
                    yield f"id: {known}\nevent: fleet\ndata: {json.dumps(facts)}\n\n"
                    continue
                if not stale and self.view is not None and self.view.stalled:
                    stale = True
                    facts = delta(self.view.snapshot, client_id, self.clock())
                    facts["mine"] = client_id is not None
                    yield f"event: fleet\ndata: {json.dumps(facts)}\n\n"
                event.clear()
                if self.closing or self._latest is not latest:
                    continue  # told by a signal handler or a thread just before the clear
                try:
                    await asyncio.wait_for(event.wait(), _ALIVE_SECS)
                except TimeoutError:
                    # not a comment: the page is to notice when it hears nothing any more
                    yield "event: alive\ndata: {}\n\n"
        finally:
            self._waiting.discard(event)
