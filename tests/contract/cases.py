"""What the contract suite needs of a transport under test, and how it drives one.

A new kind of transport joins by a :class:`Harness` in ``conftest.py`` beside this file.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Protocol

from pysubtask.errors import RemoteError
from pysubtask.transports.contract import Request, Result, Transport, Wake

__all__ = ["Driver", "Harness"]

LIMIT_SECS = 20.0


class Harness(Protocol):
    """One destination with a folder of its own for one test."""

    keeps_line_breaks: bool
    """Names may hold control characters (rclone replaces them by look-alikes)."""

    makes_folders: bool
    """A file's folder comes with the file."""

    impossible_names: tuple[str, ...]
    """Names of ``NAMES`` that the destination can't have."""

    writes_only_at_end: bool
    """What is there can't be written over (FTP servers without REST)."""

    def make(self, wake: Wake) -> Transport:
        """A new transport to the destination, not connected yet."""

    def path(self, name: str) -> str:
        """The remote path of ``name`` (which may hold ``/``) in the test's folder."""

    def peek(self, name: str) -> bytes | None:
        """What the destination holds under ``name``, seen past the transport; ``None``: nothing."""

    def put(self, name: str, data: bytes) -> None:
        """Make a file at the destination, past the transport."""


HarnessMaker = AbstractContextManager[Harness]


class Driver:
    """A connected transport, used one step after the other."""

    def __init__(self, harness: Harness) -> None:
        self._news = threading.Event()
        self._ticket = 0
        self.transport = harness.make(self._news.set)
        self.transport.connect()

    def do(self, *requests: Request) -> list[Result]:
        """Submit all requests at once and give their results in the order of the requests.

        Raises:
            LinkError: the connection broke.
            TimeoutError: a result is missing.
        """
        tickets = []
        for request in requests:
            self._ticket += 1
            tickets.append(self._ticket)
            self.transport.submit(self._ticket, request)
        results: dict[int, Result] = {}
        deadline = time.monotonic() + LIMIT_SECS
        while len(results) < len(requests):
            self._news.clear()
            for ticket, result in self.transport.collect():
                assert ticket in tickets
                assert ticket not in results
                results[ticket] = result
            if len(results) < len(requests):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(results)} of {len(requests)} results")
                self._news.wait(0.1)
        return [results[ticket] for ticket in tickets]

    def ask(self, request: Request) -> Result:
        """One request, its result; a refusal is raised.

        Raises:
            RemoteError: the result was one.
        """
        (result,) = self.do(request)
        if isinstance(result, RemoteError):
            raise result
        return result

    def close(self) -> None:
        self.transport.close()
