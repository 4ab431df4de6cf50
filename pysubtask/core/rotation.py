"""Under which name a rotated file is kept at the destination: pure.

A pattern (:mod:`pysubtask.patterns`) makes the name. A name that the rotation itself gave is used
only if it says which file it is: one with a date. ``app.log.1`` is another file after each
rotation, so at the destination it would name the oldest one.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

__all__ = ["kept_name", "numbered_apart"]

_WITHOUT_LOCAL = "{name}-{time}"
_STAMP = "%Y%m%dT%H%M%SZ"
_LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()  # a damaged file system may have later ones
_DATE_DIGITS = 6
"""``2026-11`` is the shortest date that a log is named by."""
_PLAIN_EXTENSION = re.compile(r"\.[A-Za-z]{1,8}$")


def kept_name(pattern: str, name: str, changed_at: float, local: str | None) -> str:
    """The name for a rotated file.

    Args:
        pattern: one that :func:`pysubtask.patterns.complaint_of` has nothing against.
        name: the name that it had at the destination so far.
        changed_at: when the file was changed last, Unix seconds: the same each time that this
            is asked.
        local: the name that the rotation gave it here; None if that is not known.
    """
    if "{local}" in pattern and (local is None or not _has_date(local, name)):
        pattern = _WITHOUT_LOCAL
    stem, ext = os.path.splitext(name)
    return pattern.format(
        name=name,
        stem=stem,
        ext=ext,
        time=datetime.fromtimestamp(min(max(0.0, changed_at), _LAST), UTC).strftime(_STAMP),
        local=local,
    )


def numbered_apart(name: str, number: int) -> str:
    """``a-2026_1.csv`` for ``a-2026.csv`` and 1, ``a.csv-2026_1`` for ``a.csv-2026``; the name
    itself for 0."""
    if not number:
        return name
    found = _PLAIN_EXTENSION.search(name)
    at = found.start() if found is not None and found.start() else len(name)
    return f"{name[:at]}_{number}{name[at:]}"


def _has_date(local: str, name: str) -> bool:
    return sum(map(str.isdigit, local)) - sum(map(str.isdigit, name)) >= _DATE_DIGITS
