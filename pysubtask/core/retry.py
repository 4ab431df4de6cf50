"""When to try again, as pure functions of how often it failed.

A failing link is tried ``tries`` times a short wait apart, then after a long wait again, for ever.
A refused login or host key is tried ever more slowly: servers ban who knocks too often (fail2ban's
default is 5 failures in 10 minutes).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RetryRule", "file_wait_secs", "link_wait_secs", "refusal_wait_secs"]


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often and how far apart. ``growth`` multiplies each further long wait."""

    tries: int = 5
    short_wait_secs: float = 3.0
    long_wait_secs: float = 30.0
    growth: float = 1.0
    max_wait_secs: float = 900.0


def link_wait_secs(failures: int, rule: RetryRule) -> float:
    """Wait before the next try, after ``failures`` (≥ 1) failures in a row."""
    rounds, place = divmod(failures, max(1, rule.tries))
    if place:
        return rule.short_wait_secs
    grown = rule.long_wait_secs * rule.growth ** min(rounds - 1, 64)
    return min(grown, max(rule.max_wait_secs, rule.long_wait_secs))


def refusal_wait_secs(refusals: int) -> float:
    """Wait after ``refusals`` (≥ 1) refused logins or host keys: 30 s, 60 s … 15 min."""
    return float(min(30.0 * 2 ** min(refusals - 1, 10), 900.0))


def file_wait_secs(failures: int, rule: RetryRule) -> float:
    """Wait before one file is tried again that the server refused ``failures`` (≥ 1) times."""
    return float(min(rule.short_wait_secs * 2 ** min(failures - 1, 10), 300.0))
