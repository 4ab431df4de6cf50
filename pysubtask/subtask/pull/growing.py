"""A remote file has gained bytes: they are added to the local one, where it is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.pull import HEAD_BYTES, Mark, Pulled, print_of, tail_start
from pysubtask.subtask.delivery.engine import Step
from pysubtask.subtask.pull.session import Changed, Session
from pysubtask.subtask.pull.takeover import note_grown
from pysubtask.subtask.pull.whole import Whole
from pysubtask.transports.contract import Read

__all__ = ["Growing"]

_GROW_BYTES = 1 << 20
"""So many bytes at most are added to a visible file before they are noted."""


class Growing:
    """Adds to visible files. A reader sees a beginning of the remote file at every instant."""

    def __init__(self, session: Session, whole: Whole) -> None:
        self._session = session
        self._whole = whole

    def grow(self, path: str, remote: Mark) -> Generator[Step, Any, bool]:
        """Add to the local file what the remote one has gained.

        Returns:
            False if what was fetched is not its beginning (any more).
        """
        entry = self._session.entry(path)
        started = entry.size
        look = self._session.places.look(entry)
        if look == "partly":
            look = yield from self._take_over(entry)
            entry = self._session.entry(path)
        if look != "as_left" or remote.size == entry.size:
            there = yield from self._session.read_prints(entry.remote, entry.size)
            if there != (entry.head, entry.tail):
                return False
        if look != "as_left" and remote.size > entry.size:
            # the program took it away, or changed it: the whole file comes, to its name or beside
            yield from self._whole.fetch(path, remote, growing=True)
            return True
        while entry.size < remote.size:
            length = min(self._grow_bytes(), remote.size - entry.size)
            self._session.places.need_room(length)
            data = yield from self._read_on(entry, length)
            if data is None:
                return False
            # "": it is shorter than it was a moment ago; None: the program was quicker
            grown = self._append(entry, data) if data else None
            if grown is None:
                raise Changed("it changed while it was read", operation="fetch", path=entry.remote)
            entry = grown
        if entry.passage is not None:
            self._whole.give_up(path, entry.passage)  # of a version that did not come to be
        done = self._session.update(path, self._as_of(remote))
        if done.size > started:
            self._session.log.info("fetched %s: %d more bytes", entry.remote, done.size - started)
            self._session.telling.tell_again(path)
        return True

    @staticmethod
    def _as_of(remote: Mark) -> Callable[[Pulled], Pulled]:
        return lambda e: replace(e, source=replace(remote, size=e.size), removed=False)

    def _grow_bytes(self) -> int:
        return min(_GROW_BYTES, 8 * self._session.chunk_bytes())

    def _read_on(self, entry: Pulled, length: int) -> Generator[Step, Any, bytes | None]:
        """The bytes behind those that are here; None if those are not its beginning.

        The head is read again behind them: had the name come to stand for another file between the
        requests, it would show there.
        """
        name, start = entry.remote, tail_start(entry.size)
        head = Read(name, 0, min(HEAD_BYTES, entry.size))
        chunk = self._session.chunk_bytes()
        parts = [Read(name, start, entry.size - start)]
        parts += [
            Read(name, at, min(chunk, entry.size + length - at))
            for at in range(entry.size, entry.size + length, chunk)
        ]
        results = yield from self._session.read_all(*parts, head)
        tail, *fresh, first = results
        if (print_of(first), print_of(tail)) != (entry.head, entry.tail):
            return None
        data = bytearray()
        for request, part in zip(parts[1:], fresh, strict=True):
            data += part
            if len(part) < request.length:
                break
        return bytes(data)

    def _append(self, entry: Pulled, data: bytes) -> Pulled | None:
        """Add to the visible file; None if it is not the one that was left there any more."""
        size = entry.size + len(data)
        noted = self._session.update(
            entry.path, lambda e: replace(e, reach=size, reach_print=print_of(data))
        )
        # else, after a loss of power, it would be the program's own
        self._session.journal.sync(must=True)
        try:
            added = self._session.places.append(noted, data)
        except OSError:
            self._take_back(noted, data)
            raise
        if not added:
            self._session.update(entry.path, lambda e: replace(e, reach=0))
            return None
        return self._note_grown(entry.path, size)

    def _take_back(self, entry: Pulled, data: bytes) -> None:
        """The disk has refused: a part of what was to be added may stand there."""
        places, start = self._session.places, entry.size
        try:
            if places.look(entry) != "partly":
                return  # nothing was added, or the program was at it
            length = places.left(entry.place).size - start
            if data.startswith(places.read(entry.place, start, length)):
                places.cut(entry.place, start)
                self._note_grown(entry.path, start)
        except OSError as error:  # the next one looks what it is
            self._session.log.debug("cut %s: %s", entry.place, error)

    def _take_over(self, entry: Pulled) -> Generator[Step, Any, Any]:
        """The local file is longer than was noted: if the bytes are the remote file's, they are
        ours, and need not be fetched again."""
        local = self._session.places.left(entry.place)
        length = local.size - entry.size
        here = self._session.places.read(entry.place, entry.size, length)
        there = yield from self._session.read_range(entry.remote, entry.size, length)
        if here != there:
            return "changed"
        self._session.places.sync(entry.place)  # it was killed before it could
        self._note_grown(entry.path, local.size)
        return "as_left"

    def _note_grown(self, path: str, size: int) -> Pulled:
        return note_grown(self._session.journal, self._session.places, path, size)
