"""When notifies come faster than they are worth sending: the documented rule, as a pure function.

If ``start_trigger_count`` notifies in a row each come less than ``start_trigger_milli`` after the
one before, a burst begins. While it lasts, data waits. It ends, and the data goes, when a notify
comes more slowly than that, when no further notify has come for that long, or ``expire_milli``
after it began, whichever is first. A notify outside a burst goes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Burst", "BurstRule", "advance", "notified"]


@dataclass(frozen=True, slots=True)
class BurstRule:
    """The three numbers of the rule."""

    start_trigger_secs: float = 1.0
    start_trigger_count: int = 2
    expire_secs: float = 5.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Where one file stands. ``release_at`` is when waiting data goes by itself (None: none)."""

    last_at: float | None = None
    quick: int = 0
    began_at: float | None = None
    release_at: float | None = None


def notified(burst: Burst, now: float, rule: BurstRule) -> tuple[Burst, bool]:
    """A notify came at ``now`` (monotonic). Gives the new state, and whether data goes now."""
    burst, due = advance(burst, now)
    quick_call = burst.last_at is not None and now - burst.last_at < rule.start_trigger_secs
    quick = burst.quick + 1 if quick_call else 0
    began_at = burst.began_at
    if not quick_call:
        return Burst(last_at=now), True
    if due:  # the burst is over, and this notify's data goes with what waited
        return Burst(last_at=now, quick=quick), True
    if began_at is None and quick >= rule.start_trigger_count:
        began_at = now
    if began_at is None:
        return Burst(last_at=now, quick=quick), True
    release_at = min(now + rule.start_trigger_secs, began_at + rule.expire_secs)
    return Burst(now, quick, began_at, release_at), False


def advance(burst: Burst, now: float) -> tuple[Burst, bool]:
    """Time passed. Gives the new state, and whether data that waited goes now."""
    if burst.release_at is None or now < burst.release_at:
        return burst, False
    return Burst(last_at=burst.last_at), True
