"""One look at a source after the other, and what comes of each: what is fetched, in which order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from pysubtask.core.pull import Check, Drop, Fetch, Pulled, Rest, Seen, Settle, SettleRule, plan
from pysubtask.pull import Pull
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import local_words
from pysubtask.subtask.delivery.engine import BULK, SMALL, Engine, Job
from pysubtask.subtask.delivery.waiting import HeldFiles, error_words
from pysubtask.subtask.pull.coming import Coming
from pysubtask.subtask.pull.following import Following
from pysubtask.subtask.pull.growing import Growing
from pysubtask.subtask.pull.link import Connection
from pysubtask.subtask.pull.looking import Looking, Sight
from pysubtask.subtask.pull.pace import Pace
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.remains import Remains
from pysubtask.subtask.pull.removing import Removing
from pysubtask.subtask.pull.renames import Renames
from pysubtask.subtask.pull.session import Changed
from pysubtask.subtask.pull.telling import Telling
from pysubtask.subtask.pull.whole import Whole
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = ["Jobs", "Rounds"]

_MOST_TURNS = 4
_SMALL_BYTES = 1 << 20
_FORGET_SECS = 60.0
_MOST_CHANGES = 3
_LEAST_WAIT_SECS = 1.0


class Jobs(NamedTuple):
    """What can be done over a connection."""

    whole: Whole
    growing: Growing
    following: Following
    removing: Removing


class Rounds:
    """The rounds of one source.

    Args:
        looking: looks at it.
        pace: is told when another look is worth while.
        held: files that were refused.
        settle_rule: how long a file has to hold still there; none where files appear whole.
        changed: called when there is something new to be told of it.
    """

    def __init__(
        self,
        pull: Pull,
        clock: Clock,
        journal: RecordLog[Pulled],
        places: Places,
        *,
        looking: Looking,
        telling: Telling,
        remains: Remains,
        pace: Pace,
        coming: Coming,
        held: HeldFiles,
        settle_rule: SettleRule,
        log: logging.Logger,
        changed: Callable[[], None],
    ) -> None:
        self._pull = pull
        self._clock = clock
        self._journal = journal
        self._places = places
        self._looking = looking
        self._telling = telling
        self._remains = remains
        self._pace = pace
        self._coming = coming
        self._held = held
        self._settle_rule = settle_rule
        self._log = log
        self._tell_changed = changed
        self._jobs: Jobs | None = None
        self.is_going = False
        """A look, or what came of it, is not over."""
        self.found_new = False
        """The last look has found something that was not here."""
        self._sights: dict[str, Sight] = {}
        self._seen: dict[str, Seen] = {}
        self._not_grown: dict[str, Sight] = {}
        self._queue: dict[str, None] = {}
        self._later: dict[str, None] = {}
        """Files that may have been renamed on the server: new names are looked at first."""
        self._renames = Renames(journal, places)
        self._active: set[str] = set()
        self._changes: dict[str, int] = {}
        """How often in a row a file has become another one while it was fetched."""
        self._forget_at = 0.0

    @property
    def waiting(self) -> int:
        """How many files are to be fetched, or are being fetched."""
        return len(self._queue) + len(self._later) + len(self._active)

    @property
    def has_next(self) -> bool:
        """Whether one more file could be taken in hand."""
        return bool(self._queue or (self._later and not self._renames.are_open))

    # -- the connection that they need -------------------------------------------------------

    def connected(self, jobs: Jobs, *, appear_whole: bool) -> None:
        """There is one; ``appear_whole``: files are never seen half written there."""
        self._jobs = jobs
        if appear_whole:
            self._settle_rule = SettleRule(0.0, 0.0)
        self._forget_at = 0.0  # what broke off with the last one is gone on with

    def disconnected(self) -> None:
        """It rests: nothing was going on."""
        self._jobs = None

    def broke_off(self) -> None:
        """It is gone, and with it what was going on."""
        self._jobs = None
        self.is_going = False
        self._coming.begin()
        self._pace.unsettled.clear()
        for held_back in (self._queue, self._later, self._active):
            held_back.clear()
        self._renames.begin({})

    # -- the look ----------------------------------------------------------------------------

    def begin(self, engine: Engine, looked: Callable[[], None]) -> None:
        """Look; ``looked`` is called when the server has answered."""

        def done(error: Exception | None) -> None:
            looked()
            self._looked(error)

        self.is_going = True
        self._pace.begin_round(self._clock.monotonic())
        self.found_new = False
        self._coming.begin()
        engine.spawn(self._look(), priority=SMALL, done=done)

    def _look(self) -> Job:
        self._sights = yield from self._looking.look()

    def _looked(self, error: Exception | None) -> None:
        self._looking.note(None if error is None else error_words(error))
        if error is not None:
            self._tell_changed()
            return
        now = self._clock.monotonic()
        for path, sight in self._sights.items():
            seen = self._seen.get(path)
            self._seen[path] = (
                Seen.first(sight.mark, now)
                if seen is None
                else seen.again(sight.mark, now, self._settle_rule)
            )
        self._renames.begin(self._sights)
        for path, sight in self._sights.items():
            if self._is_due(path, sight, now):
                (self._later if self._renames.may_concern(path) else self._queue)[path] = None
                try:
                    self._coming.expect(path, self._missing_bytes(path, sight))
                except OSError:
                    pass  # the job says so
        for path in [p for p in self._seen if p not in self._sights]:
            del self._seen[path]
            self._not_grown.pop(path, None)
            self._held.let_go(path)
            self._changes.pop(path, None)
        self._tell_changed()

    def _is_due(self, path: str, sight: Sight, now: float) -> bool:
        held = self._held.get(path)
        if held is not None and now < held.until:
            self._pace.retry(held.until)
            return False
        decision = self._decide(path, sight, now)
        if isinstance(decision, Settle):
            self._pace.settle(path, decision.until)
        if isinstance(decision, Check | Fetch | Drop):
            return True
        if isinstance(decision, Rest) and not self._pull.delete_remote:
            self._held.let_go(path)  # what was refused is as it was before
        self._tell_again(path)
        return False

    def _tell_again(self, path: str) -> None:
        """What the program may not have been told yet."""
        entry = self._journal.get(path)
        if entry is None or entry.told is None:
            return
        try:
            self._telling.tell_again(path)
        except OSError as error:
            self._log.warning("tell of %s: %s; will be repeated", path, local_words(error))

    def _missing_bytes(self, path: str, sight: Sight) -> int:
        entry = self._journal.get(path)
        if entry is None:
            return sight.mark.size
        if entry.passage is not None:
            return sight.mark.size - (self._places.temp_size(entry.passage.temp) or 0)
        grows = entry.size < sight.mark.size and self._pull.growth != "rewrite"
        return sight.mark.size - (entry.size if grows else 0)

    def _decide(self, path: str, sight: Sight, now: float) -> object:
        entry = self._journal.get(path)
        grew = False if self._not_grown.get(path) == sight else None
        seen = self._seen[path]
        return plan(entry, sight.mark, seen, now, self._pull.growth, self._settle_rule, grew=grew)

    # -- what comes of it --------------------------------------------------------------------

    def dispatch(self, connection: Connection) -> None:
        """Take in hand what there is room for."""
        while connection.has_room:
            path = self._next()
            if path is None:
                break
            sight = self._sights.get(path)
            if sight is None:
                continue
            self._active.add(path)
            self._renames.expect(path)
            small = sight.mark.size <= _SMALL_BYTES
            job = self._serve(path, sight)
            priority = SMALL if small else BULK
            connection.engine.spawn(job, priority=priority, done=self._done_with(path))

    def _next(self) -> str | None:
        queue = self._queue
        if not queue:
            queue = self._later
            if not queue or self._renames.are_open:
                return None
        path = next(iter(queue))
        del queue[path]
        return path

    def _serve(self, path: str, sight: Sight) -> Job:
        """Fetch what is new of one file."""
        jobs = self._jobs
        assert jobs is not None
        self._remains.take_over(path)
        self._telling.note(path)
        if self._journal.get(path) is None:
            old = yield from self._renames.follow(jobs.following, path, sight, self._sights)
            if old in self._sights:  # what has its old name now is another file
                now = self._clock.monotonic()
                self._seen[old] = Seen.first(self._sights[old].mark, now)
        entry = self._journal.update(path, lambda e: e, remote=sight.remote)
        if entry.leaving:  # another has its name by now
            yield from jobs.removing.settle(path)
        for _ in range(_MOST_TURNS):
            decision = self._decide(path, sight, self._clock.monotonic())
            if isinstance(decision, Check):
                if (yield from jobs.growing.grow(path, sight.mark)):
                    break
                self._not_grown[path] = sight
            elif isinstance(decision, Fetch):
                yield from jobs.whole.fetch(path, sight.mark, growing=decision.growing)
                break
            elif isinstance(decision, Drop):
                yield from jobs.whole.drop(path)
            else:
                if isinstance(decision, Settle):
                    self._pace.settle(path, decision.until)
                break
        if self._journal.get(path) != entry:
            self.found_new = True

    def _done_with(self, path: str) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._active.discard(path)
            self._renames.done(path)
            self._coming.done(path)
            self._tell_again(path)
            times = self._changes.pop(path, 0)
            if error is None:
                if self._held.let_go(path):
                    self._log.info("fetch %s: the trouble is over", path)
            elif isinstance(error, Changed) and times < _MOST_CHANGES:
                self._changes[path] = times + 1
                self._log.info("%s", error)
                wait = max(_LEAST_WAIT_SECS, self._settle_rule.settle_secs)
                self._pace.settle(path, self._clock.monotonic() + wait)
            else:
                self._changes[path] = times  # the longer it goes on, the more seldom it is tried
                self._hold(path, error)
            self._tell_changed()

        return done

    def _hold(self, path: str, error: Exception) -> None:
        self._held.hold(path, error)
        held = self._held.get(path)
        if held is not None:
            self._pace.retry(held.until)

    # -- its end -----------------------------------------------------------------------------

    def remove_some(self, engine: Engine, now: float) -> bool:
        """What is safe here goes there; True if there was any."""
        safe = [p for p, sight in self._sights.items() if self._is_safe(p, sight, now)]
        if not safe:
            return False
        try:
            self._journal.sync(must=True)
        except OSError:
            return False  # it says so itself
        for path in safe:
            del self._sights[path]  # asked once for each look
            engine.spawn(self._remove(path), priority=SMALL, done=self._done_with(path))
        return True

    def _remove(self, path: str) -> Job:
        assert self._jobs is not None
        self._remains.take_over(path)
        yield from self._jobs.removing.remove(path)

    def _settle(self, path: str) -> Job:
        assert self._jobs is not None
        yield from self._jobs.removing.settle(path)

    def _is_safe(self, path: str, sight: Sight, now: float) -> bool:
        entry, seen = self._journal.get(path), self._seen.get(path)
        if entry is None or seen is None or not self._remains.is_clear(entry):
            return False
        if not self._telling.is_told(entry):
            return False
        assert entry.source is not None
        steady = now - seen.steady_since >= self._settle_rule.settle_secs
        if not steady and sight.mark.is_like(entry.source):
            self._pace.look_again(seen.steady_since + self._settle_rule.settle_secs)
        return steady and entry.size == sight.mark.size and sight.mark.is_like(entry.source)

    def end(self, engine: Engine, now: float) -> None:
        """Everything that this look found is here, waits, or was refused."""
        self.is_going = False
        self._coming.begin()
        try:
            self._forget_gone(engine, now)
        except OSError as error:
            self._log.warning("forget files that are gone: %s", local_words(error))
        self._remains.note_purged()

    def _forget_gone(self, engine: Engine, now: float) -> None:
        """What is neither there nor here any more needs no record."""
        if now < self._forget_at or self._looking.error is not None:
            return
        self._forget_at = now + _FORGET_SECS
        for entry in self._journal.entries():
            if entry.told is not None:
                self._tell_again(entry.path)
            if entry.leaving:
                done = self._done_with(entry.path)
                engine.spawn(self._settle(entry.path), priority=SMALL, done=done)
        for entry in self._remains.are_gone(self._seen):
            done = self._done_with(entry.path)
            engine.spawn(self._finish(entry.path), priority=SMALL, done=done)

    def _finish(self, path: str) -> Job:
        assert self._jobs is not None
        yield from self._jobs.whole.finish(path)
