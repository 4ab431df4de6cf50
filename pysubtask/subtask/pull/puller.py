"""One source: when it is looked at, what of it is fetched, and the connection's life.

A thread of its own calls :meth:`Puller.step` over and over, so that no trouble of a source reaches
the deliveries, or another source.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from pysubtask.core.pull import Check, Drop, Fetch, Pulled, Rest, Seen, Settle, SettleRule, plan
from pysubtask.errors import LinkError
from pysubtask.pull import Pull
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import local_words
from pysubtask.settings import Settings
from pysubtask.status import PullStatus
from pysubtask.subtask.delivery.engine import BULK, SMALL, Engine, Job
from pysubtask.subtask.delivery.waiting import HeldFiles, error_words
from pysubtask.subtask.pull.coming import Coming
from pysubtask.subtask.pull.following import Following
from pysubtask.subtask.pull.growing import Growing
from pysubtask.subtask.pull.link import Connection, SourceLink, rule_of
from pysubtask.subtask.pull.looking import Looking, Sight
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.pace import Pace
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.remains import Remains
from pysubtask.subtask.pull.removing import Removing
from pysubtask.subtask.pull.renames import Renames
from pysubtask.subtask.pull.session import Changed, Session
from pysubtask.subtask.pull.telling import Telling
from pysubtask.subtask.pull.watching import ChangeWatch
from pysubtask.subtask.pull.whole import Whole
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.transports.contract import ChangeWaiter, Transport

__all__ = ["Puller"]

_COARSEST_SECS = 2.1
"""Servers tell times in whole seconds (SFTP v3) or two (FAT): what was written within the same step
as before shows nothing. So a file has held still for so much less than it has looked the same."""
_MOST_TURNS = 4
_SMALL_BYTES = 1 << 20
_FORGET_SECS = 60.0
_TELL_SECS = 0.2
_MOST_REFUSED = 100
_MOST_CHANGES = 3
_LEAST_WAIT_SECS = 1.0
_STUMBLED_SECS = 10.0


class _Jobs(NamedTuple):
    """What can be done over the connection."""

    session: Session
    whole: Whole
    growing: Growing
    following: Following
    removing: Removing


class Puller:
    """Fetches what one source has.

    Args:
        pull: the source and where its files go.
        settings: of this source: who logs in, how often to look, limits.
        journal: of this source alone; it is open.
        make_transport: a new, unconnected transport.
        status_changed: called when :meth:`status` would say something new.
        wake: called, by another thread, when :meth:`step` is due.
    """

    def __init__(
        self,
        pull: Pull,
        settings: Settings,
        clock: Clock,
        journal: RecordLog[Pulled],
        places: Places,
        news: News,
        *,
        make_transport: Callable[[], Transport],
        token_hex: Callable[[], str],
        rng: random.Random,
        log: logging.Logger,
        status_changed: Callable[[], None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.pull = pull
        self._settings = settings
        self._clock = clock
        self._journal = journal
        self._places = places
        self._telling = Telling(journal, places, news, token_hex=token_hex, log=log)
        self._token_hex = token_hex
        self._log = log
        self._status_changed = status_changed
        self._link = SourceLink(
            clock,
            settings,
            make_transport,
            source=str(pull.source),
            rng=rng,
            log=log,
            changed=status_changed,
        )
        self._settle_rule = SettleRule(
            settings.settle_secs + _COARSEST_SECS,
            settings.settle_max_secs + _COARSEST_SECS,
        )
        self._looking = Looking(pull, places, log)
        self._jobs: _Jobs | None = None
        self._changes = ChangeWatch(str(pull.source), wake, log)
        self._pace = Pace(settings, self._changes)
        self._in_round = False
        self._found_new = False
        self._sights: dict[str, Sight] = {}
        self._seen: dict[str, Seen] = {}
        self._not_grown: dict[str, Sight] = {}
        self._queue: dict[str, None] = {}
        self._later: dict[str, None] = {}
        """Files that may have been renamed on the server: new names are looked at first."""
        self._renames = Renames(journal, places)
        self._active: set[str] = set()
        self._held = HeldFiles(clock, rule_of(settings), log, "fetch")
        self._forget_at = 0.0
        self._asked = self._hurried_for = self._begun_for = self._done_for = 0
        self._looked_at: float | None = None
        self._fetched_bytes = 0
        self._changed: dict[str, int] = {}
        """How often in a row a file has become another one while it was fetched."""
        self._coming = Coming()
        self._remains = Remains(journal, places, log)
        self._undecided: dict[str, int] = {}
        self._told_at = 0.0

    # -- from any thread ---------------------------------------------------------------------

    def ask(self) -> int:
        """Look now; gives a number for :meth:`is_done`."""
        self._asked += 1
        return self._asked

    def is_done(self, number: int) -> bool:
        """Whether a look that was asked for is over, and what it found is here or was refused."""
        return self._done_for >= number

    def status(self) -> PullStatus:
        """How things are."""
        link = self._link.state
        held = {path: found.error for path, found in self._held.items()}
        refused = {**self._looking.refused, **held}
        waiting = len(self._queue) + len(self._later) + len(self._active)
        waiting += len(self._pace.unsettled)
        return PullStatus(
            source=str(self.pull.source) + self.pull.suffix,
            to=self.pull.declared,
            link=link.link,
            since=link.since,
            next_try=link.next_try,
            looked_at=self._looked_at,
            files=len(self._journal),
            pending_files=waiting + len(held),
            pending_bytes=self._coming.pending_bytes,
            fetched_bytes=self._fetched_bytes,
            last_error=link.last_error or self._looking.error or next(iter(held.values()), None),
            last_error_kind=link.last_error_kind,
            last_error_reason=link.last_error_reason,
            refused=dict(list(refused.items())[:_MOST_REFUSED]),
        )

    # -- the puller's thread -----------------------------------------------------------------

    def start(self) -> None:
        """Take over what a process before left behind. A folder that can't be reached now keeps
        nothing else from starting."""
        self._remains.start()

    def step(self) -> float:
        """Do what can be done now; gives the monotonic time at which to be called again."""
        now = self._clock.monotonic()
        self._sync_if_due(now)
        self._pace.hear(now, in_round=self._in_round)
        if self._hurried_for < self._asked and not self._in_round:
            self._hurried_for = self._asked
            self._pace.next_look = now
            self._link.retry_now()
        connection = self._link.connection
        if connection is None:
            due = max(self._pace.next_look, self._link.next_try)
            if now < due:
                return self._or_sync(due)
            if not self._connect():
                return self._or_sync(self._link.next_try)
            connection = self._link.connection
        assert connection is not None
        try:
            if not self._in_round and now >= self._pace.next_look:
                self._begin_round(connection.engine)
            self._dispatch(connection)
            overdue = connection.engine.run()
        except LinkError as error:
            self._lost(error)
            return self._or_sync(max(self._link.next_try, self._pace.next_look))
        except OSError as error:  # the disk refuses, and not for one file: begin anew in a while
            self._stumbled(error)
            return self._or_sync(self._pace.next_look)
        now = self._clock.monotonic()
        waiting = bool(self._queue or (self._later and not self._renames.are_open))
        if connection.engine.has_more or (waiting and connection.has_room):
            return now
        if connection.engine.jobs:
            return self._or_sync(overdue if overdue is not None else math.inf)
        if self._in_round:
            self._end_round(connection.engine, now)
            return now
        connection.relax()
        rest_at = self._pace.rest_at(now)
        if now >= rest_at:
            self._link.rest(self._pace.next_look - now)
            self._jobs = None
            rest_at = math.inf
        return self._or_sync(min(self._pace.next_look, rest_at))

    @property
    def is_settled(self) -> bool:
        """Nothing that the journal says is here depends on what may not be on the disk."""
        return self._remains.are_settled

    @property
    def is_busy(self) -> bool:
        """A round goes on."""
        return self._in_round

    def prepare(self) -> None:
        """Nothing: a source is looked at, and so connected to, as soon as it starts."""

    def retry_now(self) -> None:
        """Try at once what waits for its next try."""
        self._link.retry_now()

    def close(self) -> None:
        """End the connection now, and for good."""
        self._changes.close()
        self._link.close()
        self._jobs = None

    def _sync_if_due(self, now: float) -> None:
        due = self._journal.sync_due()
        if due is not None and now >= due:
            self._journal.sync()

    def _or_sync(self, when: float) -> float:
        due = self._journal.sync_due()
        return when if due is None else min(when, due)

    # -- a round: one look, and what comes of it ---------------------------------------------

    def _begin_round(self, engine: Engine) -> None:
        self._in_round = True
        self._pace.begin_round(self._clock.monotonic())
        self._begun_for = self._asked
        self._found_new = False
        self._coming.begin()
        engine.spawn(self._look(), priority=SMALL, done=self._looked)

    def _look(self) -> Job:
        self._sights = yield from self._looking.look()

    def _looked(self, error: Exception | None) -> None:
        self._looked_at = self._clock.time()
        self._link.works()
        self._looking.note(None if error is None else error_words(error))
        if error is not None:
            self._status_changed()
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
            self._changed.pop(path, None)
        self._status_changed()

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
        if isinstance(decision, Rest) and not self.pull.delete_remote:
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
        grows = entry.size < sight.mark.size and self.pull.growth != "rewrite"
        return sight.mark.size - (entry.size if grows else 0)

    def _decide(self, path: str, sight: Sight, now: float) -> object:
        entry = self._journal.get(path)
        grew = False if self._not_grown.get(path) == sight else None
        seen = self._seen[path]
        return plan(entry, sight.mark, seen, now, self.pull.growth, self._settle_rule, grew=grew)

    def _dispatch(self, connection: Connection) -> None:
        while connection.has_room:
            path = self._next()
            if path is None:
                break
            sight = self._sights.get(path)
            if sight is None:
                continue
            self._active.add(path)
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
            self._found_new = True

    def _done_with(self, path: str) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._active.discard(path)
            self._renames.done(path)
            self._coming.done(path)
            self._tell_again(path)
            times = self._changed.pop(path, 0)
            if error is None:
                if self._held.let_go(path):
                    self._log.info("fetch %s: the trouble is over", path)
            elif isinstance(error, Changed) and times < _MOST_CHANGES:
                self._changed[path] = times + 1
                self._log.info("%s", error)
                wait = max(_LEAST_WAIT_SECS, self._settle_rule.settle_secs)
                self._pace.settle(path, self._clock.monotonic() + wait)
            else:
                self._changed[path] = times  # the longer it goes on, the more seldom it is tried
                self._hold(path, error)
            self._status_changed()

        return done

    def _hold(self, path: str, error: Exception) -> None:
        self._held.hold(path, error)
        held = self._held.get(path)
        if held is not None:
            self._pace.retry(held.until)

    def _end_round(self, engine: Engine, now: float) -> None:
        """Everything that this look found is here, waits, or was refused."""
        if self.pull.delete_remote and self._remove_some(engine, now):
            return
        self._in_round = False
        settled = self._pace.end_round(
            now, found_new=self._found_new, make_waiter=self._make_waiter
        )
        self._coming.begin()
        if settled:
            self._done_for = max(self._done_for, self._begun_for)
        try:
            self._forget_gone(engine, now)
        except OSError as error:
            self._log.warning("forget files that are gone: %s", local_words(error))
        self._remains.note_purged()
        self._status_changed()

    def _make_waiter(self) -> ChangeWaiter | None:
        """What tells of changes since this look, if the server can."""
        connection, folder = self._link.connection, self._looking.folder
        if connection is None or folder is None:
            return None
        return connection.change_waiter(folder)

    def _remove_some(self, engine: Engine, now: float) -> bool:
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

    # -- the connection ----------------------------------------------------------------------

    def _connect(self) -> bool:
        connection = self._link.connect()
        if connection is None:
            return False
        session = Session(
            can=connection.can,
            window=connection.window,
            journal=self._journal,
            places=self._places,
            telling=self._telling,
            log=self._log,
            growth=self.pull.growth,
            token_hex=self._token_hex,
            now=self._clock.time,
            moved=self._moved,
            believed=not self._journal.unclean_boot,
        )
        whole = Whole(session)
        self._jobs = _Jobs(
            session,
            whole,
            Growing(session, whole),
            Following(session),
            Removing(session, self._undecided),
        )
        if connection.can.upload_tokens:  # files appear there whole
            self._settle_rule = SettleRule(0.0, 0.0)
        self._pace.next_look = connection.since
        self._forget_at = 0.0  # what broke off with the last one is gone on with
        return True

    def _moved(self, size: int) -> None:
        self._fetched_bytes += size
        self._coming.moved(size)
        now = self._clock.monotonic()
        if now - self._told_at >= _TELL_SECS:
            self._told_at = now
            self._status_changed()

    def _stumbled(self, error: OSError) -> None:
        self._looking.note(local_words(error))
        self._link.close()
        self._forget_round()
        self._pace.next_look = self._clock.monotonic() + _STUMBLED_SECS
        self._status_changed()

    def _lost(self, error: LinkError) -> None:
        self._link.lost(error, busy=self._in_round)
        if self._in_round:
            self._pace.next_look = self._clock.monotonic()
        self._forget_round()

    def _forget_round(self) -> None:
        self._jobs = None
        self._in_round = False
        self._coming.begin()
        self._pace.unsettled.clear()
        for held_back in (self._queue, self._later, self._active):
            held_back.clear()
        self._renames.begin({})
