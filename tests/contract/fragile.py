"""A connection that breaks when it is told to, over one that stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import LinkLost
from pysubtask.transports.contract import Request, Result, Transport

__all__ = ["Fragile", "Link"]

DRAIN_SECS = 20.0


class Link:
    """What connections share: the real one below them, and when the next break comes.

    Args:
        inner: connected.
        news: set when it may have something new.
        looks: called after each request.
    """

    def __init__(self, inner: Transport, news: Event, looks: Callable[[], None]) -> None:
        self.inner = inner
        self.news = news
        self.looks = looks
        self.requests = 0
        """So many were answered, or acted upon at least."""
        self.break_at = 0
        """The answer to this request never arrives (1 is the first); 0: none breaks."""
        self._last_ticket = 1 << 20

    def new_ticket(self) -> int:
        self._last_ticket += 1
        return self._last_ticket


class Fragile:
    """One connection. When it breaks, the server has acted on that request and on all before it,
    and on those that had left after it, too: the worst that a client has to cope with."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tickets: dict[int, int] = {}
        self._broken = False

    @property
    def capabilities(self) -> Capabilities:
        return self._link.inner.capabilities

    def connect(self) -> None:
        """The real connection is there."""

    def submit(self, ticket: int, request: Request) -> None:
        inner_ticket = self._link.new_ticket()
        self._tickets[inner_ticket] = ticket
        self._link.inner.submit(inner_ticket, request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        for inner_ticket, result in self._link.inner.collect():
            ticket = self._tickets.pop(inner_ticket)
            self._link.requests += 1
            self._link.looks()
            if self._link.requests == self._link.break_at:
                self._broken = True
                break
            yield ticket, result
        if self._broken:
            raise LinkLost("cut by the test")

    def close(self) -> None:
        """What has left is carried out, without anybody hearing of it."""
        until = time.monotonic() + DRAIN_SECS
        while self._tickets and time.monotonic() < until:
            self._link.news.clear()
            for inner_ticket, _ in self._link.inner.collect():
                del self._tickets[inner_ticket]
                self._link.looks()
            if self._tickets:
                self._link.news.wait(0.05)
        assert not self._tickets
