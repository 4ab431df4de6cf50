"""Heartbeats, as somebody sees them who watches the destination.

Whatever is under that name is one whole heartbeat that the child has made, and none that is
older than what was there. None says that nothing is owed while something is; the last one of a
clean stop says 0; and while all is well they keep coming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NoReturn

from tests.simulation.ledger import Source
from tests.simulation.remote import RemoteDisk, RemoteFile

__all__ = ["NAME", "Beats"]

NAME = "edge.heartbeat"
_SEC = 1_000_000_000
_LATE_NS = 60 * _SEC
"""So long may be on its way what a dead child had sent."""


class Beats:
    """Watches a remote disk (as its observer), and is told what the child writes."""

    def __init__(
        self, disk: RemoteDisk, path: str, interval_secs: float, now_ns: Callable[[], int]
    ) -> None:
        self._disk = disk
        self._path = path
        self._interval_secs = interval_secs
        self._now_ns = now_ns
        self._written: dict[bytes, tuple[int, int, int]] = {}
        """The child, the number, and the time (ns) of each."""
        self._shown = (0, 0)
        """The child and the number of what is there."""
        self._child = 0
        self._ended_ns = -(1 << 62)
        """When the child before the present one was done with."""
        disk.observers.append(self)

    # -- what the child does ---------------------------------------------------------------------

    def began(self, child: int) -> None:
        """A new child process."""
        if self._child:
            self._ended_ns = self._now_ns()
        self._child = child

    def said(self, text: bytes, sources: Iterable[Source]) -> None:
        """The child has made a heartbeat."""
        expect, facts = _read(text)
        number = facts["sequence"]
        last = max((n for child, n, _ in self._written.values() if child == self._child), default=0)
        if number <= last:
            _broken(f"number {number} comes after {last}")
        if expect and expect < self._interval_secs:
            _broken(f"the next one is expected within {expect} s")
        self._written[text] = self._child, number, self._now_ns()
        if facts["backlog_bytes"] or facts["oldest_age_secs"] is not None:
            return
        for source in sources:
            for touch in source.owed:
                newest = touch.index == source.current.index or source.must_precede(touch)
                newest = newest and touch.served_ns > 0
                if newest and not source.untold and not source.was_shown(touch):
                    _broken(f"nothing is said to be owed, but {source.path!r} owes {touch}")

    # -- what is there ---------------------------------------------------------------------------

    def wrote(self, file: RemoteFile, offset: int, data: bytes) -> None:
        if self._path in file.names:
            self._look(bytes(file.content))

    def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> None:
        if path == self._path:
            self._look(bytes(file.content))

    def unnamed(self, path: str, file: RemoteFile) -> None:
        """For a moment there may be none."""

    def folder_moved(self, path: str, target: str) -> None:
        """None of ours has any."""

    def lost(self) -> None:
        """Whatever is there now was there before."""
        self._shown = (0, 0)

    def _look(self, content: bytes) -> None:
        found = self._written.get(content)
        if found is None:
            _broken(f"what is there was never written so: {content[:80]!r}, {len(content)} bytes")
        shown = found[:2]
        of_the_dead = shown[0] < self._child and self._now_ns() - self._ended_ns < _LATE_NS
        if shown < self._shown and not of_the_dead:
            _broken(f"number {shown[1]} of child {shown[0]} is there after {self._shown}")
        self._shown = shown

    # -- when it ends ----------------------------------------------------------------------------

    def check_goodbye(self) -> None:
        """The child has stopped in order, and says that no heartbeat waits."""
        file = self._disk.files.get(self._path)
        if file is None or not file.content.startswith(b"0\n"):
            _broken(
                f"the last one of a clean stop is {bytes(file.content[:80]) if file else None!r}"
            )

    def check_fresh(self) -> None:
        """All has been well for some time."""
        times = [at_ns for c, n, at_ns in self._written.values() if (c, n) == self._shown]
        age_secs = (self._now_ns() - max(times, default=0)) / _SEC
        child = self._shown[0]
        if child != self._child or age_secs > self._interval_secs + 8:
            _broken(
                f"all is well, and what was there last is {age_secs:.1f} s old, of child {child}"
            )


def _read(text: bytes) -> tuple[int, dict[str, float]]:
    first, _, rest = text.partition(b"\n")
    if len(text) != 512 or not text.endswith(b"\n"):
        _broken(f"it has {len(text)} bytes")
    facts = json.loads(rest)
    return int(first), facts


def _broken(words: str) -> NoReturn:
    from tests.simulation.checker import Violation

    raise Violation("beat", f"heartbeat: {words}")
