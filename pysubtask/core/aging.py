"""Which old files move to the archive, and where: pure.

A file is old when more than so many days have passed since its last change on the clock on the
wall: across a change to or from daylight saving time, "3 days ago at noon" is still noon. The
folder is the local date of the last change, ``YYYYMM/DD``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from pysubtask.suffixes import OWN_SUFFIXES, is_half_written

__all__ = ["Found", "LocalTime", "Verdict", "day_folder", "decide", "is_old", "is_ours", "numbered"]

LocalTime: TypeAlias = Callable[[float], datetime]
"""Unix seconds to what the clock on the wall shows (naive); ``datetime.fromtimestamp``."""

Verdict: TypeAlias = Literal["stays", "waits", "moves"]

_NAME_MAX_BYTES = 255
_MAX_EXTENSION_BYTES = 100


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one name in a folder."""

    name: str
    mtime: float
    """Unix seconds."""
    is_plain: bool = True
    """A file itself: no folder, link, pipe or device."""
    is_declared: bool = False
    """The program declared it, under this or another name."""
    is_own_log: bool = False
    is_owed: bool = False
    """Something of it is still to be delivered, or to be looked at."""


def decide(found: Found, *, now: float, days: float, to_local: LocalTime) -> Verdict:
    """Whether a file moves to the archive; ``waits``: as soon as nothing of it is owed."""
    if not found.is_plain or found.is_declared or found.is_own_log or is_ours(found.name):
        return "stays"
    if not is_old(found.mtime, now=now, days=days, to_local=to_local):
        return "stays"
    return "waits" if found.is_owed else "moves"


def is_ours(name: str) -> bool:
    """Hidden and temporary files, ``.notify`` and ``.heartbeat``."""
    return name.startswith(".") or name.endswith(OWN_SUFFIXES) or is_half_written(name)


def is_old(mtime: float, *, now: float, days: float, to_local: LocalTime) -> bool:
    """Whether the last change was more than ``days`` days ago by local time.

    A time that no calendar has (a damaged file system's) is not old.
    """
    try:
        return to_local(now) - to_local(mtime) > timedelta(days=days)
    except (ValueError, OverflowError, OSError):
        return False


def day_folder(mtime: float, to_local: LocalTime) -> tuple[str, str]:
    """``("202611", "26")`` for a file that was changed last on 26 November 2026."""
    day = to_local(mtime)
    return f"{day.year:04d}{day.month:02d}", f"{day.day:02d}"


def numbered(name: str, number: int) -> str:
    """``a_1.csv`` for ``a.csv`` and 1; the name itself for 0. Never longer than 255 bytes."""
    if number == 0:
        return name
    stem, extension = os.path.splitext(name)
    if len(os.fsencode(extension)) > _MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    suffix = f"_{number}"
    spare = _NAME_MAX_BYTES - len(os.fsencode(suffix + extension))
    while len(os.fsencode(stem)) > spare and stem:
        stem = stem[:-1]
    return f"{stem}{suffix}{extension}"
