"""The status that a program sees: what the subtask wrote, and what only the master knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from pysubtask.signals import StateLayout, read_json
from pysubtask.status import Status, without_subtask
from pysubtask.watch import Watch

if TYPE_CHECKING:
    from pysubtask.master._process import Supervisor

__all__ = ["declared_name", "status_of_subtask", "with_state_folder", "with_supervisor"]


def declared_name(watches: list[Watch], path: str) -> str:
    """The key of a file in ``status().files``."""
    for watch in watches:
        if watch.path == path:
            return watch.declared
    folder, name = os.path.split(path)
    for watch in watches:
        if watch.is_dir and watch.path == folder:
            return f"{watch.declared.rstrip('/' + os.sep)}/{name}"
    return path


def status_of_subtask(layout: StateLayout) -> Status:
    """What ``status.json`` says; an empty status if it is missing or of another version."""
    plain = read_json(layout.status)
    if plain is None:
        return Status()
    try:
        return Status.from_plain(plain)
    except msgspec.ValidationError:
        return Status()


def with_state_folder(status: Status, layout: StateLayout) -> Status:
    """Says that the subtask can't say anything, where that is so."""
    folder = layout.state_dir
    if status.pid is None or os.access(folder, os.W_OK) or not os.path.isdir(folder):
        return status
    words = f"the state folder {folder} can't be written any more: is its disk read-only?"
    return msgspec.structs.replace(status, last_error=words)


def with_supervisor(status: Status, supervisor: Supervisor | None) -> Status:
    """``status`` with the facts of the supervisor. Without a child the link is ``gone``; the files
    stay as the last child knew them."""
    pid = supervisor.pid if supervisor is not None else None
    facts: dict[str, Any] = {"pid": pid}
    if pid is None:
        facts.update(link="gone", since=None, next_try=None, pulls=without_subtask(status.pulls))
    if supervisor is not None:
        facts.update(restarts=supervisor.restarts, taken_over=supervisor.taken_over)
        if pid is None:
            facts.update(since=supervisor.gone_since, next_try=supervisor.next_start)
            if supervisor.last_error is not None:
                facts["last_error"] = supervisor.last_error
        elif supervisor.restarts and supervisor.last_error is not None:
            facts["notes"] = (*status.notes, f"restarted because {supervisor.last_error}")
        if pid is not None and (status.updated_at is None or not supervisor.has_written_status()):
            # what is there was written by a subtask before this one, or can't be read
            facts.update(
                link="connecting",
                since=supervisor.started_at,
                next_try=None,
                last_error=supervisor.last_error,
            )
    return msgspec.structs.replace(status, **facts)
