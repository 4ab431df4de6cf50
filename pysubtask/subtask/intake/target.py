"""One watched file as the intake sees it, and its ``.notify`` files."""

from __future__ import annotations

import logging
import os
from types import EllipsisType

import msgspec

from pysubtask.core.burst import Burst
from pysubtask.core.model import Stamp
from pysubtask.seams.disk import Disk, FileStat
from pysubtask.signals import StateLayout, is_blank_touch, made_at_ns, notify_path
from pysubtask.watch import Watch, remote_path

__all__ = ["BLANK", "Target", "read_stamp", "read_touch", "remove_served"]

BLANK = Stamp(0, 0)
"""A ``.notify`` that was made and not touched yet."""

_CALM = Burst()

_ASIDE_PREFIX = ".pysubtask-served-"


class Target(msgspec.Struct, eq=False):
    """A file that something is known or expected of."""

    path: str
    watch: Watch
    layout: StateLayout
    """Where its touch lies if it can't lie beside it."""
    touch_seen: Stamp | None = None
    touch_seen_at: float = 0.0
    saw_touch: bool = False
    """``touch_seen`` was seen on disk by this process, and was one that somebody gave."""
    blank_mark: int | None = None
    """When the ``.notify`` that nobody has touched yet was made, as it was seen last; None if it
    was not seen."""
    checked: tuple[int, int] | EllipsisType | None = ...
    """Modified and changed time of the ``.notify`` beside it, with which nothing was left to do;
    ``...``: it has to be read again."""
    look_at: float | None = None
    waits_in_turn: bool = False
    """``look_at`` is its turn in a row of many."""
    forget_at: float | None = None
    """When it is seen whether it can be forgotten."""
    looked_at: float | None = None
    """When it was looked at last, by this process."""
    is_complete: bool = False
    """Its look waits for nothing: it was touched, closed by its writer, or renamed in."""
    rechecks_touch: bool = False
    """The look is the second one for a touch."""
    settle_facts: FileStat | None = None
    settle_until: float = 0.0
    last_look: int = 0
    """The number of its last look that went well, counted over all files."""
    failures: int = 0
    unstable_since: float | None = None
    error: str | None = None
    burst: Burst = _CALM

    @property
    def notify_files(self) -> tuple[str, str]:
        """The places of its touch. There may be many targets, so they do not keep what is made
        in no time."""
        return notify_path(self.path), self.layout.fallback_notify_path(self.path)

    @property
    def is_settling(self) -> bool:
        """It waits only to see whether somebody is still writing it."""
        told = self.is_complete or self.rechecks_touch or self.failures > 0
        return self.settle_facts is not None and not told

    @property
    def is_calm(self) -> bool:
        """Its last look went well."""
        return not self.failures and self.unstable_since is None

    @property
    def remote_path(self) -> str:
        """Where it goes, below the destination."""
        return remote_path(self.watch, self.path)


def read_stamp(disk: Disk, target: Target) -> Stamp | None:
    """The touch as it is now. Where the place in the state folder is in use, too, both count."""
    return read_touch(disk, target)[0]


def read_touch(disk: Disk, target: Target) -> tuple[Stamp | None, int | None]:
    """The touch as it is now, and, of one that nobody has touched yet, when it was made: another
    one in its place says that there was a touch between, which somebody else has served."""
    found = [st for path in target.notify_files if (st := _stat(disk, path)) is not None]
    touched = [st for st in found if not is_blank_touch(st.mtime_ns)]
    if touched:
        stamp = Stamp(sum(st.mtime_ns for st in touched), sum(st.ctime_ns for st in touched))
        return stamp, None
    if not found:
        return None, None
    return BLANK, made_at_ns((st.ctime_ns, st.links) for st in found)


def remove_served(disk: Disk, target: Target, served: Stamp, log: logging.Logger) -> None:
    """Remove the ``.notify`` files of a target, unless one was touched since.

    Each is moved aside first and looked at there, so that a touch that comes meanwhile either is
    seen, or makes a new file.
    """
    found = [(path, _stat(disk, path)) for path in target.notify_files]
    if read_stamp(disk, target) != served:
        return
    for notify_file, before in found:
        if before is None:
            continue
        aside = os.path.join(os.path.dirname(notify_file), f"{_ASIDE_PREFIX}{os.getpid()}")
        try:
            disk.rename(notify_file, aside)
            if disk.stat(aside).mtime_ns == before.mtime_ns:  # the rename changes the ctime
                disk.remove(aside)
            elif _stat(disk, notify_file) is None:
                disk.rename(aside, notify_file)
            else:
                disk.remove(aside)  # a newer touch is there
        except OSError as error:
            log.debug("remove %s: %s", notify_file, error)


def _stat(disk: Disk, path: str) -> FileStat | None:
    try:
        return disk.stat(path)
    except OSError:
        return None
