"""Messages made of what the library tells. No password of a URL gets into one."""

from __future__ import annotations

from pysubtask.cli.exits import scrub
from pysubtask.cli.messages import FileMessage, LinkMessage, VerifiedMessage
from pysubtask.events import LinkChanged
from pysubtask.status import FileStatus
from pysubtask.verify import Comparison

__all__ = ["file_message", "link_message", "verified_message"]


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


def link_message(event: LinkChanged, delivery: str | None = None) -> LinkMessage:
    """The link is another one; ``delivery``: the name of the delivery, where there are several."""
    return LinkMessage(
        link=event.link,
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
