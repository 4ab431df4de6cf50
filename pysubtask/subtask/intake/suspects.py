"""Files that a loss of power may have cost their ends, until they are looked at.

What the destination has of such a file may be all that is left of its last rows. A version that
does not go on from what was there sets that aside (:attr:`Entry.doubts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pysubtask.core.model import Version
from pysubtask.seams.disk import Disk, ReadHandle
from pysubtask.subtask.intake.facts import differs
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import is_same_content

__all__ = ["Suspects"]

_WRITTEN_BACK_SECS = 60.0
"""So long after a change it is on the disk, whether the program asked for that or not (Linux: half
a minute, ``vm.dirty_expire_centisecs`` in proc_sys_vm(5))."""


class Suspects:
    """The paths, by what the journal says at the start."""

    def __init__(self, disk: Disk, ledger: Ledger) -> None:
        self._disk = disk
        self._ledger = ledger
        self._paths: set[str] = set()
        self._unclean = False

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def open(self) -> None:
        """After an unclean boot all files are suspect, and after another boot that followed a clean
        stop those that had changed shortly before it; but none that is as the journal has it."""
        journal = self._ledger.journal
        if journal.unclean_boot:
            self.suspect((entry.path for entry in journal.entries()), unclean=True)
        elif journal.other_boot:
            versions = [(entry.path, entry.current) for entry in journal.entries()]
            taken = {path: version.taken_at for path, version in versions if version is not None}
            since = max(taken.values(), default=0.0) - _WRITTEN_BACK_SECS
            self.suspect((path for path, at in taken.items() if at > since), unclean=False)

    def suspect(self, paths: Iterable[str], *, unclean: bool) -> None:
        """These are, as far as they are not what the journal says.

        Args:
            unclean: the machine went down while a subtask ran. Else that is known of none: what
                the program may have done itself counts for done by it.
        """
        self._unclean = unclean
        self._paths = {path for path in paths if self._differs(path, missing=True)}

    def looked_at(self, path: str) -> None:
        """It is none any more."""
        self._paths.discard(path)

    def are_left(self, is_watched: Callable[[str], bool]) -> bool:
        """Whether one was not looked at, and will be. (What is gone may never come back.)"""
        paths = list(self._paths)
        return any(is_watched(path) and self._differs(path, missing=False) for path in paths)

    def may_have_lost_its_end(
        self,
        path: str,
        previous: Version | None,
        handle: ReadHandle,
        growth: str,
        is_elsewhere: bool,
    ) -> bool:
        """Whether the destination may hold what a loss of power took from the file here.

        It need not be shorter: the program may have appended as much again before this look. Files
        that the program is known to rewrite are whole as they are.

        Args:
            previous: the version that the journal has.
            handle: what the file is now, which is to be another version.
            is_elsewhere: that one was found under another name.
        """
        if path not in self:
            return False
        if previous is None:  # it was in the archive, or given up, and is back
            return growth != "rewrite"
        size = handle.stat().size
        if self._unclean and size < previous.size:
            return True
        if size >= previous.size and is_same_content(handle, previous):
            return False  # it does go on, under another number (FAT has new ones after each boot)
        is_rewritten = growth == "rewrite" or (previous.number > 1 and not previous.growing)
        return not is_rewritten and not is_elsewhere

    def _differs(self, path: str, *, missing: bool) -> bool:
        """Whether a look is due. What is as the journal has it has lost nothing.

        Args:
            missing: what to say of one that is not there.
        """
        entry = self._ledger.get(path)
        if entry is None:
            return False
        try:
            return differs(entry, self._disk.stat(path))
        except FileNotFoundError:
            return missing
        except OSError:
            return True  # the disk does not say
