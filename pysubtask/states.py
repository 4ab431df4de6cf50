"""Looking into state folders from outside: how things are, what is owed.

Reads only, needs no subtask and takes no lock; ``pysubtask status`` and ``residuals`` are made of
it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from pysubtask.errors import StateError
from pysubtask.holder import holder_pid
from pysubtask.settings import SECTIONS
from pysubtask.signals import StateLayout, read_json
from pysubtask.status import Status, without_subtask

__all__ = ["Owed", "find_states", "read_owed", "read_status"]


@dataclass(frozen=True, slots=True)
class Owed:
    """A file in a journal, as the last subtask left it."""

    path: str
    remote: str
    """Its name at the destination, with folders."""
    size_bytes: int
    """Of the latest snapshot."""
    delivered_bytes: int
    """Of the version that the latest snapshot belongs to."""
    sent_bytes: int
    """Of an upload that was begun, under its temporary name."""
    pending_bytes: int
    version: int


def read_status(state_dir: str) -> Status:
    """What ``status.json`` says, and whether that still holds: without a living subtask the link
    is ``gone``, ``pid`` None, and the files are as the last one knew them."""
    layout = StateLayout(state_dir)
    plain = read_json(layout.status)
    try:
        status = Status.from_plain(plain) if plain is not None else Status()
    except msgspec.ValidationError:
        status = Status()
    pid = holder_pid(state_dir)
    if pid is None:
        return msgspec.structs.replace(
            status,
            pid=None,
            link="gone",
            since=status.updated_at,
            next_try=None,
            pulls=without_subtask(status.pulls),
        )
    if status.pid != pid:  # a new one, which has not written yet
        status = msgspec.structs.replace(
            status, link="connecting", since=None, next_try=None, last_error=None
        )
    return msgspec.structs.replace(status, pid=pid)


def read_owed(state_dir: str) -> list[Owed]:
    """Every file in the journal, delivered or not, sorted by path.

    Raises:
        StateError: the journal can't be read.
    """
    from pysubtask.subtask.store.peek import peek

    try:
        entries = peek(StateLayout(state_dir).journal)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(
            error.strerror or str(error), operation="read the journal of", path=state_dir
        ) from error
    found = []
    for entry in entries:
        current, done, upload = entry.current, entry.delivered, entry.upload
        number = current.number if current is not None else 0
        found.append(
            Owed(
                path=entry.path,
                remote=entry.remote,
                size_bytes=current.size if current is not None else 0,
                delivered_bytes=done.size if done is not None and done.version == number else 0,
                sent_bytes=upload.acked if upload is not None and upload.version == number else 0,
                pending_bytes=entry.pending_bytes,
                version=number,
            )
        )
    return sorted(found, key=lambda owed: owed.path)


def find_states(place: str) -> list[str]:
    """The state folders that ``place`` means: itself; those below ``upload/`` in it; for a file,
    those beside it. Absolute, sorted."""
    place = os.path.abspath(os.path.expanduser(place))
    if _is_state(place):
        return [place]
    home = place if os.path.isdir(place) else os.path.dirname(place)
    found = set()
    for base in (os.path.join(home, "upload"), home):
        try:
            with os.scandir(base) as entries:
                found |= {e.path for e in entries if e.is_dir() and _is_state(e.path)}
        except OSError:
            continue
    from pysubtask.master._state import other_places

    for wanted in (place, *(os.path.join(home, "upload", section) for section in SECTIONS)):
        found |= {other for other in other_places(wanted, make=False) if _is_state(other)}
    return sorted(found)


def _is_state(folder: str) -> bool:
    layout = StateLayout(folder)
    return os.path.isfile(layout.status) or (
        os.path.isfile(layout.journal) and os.path.isfile(layout.lock)
    )
