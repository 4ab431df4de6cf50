"""What ``push``, ``pull`` and ``run`` tell in one way: the link, files that fail, rates."""

from __future__ import annotations

import time

from pysubtask.arrivals import Arrival
from pysubtask.cli.convert import link_message
from pysubtask.cli.exits import scrub
from pysubtask.cli.messages import FailedMessage
from pysubtask.cli.output import Output, plain
from pysubtask.events import LinkChanged, SourceChanged
from pysubtask.status import size_words

__all__ = ["RateMeter", "arrival_words", "tell_failed", "tell_link"]


class RateMeter:
    """Bytes a second since the first sign of progress."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def rate(self, count: int) -> float | None:
        """After so many bytes in all; None with the first ones."""
        now = time.monotonic()
        if self._first is None or count < self._first[1]:
            self._first = now, count
        at, before = self._first
        return (count - before) / (now - at) if count > before else None


def tell_link(output: Output, event: LinkChanged | SourceChanged) -> None:
    """The link is in another state. Where bars are drawn, they show it."""
    output.emit(link_message(event))
    shown = event.error and event.link != "gone"
    if shown and output.bars is None and not output.as_json:
        output.note(f"{event.link}: {event.error}")


def arrival_words(arrival: Arrival) -> str:
    """``inbox/a.cfg  1.2 KiB  (from byte 512 on)``"""
    grown = arrival.kind == "grown" and arrival.start_bytes
    from_byte = f"  (from byte {arrival.start_bytes} on)" if grown else ""
    return f"{plain(arrival.path)}  {size_words(arrival.size_bytes)}{from_byte}"


def tell_failed(output: Output, path: str, error: str, delivery: str | None = None) -> None:
    """A file could not be delivered or fetched."""
    output.emit(FailedMessage(path=path, error=scrub(error), delivery=delivery))
    if not output.as_json:
        output.note(f"{plain(path)}: {error}")
