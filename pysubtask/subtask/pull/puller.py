"""One source: when it is looked at, how it is with it, and the connection's life.

A thread of its own calls :meth:`Puller.step` over and over, so that no trouble of a source reaches
the deliveries, or another source.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable

from pysubtask.core.pull import Pulled, SettleRule
from pysubtask.errors import LinkError
from pysubtask.pull import Pull
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import local_words
from pysubtask.settings import Settings
from pysubtask.status import PullStatus
from pysubtask.subtask.delivery.engine import Engine
from pysubtask.subtask.delivery.waiting import HeldFiles
from pysubtask.subtask.pull.coming import Coming
from pysubtask.subtask.pull.following import Following
from pysubtask.subtask.pull.growing import Growing
from pysubtask.subtask.pull.link import SourceLink, rule_of
from pysubtask.subtask.pull.looking import Looking
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.pace import Pace
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.remains import Remains
from pysubtask.subtask.pull.removing import Removing
from pysubtask.subtask.pull.rounds import Jobs, Rounds
from pysubtask.subtask.pull.session import Session
from pysubtask.subtask.pull.telling import Telling
from pysubtask.subtask.pull.watching import ChangeWatch
from pysubtask.subtask.pull.whole import Whole
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.transports.contract import ChangeWaiter, Transport

__all__ = ["Puller"]

_COARSEST_SECS = 2.1
"""Servers tell times in whole seconds (SFTP v3) or two (FAT): what was written within the same step
as before shows nothing. So a file has held still for so much less than it has looked the same."""
_TELL_SECS = 0.2
_MOST_REFUSED = 100
_STUMBLED_SECS = 10.0


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
        self._looking = Looking(pull, places, log)
        self._changes = ChangeWatch(str(pull.source), wake, log)
        self._pace = Pace(settings, self._changes)
        self._held = HeldFiles(clock, rule_of(settings), log, "fetch")
        self._coming = Coming()
        self._remains = Remains(journal, places, log)
        self._rounds = Rounds(
            pull,
            clock,
            journal,
            places,
            looking=self._looking,
            telling=self._telling,
            remains=self._remains,
            pace=self._pace,
            coming=self._coming,
            held=self._held,
            settle_rule=SettleRule(
                settings.settle_secs + _COARSEST_SECS,
                settings.settle_max_secs + _COARSEST_SECS,
            ),
            log=log,
            changed=status_changed,
        )
        self._asked = self._hurried_for = self._begun_for = self._done_for = 0
        self._looked_at: float | None = None
        self._fetched_bytes = 0
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
        waiting = self._rounds.waiting + len(self._pace.unsettled)
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
        self._pace.hear(now, in_round=self._rounds.is_going)
        if self._hurried_for < self._asked and not self._rounds.is_going:
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
            if not self._rounds.is_going and now >= self._pace.next_look:
                self._begin_round(connection.engine)
            self._rounds.dispatch(connection)
            overdue = connection.engine.run()
        except LinkError as error:
            self._lost(error)
            return self._or_sync(max(self._link.next_try, self._pace.next_look))
        except OSError as error:  # the disk refuses, and not for one file: begin anew in a while
            self._stumbled(error)
            return self._or_sync(self._pace.next_look)
        now = self._clock.monotonic()
        if connection.engine.has_more or (self._rounds.has_next and connection.has_room):
            return now
        if connection.engine.jobs:
            return self._or_sync(overdue if overdue is not None else math.inf)
        if self._rounds.is_going:
            self._end_round(connection.engine, now)
            return now
        connection.relax()
        rest_at = self._pace.rest_at(now)
        if now >= rest_at:
            self._link.rest(self._pace.next_look - now)
            self._rounds.disconnected()
            rest_at = math.inf
        return self._or_sync(min(self._pace.next_look, rest_at))

    @property
    def is_settled(self) -> bool:
        """Nothing that the journal says is here depends on what may not be on the disk."""
        return self._remains.are_settled

    @property
    def is_busy(self) -> bool:
        """A round goes on."""
        return self._rounds.is_going

    def prepare(self) -> None:
        """Nothing: a source is looked at, and so connected to, as soon as it starts."""

    def retry_now(self) -> None:
        """Try at once what waits for its next try."""
        self._link.retry_now()

    def close(self) -> None:
        """End the connection now, and for good."""
        self._changes.close()
        self._link.close()
        self._rounds.disconnected()

    def _sync_if_due(self, now: float) -> None:
        due = self._journal.sync_due()
        if due is not None and now >= due:
            self._journal.sync()

    def _or_sync(self, when: float) -> float:
        due = self._journal.sync_due()
        return when if due is None else min(when, due)

    # -- rounds ------------------------------------------------------------------------------

    def _begin_round(self, engine: Engine) -> None:
        self._begun_for = self._asked
        self._rounds.begin(engine, self._looked)

    def _looked(self) -> None:
        self._looked_at = self._clock.time()
        self._link.works()

    def _end_round(self, engine: Engine, now: float) -> None:
        if self.pull.delete_remote and self._rounds.remove_some(engine, now):
            return
        settled = self._pace.end_round(
            now, found_new=self._rounds.found_new, make_waiter=self._make_waiter
        )
        if settled:
            self._done_for = max(self._done_for, self._begun_for)
        self._rounds.end(engine, now)
        self._status_changed()

    def _make_waiter(self) -> ChangeWaiter | None:
        """What tells of changes since this look, if the server can."""
        connection, folder = self._link.connection, self._looking.folder
        if connection is None or folder is None:
            return None
        return connection.change_waiter(folder)

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
        jobs = Jobs(
            whole,
            Growing(session, whole),
            Following(session),
            Removing(session, self._undecided),
        )
        self._rounds.connected(jobs, appear_whole=connection.can.upload_tokens)
        self._pace.next_look = connection.since
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
        self._rounds.broke_off()
        self._pace.next_look = self._clock.monotonic() + _STUMBLED_SECS
        self._status_changed()

    def _lost(self, error: LinkError) -> None:
        self._link.lost(error, busy=self._rounds.is_going)
        if self._rounds.is_going:
            self._pace.next_look = self._clock.monotonic()
        self._rounds.broke_off()
