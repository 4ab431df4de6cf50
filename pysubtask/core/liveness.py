"""What a heartbeat says: pure.

The first line is a whole number: within how many seconds the next one is to be expected (0: a clean
stop, do not wait). Whoever watches calls a client offline when its file's modified time plus that
number has passed. The second line is JSON, for those who want to know more; older readers, which
know the first line only, are not disturbed by it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

__all__ = ["Beat", "beat_text", "expect_secs"]

_SIZE_BYTES = 512
"""Every heartbeat has this size, so that one written over another leaves nothing of it behind."""
_ERROR_CHARS = 160
_NOTE_CHARS = 110


@dataclass(frozen=True, slots=True)
class Beat:
    """What is known at the moment of a heartbeat. Times in Unix seconds."""

    sequence: int
    sent_at: float
    backlog_bytes: int = 0
    oldest_at: float | None = None
    """When the oldest snapshot that is still owed was taken."""
    last_error: str | None = None
    version: str = ""
    note: str | None = None
    """What else somebody should know: copies are not made any more, because the disk is full."""


def expect_secs(interval_secs: float) -> int:
    """The interval and an allowance for connecting: a quarter of it, at least 10 s."""
    return math.ceil(interval_secs + max(10.0, interval_secs / 4))


def beat_text(expect: int, beat: Beat) -> bytes:
    """The file's content: two lines and spaces, 512 bytes of ASCII with a newline at the end."""
    age = None if beat.oldest_at is None else max(0, round(beat.sent_at - beat.oldest_at))
    facts = {
        "version": beat.version,
        "sequence": beat.sequence,
        "sent_at": round(beat.sent_at, 3),
        "backlog_bytes": beat.backlog_bytes,
        "oldest_age_secs": age,
        "last_error": beat.last_error[:_ERROR_CHARS] if beat.last_error else None,
    }
    if beat.note:
        facts["note"] = beat.note[:_NOTE_CHARS]
    for _ in range(2):
        text = f"{expect}\n{json.dumps(facts, separators=(',', ':'))}"
        if len(text) < _SIZE_BYTES:
            break
        facts["last_error"] = "see the log"  # its characters took more room than they count
        facts.pop("note", None)
    return text.ljust(_SIZE_BYTES - 1).encode("ascii") + b"\n"
