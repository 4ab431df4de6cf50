"""The jobs of fetching: one for each file that has something new.

Each is a generator for the :class:`~pysubtask.subtask.delivery.engine.Engine`, so that it reads
like a program that blocks. What it does to the disk it notes in the journal before and after, so
that a successor goes on where this process ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from pysubtask.core.checksum import hasher
from pysubtask.core.flow import Window
from pysubtask.core.pull import (
    HEAD_BYTES,
    Growth,
    Mark,
    Passage,
    Pulled,
    Told,
    print_of,
    tail_start,
)
from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import WriteHandle
from pysubtask.subtask.delivery.engine import Send, Step, Wait, call, flight
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.transports.contract import Capabilities, Read, RemoteStat, Remove, Stat

__all__ = ["Changed", "Fetching", "mark_of"]

_AT_ONCE = 32
"""Requests of one file in flight; the window bounds their bytes."""
_GROW_BYTES = 1 << 20
"""So many bytes at most are added to a visible file before they are noted."""
_SYNC_BYTES = 8 << 20
_READ_BYTES = 1 << 20

Jobs = Generator[Step, Any, None]


class Changed(RemoteError):
    """It became another file while it was read; it is looked at again."""


def mark_of(st: RemoteStat) -> Mark:
    """What the server told, as the journal keeps it."""
    return Mark(st.size, st.mtime, st.digest)


@dataclass(slots=True)
class _Temp:
    """A temporary file that is being written."""

    handle: WriteHandle
    at: int
    synced: int


class Fetching:
    """Fetches the files of one source over one connection.

    Args:
        can: what the server can do.
        growth: what the program promised of the files.
        journal: where it is noted.
        places: the folder they go to.
        token_hex: 16 hex digits for a temporary name, which begin with the journal's id.
        moved: called with each number of bytes that came.
        believed: False after a loss of power: what was not on the disk for sure is not.
    """

    def __init__(
        self,
        can: Capabilities,
        window: Window,
        clock: Clock,
        journal: RecordLog[Pulled],
        places: Places,
        news: News,
        log: logging.Logger,
        *,
        growth: Growth,
        token_hex: Callable[[], str],
        moved: Callable[[int], None],
        believed: bool,
    ) -> None:
        self._can = can
        self._window = window
        self._clock = clock
        self._journal = journal
        self._places = places
        self._news = news
        self._log = log
        self._growth = growth
        self._token_hex = token_hex
        self._moved = moved
        self._believed = believed

    # -- one file ----------------------------------------------------------------------------

    def grow(self, path: str, remote: Mark) -> Generator[Step, Any, bool]:
        """Add to the local file what the remote one has gained.

        Returns:
            False if what was fetched is not its beginning (any more).
        """
        entry = self._entry(path)
        look = self._places.look(entry)
        if look == "partly":
            look = yield from self._take_over(entry)
            entry = self._entry(path)
        if look != "as_left":
            # the program took it away, or changed it: the whole file comes, to its name or beside
            yield from self.fetch(path, remote)
            return True
        started = entry.size
        while entry.size < remote.size:
            length = min(self._grow_bytes(), remote.size - entry.size)
            data = yield from self._read_on(entry, length)
            if data is None:
                return False
            if not data:
                break  # it is shorter than it was a moment ago: the next look tells
            if self._places.look(entry) != "as_left":
                break  # the program was quicker: the next look tells
            entry = self._append(entry, data)
        done = self._update(path, lambda e: replace(e, source=replace(remote, size=e.size)))
        if done.size > started:
            self._log.info("fetched %s: %d more bytes", entry.remote, done.size - started)
            self._tell(path, Told("grown", started))
        return True

    def _grow_bytes(self) -> int:
        return min(_GROW_BYTES, 8 * self._chunk_bytes())

    def _read_on(self, entry: Pulled, length: int) -> Generator[Step, Any, bytes | None]:
        """The bytes behind those that are here; None if those are not its beginning.

        The head is read again behind them: had the name come to stand for another file between the
        requests, it would show there.
        """
        name, start = entry.remote, tail_start(entry.size)
        head = Read(name, 0, min(HEAD_BYTES, entry.size))
        chunk = self._chunk_bytes()
        parts = [Read(name, start, entry.size - start)]
        parts += [
            Read(name, at, min(chunk, entry.size + length - at))
            for at in range(entry.size, entry.size + length, chunk)
        ]
        results = yield from flight(*parts, head)
        for result in results:
            if isinstance(result, RemoteError):
                raise result
        tail, *fresh, first = results
        self._moved(sum(len(part) for part in results))
        if (print_of(first), print_of(tail)) != (entry.head, entry.tail):
            return None
        data = bytearray()
        for request, part in zip(parts[1:], fresh, strict=True):
            data += part
            if len(part) < request.length:
                break
        return bytes(data)

    def _append(self, entry: Pulled, data: bytes) -> Pulled:
        """Add to the visible file; a reader sees a beginning of the remote one at every instant."""
        size = entry.size + len(data)
        self._update(entry.path, lambda e: replace(e, reach=size))
        self._places.append(entry.place, data)
        return self._note_grown(entry.path, size)

    def _note_grown(self, path: str, size: int) -> Pulled:
        place = self._entry(path).place
        local = self._places.left(place)
        head, tail = self._places.prints(place, size)
        return self._update(
            path, lambda e: replace(e, size=size, reach=0, head=head, tail=tail, local=local)
        )

    def _take_over(self, entry: Pulled) -> Generator[Step, Any, Any]:
        """The local file is longer than was noted: if the bytes are the remote file's, they are
        ours, and need not be fetched again. After a loss of power, what is not is cut off."""
        local = self._places.left(entry.place)
        length = local.size - entry.size
        here = self._places.read(entry.place, entry.size, length)
        there = yield from self._range(entry.remote, entry.size, length)
        if here == there:
            self._note_grown(entry.path, local.size)
        elif not self._believed:
            self._places.cut(entry.place, entry.size)
            self._note_grown(entry.path, entry.size)
        else:
            return "changed"
        return "as_left"

    def _range(self, name: str, start: int, length: int) -> Generator[Step, Any, bytes]:
        chunk = self._chunk_bytes()
        requests = [
            Read(name, at, min(chunk, start + length - at))
            for at in range(start, start + length, chunk)
        ]
        results = yield from flight(*requests)
        for result in results:
            if isinstance(result, RemoteError):
                raise result
        self._moved(sum(len(part) for part in results))
        return b"".join(results)

    # -- a whole content ---------------------------------------------------------------------

    def fetch(self, path: str, remote: Mark) -> Jobs:
        """Fetch all of it under a temporary name, and put it in place.

        Raises:
            Changed: it became another file meanwhile.
        """
        if self._was_placed(path):
            return  # the next look sees whether there is more
        entry = yield from self._begin(path, remote)
        passage = entry.passage
        assert passage is not None
        temp = self._open(passage)
        try:
            yield from self._read_all(path, entry.remote, temp, passage.goal)
            temp.handle.sync()
        finally:
            temp.handle.close()
        yield from self._confirm(path, entry, passage)
        self._place(path, passage)

    def _begin(self, path: str, remote: Mark) -> Generator[Step, Any, Pulled]:
        """The entry with its passage: the one that was broken off, if it may go on."""
        entry = self._entry(path)
        passage = entry.passage
        if passage is not None:
            if remote.is_like(passage.goal):
                return entry
            if (yield from self._goes_on(entry, passage, remote)):
                goal = replace(passage, goal=remote)
                return self._update(path, lambda e: replace(e, passage=goal))
            self._give_up(path, passage)
        fresh = Passage(self._token_hex(), remote)
        return self._update(path, lambda e: replace(e, passage=fresh))

    def _goes_on(self, entry: Pulled, passage: Passage, remote: Mark) -> Generator[Step, Any, bool]:
        """Whether what has come so far is the beginning of what is there now."""
        have = self._places.temp_size(passage.temp) or 0
        if self._growth == "rewrite" or remote.size < passage.goal.size or not have:
            return False
        return (yield from self._is_beginning(entry.remote, passage.temp, have))

    def _is_beginning(self, name: str, temp: str, size: int) -> Generator[Step, Any, bool]:
        start = tail_start(size)
        results = yield from flight(
            Read(name, 0, min(HEAD_BYTES, size)), Read(name, start, size - start)
        )
        for result in results:
            if isinstance(result, RemoteError):
                raise result
        self._moved(sum(len(part) for part in results))
        ours = self._places.prints(self._places.temp_path(temp), size)
        return (print_of(results[0]), print_of(results[1])) == ours

    def _open(self, passage: Passage) -> _Temp:
        have = self._places.temp_size(passage.temp)
        handle = self._places.open_temp(passage.temp, new=have is None)
        size = have or 0
        if not self._believed and size > passage.synced:
            handle.truncate(passage.synced)
            size = passage.synced
        elif size > passage.goal.size:
            handle.truncate(0)
            size = 0
        return _Temp(handle, size, passage.synced)

    def _read_all(self, path: str, name: str, temp: _Temp, goal: Mark) -> Jobs:
        """Many requests in flight; what comes is written in its order."""
        waiting: deque[tuple[int, int, int]] = deque()
        asked = temp.at
        while temp.at < goal.size:
            while asked < goal.size and len(waiting) < _AT_ONCE:
                length = min(self._chunk_bytes(), goal.size - asked)
                ticket = yield Send(Read(name, asked, length))
                waiting.append((ticket, asked, length))
                asked += length
            ticket, at, length = waiting.popleft()
            data = yield Wait(ticket)
            self._moved(len(data))
            temp.handle.append(data)
            temp.at = at + len(data)
            if len(data) < length:
                raise Changed("it became shorter while it was read", operation="fetch", path=name)
            if temp.at - temp.synced >= _SYNC_BYTES:
                temp.handle.sync()
                temp.synced = temp.at
                self._note_synced(path, temp.synced)

    def _note_synced(self, path: str, synced: int) -> None:
        def note(entry: Pulled) -> Pulled:
            if entry.passage is None:
                return entry
            return replace(entry, passage=replace(entry.passage, synced=synced))

        self._update(path, note)

    def _confirm(self, path: str, entry: Pulled, passage: Passage) -> Jobs:
        """Is what has come one content? The server is asked again, and its digest compared.

        Raises:
            Changed: it is not, or nobody can tell.
        """
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            st = None  # taken away behind our back: complete, if nothing else was written first
        if st is None:
            self._give_up(path, passage)
            raise Changed("it was taken away while it was read", operation="fetch", path=path)
        now = mark_of(st)
        same = now.is_like(passage.goal)
        if not same and now.size > passage.goal.size and self._growth != "rewrite":
            same = yield from self._is_beginning(entry.remote, passage.temp, passage.goal.size)
        if same and now.is_like(passage.goal) and now.digest and self._can.checksum:
            same = self._digest(passage.temp) == now.digest
        if not same:
            self._give_up(path, passage)
            raise Changed("it changed while it was read", operation="fetch", path=entry.remote)

    def _digest(self, temp: str) -> str:
        state = hasher(self._can.checksum)
        path, at = self._places.temp_path(temp), 0
        while data := self._places.read(path, at, _READ_BYTES):
            state.update(data)
            at += len(data)
        return state.hexdigest()

    def _give_up(self, path: str, passage: Passage) -> None:
        self._places.drop_temp(passage.temp)
        self._update(path, lambda e: replace(e, passage=None))

    # -- putting in place --------------------------------------------------------------------

    def _place(self, path: str, passage: Passage) -> None:
        """Never over what the program has changed."""
        entry = self._entry(path)
        size = passage.goal.size
        place, kind = self._where(entry, passage)
        local = self._places.left(self._places.temp_path(passage.temp))
        passage = replace(passage, synced=size, place=place, kind=kind, local=local)
        self._update(path, lambda e: replace(e, passage=passage))
        self._places.publish(passage.temp, place)
        self._note_placed(path, passage)

    def _was_placed(self, path: str) -> bool:
        """Whether a process before this one ended between the renaming and its note."""
        passage = self._entry(path).passage
        if passage is None or passage.local is None:
            return False
        try:
            if self._places.left(passage.place) != passage.local:
                return False
        except OSError:
            return False
        self._note_placed(path, passage)
        return True

    def _note_placed(self, path: str, passage: Passage) -> None:
        size, place = passage.goal.size, passage.place
        head, tail = self._places.prints(place, size)
        told = Told(passage.kind, 0)
        self._update(
            path,
            lambda e: Pulled(
                path=path,
                remote=e.remote,
                place=place,
                size=size,
                source=passage.goal,
                head=head,
                tail=tail,
                local=passage.local,
                told=told,
            ),
        )
        name = self._entry(path).remote
        if passage.kind == "conflict":
            self._log.warning(
                "%s was changed here; what the server has is beside it: %s", path, place
            )
        self._log.info("fetched %s: %d bytes (%s)", name, size, passage.kind)
        self._tell(path, told)

    def _where(self, entry: Pulled, passage: Passage) -> tuple[str, str]:
        """The place for a content that is complete, and what it is to the program."""
        place = entry.place or entry.path
        if entry.source is not None:
            look = self._places.look(entry)
            if look in ("as_left", "partly"):
                return place, "replaced"
            if look == "absent" and place == entry.path:
                return place, "new"
        if not self._places.is_there(entry.path):
            return entry.path, "new"
        try:
            same = self._places.is_beginning(entry.path, passage.temp)
        except OSError:
            same = False  # a folder, or not for us to read
        if same:
            return entry.path, "new" if entry.source is None else "replaced"
        return self._places.beside(entry.path), "conflict"

    # -- a file that was renamed there -------------------------------------------------------

    def is_moved(self, entry: Pulled, name: str, remote: Mark) -> Generator[Step, Any, bool]:
        """Whether the remote file ``name`` begins with all that was fetched as ``entry``."""
        if not 0 < entry.size <= remote.size or self._places.look(entry) != "as_left":
            return False
        start = tail_start(entry.size)
        results = yield from flight(
            Read(name, 0, min(HEAD_BYTES, entry.size)), Read(name, start, entry.size - start)
        )
        if any(isinstance(result, RemoteError) for result in results):
            return False
        self._moved(sum(len(part) for part in results))
        return (print_of(results[0]), print_of(results[1])) == (entry.head, entry.tail)

    def move(self, entry: Pulled, path: str, name: str) -> None:
        """Rename the local file as the remote one was renamed.

        Raises:
            OSError: the disk refuses.
        """
        self._places.move(entry.place, path)
        local = self._places.left(path)
        told = Told("renamed", entry.size)
        moved = replace(entry, path=path, remote=name, place=path, local=local, told=told)
        self._journal.update(path, lambda e: moved, remote=name)
        self._journal.update(entry.path, lambda e: Pulled(path=entry.path, remote=entry.remote))
        self._log.info("%s is %s on the server now; here, too", entry.path, name)
        self._tell(path, told)

    # -- the server's copy -------------------------------------------------------------------

    def remove(self, path: str) -> Generator[Step, Any, bool]:
        """Remove a remote file whose content is safe here, unless it has changed since."""
        entry = self._entry(path)
        if entry.source is None or entry.passage is not None:
            return False
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            return False
        if not mark_of(st).is_like(entry.source):
            return False
        try:
            yield from call(Remove(entry.remote))
        except RemoteNotFound:
            return False
        self._log.info("removed %s on the server: it is safe here", entry.remote)
        return True

    # -- telling -----------------------------------------------------------------------------

    def _tell(self, path: str, told: Told) -> None:
        self._update(path, lambda e: replace(e, told=told))
        self.tell_again(path)

    def tell_again(self, path: str) -> None:
        """Tell the program of what it may not have been told yet."""
        entry = self._entry(path)
        if entry.told is None:
            return
        try:
            self._news.tell(entry.place, entry.remote, entry.told, entry.size, self._token_hex())
        except OSError as error:
            self._log.warning("tell of %s: %s; will be repeated", entry.place, error)
            return
        self._update(path, lambda e: replace(e, told=None))

    # -- inside ------------------------------------------------------------------------------

    def _entry(self, path: str) -> Pulled:
        entry = self._journal.get(path)
        assert entry is not None
        return entry

    def _update(self, path: str, change: Callable[[Pulled], Pulled]) -> Pulled:
        return self._journal.update(path, change)

    def _chunk_bytes(self) -> int:
        return self._window.chunk_bytes(self._can.max_read_bytes)
