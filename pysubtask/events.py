"""What changed between two looks at a status, as typed events for the host program.

::

    for event in master.events():
        match event:
            case Delivered(path, size_bytes):
                ...
            case LinkChanged(link="retrying", error=error):
                ...

Nothing is pushed: the program polls when it likes, in any thread, and what happened and was over
between two polls is not told. The functions here are pure; :meth:`pysubtask.TaskMaster.events`
keeps the status of the poll before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pysubtask.status import FileStatus, Link, PullStatus, Status

__all__ = [
    "Delivered",
    "Event",
    "FileFailed",
    "FileRecovered",
    "LinkChanged",
    "Pending",
    "Progress",
    "Restarted",
    "SourceChanged",
    "TakenOver",
    "between",
]


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The connection is in another state, or its last error is another one."""

    link: Link
    error: str | None = None
    """In words, as in ``status().last_error``."""
    error_kind: str | None = None
    """The class of the error, such as ``LoginRefused``."""
    next_try: float | None = None
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """The connection to a source is in another state, or its last error is another one. What is
    fetched is told by :meth:`pysubtask.TaskMaster.arrivals`."""

    source: str
    """As in ``status().pulls``."""
    link: Link
    error: str | None = None
    error_kind: str | None = None
    next_try: float | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The subtask knows of bytes that are not at the destination yet; there were none before."""

    path: str
    pending_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """More of a file has arrived, and more is pending. ``sent_bytes`` counts an upload under its
    temporary name, too."""

    path: str
    sent_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """All that is known of a file is at the destination, under its final name."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file can't be read, or the destination refuses it; it is tried again."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class FileRecovered:
    """The trouble with a file is over."""

    path: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The subtask had ended unasked and was started again, so often since ``start()``."""

    restarts: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Another master has taken the state folder; this one delivers no more."""


Event: TypeAlias = (
    LinkChanged
    | SourceChanged
    | Pending
    | Progress
    | Delivered
    | FileFailed
    | FileRecovered
    | Restarted
    | TakenOver
)


def between(before: Status | None, after: Status) -> list[Event]:
    """The events that lead from one status to the next; ``None``: from nothing known."""
    events: list[Event] = []
    old = Status() if before is None else before
    if after.restarts > old.restarts:
        events.append(Restarted(after.restarts))
    if after.taken_over and not old.taken_over:
        events.append(TakenOver())
    link = (after.link, after.last_error_kind)
    if before is None or link != (old.link, old.last_error_kind) or _other_words(old, after):
        of_link = after.last_error_kind is not None or after.link == "gone"
        events.append(
            LinkChanged(
                after.link,
                after.last_error if of_link else None,
                after.last_error_kind,
                after.next_try,
            )
        )
    known = {(pull.source, pull.to): pull for pull in old.pulls}
    for pull in after.pulls:
        events.extend(_of_source(known.get((pull.source, pull.to)), pull))
    for path, file in after.files.items():
        events.extend(_of_file(path, old.files.get(path) or FileStatus(), file))
    return events


def _of_source(old: PullStatus | None, new: PullStatus) -> list[Event]:
    if old is not None and (old.link, old.last_error) == (new.link, new.last_error):
        return []
    error, kind = new.last_error, new.last_error_kind
    return [SourceChanged(new.source, new.link, error, kind, new.next_try)]


def _other_words(old: Status, new: Status) -> bool:
    return new.last_error_kind is not None and new.last_error != old.last_error


def _of_file(path: str, old: FileStatus, new: FileStatus) -> list[Event]:
    events: list[Event] = []
    if new.last_error and new.last_error != old.last_error:
        events.append(FileFailed(path, new.last_error))
    if old.last_error and not new.last_error:
        events.append(FileRecovered(path))
    if new.pending_bytes:
        if not old.pending_bytes:
            events.append(Pending(path, new.pending_bytes))
        if _sent(new) > _sent(old):
            events.append(Progress(path, _sent(new), new.size_bytes or 0))
    elif new.delivered_bytes and (
        old.pending_bytes
        or new.delivered_bytes != old.delivered_bytes
        or new.notified_at != old.notified_at
    ):
        events.append(Delivered(path, new.delivered_bytes))
    return events


def _sent(file: FileStatus) -> int:
    return max(file.delivered_bytes, file.sent_bytes)
