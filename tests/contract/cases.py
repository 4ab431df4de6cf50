"""What the contract suite needs of a transport under test, and how it drives one.

A new kind of transport joins by a :class:`Harness` (``harnesses.py`` has ours) and a function in
``conftest.py`` beside this file.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Protocol

from pysubtask.errors import RemoteError
from pysubtask.transports.contract import Finish, Request, Result, Transport, Wake, Write

__all__ = ["Driver", "Harness", "write_whole"]

LIMIT_SECS = 20.0


class Harness(Protocol):
    """One destination with a folder of its own for one test.

    Three more members are used if they are there: ``troubles``, what can be done to its server
    (``troubles.py``; without, those cases are skipped); ``caches``, the server acknowledges what it
    has not put into its folder; and then ``peek_below(name)``, what is in that folder.
    """

    keeps_line_breaks: bool
    """Names may hold control characters (rclone replaces them by look-alikes)."""

    makes_folders: bool
    """A file's folder comes with the file."""

    impossible_names: tuple[str, ...]
    """Names of ``NAMES`` that the destination can't have."""

    writes_only_at_end: bool
    """What is there can't be written over (FTP servers without REST)."""

    shares: bool
    """A connection reaches the folders of all tests: it serves one after the other."""

    peeks_cheaply: bool
    """:meth:`peek` shows at once what a reader at the destination sees."""

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
        self.news = threading.Event()
        self._ticket = 0
        self.is_usable = True
        """Nothing has gone wrong with it yet."""
        self.transport = harness.make(self.news.set)
        self.transport.connect()

    def do(self, *requests: Request) -> list[Result]:
        """Submit all requests at once and give their results in the order of the requests.

        Raises:
            LinkError: the connection broke.
            TimeoutError: a result is missing.
        """
        tickets = []
        self.is_usable, before = False, self.is_usable
        for request in requests:
            self._ticket += 1
            tickets.append(self._ticket)
            self.transport.submit(self._ticket, request)
        results: dict[int, Result] = {}
        deadline = time.monotonic() + LIMIT_SECS
        while len(results) < len(requests):
            self.news.clear()
            for ticket, result in self.transport.collect():
                assert ticket in tickets
                assert ticket not in results
                results[ticket] = result
            if len(results) < len(requests):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(results)} of {len(requests)} results")
                self.news.wait(0.1)
        self.is_usable = before
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
        self.is_usable = False
        self.transport.close()


def write_whole(driver: Driver, path: str, data: bytes) -> None:
    """A new file, in one write."""
    driver.ask(Write(path, 0, data, create=True))
    driver.ask(Finish(path))
