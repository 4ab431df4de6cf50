"""Was a file rotated, and how is what was delivered of it to be called from now on?"""

from __future__ import annotations

import os

from pysubtask.core.model import Version
from pysubtask.core.rotation import kept_name
from pysubtask.seams.disk import Disk, FileStat
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["Rotations"]


class Rotations:
    """Tells a rotation from a file that was rewritten.

    A file was rotated if it lives on under another name. One that is not to be found any more was
    if the program promised to append only; and if it had grown and is shorter now, it was copied
    and truncated.
    """

    def __init__(self, disk: Disk, sources: Sources) -> None:
        self._disk = disk
        self._sources = sources

    def moved(self, path: str, previous: Version, current: FileStat) -> bool:
        """Whether the file of the last snapshot lives on beside the ``current`` one.

        Raises:
            OSError: it can't be told now.
        """
        if not previous.size:
            return False  # every file begins with nothing
        try:
            with self._sources.borrow(path, previous) as handle:
                st = handle.stat()
                is_other = (st.ino, st.dev) != (current.ino, current.dev)
                lives_on = is_other and st.links > 0 and is_same_content(handle, previous)
                return lives_on and not self._sources.is_at(path, st)  # it has a look to come
        except FileNotFoundError:
            return False

    def kept_as(
        self,
        path: str,
        name: str,
        previous: Version,
        current: FileStat,
        *,
        growth: str,
        pattern: str,
        moved: bool,
    ) -> str | None:
        """The name that what was delivered of ``previous`` gets; None: it was not rotated.

        Args:
            name: its name at the destination.
            moved: what :meth:`moved` says.
        """
        if not previous.size:
            return None
        shrunk = previous.growing and current.size < previous.size
        if not (moved or shrunk or growth == "append"):
            return None
        local = self._name_of(path, previous) if moved and "{local}" in pattern else None
        return kept_name(pattern, name, previous.stamp.mtime_ns / 1e9, local)

    def _name_of(self, path: str, previous: Version) -> str | None:
        """What it is called now. Not a name that belongs to a file which is watched itself: under
        that one, something else may be delivered."""
        folder = os.path.dirname(path)
        known = previous.identity
        try:
            for name, st in self._disk.scan(folder):
                if st is None or (st.ino, st.dev) != (known.ino, known.dev):
                    continue
                other = os.path.join(folder, name)
                if other != path and not self._sources.is_watched(other):
                    return name
        except OSError:
            pass
        return None
