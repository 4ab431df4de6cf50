"""What a look is given, what it finds, and what it notes: words that the parts of intake share."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from pysubtask.core.model import Entry, Identity, Stamp, Version
from pysubtask.core.ticks import tick_secs
from pysubtask.seams.disk import FileStat

__all__ = [
    "Clash",
    "Outcome",
    "Touch",
    "differs",
    "is_untouched",
    "seen_facts",
    "with_served",
]


class Touch(msgspec.Struct, frozen=True, gc=False):
    """The ``.notify`` that a snapshot serves; ``stamp`` is None where there is none.

    With one at hand the file is read whatever its own time stamps say.
    """

    stamp: Stamp | None
    at: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of a look at a file.

    ``unstable``: it was being written; look again soon, then pass ``final=True``. ``failed``: the
    disk or the file itself refused, in ``error``.
    """

    result: Literal["taken", "unchanged", "missing", "unstable", "failed"]
    error: OSError | None = None


class Clash(Exception):
    """The entry is no longer what the look began with."""


def with_served(entry: Entry, touch: Touch | None) -> Entry:
    """The entry once the touch is served; None: there was none to serve."""
    if touch is None:
        return entry
    notified_at = entry.notified_at if touch.stamp == entry.served else touch.at
    return replace(entry, served=touch.stamp, notified_at=notified_at)


def is_untouched(version: Version, st: FileStat) -> bool:
    """Whether size, inode and time stamps say that the file still is what that snapshot saw."""
    return (
        version.settled
        and version.size == st.size
        and version.identity.ino == st.ino
        and version.stamp == Stamp(st.mtime_ns, st.ctime_ns)
    )


def differs(entry: Entry, st: FileStat | None) -> bool:
    """Whether the file (None: there is none) may be another than its last snapshot saw."""
    version = entry.current
    if version is None or st is None:
        return (version is None) != (st is None)
    return not is_untouched(version, st)


def seen_facts(st: FileStat, now: float) -> tuple[Identity, Stamp, bool]:
    """What a snapshot notes of its file: identity, stamps, and whether they can be trusted to
    change with the next change. ``now`` in Unix seconds."""
    stamp = Stamp(st.mtime_ns, st.ctime_ns)
    age_secs = now - max(st.mtime_ns, st.ctime_ns) / 1e9
    # a stamp from the future can't be given again by a change that comes now
    return Identity(st.dev, st.ino), stamp, abs(age_secs) > tick_secs(stamp)
