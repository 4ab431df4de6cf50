"""The other way in ``demo.py``: a file of orders changes at the server, the program fetches it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from examples.demo_server import OwnServer
from pysubtask import TaskMaster

__all__ = ["Orders", "lines_words"]

INBOX = "logs/inbox"
NAME = "orders.cfg"


class Orders:
    """How many lines the program is to write at a time: ``lines = 2``.

    The server's side (:meth:`change`) knows nothing of the program's (:meth:`take_note`); between
    them is pysubtask.
    """

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._there = server.files / "orders" / NAME
        self._there.parent.mkdir()
        self.path = f"{INBOX}/{NAME}"
        self.lines = 1
        """As the program knows them."""
        self.wanted = 1
        """As the server has them."""
        Path(self.path).unlink(missing_ok=True)  # of a server that is gone
        self.change()

    @property
    def there(self) -> Path:
        """The file at the server."""
        return self._there

    def watch(self) -> dict[str, Any]:
        """The entry of the watch list."""
        return {"pull": self._server.url("orders/*.cfg"), "to": INBOX, "interval_secs": 1}

    def change(self) -> int:
        """At the server: a new version, complete before it has its name."""
        self.wanted = self.wanted % 5 + 1
        draft = self._there.with_suffix(".draft")
        draft.write_text(f"lines = {self.wanted}\n", "ascii")
        draft.replace(self._there)
        return self.wanted

    def take_note(self, master: TaskMaster) -> list[str]:
        """In the program: read what has arrived. Never waits."""
        told = []
        for arrival in master.arrivals():
            found = re.fullmatch(r"lines = (\d+)\n", Path(arrival.path).read_text("ascii"))
            if found is not None:
                self.lines = int(found[1])
            lines = lines_words(self.lines)
            told.append(f"fetched {self.path} ({arrival.kind}): {lines} at a time from now on")
        return told


def lines_words(count: int) -> str:
    """``1 line``, ``2 lines``"""
    return "1 line" if count == 1 else f"{count} lines"
