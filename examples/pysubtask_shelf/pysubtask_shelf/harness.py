"""What the contract suite of pysubtask needs in order to try this transport.

In a checkout of pysubtask, with this package installed::

    PYSUBTASK_CONTRACT=pysubtask_shelf.harness:harness python -m pytest tests/contract
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pysubtask.seams.clock import RealClock
from pysubtask.settings import Settings
from pysubtask.transports import Transport, transport_factory
from pysubtask.transports.contract import Wake
from pysubtask.urls import parse_url
from pysubtask_shelf.server import ShelfServer

__all__ = ["ShelfHarness", "harness"]


class ShelfHarness:
    """One folder for one test.

    Args:
        url: of the server.
        remote: the folder's name there.
        folder: the same folder, as this machine sees it.
    """

    keeps_line_breaks = True
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    writes_only_at_end = False
    shares = False  # each test has a server of its own, and so a connection
    peeks_cheaply = True

    def __init__(self, url: str, remote: str, folder: Path) -> None:
        self._url = url
        self._remote = remote
        self._folder = folder

    def make(self, wake: Wake) -> Transport:
        """As the subtask makes it: by the entry point."""
        return transport_factory(parse_url(self._url), Settings(), RealClock(), wake)()

    def path(self, name: str) -> str:
        return f"{self._remote}/{name}"

    def peek(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)


@contextmanager
def harness(request: Any) -> Iterator[ShelfHarness]:
    """A server with an empty folder; ``request`` is pytest's."""
    with tempfile.TemporaryDirectory() as root, ShelfServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            (Path(root) / "in").mkdir()
            yield ShelfHarness(
                f"shelf://127.0.0.1:{server.server_address[1]}", "/in", Path(root, "in")
            )
        finally:
            server.shutdown()
            thread.join(5)
