"""Where pushes and pulls keep their journals: in the user's state folder."""

from __future__ import annotations

import os
import shutil
from hashlib import blake2b

from pysubtask.errors import StateError
from pysubtask.holder import holder_pid
from pysubtask.states import find_states, read_owed, read_status
from pysubtask.urls import Destination

__all__ = ["command_states", "forget_old_states", "pull_state_dir", "push_state_dir", "push_states"]

_FORGET_AFTER_SECS = 90 * 86_400.0


def push_state_dir(destination: Destination, home: str) -> str:
    """Where pushes from the folder ``home`` to a destination keep their journal: in the user's
    state folder, so that nothing is left beside the files."""
    return os.path.join(push_states(), _name(destination, home))


def pull_state_dir(source: Destination, folder: str) -> str:
    """Where pulls from a source into ``folder`` keep their journal."""
    return os.path.join(_states("pull"), _name(source, folder))


def _name(url: Destination, folder: str) -> str:
    key = f"{url}\0{folder}".encode("utf-8", "surrogateescape")
    return blake2b(key, digest_size=8).hexdigest()


def forget_old_states(now: float) -> None:
    """Remove the states of pushes that owe nothing, and of pulls whose folder is gone, if they were
    not used for 90 days; whoever pushes such a file again compares it with what is there."""
    for state in [*find_states(push_states()), *find_states(_states("pull"))]:
        try:
            used = os.stat(os.path.join(state, "status.json")).st_mtime
            if now - used < _FORGET_AFTER_SECS or holder_pid(state) is not None:
                continue
            here = any(os.path.isdir(pull.to) for pull in read_status(state).pulls)
            if not here and not any(owed.pending_bytes for owed in read_owed(state)):
                shutil.rmtree(state)
        except (OSError, StateError):
            continue  # not ours to worry about


def command_states(place: str) -> list[str]:
    """State folders of ``push`` whose files lie in ``place``, or are it, and of ``pull`` into
    it."""
    place = os.path.abspath(place)
    found = []
    for state in [*find_states(push_states()), *find_states(_states("pull"))]:
        status = read_status(state)
        pushed = any(path == place or os.path.dirname(path) == place for path in status.files)
        if pushed or any(pull.to == place for pull in status.pulls):
            found.append(state)
    return found


def push_states() -> str:
    """The folder of all states of pushes."""
    return _states("push")


def _states(command: str) -> str:
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("pysubtask", False), command)
