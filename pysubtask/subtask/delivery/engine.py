"""Many jobs over one connection: runs generators that send requests and wait for results.

A job is a generator. It yields :class:`Send` and gets a ticket back once the request has left (it
may have to wait for room in the window), and yields :class:`Wait` and gets that ticket's result.
A refused request is raised into the job as the :class:`~pysubtask.errors.RemoteError` it is. So a
job reads like a program that blocks, while hundreds of them share the link. Nothing here waits:
:meth:`Engine.run` does what can be done now.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

import msgspec

from pysubtask.core.flow import Sent, Window
from pysubtask.errors import LinkError, LinkLost, RemoteError
from pysubtask.seams.clock import Clock
from pysubtask.subtask.delivery.allowance import Allowance
from pysubtask.transports.contract import (
    SLOWEST_BYTES_PER_SEC,
    Put,
    Read,
    Request,
    Result,
    Transport,
    Write,
)

__all__ = ["BULK", "SMALL", "URGENT", "Answers", "Engine", "Job", "Send", "Wait", "call", "flight"]

URGENT, SMALL, BULK = 0, 1, 2
"""Priorities: heartbeats, then small and new files, then the rest of big ones."""

_LONGEST = 10
_TURN_SECS = 0.05
_REQUEST_BYTES = 128
"""What a request without data is taken to weigh in the window."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Let the request leave; the job gets its ticket.

    ``unless_refused``: if an earlier request of the job was refused, and it has not waited for that
    yet, the request does not leave, and the refusal is raised into the job. Once a refusal was
    raised, those of requests that had left before it do not count any more.
    """

    request: Request
    unless_refused: bool = False


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Wait for a ticket's result; the job gets it, or the error is raised into it."""

    ticket: int


class Answers(msgspec.Struct, frozen=True, gc=False):
    """The job gets a mapping of tickets to results: what has come, and was not waited for yet. It
    lives as long as the job, so that one that ends in between can see how far it got."""


Step: TypeAlias = Send | Wait | Answers | None
"""``None`` lets the others run for a moment."""
Job: TypeAlias = Generator[Step, Any, None]


def call(request: Request) -> Generator[Step, Any, Any]:
    """Send one request and wait for its result: ``result = yield from call(request)``."""
    ticket = yield Send(request)
    result = yield Wait(ticket)
    return result


def flight(*requests: Request) -> Generator[Step, Any, list[Any]]:
    """Send several requests together and wait for all; errors come as values among the results."""
    tickets = []
    for request in requests:
        tickets.append((yield Send(request)))
    results = []
    for ticket in tickets:
        try:
            results.append((yield Wait(ticket)))
        except RemoteError as error:
            results.append(error)
    return results


class _Task:
    __slots__ = ("done", "job", "outstanding", "priority", "refusals_from", "results", "waits_for")

    def __init__(self, job: Job, priority: int, done: Callable[[Exception | None], None]):
        self.job = job
        self.priority = priority
        self.done = done
        self.outstanding: set[int] = set()
        self.results: dict[int, Result] = {}
        self.waits_for: int | None = None
        self.refusals_from = 0
        """Refusals of tickets before this one are known to the job, by the first of them."""


class Engine:
    """Runs jobs over one connected transport.

    Args:
        ack_timeout_secs: when nothing was acknowledged for this long, plus the time that the bytes
            in flight need at 1 KiB a second, the link is dead; also when one request still has
            no answer after ten times as long.
        allowance: is told of what is sent, and paces all but the urgent.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        window: Window,
        *,
        ack_timeout_secs: float = 60.0,
        allowance: Allowance | None = None,
    ) -> None:
        self._allowance = allowance
        self._paced_at = math.inf
        self._transport = transport
        self._clock = clock
        self._window = window
        self._ack_timeout_secs = ack_timeout_secs
        self._ready: tuple[deque[tuple[_Task, Any]], ...] = (deque(), deque(), deque())
        self._blocked: tuple[deque[tuple[_Task, Send]], ...] = (deque(), deque(), deque())
        self._owners: dict[int, tuple[_Task | None, Sent, float]] = {}
        self._tasks: dict[_Task, None] = {}  # in the order in which they came
        self._next_ticket = 1
        self._lost: LinkError | None = None
        self._results: Iterator[tuple[int, Result]] | None = None
        self.has_more = False
        """The last :meth:`run` ended because its turn was over: call it again at once."""
        self._progress_at = clock.monotonic()
        self.acked_bytes = 0
        """Data bytes that this connection moved, either way."""
        self.sent_bytes = 0
        """Data bytes handed to this connection."""

    @property
    def jobs(self) -> int:
        """How many jobs are not finished."""
        return len(self._tasks)

    @property
    def waits_since(self) -> float | None:
        """Monotonic time of the last acknowledgement, or of the first request after it; None if
        none is awaited."""
        return self._progress_at if self._owners else None

    def spawn(self, job: Job, *, priority: int, done: Callable[[Exception | None], None]) -> None:
        """Take on a job. ``done`` is called with None, or with the error that ended it."""
        task = _Task(job, priority, done)
        self._tasks[task] = None
        self._ready[priority].append((task, None))

    def run(self) -> float | None:
        """Do all that can be done now, or as much as fits into a twentieth of a second.

        Returns:
            The monotonic time by which to call it again: an acknowledgement is overdue then,
            something may leave that had to wait for its pace, or the transport asks for it. None
            if there is nothing of that.

        Raises:
            LinkError: the connection broke, or an acknowledgement is overdue. Every job is lost.
        """
        self.has_more = False
        self._paced_at = math.inf
        turn_ends_at = self._clock.monotonic() + _TURN_SECS
        while True:
            collected = self._collect(turn_ends_at)
            if not self._advance() and not collected:
                break
            if self._clock.monotonic() >= turn_ends_at:
                self.has_more = True
                break
        if self._lost is not None:
            raise self._lost
        own: float = getattr(self._transport, "due_at", math.inf)
        due = min(self._paced_at, self._check_deadline(), own)
        return due if due < math.inf else None

    def abandon(self) -> None:
        """Close every job without its ``done`` being called: the connection is gone."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.job.close()

    def _collect(self, until: float) -> bool:
        """Take the results that have arrived; False if there were none."""
        if self._lost is not None:
            return False
        owners = len(self._owners)
        try:
            self._take_results(until)
        except LinkError as error:
            self._lost = error  # what was acknowledged before it broke reaches the jobs first
        return len(self._owners) < owners

    def _take_results(self, until: float) -> None:
        if self._results is None:
            self._results = self._transport.collect()
        for ticket, result in self._results:
            now = self._clock.monotonic()
            found = self._owners.pop(ticket, None)
            if found is None:
                raise LinkLost("the server answered a request that was never sent")
            task, sent, _ = found
            self._progress_at = now
            self._window.acked(now, sent)
            self.acked_bytes += sent.size - _REQUEST_BYTES
            if task is not None and task in self._tasks:
                task.outstanding.discard(ticket)
                if task.waits_for == ticket:
                    task.waits_for = None
                    self._ready[task.priority].append((task, result))
                else:
                    task.results[ticket] = result
            if now >= until:
                return  # the rest of them in the next turn
        self._results = None

    def _advance(self) -> bool:
        """Let ready jobs run and blocked ones send. False if nothing could be done."""
        moved = False
        for priority in (URGENT, SMALL, BULK):
            ready = self._ready[priority]
            for _ in range(len(ready)):
                task, value = ready.popleft()
                self._resume(task, value)
                moved = True
            blocked = self._blocked[priority]
            while (
                blocked and self._lost is None and self._may_leave(priority, blocked[0][1].request)
            ):
                task, send = blocked.popleft()
                refusal = _refusal(task, send)
                self._resume(task, refusal or self._send(task, send.request))
                moved = True
            if blocked:
                break  # room that comes free is for these first
        return moved

    def _resume(self, task: _Task, value: Any) -> None:
        """Run a job until it has to wait."""
        if task not in self._tasks:
            return
        while True:
            try:
                if isinstance(value, RemoteError):
                    task.refusals_from = self._next_ticket
                    step = task.job.throw(value)
                else:
                    step = task.job.send(value)
            except StopIteration:
                self._finish(task, None)
                return
            except (RemoteError, OSError) as error:  # the server, or the local disk, refused
                self._finish(task, error)
                return
            if step is None:
                self._ready[task.priority].append((task, None))
                return
            if isinstance(step, Send):
                refusal = _refusal(task, step)
                if refusal is not None:
                    value = refusal
                    continue
                queue = self._blocked[task.priority]
                if (
                    self._lost is not None
                    or queue
                    or not self._may_leave(task.priority, step.request)
                ):
                    queue.append((task, step))
                    return
                value = self._send(task, step.request)
            elif isinstance(step, Answers):
                value = task.results
            elif step.ticket in task.results:
                value = task.results.pop(step.ticket)
            else:
                task.waits_for = step.ticket
                return

    def _may_leave(self, priority: int, request: Request) -> bool:
        weight = _weight(request)
        if not self._window.has_room(weight, _trips(request)):
            return False
        if self._allowance is None or priority == URGENT or not self._allowance.has_pace:
            return True
        at = self._allowance.ready_at(weight)
        if at <= self._clock.monotonic():
            return True
        self._paced_at = min(self._paced_at, at)
        return False

    def _send(self, task: _Task, request: Request) -> int:
        ticket = self._next_ticket
        self._next_ticket += 1
        now = self._clock.monotonic()
        weight = _weight(request)
        sent = self._window.sent(now, weight, _trips(request))
        if not self._owners:
            self._progress_at = now
        self._owners[ticket] = (task, sent, now + _LONGEST * self._patience_secs)
        task.outstanding.add(ticket)
        if isinstance(request, Write | Put):
            self.sent_bytes += len(request.data)
        if self._allowance is not None:
            self._allowance.sent(weight)
        self._transport.submit(ticket, request)
        return ticket

    def _finish(self, task: _Task, error: Exception | None) -> None:
        self._tasks.pop(task, None)
        for ticket in task.outstanding:
            _, sent, deadline = self._owners[ticket]
            self._owners[ticket] = (None, sent, deadline)
        task.done(error)

    @property
    def _patience_secs(self) -> float:
        return self._ack_timeout_secs + self._window.in_flight_bytes / SLOWEST_BYTES_PER_SEC

    def _check_deadline(self) -> float:
        if not self._owners:
            return math.inf
        _, sent, deadline = self._owners[next(iter(self._owners))]
        deadline = min(deadline, self._progress_at + self._patience_secs)
        now = self._clock.monotonic()
        if now >= deadline:
            raise LinkLost(
                f"no acknowledgement for {now - max(sent.at, self._progress_at):.0f} s",
                operation="wait for the server",
                hint="the connection is closed and made anew",
            )
        return deadline


def _refusal(task: _Task, step: Send) -> RemoteError | None:
    if step.unless_refused:
        for ticket, result in task.results.items():
            if isinstance(result, RemoteError) and ticket >= task.refusals_from:
                return result
    return None


def _trips(request: Request) -> int:
    """How many round trips it takes: a file is opened before something is written to it."""
    is_first = isinstance(request, Write) and request.create and request.offset == 0
    return 2 if is_first else 1


def _weight(request: Request) -> int:
    """What a request and its answer move, in bytes."""
    if isinstance(request, Write | Put):
        return _REQUEST_BYTES + len(request.data)
    if isinstance(request, Read):
        return _REQUEST_BYTES + request.length
    return _REQUEST_BYTES
