"""Looking: which file is looked at when.

Four things make a look due: a ``.notify`` that differs from the one served, a file in a watched
folder that is complete, a second look after a look that came within one tick of the touch (a coarse
time stamp may hide a second touch), and a look that has to be repeated. File-system events only
hurry; the timer finds the same things by itself. Nothing here waits, and nothing touches the
network.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from pysubtask.core.burst import Burst, Rule
from pysubtask.core.model import Entry, Stamp
from pysubtask.core.retry import RetryRule
from pysubtask.core.ticks import COARSE_TICK_SECS, tick_secs
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat
from pysubtask.signals import NOTIFY_SUFFIX, StateLayout
from pysubtask.subtask.intake.facts import Outcome, Touch, differs
from pysubtask.subtask.intake.folders import Folders
from pysubtask.subtask.intake.looks import AFTER_TICK_SECS, Looks
from pysubtask.subtask.intake.residuals import find_residuals
from pysubtask.subtask.intake.target import BLANK, Target, read_stamp, remove_served
from pysubtask.subtask.intake.targets import Targets
from pysubtask.subtask.intake.touches import Touches
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.watch import Watch

__all__ = ["Intake"]


_MOST_LOOKED_FOR = 1000


class Intake:
    """Decides what to look at, and has it looked at.

    Args:
        look: takes the snapshot (or whatever a look means to the subtask):
            ``look(target, touch, final)``.
        ready: called after a look, once a burst does not hold the file back.
        hold_looks: a burst holds back the look itself, not only ``ready``; no look waits for its
            turn (:mod:`pysubtask.core.pace`).
        own_names: names in watched folders that are ours (logs).
        still_alive: called after each look: many of them, or big ones, take long.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        watches: list[Watch],
        layout: StateLayout,
        *,
        look: Callable[[Target, Touch | None, bool], Outcome],
        ready: Callable[[str], None],
        timer_interval_secs: float,
        settle_secs: float,
        settle_max_secs: float,
        burst_rule: Rule,
        retry_rule: RetryRule,
        log: logging.Logger,
        hold_looks: bool = False,
        own_names: Callable[[str], bool] = lambda path: False,
        still_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._still_alive = still_alive
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._watches = watches
        self._ready = ready
        self._timer_secs = timer_interval_secs
        self._log = log
        self._hold_looks = hold_looks
        self._targets = Targets(ledger, watches, layout, own_names)
        self._looks = Looks(
            disk,
            clock,
            ledger,
            look=look,
            ready=ready,
            done_with=self._targets.done_with,
            burst_rule=burst_rule,
            settle_secs=settle_secs,
            settle_max_secs=settle_max_secs,
            retry_rule=retry_rule,
            paced=not hold_looks,
            log=log,
        )
        self._touches = Touches(
            disk,
            layout,
            self._targets,
            self._looks,
            burst_rule=burst_rule,
            hold_looks=hold_looks,
            log=log,
        )
        self._folders = Folders(
            disk,
            clock,
            ledger,
            self._targets,
            self._looks,
            self._touches,
            timer_interval_secs=timer_interval_secs,
            settle_secs=settle_secs,
            log=log,
        )
        self._looked_for: dict[str, int] = {}
        """Modified times of touches that could not be seen, and for which a look was planned."""
        self._hints: dict[str, bool] = {}
        self._hint_all = False
        self._forced: dict[str, None] = {}
        self._hint_lock = threading.Lock()
        self._next_timer = 0.0

    # -- from other threads ------------------------------------------------------------------

    def hint(self, path: str | None, complete: bool = False, gone: bool = False) -> bool:
        """Something may have changed. True if a step should follow."""
        with self._hint_lock:
            if path is None:
                self._hint_all = True
                return True
            if not self._targets.concerns_us(path, gone):
                return False
            self._hints[path] = self._hints.get(path, False) or complete
            return True

    def hint_look(self, path: str) -> None:
        """What was noted of ``path`` is no good: look at it, whatever its stamps say."""
        with self._hint_lock:
            self._forced[path] = None

    # -- the main loop's side ----------------------------------------------------------------

    def start(self, now: float, blank_marks: Mapping[str, int | None] | None = None) -> None:
        """Compare every path of the journal with its file, and every touch with the one served.

        Args:
            now: monotonic time.
            blank_marks: what the ``.notify`` of declared files were like when the master was
                started, by the files' paths (:func:`pysubtask.signals.blank_mark`).
        """
        self._touches.start(blank_marks or {})
        for entry in self._ledger.journal.entries():
            known = self._targets.known(entry.path)
            if known is None and self._is_left_to_scan(entry):
                continue
            target = known or self._targets.in_folder(entry.path)
            if target is None:
                continue
            self._compare(target, entry, now)
            if known is None and target.look_at is None:
                self._targets.forget(entry.path)  # there may be very many
        for entry in self._ledger.journal.entries():
            if entry.next_owed is not None or entry.upload is not None:
                self._ready(entry.path)
        self._hint_all = True

    def _is_left_to_scan(self, entry: Entry) -> bool:
        """Whether it is a file that is there, in a watched folder, and was never touched: the scan
        compares it. There may be very many."""
        return entry.served in (None, BLANK) and self._stat(entry.path) is not None

    def _compare(self, target: Target, entry: Entry, now: float) -> None:
        self._repeat_second_look(target, entry, now)
        st = self._stat(entry.path)
        if target.watch.is_dir and st is not None:
            return  # the scan compares it, and waits if somebody is still writing it
        if entry.versions and differs(entry, st):
            target.rechecks_touch = entry.served is not None
            self._looks.schedule(target, now)

    def _repeat_second_look(self, target: Target, entry: Entry, now: float) -> None:
        """A touch served less than a tick ago may hide another: the look that would have told
        died with the process before."""
        if entry.served is None or entry.served == BLANK:
            return
        tick = tick_secs(entry.served)
        age = self._age_secs(entry.served)
        if tick >= COARSE_TICK_SECS and entry.notified_at is not None:
            # however long ago that was: whether a second look came, the journal does not say
            age -= max(0.0, self._clock.time() - entry.notified_at)
        if abs(age) <= tick:
            target.touch_seen_at = now
            target.rechecks_touch = True
            self._looks.schedule(target, now + tick + AFTER_TICK_SECS)

    def sweep(self, now: float, up_to_days_old: float) -> list[str]:
        """Have every declared file looked at now, and the residual files, which it gives.

        Raises:
            OSError: the folder of the first watch can't be read.
        """
        for target in self._targets.declared:
            self._looks.schedule(target, now)
        residuals = find_residuals(
            self._disk,
            self._watches,
            self._targets.is_data,
            is_known=lambda path: self._ledger.get(path) is not None,
            now=self._clock.time(),
            up_to_days_old=up_to_days_old,
        )
        for watch in residuals:
            self._looks.schedule(self._targets.add(watch.path, watch), now)
        return [watch.path for watch in residuals]

    def step(self, now: float) -> float:
        """Do what is due. Gives the monotonic time at which to be called again."""
        with self._hint_lock:
            hints, self._hints = self._hints, {}
            everything, self._hint_all = self._hint_all, False
            forced, self._forced = self._forced, {}
        for path in forced:
            target = self._targets.find(path)
            if target is not None:
                self._looks.schedule(target, now)
        for path, complete in hints.items():
            self._follow_hint(path, complete, now)
        if everything or now >= self._next_timer:
            self._next_timer = now + self._timer_secs
            self._touches.check_all(now)
            self._folders.scan_due(now, everything=everything)
            self._touches.save()
        due = self._looks.step(now, self._still_alive)
        return self._next_timer if due is None else min(self._next_timer, due)

    def release_all(self, now: float) -> None:
        """End every burst, look at every touch that is not served yet (flush, stop)."""
        for target in self._targets.declared:
            self._touches.check(target, now)
        for target in self._targets.all():
            if target.burst.release_at is not None:
                target.burst = Burst()
                self._ready(target.path)
                if self._hold_looks:
                    self._looks.schedule(target, now)

    def look_at_all(self, now: float) -> Callable[[], bool]:
        """Look at everything that waits for it; the result says when each of those was looked at
        once, from now on.

        A file that may still be on its way in is not waited for, and neither are touches that come
        later, nor second looks.
        """
        mark = self._looks.count
        for target in self._targets.all():
            if target.look_at is not None and not target.is_settling:
                self._looks.schedule(target, now)
        self.step(now)
        waiting = [
            target
            for target in self._targets.all()
            if target.look_at is not None and not target.is_settling and target.last_look <= mark
        ]

        def looked() -> bool:
            waiting[:] = [t for t in waiting if t.look_at is not None and t.last_look <= mark]
            return not waiting

        return looked

    def remove_served_touches(self) -> None:
        """Remove each ``.notify`` whose touch was served (a clean stop).

        Where stamps are coarse, one that was touched a moment ago may have been touched again: it
        stays.
        """
        for entry in self._ledger.journal.entries():
            target = self._targets.find(entry.path)
            if target is None or entry.served is None or entry.served == BLANK:
                continue
            may_hide_another = 0 <= self._age_secs(entry.served) <= tick_secs(entry.served)
            if tick_secs(entry.served) == COARSE_TICK_SECS and may_hide_another:
                continue
            if target.is_calm and target.touch_seen == entry.served:
                remove_served(self._disk, target, entry.served, self._log)

    def is_settled(self, path: str, *, untold: bool = False) -> bool:
        """Whether all that is known of ``path`` has been looked at, and no look is planned.

        ``untold``: a look that nobody asked for (a file in a watched folder) does not count.
        """
        is_new = self._targets.known(path) is None
        target = self._targets.find(path)
        if target is None:
            return True
        self._touches.check(target, self._clock.monotonic())
        planned = target.look_at is not None and not (untold and target.is_settling)
        settled = not planned and target.is_calm and target.burst.release_at is None
        if settled and is_new and target.look_at is None:
            self._targets.forget(path)  # there may be very many
        return settled

    def retire(self, path: str) -> bool:
        """``path`` was moved away: its served ``.notify`` goes. True if there is none any more."""
        target = self._targets.find(path)
        if target is None:
            return False
        if target.touch_seen not in (None, BLANK):
            remove_served(self._disk, target, target.touch_seen, self._log)
        if target.watch.is_dir:
            self._targets.forget(path)
        return read_stamp(self._disk, target) is None

    def must_look(self, path: str) -> bool:
        """Whether what was noted of ``path`` is known to be no good, and no look has mended it."""
        return path in self._forced or self.waits_for_look(path)

    def waits_for_look(self, path: str) -> bool:
        """Whether a look at ``path`` is due or planned."""
        target = self._targets.known(path)
        return target is not None and target.look_at is not None

    def held_by_burst(self, path: str) -> bool:
        """Whether a burst holds the file back."""
        target = self._targets.known(path)
        return target is not None and target.burst.release_at is not None

    def error_of(self, path: str) -> str | None:
        """Why the last look at ``path`` failed, in words; None if it did not."""
        target = self._targets.known(path)
        return None if target is None else target.error

    def errors(self) -> dict[str, str]:
        """All paths whose last look failed."""
        return {t.path: t.error for t in self._targets.all() if t.error is not None}

    def is_touch_served(self, path: str, mtime_ns: int) -> bool:
        """Whether a touch of ``path`` that gave its ``.notify`` that time has been served.

        A later touch that was served counts too: it came after.
        """
        target = self._targets.find(path)
        if target is None:
            return False
        entry = self._ledger.get(path)
        served = None if entry is None else entry.served
        now = self._clock.monotonic()
        self._touches.check(target, now)
        exact = served is not None and served.mtime_ns == mtime_ns
        if target.touch_seen in (None, BLANK) and not exact:
            self._look_for(target, mtime_ns, now)
        self._looks.hurry(target, now)
        if entry is None:
            return False
        tick = tick_secs(served or BLANK)
        pending = target.look_at is not None and (
            target.failures > 0
            or target.unstable_since is not None
            or target.look_at <= now + tick + 2 * AFTER_TICK_SECS
        )
        # one that is not there any more was removed because it had been served, or was looked for
        same = target.touch_seen in (served, None, BLANK)
        # where stamps are coarse, another touch may have had the same one
        certain = exact and target.is_calm and tick < COARSE_TICK_SECS
        return same and (not pending or certain)

    def _look_for(self, target: Target, mtime_ns: int, now: float) -> None:
        """Somebody waits for a touch of which nothing is to be seen: another master may have served
        it, and taken it away."""
        if mtime_ns <= self._looked_for.get(target.path, 0):
            return
        if len(self._looked_for) >= _MOST_LOOKED_FOR:
            del self._looked_for[next(iter(self._looked_for))]
        self._looked_for[target.path] = mtime_ns
        self._touches.count_as_missed(target, now)

    def watch_of(self, path: str) -> Watch | None:
        """The watch that ``path`` belongs to: it is declared, or a data file in a watched folder
        (any thread)."""
        return self._targets.watch_of(path)

    def is_watched(self, path: str) -> bool:
        """Whether ``path`` belongs to a watch (any thread)."""
        return self.watch_of(path) is not None

    def is_watched_folder(self, folder: str) -> bool:
        """Whether the data files in it belong to a watch (any thread)."""
        return folder in self._targets.folders

    def remote_path(self, path: str) -> str | None:
        """Where ``path`` goes, relative to the destination; None if it is not watched."""
        target = self._targets.find(path)
        return None if target is None else target.remote_path

    def _follow_hint(self, path: str, complete: bool, now: float) -> None:
        if path.endswith(NOTIFY_SUFFIX):
            self._touches.follow(path, path[: -len(NOTIFY_SUFFIX)], now)
        else:
            self._folders.follow(path, complete, now)

    def _age_secs(self, touch: Stamp) -> float:
        return self._clock.time() - max(touch.mtime_ns, touch.ctime_ns) / 1e9

    def _stat(self, path: str) -> FileStat | None:
        try:
            return self._disk.stat(path)
        except OSError:
            return None
