"""An engine over a transport that answers when a test says so."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.flow import Window
from pysubtask.errors import LinkLost
from pysubtask.subtask.delivery.engine import (
    SMALL,
    Engine,
    Job,
    Send,
    Wait,
    call,
)
from pysubtask.transports.contract import Request, Result, Stat, Write
from tests.unit.core_fakes import ManualClock


class Line:
    """A transport that answers when the test says so, in the order that it says."""

    capabilities = Capabilities(positioned_write=True, sequential=True, atomic_replace=True)

    def __init__(self) -> None:
        self.sent: dict[int, Request] = {}
        self.answered: set[int] = set()
        self.answers: list[tuple[int, Result]] = []
        self.breaks = False
        self.due_at = math.inf
        self.broken_for_sending = False

    def connect(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to close."""

    def submit(self, ticket: int, request: Request) -> None:
        if self.broken_for_sending:
            raise LinkLost("broken")
        self.sent[ticket] = request

    def collect(self) -> Iterator[tuple[int, Result]]:
        while self.answers:
            yield self.answers.pop(0)
        if self.breaks:
            raise LinkLost("the server hung up")

    def paths(self) -> list[str]:
        """What has been sent so far."""
        return [request.path for request in self.sent.values()]

    def answer(self, path: str, result: Result = None) -> None:
        """Answer the oldest unanswered request for a path."""
        ticket = next(t for t, r in self.sent.items() if r.path == path and t not in self.answered)
        self.answered.add(ticket)
        self.answers.append((ticket, result))


class Bench:
    """An engine over such a line; what its jobs heard is in ``log``."""

    def __init__(self, window: Window | None = None, timeout_secs: float = 60.0) -> None:
        self.clock = ManualClock()
        self.line = Line()
        self.window = window or Window()
        self.engine = Engine(self.line, self.clock, self.window, ack_timeout_secs=timeout_secs)
        self.log: list[object] = []
        self.ends: list[Exception | None] = []

    def spawn(self, job: Job, priority: int = SMALL) -> None:
        self.engine.spawn(job, priority=priority, done=self.ends.append)

    def asking(self, *paths: str) -> Job:
        """Asks one thing after the other."""
        for path in paths:
            result = yield from call(Stat(path))
            self.log.append((path, result))

    def writing(self, path: str, sizes: list[int]) -> Job:
        """Writes blocks without waiting, then waits for all."""
        tickets, offset = [], 0
        for size in sizes:
            tickets.append((yield Send(Write(path, offset, b"x" * size))))
            offset += size
        for ticket in tickets:
            yield Wait(ticket)
            self.log.append(ticket)


def fixed_window(limit_bytes: int) -> Window:
    """A window that nothing has been learnt for yet, of at most that size."""
    return Window(min_bytes=limit_bytes)
