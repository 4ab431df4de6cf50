"""When notifies come faster than they are worth sending: two rules, as pure functions.

:class:`BurstRule`, the documented one, counts calls. If ``start_trigger_count`` notifies in a row
each come less than ``start_trigger_milli`` after the one before, a burst begins. While it lasts,
data waits. It ends, and the data goes, when a notify comes more slowly than that, when no further
notify has come for that long, or ``expire_milli`` after it began, whichever is first. A notify
outside a burst goes at once.

:class:`ByteRule` counts bytes and knows how long data may wait. What comes after a pause goes at
once; then data waits for company as long as more is to be expected soon, but goes when enough of
it waits to fill a transfer, and no later than ``max_delay_secs`` after the first of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

__all__ = ["Burst", "BurstRule", "ByteRule", "Rule", "advance", "forgettable_at", "notified"]

_PATIENCE = 6.0
"""More is expected for so many of the usual gaps between two notifies."""
_LEAST_PATIENCE_SECS = 0.05


@dataclass(frozen=True, slots=True)
class BurstRule:
    """The three numbers of the documented rule."""

    start_trigger_secs: float = 1.0
    start_trigger_count: int = 2
    expire_secs: float = 5.0


@dataclass(frozen=True, slots=True)
class ByteRule:
    """The rule that counts bytes.

    ``full_bytes``: so many new bytes are not kept back. ``max_delay_secs``: no byte waits longer.
    """

    full_bytes: int = 32_768
    max_delay_secs: float = 5.0


Rule: TypeAlias = BurstRule | ByteRule


@dataclass(frozen=True, slots=True)
class Burst:
    """Where one file stands. ``release_at`` is when waiting data goes by itself (None: none)."""

    last_at: float | None = None
    quick: int = 0
    began_at: float | None = None
    release_at: float | None = None
    gap_secs: float = 0.0
    """For :class:`ByteRule`: how far apart notifies were of late."""
    size_bytes: int = 0
    """The file's size at the last notify."""
    sent_bytes: int = 0
    """Its size when data last went."""


def notified(burst: Burst, now: float, rule: Rule, size_bytes: int = 0) -> tuple[Burst, bool]:
    """A notify came at ``now`` (monotonic). Gives the new state, and whether data goes now.

    Args:
        size_bytes: what the file holds now; only :class:`ByteRule` looks at it.
    """
    burst, due = advance(burst, now)
    if isinstance(rule, ByteRule):
        return _by_bytes(burst, now, rule, size_bytes, due=due)
    return _by_calls(burst, now, rule, due=due)


def advance(burst: Burst, now: float) -> tuple[Burst, bool]:
    """Time passed. Gives the new state, and whether data that waited goes now."""
    if burst.release_at is None or now < burst.release_at:
        return burst, False
    kept = replace(burst, quick=0, began_at=None, release_at=None, sent_bytes=burst.size_bytes)
    return kept, True


def forgettable_at(burst: Burst, rule: Rule) -> float | None:
    """From when (monotonic) on the next notify is treated like the first; None: data waits."""
    if burst.release_at is not None:
        return None
    if burst.last_at is None:
        return -math.inf
    if isinstance(rule, ByteRule):
        return burst.last_at + rule.max_delay_secs
    return burst.last_at + rule.start_trigger_secs


def _by_calls(burst: Burst, now: float, rule: BurstRule, *, due: bool) -> tuple[Burst, bool]:
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


def _by_bytes(
    burst: Burst, now: float, rule: ByteRule, size_bytes: int, *, due: bool
) -> tuple[Burst, bool]:
    gap = rule.max_delay_secs if burst.last_at is None else now - burst.last_at
    after_a_pause = gap >= rule.max_delay_secs
    usual = burst.gap_secs
    if not after_a_pause:  # which says nothing about how quickly they follow each other otherwise
        usual = (usual + gap) / 2 if usual else gap
    is_replaced = size_bytes < burst.sent_bytes
    is_full = size_bytes - burst.sent_bytes >= rule.full_bytes
    if due or after_a_pause or is_replaced or is_full:
        gone = Burst(last_at=now, gap_secs=usual, size_bytes=size_bytes, sent_bytes=size_bytes)
        return gone, True
    began_at = now if burst.began_at is None else burst.began_at
    patience = max(_LEAST_PATIENCE_SECS, _PATIENCE * usual)
    release_at = min(now + patience, began_at + rule.max_delay_secs)
    return Burst(now, 0, began_at, release_at, usual, size_bytes, burst.sent_bytes), False
