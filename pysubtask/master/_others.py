"""Several masters in one program: what they may share, and what not.

Each delivers to its own destination, from a state folder of its own. They share the files, with
their ``.notify``, and nothing else.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from pysubtask.errors import SettingsError, StateError

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["note_start", "others_running", "refuse_shared"]

_started: weakref.WeakSet[TaskMaster] = weakref.WeakSet()


def note_start(master: TaskMaster) -> None:
    """It is started, or about to be."""
    _started.add(master)


def others_running(master: TaskMaster) -> list[TaskMaster]:
    """Other masters of this program that have a subtask now."""
    return [
        other
        for other in list(_started)
        if other is not master
        and other._owner == os.getpid()
        and other._supervisor is not None
        and other._supervisor.alive
    ]


def refuse_shared(master: TaskMaster, state_dir: str, others: list[TaskMaster]) -> None:
    """Two masters may share what they watch, and nothing else.

    Raises:
        StateError: the state folder is in use for another destination.
        SettingsError: the heartbeat would be the same file.
    """
    settings = master._settings
    for other in others:
        if other._layout.state_dir == state_dir and (
            other._destination != master._destination or other._sources != master._sources
        ):
            raise StateError(
                f"it is in use for {other._destination}",
                operation="use the state folder",
                path=state_dir,
                hint='each destination needs its own: bak_to_folder="upload/second"',
            )
        if (
            settings.heartbeat_interval_secs > 0 < other._settings.heartbeat_interval_secs
            and other._layout.state_dir != state_dir
            and (other._home, other._settings.heartbeat_name)
            == (master._home, settings.heartbeat_name)
        ):
            raise SettingsError(
                f"is that of the master for {other._destination}, too",
                operation="setting",
                path="heartbeat_name",
                hint="each destination needs its own",
            )
