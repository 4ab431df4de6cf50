"""What a heartbeat file says: pure, and written for content that nobody vouches for.

The first line is a whole number of seconds, in ASCII digits; ``int()`` alone would take ``3_600``,
``+5`` and Arabic digits, which no client writes. The second line, if there is one, is JSON; clients
of the first pysubtask have none, and no newline either.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["MAX_BYTES", "MAX_INTERVAL_SECS", "Facts", "Reading", "read_beat"]

MAX_BYTES = 4096
"""No more than this is read of a heartbeat file."""
MAX_INTERVAL_SECS = 30 * 86_400
_NUMBER = re.compile(rb"[0-9]{1,9}\Z")
_VERSION_CHARS, _ERROR_CHARS = 40, 160
_MAX_COUNT = 2**63 - 1  # what SQLite stores as an integer


@dataclass(frozen=True, slots=True)
class Facts:
    """The JSON line; each is None where it was missing or no such value. Times in Unix seconds."""

    version: str | None = None
    sequence: int | None = None
    sent_at: float | None = None
    backlog_bytes: int | None = None
    oldest_age_secs: float | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. ``interval_secs`` is None if the first line is no promise; 0 is a goodbye."""

    interval_secs: int | None
    ended: bool
    """Whether the first line has its newline; without it more digits may be on their way."""
    problem: str | None
    facts: Facts


def read_beat(content: bytes) -> Reading:
    """Read a heartbeat file's content. Never raises, whatever the bytes are."""
    line, newline, rest = content[:MAX_BYTES].partition(b"\n")
    line = line.removesuffix(b"\r") if newline else line
    ended = bool(newline)
    if not line:
        problem = "the first line is empty" if ended else "the file is empty"
        return Reading(None, ended, problem, Facts())
    if not _NUMBER.match(line):
        return Reading(None, ended, "the first line is not a whole number of seconds", Facts())
    seconds = int(line)
    if seconds > MAX_INTERVAL_SECS:
        return Reading(None, ended, f"promises {seconds} s, more than 30 days", Facts())
    return Reading(seconds, ended, None, _facts(rest))


def _facts(rest: bytes) -> Facts:
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):  # 4 KiB of "[" is deeper than the parser goes
        return Facts()
    if not isinstance(found, dict):
        return Facts()
    return Facts(
        version=_text(found.get("version"), _VERSION_CHARS),
        sequence=_count(found.get("sequence")),
        sent_at=_number(found.get("sent_at")),
        backlog_bytes=_count(found.get("backlog_bytes")),
        oldest_age_secs=_number(found.get("oldest_age_secs")),
        last_error=_text(found.get("last_error"), _ERROR_CHARS),
    )


def _text(value: Any, limit: int) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    # JSON can hold half a surrogate pair ("\\ud800"), which no UTF-8 can
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def _count(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return value
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not (0 <= value < 1e11) or not math.isfinite(value):
        return None
    return float(value)
