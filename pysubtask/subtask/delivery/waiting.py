"""Who waits, and until when: files that can't be delivered now, and the link between two tries."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pysubtask.core.retry import RetryRule, file_wait_secs, link_wait_secs, refusal_wait_secs
from pysubtask.errors import AskedToWait, HostKeyRefused, LinkError, LoginRefused
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import is_full, local_words
from pysubtask.subtask.delivery.allowance import BudgetSpent
from pysubtask.subtask.delivery.courier import FileHeld
from pysubtask.subtask.delivery.names import NameTaken

__all__ = ["Held", "HeldFiles", "LinkWaits", "Littered", "error_words"]

_SAY_SPENT_SECS = 3600.0
_FULL_WAIT_SECS = 10.0
_LITTER_WAIT_SECS = 600.0
_LONGEST_LITTER_WAIT_SECS = 86_400.0


@dataclass(slots=True)
class Held:
    """A file that waits until that monotonic time."""

    failures: int
    until: float
    error: str


class HeldFiles:
    """The files that the other side refuses, or that a budget lets wait; the others go on.

    Args:
        verb: what can't be done with them now, for the log.
    """

    def __init__(
        self, clock: Clock, retry_rule: RetryRule, log: logging.Logger, verb: str = "deliver"
    ) -> None:
        self._verb = verb
        self._clock = clock
        self._retry_rule = retry_rule
        self._log = log
        self._held: dict[str, Held] = {}
        self._conflicts: dict[str, str] = {}
        self._due: list[tuple[float, int, str]] = []
        """A heap of times, in their order, and paths. May hold times that do not count any more."""
        self._order = itertools.count()
        self._say_spent_at = 0.0

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> list[tuple[str, Held]]:
        """All of them (any thread)."""
        return list(self._held.items())

    def get(self, path: str) -> Held | None:
        """How a file is held; None if it is not."""
        return self._held.get(path)

    @property
    def conflict(self) -> str | None:
        """In words, why a file waits that another hand keeps changing; None if none does (any
        thread)."""
        return next(iter(list(self._conflicts.values())), None)

    def let_go(self, path: str) -> bool:
        """It waits no more. True if it did."""
        self._conflicts.pop(path, None)
        return self._held.pop(path, None) is not None

    def take_due(self, now: float) -> Iterator[str]:
        """The files whose time has come, once each: they stay held until they are let go, or held
        anew."""
        while self._due and self._due[0][0] <= now:
            until, _, path = heapq.heappop(self._due)
            if self._counts(until, path):
                yield path

    def next_due(self) -> float:
        """The monotonic time at which the next file's time will have come; infinity if none is
        waiting."""
        while self._due and not self._counts(self._due[0][0], self._due[0][2]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def retry_now(self) -> None:
        """The time of each of them has come."""
        for held in self._held.values():
            held.until = 0.0
        self._due = [(0.0, next(self._order), path) for path in self._held]

    def _counts(self, until: float, path: str) -> bool:
        held = self._held.get(path)
        return held is not None and held.until == until

    def hold(self, path: str, error: Exception) -> None:
        """It waits, the longer the more often that happens, and the log says why."""
        before = self._held.get(path)
        failures = before.failures + 1 if before is not None else 1
        words = error_words(error)
        now = self._clock.monotonic()
        if isinstance(error, FileHeld | BudgetSpent):
            until = now + max(0.0, error.until - self._clock.time())
        else:
            wait = file_wait_secs(failures, self._retry_rule)
            if isinstance(error, NameTaken):
                wait = min(wait, error.wait_secs)
            until = now + (min(wait, _FULL_WAIT_SECS) if is_full(error) else wait)
        if isinstance(error, BudgetSpent):
            failures = before.failures if before is not None else 0
            if now >= self._say_spent_at:
                self._say_spent_at = now + _SAY_SPENT_SECS
                self._log.info("%s", error.message)
        elif before is None or before.error != words:
            self._log.warning(
                "%s %s: %s; next try in %.0f s, others go on", self._verb, path, words, until - now
            )
        self._held[path] = Held(failures, until, words)
        self._conflicts.pop(path, None)
        if isinstance(error, FileHeld):
            self._conflicts[path] = words
        heapq.heappush(self._due, (until, next(self._order), path))


class Littered:
    """The files that are done with but for temporary files of theirs that could not be removed: by
    and by that is tried again, ever more rarely. Nobody is told, and nobody waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paths: dict[str, tuple[float, float]] = {}
        """The monotonic time of the next try, infinity while it is in hand, and the wait for it."""
        self.is_started = False

    def start(self, paths: Iterable[str]) -> None:
        """Of these a former process has left some: it is tried at once."""
        self.is_started = True
        self._paths |= dict.fromkeys(paths, (self._clock.monotonic(), _LITTER_WAIT_SECS / 2))

    def ended(self, path: str, *, is_left: bool) -> None:
        """A job of the file has ended; ``is_left``: and some are still there."""
        _, before_secs = self._paths.pop(path, (0.0, _LITTER_WAIT_SECS / 2))
        if is_left:
            wait_secs = min(2 * before_secs, _LONGEST_LITTER_WAIT_SECS)
            self._paths[path] = self._clock.monotonic() + wait_secs, wait_secs

    def take_due(self, now: float) -> list[str]:
        """The files whose time has come, once each until a job of theirs has ended."""
        found = [path for path, (at, _) in self._paths.items() if at <= now]
        for path in found:
            self._paths[path] = math.inf, self._paths[path][1]
        return found

    def next_due(self) -> float:
        """The monotonic time of the next one; infinity if none is waiting."""
        return min((at for at, _ in self._paths.values()), default=math.inf)


class LinkWaits:
    """When to connect again after the link failed.

    Args:
        jitter: waits are lengthened by a random part of up to this fraction.
    """

    def __init__(
        self, clock: Clock, retry_rule: RetryRule, jitter: float, rng: random.Random
    ) -> None:
        self._clock = clock
        self._retry_rule = retry_rule
        self._jitter = jitter
        self._rng = rng
        self._failures = 0
        self._refusals = 0
        self._not_before = 0.0
        self.next_try = 0.0
        """Not before this monotonic time."""

    def over(self) -> None:
        """Something was delivered: the next failure is the first."""
        self._failures = self._refusals = 0

    def got_on(self) -> None:
        """Bytes were acknowledged before it broke: a failure, but the first."""
        self._failures = 0

    def after(self, error: LinkError) -> float:
        """One more failure: gives the seconds to wait now."""
        if isinstance(error, LoginRefused | HostKeyRefused):
            self._refusals += 1
            wait = refusal_wait_secs(self._refusals)
        else:
            self._failures += 1
            wait = link_wait_secs(self._failures, self._retry_rule)
        if isinstance(error, AskedToWait):
            wait = max(wait, error.wait_secs)
            self._not_before = self._clock.monotonic() + error.wait_secs
        return wait * (1 + self._jitter * self._rng.random())

    def forget(self) -> None:
        """Somebody asks to try at once: allowed, unless the server asked to wait, or it refuses
        us."""
        if not self._refusals:
            self.next_try = self._not_before


def error_words(error: Exception) -> str:
    """What went wrong, in words for the log and ``status()``."""
    return local_words(error) if isinstance(error, OSError) else str(error)
