"""Looking: each look in its time, and what follows from its outcome.

A look that failed is repeated, ever later; one that found its file being written, soon; and one
that came within a tick of the touch, once more, since a coarse time stamp may hide a second touch.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable

from pysubtask.core.burst import Rule, advance, forgettable_at
from pysubtask.core.pace import LONGEST_WAIT_SECS, Pace
from pysubtask.core.retry import RetryRule, file_wait_secs
from pysubtask.core.ticks import tick_secs
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat, is_full, local_words
from pysubtask.subtask.intake.facts import Outcome, Touch
from pysubtask.subtask.intake.target import BLANK, Target
from pysubtask.subtask.store.ledger import Ledger

__all__ = ["AFTER_TICK_SECS", "Looks"]

AFTER_TICK_SECS = 0.001
"""A second look comes so much later than a tick after what may hide another change."""

_STEP_LOOKS = 256
_SETTLE_WAITS_SECS = (0.2, 0.5, 1.0)
_FULL_WAIT_SECS = 10.0


class Looks:
    """The looks that are planned, in the order of their times.

    Args:
        look, ready: as :class:`~pysubtask.subtask.intake.intake.Intake` takes them.
        done_with: nothing is expected of the file of a watched folder any more.
        burst_rule: how long a notify counts for the next ones.
        settle_secs: so long a file in a watched folder has to hold still.
        settle_max_secs: a file that is being rewritten all the time is taken after so long.
        paced: files that the program promises only to append to are looked at again and again for
            a bounded share of the time (:mod:`pysubtask.core.pace`).
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        *,
        look: Callable[[Target, Touch | None, bool], Outcome],
        ready: Callable[[str], None],
        done_with: Callable[[Target], None],
        burst_rule: Rule,
        settle_secs: float,
        settle_max_secs: float,
        retry_rule: RetryRule,
        paced: bool,
        log: logging.Logger,
    ) -> None:
        self._pace = Pace() if paced else None
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._look = look
        self._ready = ready
        self._done_with = done_with
        self._burst_rule = burst_rule
        self._settle_secs = settle_secs
        self._settle_max_secs = settle_max_secs
        self._retry_rule = retry_rule
        self._log = log
        self._due: list[tuple[float, int, Target]] = []
        self._order = 0
        self.count = 0
        """How many went well."""

    def schedule(self, target: Target, at: float) -> None:
        """Look at the monotonic time ``at``, unless that is planned for earlier anyway."""
        if target.look_at is None or at < target.look_at:
            target.look_at = at
            self.wake(target, at)

    def schedule_in_turn(self, target: Target, at: float) -> None:
        """As :meth:`schedule`, but of many repeated looks each waits for its turn.

        A snapshot of a file that is only appended to protects nothing that a later one would not:
        it is a note of how far the file goes. All others are copies, which have to be made before
        the program does something else to the file.
        """
        if target.look_at is not None:
            has_turn = target.waits_in_turn and target.look_at <= at + LONGEST_WAIT_SECS
            if has_turn or target.look_at <= at:
                return
        turn = at
        pace = self._pace_of(target)
        if pace is not None:
            turn = pace.book(at, target.looked_at)
        target.waits_in_turn = turn > at
        self.schedule(target, turn)

    def hurry(self, target: Target, now: float) -> None:
        """Somebody waits for this look: it does not wait for its turn."""
        if target.waits_in_turn:
            self.schedule(target, now)

    def hurry_if_gone(self, target: Target, now: float) -> None:
        """A file that may have been renamed or deleted: if a look at it is planned, for later, then
        now. What has its name today may be gone as quickly."""
        if target.look_at is None or not target.is_calm or target.burst.release_at is not None:
            return
        entry = self._ledger.get(target.path)
        version = None if entry is None else entry.current
        st = _stat(self._disk, target.path)
        if st is None or version is None or st.ino != version.identity.ino:
            self.schedule(target, now)

    def wake(self, target: Target, at: float) -> None:
        """See at that time whether its burst is over."""
        self._order += 1
        heapq.heappush(self._due, (at, self._order, target))

    def step(self, now: float, still_alive: Callable[[], None]) -> float | None:
        """Do what is due, but not too much at once. Gives the time of the next, if there is one."""
        for _ in range(_STEP_LOOKS):
            if not self._due or self._due[0][0] > now:
                break
            at, _, target = heapq.heappop(self._due)
            if target.forget_at == at:
                target.forget_at = None
            target.burst, go = advance(target.burst, now)
            if go:
                self._ready(target.path)
            if target.look_at == at:
                target.look_at = None
                target.waits_in_turn = False
                self._serve_measured(target, now)
                still_alive()
                now = self._clock.monotonic()
            else:
                self._forget_if_idle(target, now)
        return self._due[0][0] if self._due else None

    def _serve_measured(self, target: Target, now: float) -> None:
        pace = self._pace_of(target)
        if pace is None:
            self._serve(target, now)
            return
        began = self._clock.thread_secs()
        self._serve(target, now)
        pace.took(self._clock.thread_secs() - began)

    def _pace_of(self, target: Target) -> Pace | None:
        return self._pace if target.watch.growth == "append" else None

    def _serve(self, target: Target, now: float) -> None:
        if target.is_settling:
            st = _stat(self._disk, target.path)
            if st is not None and st != target.settle_facts:
                target.settle_facts = st
                target.settle_until = now + self._settle_secs
            if now < target.settle_until:
                self.schedule(target, target.settle_until)
                return
        target.settle_facts = None
        target.looked_at = now
        rechecks = target.rechecks_touch and tick_secs(target.touch_seen or BLANK) >= 1.0
        target.rechecks_touch = False
        was_told, target.is_complete = target.is_complete, False
        seen = target.touch_seen
        entry = self._ledger.get(target.path)
        served = None if entry is None else entry.served
        touch = Touch(seen, self._clock.time()) if was_told or rechecks or seen != served else None
        final = (
            target.unstable_since is not None
            and now - target.unstable_since >= self._settle_max_secs
        )
        try:
            outcome = self._look(target, touch, final)
        except BaseException:
            target.is_complete = was_told or rechecks
            self.schedule(target, now + self._retry_rule.short_wait_secs)
            raise
        if outcome.result in ("unstable", "failed"):
            target.is_complete = was_told or rechecks  # still: whoever said so is waited for
        self._digest(target, outcome, now)

    def _digest(self, target: Target, outcome: Outcome, now: float) -> None:
        if outcome.result == "failed":
            target.failures += 1
            error = outcome.error
            words = local_words(error) if error is not None else "the look failed"
            if target.error != words:
                self._log.warning("look at %s: %s", target.path, words)
            target.error = words
            wait = file_wait_secs(target.failures, self._retry_rule)
            if is_full(error):
                wait = min(wait, _FULL_WAIT_SECS)
            self.schedule(target, now + wait)
            return
        target.failures = 0
        target.error = None
        if outcome.result != "unstable":
            self.count += 1
            target.last_look = self.count
        if outcome.result == "unstable":
            if target.unstable_since is None:
                target.unstable_since = now
            waited = now - target.unstable_since
            wait = next((w for w in _SETTLE_WAITS_SECS if w > waited), _SETTLE_WAITS_SECS[-1])
            self.schedule(target, now + wait)
            return
        target.unstable_since = None
        self._plan_second_look(target, outcome, now)
        if target.burst.release_at is None:
            self._ready(target.path)  # even "missing" may have read a deleted file to its end
        self._forget_if_idle(target, now)

    def _forget_if_idle(self, target: Target, now: float) -> None:
        """There may be very many files in watched folders, each with its own name."""
        if not target.watch.is_dir or target.look_at is not None or not target.is_calm:
            return
        at = forgettable_at(target.burst, self._burst_rule)
        if at is None:
            return  # its data waits, and then this is asked again
        if at <= now:
            self._done_with(target)
        elif target.forget_at is None:  # else the one that is planned plans the next
            target.forget_at = at
            self.wake(target, at)

    def _plan_second_look(self, target: Target, outcome: Outcome, now: float) -> None:
        """Look once more where the look came too soon after a change to trust the stamps."""
        wait: float | None = None
        if target.touch_seen is not None and target.touch_seen_at:
            tick = tick_secs(target.touch_seen)
            if now - target.touch_seen_at <= tick:
                wait = target.touch_seen_at + tick + AFTER_TICK_SECS - now
                target.rechecks_touch = True
        entry = self._ledger.get(target.path)
        version = None if entry is None else entry.current
        if outcome.result != "missing" and version is not None and not version.settled:
            wait = max(wait or 0.0, tick_secs(version.stamp) + AFTER_TICK_SECS)
        if wait is not None:
            self.schedule_in_turn(target, now + wait)


def _stat(disk: Disk, path: str) -> FileStat | None:
    try:
        return disk.stat(path)
    except OSError:
        return None
