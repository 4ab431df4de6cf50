"""Residual files: data that a former run, or a former name, left beside the watched files."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

from pysubtask.core.aging import is_old
from pysubtask.seams.disk import Disk
from pysubtask.watch import Watch, home_folder

__all__ = ["find_residuals"]


def find_residuals(
    disk: Disk,
    watches: list[Watch],
    is_data: Callable[[str], bool],
    *,
    is_known: Callable[[str], bool] = lambda path: False,
    now: float,
    up_to_days_old: float,
) -> list[Watch]:
    """The files beside the first watch that share an extension with a declared file.

    Not in subfolders; not hidden, temporary or our own (``is_data`` says so); not older than
    ``up_to_days_old`` days by their modified time, unless the journal speaks of them
    (``is_known``); none whose name at the destination is taken by a declared file.

    Raises:
        OSError: the folder can't be read.
    """
    if not watches:  # nothing but sources
        return []
    home = home_folder(watches)
    declared = {watch.path for watch in watches}
    taken = {(watch.remote_dir, watch.remote_name) for watch in watches}
    extensions = {os.path.splitext(watch.path)[1] for watch in watches if not watch.is_dir} - {""}
    found = []
    for name, st in disk.scan(home):
        path = os.path.join(home, name)
        if st is None or not st.is_file or path in declared or home in declared:
            continue
        if os.path.splitext(name)[1] not in extensions or ("", name) in taken or not is_data(path):
            continue
        old = is_old(
            st.mtime_ns / 1e9, now=now, days=up_to_days_old, to_local=datetime.fromtimestamp
        )
        if old and not is_known(path):
            continue
        found.append(Watch(path=path, is_dir=False, declared=path, remote_name=name))
    return sorted(found, key=lambda watch: watch.path)
