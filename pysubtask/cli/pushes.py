"""Where pushes keep their journals: in the user's state folder."""

from __future__ import annotations

import os
import shutil
from hashlib import blake2b

from pysubtask.errors import StateError
from pysubtask.states import find_states, holder_pid, read_owed
from pysubtask.urls import Destination

__all__ = ["forget_old_states", "push_state_dir", "push_states"]

_FORGET_AFTER_SECS = 90 * 86_400.0


def push_state_dir(destination: Destination, home: str) -> str:
    """Where pushes from the folder ``home`` to a destination keep their journal: in the user's
    state folder, so that nothing is left beside the files."""
    key = f"{destination}\0{home}".encode("utf-8", "surrogateescape")
    name = blake2b(key, digest_size=8).hexdigest()
    return os.path.join(push_states(), name)


def forget_old_states(now: float) -> None:
    """Remove the states of pushes that owe nothing and were not used for 90 days; whoever pushes
    such a file again compares it with what is there."""
    for state in find_states(push_states()):
        try:
            used = os.stat(os.path.join(state, "status.json")).st_mtime
            if now - used < _FORGET_AFTER_SECS or holder_pid(state) is not None:
                continue
            if not any(owed.pending_bytes for owed in read_owed(state)):
                shutil.rmtree(state)
        except (OSError, StateError):
            continue  # not ours to worry about


def push_states() -> str:
    """The folder of all states of pushes."""
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("pysubtask", False), "push")
