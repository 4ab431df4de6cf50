"""A transport used one step after the other: ask, get the answer. For tools that look at a server
(``doctor``, ``verify``); delivery itself never waits like this."""

from __future__ import annotations

import threading
import time
from typing import Self

from pysubtask.errors import LinkLost, RemoteError
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Settings
from pysubtask.transports import transport_factory
from pysubtask.transports.contract import Capabilities, Request, Result, Transport
from pysubtask.urls import Destination

__all__ = ["Conversation"]


class Conversation:
    """One connection.

    Args:
        destination: where to.
        settings: who logs in, limits.

    Raises:
        SettingsError: there is no transport for the destination.
    """

    def __init__(self, destination: Destination, settings: Settings) -> None:
        self._news = threading.Event()
        self._limit_secs = settings.reply_timeout_secs + 5.0
        self._transport: Transport = transport_factory(
            destination, settings, RealClock(), self._news.set
        )()
        self._ticket = 0

    @property
    def can(self) -> Capabilities:
        """What the connected destination can do."""
        return self._transport.capabilities

    def connect(self) -> None:
        """Connect and log in, within the limits of the settings.

        Raises:
            LinkError: no connection.
        """
        self._transport.connect()

    def ask(self, request: Request) -> Result:
        """One request's result.

        Raises:
            RemoteError: the server refused it.
            LinkError: the connection broke, or there was no answer in time.
        """
        (result,) = self.ask_all(request)
        if isinstance(result, RemoteError):
            raise result
        return result

    def ask_all(self, *requests: Request) -> list[Result]:
        """All requests in one flight, and their results in the same order; refusals as values.

        Raises:
            LinkError: the connection broke, or there was no answer in time.
        """
        tickets = []
        for request in requests:
            self._ticket += 1
            tickets.append(self._ticket)
            self._transport.submit(self._ticket, request)
        results: dict[int, Result] = {}
        deadline = time.monotonic() + self._limit_secs
        while len(results) < len(tickets):
            self._news.clear()
            got = len(results)
            results.update(self._transport.collect())
            if len(results) > got:
                deadline = time.monotonic() + self._limit_secs
            elif time.monotonic() > deadline:
                raise LinkLost(
                    f"no answer within {self._limit_secs:.0f} s", operation=_words(requests[0])
                )
            if len(results) < len(tickets):
                self._news.wait(0.1)
        return [results[ticket] for ticket in tickets]

    def close(self) -> None:
        """End the connection now; idempotent."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _words(request: Request) -> str:
    return type(request).__name__.lower()
