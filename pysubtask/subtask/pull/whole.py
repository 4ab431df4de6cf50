"""A whole content is fetched under a temporary name, and put in place in one step.

What is done to the disk is noted in the journal before and after, so that a successor goes on where
this process ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from pysubtask.core.checksum import hasher
from pysubtask.core.pull import Mark, Passage, Pulled, Told
from pysubtask.errors import RemoteNotFound
from pysubtask.seams.disk import WriteHandle
from pysubtask.subtask.delivery.engine import Send, Step, Wait, call
from pysubtask.subtask.pull.session import Changed, Session, Steps, mark_of
from pysubtask.transports.contract import Read, Stat

__all__ = ["Whole"]

_AT_ONCE = 64
"""Requests of one file in flight, at most."""
_LEAST_AHEAD_BYTES = 256 * 1024
_AHEAD_SHARE = 64
_SYNC_BYTES = 8 << 20
_READ_BYTES = 1 << 20
_MOST_TURNS = 4


@dataclass(slots=True)
class _Temp:
    """A temporary file that is being written."""

    handle: WriteHandle
    at: int
    synced: int


class Whole:
    """Fetches whole contents."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fetch(self, path: str, remote: Mark, *, growing: bool) -> Steps:
        """Fetch all of it under a temporary name, and put it in place.

        Args:
            growing: it may gain bytes meanwhile. Otherwise what has come is kept then, and nothing
                is put in place before the file has held still.

        Raises:
            Changed: it became another file meanwhile.
        """
        if self._was_placed(path):
            return  # the next look sees whether there is more
        entry = yield from self._begin(path, remote)
        assert entry.passage is not None
        passage = self._renewed(path, entry.passage)
        temp = self._open(passage)
        try:
            yield from self._read_all(path, entry.remote, temp, passage.goal)
            temp.handle.sync()
        finally:
            temp.handle.close()
        yield from self._confirm(path, entry, passage, growing)
        yield from self._place(path, passage)

    def finish(self, path: str) -> Steps:
        """Go on where a process ended that had all of it: the server may have it no more."""
        passage = self._session.entry(path).passage
        if passage is None or passage.local is None or self._was_placed(path):
            return
        if self._session.places.temp_size(passage.temp) == passage.goal.size:
            yield from self._place(path, passage)
        else:
            self.give_up(path, passage)

    def drop(self, path: str) -> Steps:
        """The version that was being fetched is not there any more; what is all here counts."""
        yield from self.finish(path)
        passage = self._session.entry(path).passage
        if passage is not None:
            self.give_up(path, passage)

    def _begin(self, path: str, remote: Mark) -> Generator[Step, Any, Pulled]:
        """The entry with its passage: the one that was broken off, if it may go on."""
        entry = self._session.entry(path)
        passage = entry.passage
        if passage is not None:
            same = remote.is_like(passage.goal)
            if same and not remote.is_vague:
                return entry
            if (yield from self._goes_on(entry, passage, remote, same=same)):
                goal = Passage(passage.temp, remote, passage.synced)
                return self._session.update(path, lambda e: replace(e, passage=goal))
            self.give_up(path, passage)
            raise Changed("it is another one than before", operation="fetch", path=entry.remote)
        fresh = Passage(self._session.token_hex(), remote)
        return self._session.update(path, lambda e: replace(e, passage=fresh))

    def _goes_on(
        self, entry: Pulled, passage: Passage, remote: Mark, *, same: bool
    ) -> Generator[Step, Any, bool]:
        """Whether what has come so far is the beginning of what is there now."""
        have = self._session.places.temp_size(passage.temp) or 0
        if same and not have:
            return True
        grown = remote.size >= passage.goal.size and self._session.growth != "rewrite"
        if not have or have > remote.size or not (same or grown):
            return False
        return (yield from self._is_beginning(entry.remote, passage.temp, have))

    def _is_beginning(self, name: str, temp: str, size: int) -> Generator[Step, Any, bool]:
        there = yield from self._session.read_prints(name, size)
        return there == self._session.places.prints(self._session.places.temp_path(temp), size)

    def _renewed(self, path: str, passage: Passage) -> Passage:
        """Under another name, where the temporary file is not what was noted of it: what was on the
        disk of that one says nothing of a new one."""
        have = self._session.places.temp_size(passage.temp) or 0
        if passage.synced <= have <= passage.goal.size:
            return passage
        self._session.places.drop_temp(passage.temp)
        fresh = Passage(self._session.token_hex(), passage.goal)
        self._note(path, fresh)
        return fresh

    def _open(self, passage: Passage) -> _Temp:
        have = self._session.places.temp_size(passage.temp)
        self._session.places.need_room(passage.goal.size - (have or 0))
        handle = self._session.places.open_temp(passage.temp, new=have is None)
        return _Temp(handle, have or 0, passage.synced)

    def _read_all(self, path: str, name: str, temp: _Temp, goal: Mark) -> Steps:
        """Many requests in flight; what comes is written in its order."""
        waiting: deque[tuple[int, int, int]] = deque()
        asked = temp.at
        while temp.at < goal.size:
            while asked < goal.size and len(waiting) < self._at_once():
                length = min(self._session.chunk_bytes(), goal.size - asked)
                ticket = yield Send(Read(name, asked, length))
                waiting.append((ticket, asked, length))
                asked += length
            ticket, at, length = waiting.popleft()
            data = yield Wait(ticket)
            self._session.moved(len(data))
            temp.handle.append(data)
            temp.at = at + len(data)
            if len(data) < length:
                raise Changed("it became shorter while it was read", operation="fetch", path=name)
            if temp.at - temp.synced >= _SYNC_BYTES:
                temp.handle.sync()
                temp.synced = temp.at
                self._note_synced(path, temp.synced)

    def _at_once(self) -> int:
        """How many requests of one file may be in flight: enough to fill the link. What is under
        way when it breaks has to come again: so it is a small part of what the link has carried."""
        window, chunk = self._session.window, self._session.chunk_bytes()
        ahead = min(window.limit_bytes, max(_LEAST_AHEAD_BYTES, window.acked_bytes // _AHEAD_SHARE))
        return max(2, min(_AT_ONCE, ahead // chunk))

    def _note_synced(self, path: str, synced: int) -> None:
        def note(entry: Pulled) -> Pulled:
            if entry.passage is None:
                return entry
            return replace(entry, passage=replace(entry.passage, synced=synced))

        self._session.update(path, note)

    def _confirm(self, path: str, entry: Pulled, passage: Passage, growing: bool) -> Steps:
        """Is what has come one content? The server is asked again, and its digest compared.

        Raises:
            Changed: it is not, or nobody can tell.
        """
        try:
            st = yield from call(Stat(entry.remote))
        except RemoteNotFound:
            st = None  # taken away behind our back: complete, if nothing else was written first
        if st is None:
            self.give_up(path, passage)
            raise Changed("it was taken away while it was read", operation="fetch", path=path)
        now = mark_of(st)
        same = now.is_like(passage.goal)
        longer = now.size > passage.goal.size and self._session.growth != "rewrite"
        if not same and longer:
            same = yield from self._is_beginning(entry.remote, passage.temp, passage.goal.size)
            if same and not growing:
                raise Changed("it grew while it was read", operation="fetch", path=entry.remote)
        elif same and now.is_vague:  # of that size there may be another one by now
            same = yield from self._is_beginning(entry.remote, passage.temp, passage.goal.size)
        if same and now.is_like(passage.goal) and now.digest and self._session.can.checksum:
            same = (yield from self._digest(passage.temp)) == now.digest
        if not same:
            self.give_up(path, passage)
            raise Changed("it changed while it was read", operation="fetch", path=entry.remote)

    def _digest(self, temp: str) -> Generator[Step, Any, str]:
        state = hasher(self._session.can.checksum)
        path, at = self._session.places.temp_path(temp), 0
        while data := self._session.places.read(path, at, _READ_BYTES):
            state.update(data)
            at += len(data)
            yield None  # a large file takes long, and others wait
        return state.hexdigest()

    def give_up(self, path: str, passage: Passage) -> None:
        """What has come of a content is not wanted any more."""
        self._session.places.drop_temp(passage.temp)
        self._session.update(path, lambda e: replace(e, passage=None))

    # -- putting in place --------------------------------------------------------------------

    def _place(self, path: str, passage: Passage) -> Steps:
        """Never over what the program has changed.

        Raises:
            Changed: the program keeps changing what is there.
        """
        places, size = self._session.places, passage.goal.size
        temp = places.temp_path(passage.temp)
        head, tail = places.prints(temp, size)
        place, kind = yield from self._where(self._session.entry(path), passage)
        for _ in range(_MOST_TURNS):
            ready = Passage(
                passage.temp, passage.goal, size, place, kind, places.left(temp), head, tail
            )
            self._note(path, ready)
            # or, after a loss of power, it would be the program's own
            self._session.journal.sync(must=True)
            now = yield from self._where(self._session.entry(path), passage)
            if now == (place, kind):
                break
            place, kind = now
        else:
            raise Changed("it changes here all the time", operation="put in place", path=path)
        try:
            places.publish(passage.temp, place)
        except OSError:
            if places.temp_size(passage.temp) is not None:
                self._note(path, Passage(passage.temp, passage.goal, size))  # it is not there
            raise
        self._note_placed(path, ready)

    def _note(self, path: str, passage: Passage) -> None:
        self._session.update(path, lambda e: replace(e, passage=passage))

    def _was_placed(self, path: str) -> bool:
        """Whether a process before this one ended between the renaming and its note."""
        passage = self._session.entry(path).passage
        if passage is None or passage.local is None:
            return False
        if self._session.places.temp_size(passage.temp) is not None:
            return False
        if not self._session.believed and not self._session.places.is_placed(passage):
            return False  # the power has taken it
        self._session.places.sync_names()  # it was killed before it could
        self._note_placed(path, passage)  # even if the program has taken it away since
        return True

    def _note_placed(self, path: str, passage: Passage) -> None:
        size, place = passage.goal.size, passage.place
        told = Told(passage.kind, 0)
        self._session.update(
            path,
            lambda e: Pulled(
                path=path,
                remote=e.remote,
                place=place,
                size=size,
                source=passage.goal,
                head=passage.head,
                tail=passage.tail,
                local=passage.local,
                told=told,
                leaving=e.leaving,
            ),
        )
        name = self._session.entry(path).remote
        if passage.kind == "conflict":
            self._session.log.warning(
                "%s was changed here; what the server has is beside it: %s", path, place
            )
        self._session.log.info("fetched %s: %d bytes (%s)", name, size, passage.kind)
        self._session.telling.tell(path, told)

    def _where(self, entry: Pulled, passage: Passage) -> Generator[Step, Any, tuple[str, str]]:
        """The place for a content that is complete, and what it is to the program."""
        places = self._session.places
        place = entry.place or entry.path
        if entry.source is not None:
            look = places.look(entry)
            if look == "as_left" or (look == "partly" and not self._session.believed):
                return place, "replaced"
            if look == "absent" and place == entry.path:
                return place, "new"
        if not places.is_there(entry.path):
            return entry.path, "new"
        try:
            same = yield from places.is_beginning(entry.path, passage.temp)
        except OSError:
            same = False  # a folder, or not for us to read
        if same:
            return entry.path, "new" if entry.source is None else "replaced"
        before = entry.passage.place if entry.passage is not None else ""
        if before and before not in (entry.path, entry.place) and not places.is_there(before):
            return before, "conflict"
        return places.beside(entry.path), "conflict"
