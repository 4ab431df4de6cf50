"""One source: when it is looked at, what of it is fetched, and the connection's life.

A thread of its own calls :meth:`Puller.step` over and over, so that no trouble of a source reaches
the deliveries, or another source.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from pysubtask.core.flow import Window
from pysubtask.core.pull import Check, Fetch, Pulled, Seen, Settle, SettleRule, plan
from pysubtask.core.retry import RetryRule, file_wait_secs, link_wait_secs, refusal_wait_secs
from pysubtask.errors import AskedToWait, HostKeyRefused, LinkError, LoginRefused
from pysubtask.pull import Pull
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import local_words
from pysubtask.settings import Settings
from pysubtask.status import Link, PullStatus
from pysubtask.subtask.delivery.engine import BULK, SMALL, Engine, Job, Step
from pysubtask.subtask.delivery.linklog import LinkLog
from pysubtask.subtask.pull.fetching import Changed, Fetching
from pysubtask.subtask.pull.looking import Looking, Sight
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.store.recordlog import RecordLog
from pysubtask.transports.contract import Transport

__all__ = ["Puller"]

_SLOWER = 1.5
"""Each look that finds nothing new makes the wait for the next one so many times longer."""
_COARSEST_SECS = 2.1
"""Servers tell times in whole seconds (SFTP v3) or two (FAT): a file that has shown one time for
longer would show another one, had it been written to since."""
_MOST_TURNS = 4
_SMALL_BYTES = 1 << 20
_FORGET_SECS = 60.0


@dataclass(slots=True)
class _Held:
    failures: int
    until: float
    error: str


class Puller:
    """Fetches what one source has.

    Args:
        pull: the source and where its files go.
        settings: of this source: who logs in, how often to look, limits.
        journal: of this source alone; it is open.
        make_transport: a new, unconnected transport.
        status_changed: called when :meth:`status` would say something new.
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
    ) -> None:
        self.pull = pull
        self._settings = settings
        self._clock = clock
        self._journal = journal
        self._places = places
        self._news = news
        self._make_transport = make_transport
        self._token_hex = token_hex
        self._rng = rng
        self._log = log
        self._status_changed = status_changed
        self._says = LinkLog(clock, log, str(pull.source))
        self._retry_rule = RetryRule(
            settings.retry_tries,
            settings.retry_short_wait_secs,
            settings.retry_long_wait_secs,
            settings.retry_growth,
            settings.retry_max_wait_secs,
        )
        self._settle_rule = SettleRule(
            max(settings.settle_secs, _COARSEST_SECS),
            max(settings.settle_max_secs, _COARSEST_SECS),
        )
        self._looking = Looking(pull, places, log)
        self._transport: Transport | None = None
        self._engine: Engine | None = None
        self._fetching: Fetching | None = None
        self._connected_at = 0.0
        self._failures = 0
        self._refusals = 0
        self._next_try = 0.0
        self._next_look = 0.0
        self._wait_secs = settings.pull_interval_secs
        self._in_round = False
        self._found_new = False
        self._settle_until = math.inf
        self._sights: dict[str, Sight] = {}
        self._seen: dict[str, Seen] = {}
        self._not_grown: dict[str, Sight] = {}
        self._queue: dict[str, None] = {}
        self._later: dict[str, None] = {}
        """Files that may have been renamed on the server: new names are looked at first."""
        self._suspects: dict[str, Pulled] = {}
        self._naming: set[str] = set()
        self._active: set[str] = set()
        self._held: dict[str, _Held] = {}
        self._to_remove: list[str] = []
        self._forget_at = 0.0
        self._asked = self._begun_for = self._done_for = 0
        self._link: Link = "resting"
        self._since = clock.time()
        self._next_try_at: float | None = None
        self._last_error: str | None = None
        self._last_error_kind: str | None = None
        self._looked_at: float | None = None
        self._fetched_bytes = 0

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
        held = list(self._held.values())
        waiting = len(self._queue) + len(self._later) + len(self._active)
        return PullStatus(
            source=str(self.pull.source) + self.pull.suffix,
            to=self.pull.declared,
            link=self._link,
            since=self._since,
            next_try=self._next_try_at,
            looked_at=self._looked_at,
            files=len(self._journal),
            pending_files=waiting + len(held),
            fetched_bytes=self._fetched_bytes,
            last_error=self._last_error or self._looking.error or (held[0].error if held else None),
            last_error_kind=self._last_error_kind,
        )

    # -- the puller's thread -----------------------------------------------------------------

    def start(self) -> None:
        """Take over what a process before left behind."""
        entries = self._journal.entries()
        keep = {e.passage.temp for e in entries if e.passage is not None}
        self._places.sweep(self._journal.client_id, keep)

    def step(self) -> float:
        """Do what can be done now; gives the monotonic time at which to be called again."""
        now = self._clock.monotonic()
        self._sync_if_due(now)
        if self._begun_for < self._asked and not self._in_round:
            self._next_look = now
            if not self._refusals:
                self._next_try = min(self._next_try, now)
        if self._engine is None:
            if now < self._next_look:
                return self._before_sync(self._next_look)
            if now < self._next_try:
                return self._before_sync(self._next_try)
            if not self._connect():
                return self._next_try
        assert self._engine is not None
        try:
            if not self._in_round and now >= self._next_look:
                self._begin_round()
            self._dispatch()
            overdue = self._engine.run()
        except LinkError as error:
            self._lost(error)
            return self._before_sync(max(self._next_try, self._next_look))
        now = self._clock.monotonic()
        if self._engine.has_more or self._queue:
            return now
        if self._later and not self._naming:
            return now
        if self._engine.jobs:
            return self._before_sync(overdue if overdue is not None else math.inf)
        if self._in_round:
            self._end_round(now)
            return now
        relax = getattr(self._transport, "relax", None)
        if relax is not None:
            relax()
        if self._next_look - now > self._settings.dead_time_milli / 1000:
            self._says.resting(0.0)
            self.close()
        return self._before_sync(self._next_look)

    @property
    def is_connecting(self) -> bool:
        """A connection is being made."""
        return self._link == "connecting"

    def retry_now(self) -> None:
        """Try at once what waits for its next try."""
        if not self._refusals:
            self._next_try = self._clock.monotonic()

    def close(self) -> None:
        """End the connection now."""
        if self._engine is not None:
            self._engine.abandon()
        if self._transport is not None:
            self._transport.close()
        self._engine = self._transport = self._fetching = None
        self._set_link("resting")

    def _sync_if_due(self, now: float) -> None:
        due = self._journal.sync_due()
        if due is not None and now >= due:
            self._journal.sync()

    def _before_sync(self, when: float) -> float:
        due = self._journal.sync_due()
        return when if due is None else min(when, due)

    # -- a round: one look, and what comes of it ---------------------------------------------

    def _begin_round(self) -> None:
        assert self._engine is not None
        self._in_round = True
        self._begun_for = self._asked
        self._found_new = False
        self._settle_until = math.inf
        self._engine.spawn(self._look(), priority=SMALL, done=self._looked)

    def _look(self) -> Job:
        self._sights = yield from self._looking.look()

    def _looked(self, error: Exception | None) -> None:
        self._looked_at = self._clock.time()
        self._failures = self._refusals = 0
        self._clear_error()
        if error is not None:
            self._looking.note(_words(error))
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
        self._suspects = self._find_suspects()
        for path, sight in self._sights.items():
            if self._is_due(path, sight, now):
                (self._later if path in self._suspects else self._queue)[path] = None
        for path in [p for p in self._seen if p not in self._sights]:
            del self._seen[path]
            self._not_grown.pop(path, None)
            self._held.pop(path, None)
        self._status_changed()

    def _find_suspects(self) -> dict[str, Pulled]:
        """Known files that may have another name on the server now, if there are new names."""
        if all(self._journal.get(path) is not None for path in self._sights):
            return {}
        found = {}
        for entry in self._journal.entries():
            whole = entry.source is not None and entry.passage is None
            if not whole or entry.place != entry.path or not entry.size:
                continue
            sight = self._sights.get(entry.path)
            assert entry.source is not None
            if sight is None or not sight.mark.is_like(entry.source):
                found[entry.path] = entry
        return found

    def _is_due(self, path: str, sight: Sight, now: float) -> bool:
        held = self._held.get(path)
        if held is not None and now < held.until:
            self._settle_until = min(self._settle_until, held.until)
            return False
        decision = self._decide(path, sight, now)
        if isinstance(decision, Settle):
            self._settle_until = min(self._settle_until, decision.until)
        if isinstance(decision, Check | Fetch):
            return True
        entry = self._journal.get(path)
        if entry is not None and entry.told is not None and self._fetching is not None:
            self._fetching.tell_again(path)
        return False

    def _decide(self, path: str, sight: Sight, now: float) -> object:
        entry = self._journal.get(path)
        grew = False if self._not_grown.get(path) == sight else None
        seen = self._seen[path]
        return plan(entry, sight.mark, seen, now, self.pull.growth, self._settle_rule, grew=grew)

    def _dispatch(self) -> None:
        assert self._engine is not None
        most = max(1, self._transport.capabilities.max_files) if self._transport else 1
        while self._engine.jobs < most:
            path = self._next()
            if path is None:
                break
            sight = self._sights.get(path)
            if sight is None:
                continue
            self._active.add(path)
            small = sight.mark.size <= _SMALL_BYTES
            job = self._serve(path, sight)
            self._engine.spawn(job, priority=SMALL if small else BULK, done=self._done_with(path))

    def _next(self) -> str | None:
        queue = self._queue
        if not queue:
            queue = self._later
            if not queue or self._naming:
                return None
        path = next(iter(queue))
        del queue[path]
        return path

    def _serve(self, path: str, sight: Sight) -> Job:
        """Fetch what is new of one file."""
        fetching = self._fetching
        assert fetching is not None
        if self._journal.get(path) is None and self._suspects:
            self._naming.add(path)
            yield from self._follow_rename(fetching, path, sight)
            self._naming.discard(path)
        entry = self._journal.update(path, lambda e: e, remote=sight.remote)
        for _ in range(_MOST_TURNS):
            decision = self._decide(path, sight, self._clock.monotonic())
            if isinstance(decision, Check):
                if (yield from fetching.grow(path, sight.mark)):
                    break
                self._not_grown[path] = sight
            elif isinstance(decision, Fetch):
                yield from fetching.fetch(path, sight.mark)
                break
            else:
                if isinstance(decision, Settle):
                    self._settle_until = min(self._settle_until, decision.until)
                break
        if self._journal.get(path) != entry:
            self._found_new = True

    def _follow_rename(
        self, fetching: Fetching, path: str, sight: Sight
    ) -> Generator[Step, Any, None]:
        """A name that was not there before may be that of a file that we know: a log was rotated.
        Then the local file is renamed, too, instead of fetched once more."""
        if self._places.is_there(path):
            return
        for entry in list(self._suspects.values()):
            other = self._sights.get(entry.path)
            if other is not None and other.mark.size >= entry.size and not _alike(entry.path, path):
                continue  # most likely it has only grown
            if not (yield from fetching.is_moved(entry, sight.remote, sight.mark)):
                continue
            if self._suspects.pop(entry.path, None) is None:
                continue  # another name was quicker
            fetching.move(entry, path, sight.remote)
            self._seen.pop(entry.path, None)
            if other is not None:  # what has its old name now is another file
                self._seen[entry.path] = Seen.first(other.mark, self._clock.monotonic())
            return

    def _done_with(self, path: str) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._active.discard(path)
            self._naming.discard(path)
            if error is None:
                if self._held.pop(path, None) is not None:
                    self._log.info("fetch %s: the trouble is over", path)
            elif isinstance(error, Changed):
                self._log.info("%s", error)
                self._settle_until = min(
                    self._settle_until, self._clock.monotonic() + self._settle_rule.settle_secs
                )
            else:
                self._hold(path, error)
            self._status_changed()

        return done

    def _hold(self, path: str, error: Exception) -> None:
        before = self._held.get(path)
        failures = before.failures + 1 if before is not None else 1
        wait = file_wait_secs(failures, self._retry_rule)
        words = _words(error)
        until = self._clock.monotonic() + wait
        if before is None or before.error != words:
            self._log.warning("fetch %s: %s; next try in %.0f s, others go on", path, words, wait)
        self._held[path] = _Held(failures, until, words)
        self._settle_until = min(self._settle_until, until)

    def _end_round(self, now: float) -> None:
        """Everything that this look found is here, waits, or was refused."""
        if self.pull.delete_remote and self._remove_some(now):
            return
        self._in_round = False
        if self._found_new:
            self._wait_secs = self._settings.pull_interval_secs
        else:
            most = max(self._settings.pull_interval_secs, self._settings.pull_max_interval_secs)
            self._wait_secs = min(self._wait_secs * _SLOWER, most)
        self._next_look = min(now + self._wait_secs, max(now, self._settle_until))
        if self._settle_until == math.inf or self._held:
            self._done_for = max(self._done_for, self._begun_for)
        self._forget_gone(now)
        self._status_changed()

    def _remove_some(self, now: float) -> bool:
        """What is safe here goes there; True if there was any."""
        assert self._engine is not None
        assert self._fetching is not None
        safe = [p for p, sight in self._sights.items() if self._is_safe(p, sight, now)]
        if not safe:
            return False
        self._journal.sync()
        for path in safe:
            del self._sights[path]  # asked once for each look
            self._engine.spawn(self._remove(path), priority=SMALL, done=self._done_with(path))
        return True

    def _remove(self, path: str) -> Job:
        assert self._fetching is not None
        yield from self._fetching.remove(path)

    def _is_safe(self, path: str, sight: Sight, now: float) -> bool:
        entry, seen = self._journal.get(path), self._seen.get(path)
        if entry is None or entry.source is None or entry.passage is not None or seen is None:
            return False
        steady = now - seen.steady_since >= self._settle_rule.settle_secs
        if not steady and sight.mark.is_like(entry.source):
            self._settle_until = min(
                self._settle_until, seen.steady_since + self._settle_rule.settle_secs
            )
        return steady and entry.size == sight.mark.size and sight.mark.is_like(entry.source)

    def _forget_gone(self, now: float) -> None:
        """What is neither there nor here any more needs no record."""
        if now < self._forget_at or self._looking.error is not None:
            return
        self._forget_at = now + _FORGET_SECS
        gone = []
        for entry in self._journal.entries():
            if entry.path in self._seen or entry.told is not None:
                continue
            if entry.passage is not None:
                self._places.drop_temp(entry.passage.temp)
            if entry.source is None or not self._places.is_there(entry.place):
                gone.append(entry.path)
        if gone:
            self._journal.forget(*gone)

    # -- the connection ----------------------------------------------------------------------

    def _connect(self) -> bool:
        self._set_link("connecting")
        transport = self._make_transport()
        began = self._clock.monotonic()
        try:
            transport.connect()
        except LinkError as error:
            transport.close()
            wait = self._wait_after(error)
            self._says.failed(_words(error), wait)
            self._retry_in(wait, error)
            return False
        self._transport = transport
        self._connected_at = self._clock.monotonic()
        window = Window()
        self._engine = Engine(
            transport, self._clock, window, ack_timeout_secs=self._settings.reply_timeout_secs
        )
        self._fetching = Fetching(
            transport.capabilities,
            window,
            self._clock,
            self._journal,
            self._places,
            self._news,
            self._log,
            growth=self.pull.growth,
            token_hex=self._token_hex,
            moved=self._moved,
            believed=not self._journal.unclean_boot,
        )
        described = str(getattr(transport, "described", ""))
        self._says.connected(self._connected_at - began, described)
        self._set_link("connected")
        self._next_look = self._connected_at
        return True

    def _moved(self, size: int) -> None:
        self._fetched_bytes += size

    def _lost(self, error: LinkError) -> None:
        assert self._engine is not None
        progressed = self._engine.acked_bytes > _SMALL_BYTES
        busy = self._in_round
        lived = self._clock.monotonic() - self._connected_at
        self.close()
        self._in_round = False
        for held_back in (self._queue, self._later, self._active, self._naming):
            held_back.clear()
        if not busy:
            self._says.lost_idle(_words(error))
            return
        if progressed:
            self._failures = 0
        wait = 0.0 if progressed else self._wait_after(error)
        self._says.lost(_words(error), lived, wait)
        self._retry_in(wait, error)
        self._next_look = self._clock.monotonic()

    def _wait_after(self, error: LinkError) -> float:
        if isinstance(error, LoginRefused | HostKeyRefused):
            self._refusals += 1
            wait = refusal_wait_secs(self._refusals)
        else:
            self._failures += 1
            wait = link_wait_secs(self._failures, self._retry_rule)
        if isinstance(error, AskedToWait):
            wait = max(wait, error.wait_secs)
        return wait * (1 + self._settings.retry_jitter * self._rng.random())

    def _retry_in(self, wait_secs: float, error: LinkError) -> None:
        self._next_try = self._clock.monotonic() + wait_secs
        self._next_try_at = self._clock.time() + wait_secs
        self._last_error, self._last_error_kind = _words(error), type(error).__name__
        self._set_link("retrying")

    def _clear_error(self) -> None:
        self._looking.note(None)
        self._last_error = self._last_error_kind = self._next_try_at = None

    def _set_link(self, link: Link) -> None:
        if link != self._link:
            self._link, self._since = link, self._clock.time()
            self._status_changed()


def _alike(old: str, new: str) -> bool:
    """Whether the new name may be what a rotation made of the old one: ``a.log``, ``a.log.1``,
    ``a-20261126.log``."""
    return os.path.basename(new).startswith(os.path.basename(old).partition(".")[0])


def _words(error: Exception) -> str:
    return local_words(error) if isinstance(error, OSError) else str(error)
