"""What a reader has to make of it when the server itself loses what it had not synced.

That is nobody's fault but the server's: the step back is forgiven. From what is left everything
goes forward again, strictly, and at the end all of each file is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.remote import RemoteFile

if TYPE_CHECKING:
    from tests.simulation.checker import Checker

__all__ = ["look_again"]

TEMP_PREFIX = ".pysubtask-"


def look_again(checker: Checker, seen: dict[str, tuple[RemoteFile, int]]) -> None:
    """See what is left.

    Args:
        seen: by path the files that were there, and how long they were.
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
        if file is not None and before == (file, len(file.content)):
            continue
        source.interfered = True  # what was delivered is gone, and the journal does not know
        view.content_of = file
        if view.exempt:
            continue
        view.floor = 0
        if file is None:
            view.size = 0
            continue
        if checker.advance(source, view, file.content, True):
            view.floor = -1
        else:
            view.exempt = True  # what another hand had left there is back
