"""What a reader has to make of it when the server itself loses what it had not synced.

That is nobody's fault but the server's: the step back is forgiven. From what is left everything
goes forward again, strictly, and at the end all of each file is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.remote import RemoteFile

if TYPE_CHECKING:
    from tests.simulation.checker import Checker

__all__ = ["Seen", "look_again"]

TEMP_PREFIX = ".pysubtask-"


@dataclass(frozen=True, slots=True)
class Seen:
    """A file at the destination. A client knows it by its size and time."""

    file: RemoteFile
    content: bytes
    mtime: int

    @classmethod
    def of(cls, file: RemoteFile) -> Seen:
        """As it is now."""
        return cls(file, bytes(file.content), file.mtime)


def look_again(checker: Checker, seen: dict[str, Seen]) -> None:
    """See what is left.

    Args:
        seen: what was there.
    """
    files = checker.disk.files
    for path in files:
        if path.rpartition("/")[2].startswith(TEMP_PREFIX) and path not in seen:
            checker.late_temps.add(path)  # it had been renamed or removed: nobody knows it any more
    for path in [path for path in checker.set_aside if path not in files]:
        del checker.set_aside[path]
    for source in checker.ledger.by_path.values():
        view = checker.view(source.remote)
        file = files.get(source.remote)
        before = seen.get(source.remote)
        if file is None and before is None:
            continue
        if file is not None and before == Seen.of(file):
            continue
        source.interfered = True  # what was delivered is gone, and the journal does not know
        view.content_of = file
        if file is not None and before is not None:
            looks_same = (len(file.content), file.mtime) == (len(before.content), before.mtime)
            if looks_same:  # an older one, or it has a hole now: no client can tell
                view.exempt = source.untold = True
        if view.exempt:
            continue
        view.floor = 0
        if file is None:
            view.size = 0
            continue
        latest = view.index
        if checker.advance(source, view, file.content, True) and view.index <= latest:
            view.floor = -1
        else:
            # What another hand had left there is back, or one of ours that was emptied looks like
            # a newer one that was empty once.
            view.index = min(view.index, latest)
            view.exempt = True
