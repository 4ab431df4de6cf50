"""Messages made of what the library tells. No password of a URL gets into one."""

from __future__ import annotations

from pysubtask.arrivals import Arrival
from pysubtask.cli.exits import scrub
from pysubtask.cli.messages import (
    ArrivedMessage,
    FileMessage,
    LinkMessage,
    SourceMessage,
    VerifiedMessage,
)
from pysubtask.events import LinkChanged, SourceChanged
from pysubtask.status import FileStatus, PullStatus
from pysubtask.verify import Comparison

__all__ = [
    "arrived_message",
    "file_message",
    "link_message",
    "source_message",
    "verified_message",
]


def file_message(state: str, path: str, file: FileStatus) -> FileMessage:
    """One file of a status; ``state``: its state folder."""
    return FileMessage(
        state_dir=state,
        path=path,
        size_bytes=file.size_bytes,
        notified_at=file.notified_at,
        delivered_bytes=file.delivered_bytes,
        pending_bytes=file.pending_bytes,
        sent_bytes=file.sent_bytes,
        last_error=file.last_error and scrub(file.last_error),
    )


def arrived_message(arrival: Arrival, delivery: str | None = None) -> ArrivedMessage:
    """A file was fetched."""
    return ArrivedMessage(
        path=arrival.path,
        kind=arrival.kind,
        remote=arrival.remote,
        start_bytes=arrival.start_bytes,
        size_bytes=arrival.size_bytes,
        at=arrival.at,
        delivery=delivery,
    )


def source_message(state: str, pull: PullStatus) -> SourceMessage:
    """One source of a status; ``state``: its state folder."""
    return SourceMessage(
        state_dir=state,
        source=pull.source,
        to=pull.to,
        link=pull.link,
        since=pull.since,
        next_try=pull.next_try,
        looked_at=pull.looked_at,
        files=pull.files,
        pending_files=pull.pending_files,
        pending_bytes=pull.pending_bytes,
        fetched_bytes=pull.fetched_bytes,
        last_error=pull.last_error and scrub(pull.last_error),
        last_error_kind=pull.last_error_kind,
        refused={path: scrub(error) for path, error in pull.refused.items()},
    )


def link_message(event: LinkChanged | SourceChanged, delivery: str | None = None) -> LinkMessage:
    """The link is another one; ``delivery``: the name of the delivery, where there are several."""
    return LinkMessage(
        link=event.link,
        source=event.source if isinstance(event, SourceChanged) else None,
        delivery=delivery,
        error=event.error and scrub(event.error),
        error_kind=event.error_kind,
        next_try=event.next_try,
    )


def verified_message(comparison: Comparison) -> VerifiedMessage:
    """How a file compares with the one at the destination."""
    return VerifiedMessage(
        path=comparison.path,
        remote=comparison.remote,
        verdict=comparison.match,
        size_bytes=comparison.size_bytes,
        remote_bytes=comparison.remote_bytes,
        detail=comparison.detail,
    )
