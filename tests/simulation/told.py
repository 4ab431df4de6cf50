"""What ``status()`` says, held against what is so.

Its sums are kept up to date with each change; here they are added up again, from what the journal
has and from what lies in the outbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pysubtask.status import Status

if TYPE_CHECKING:
    from tests.simulation.child import Child
    from tests.simulation.filesystem import SimFileSystem

__all__ = ["untrue", "untrue_at_rest"]


def untrue(child: Child, fs: SimFileSystem, outbox: str) -> str:
    """What it says that is not so; ``""`` if all of it is."""
    status, owed = child.status(), child.owed()
    lies = sum(len(fs.file(f"{outbox}/{name}").data) for name in fs.directory(outbox).entries)
    for what, said, true in (
        ("pending_bytes", status.pending_bytes, owed.total_bytes),
        ("copied_bytes", status.copied_bytes, owed.copied_bytes),
        ("only_in_files_bytes", status.only_in_files_bytes, owed.only_in_files_bytes),
        ("outbox_bytes", status.outbox_bytes, lies),
    ):
        if said != true:
            return f"{what} is {said}, and {true} are so"
    if not status.files_left_out:
        pending = sum(file.pending_bytes for file in status.files.values())
        copied = sum(file.copied_bytes for file in status.files.values())
        if (pending, copied) != (owed.total_bytes, owed.copied_bytes):
            return f"the files' pending_bytes are {pending}, copied_bytes {copied}, not {owed}"
    if child.is_connected() != (status.link == "connected") and status.link != "conflict":
        return f"the link is {status.link!r}, and connected: {child.is_connected()}"
    limit = status.outbox_limit_bytes
    if limit is not None and lies > limit:
        return f"the outbox takes {lies} bytes, and {limit} are its limit"
    return ""


def untrue_at_rest(status: Status, shown: Mapping[str, int]) -> str:
    """What it complains of when all is delivered and nothing goes wrong any more.

    Args:
        shown: how much of a declared file a reader finds at the destination.
    """
    if status.last_error:
        return f"last_error is {status.last_error!r}, and all is well"
    if status.outbox_full:
        return f"outbox_full is {status.outbox_full!r}, and nothing is owed"
    for path, file in status.files.items():
        if file.last_error or file.pending_bytes:
            return f"{path!r} is {file}, and all is well"
        if path in shown and file.delivered_bytes != shown[path]:
            return f"{path!r} is {file}, and {shown[path]} bytes are there"
    if status.link not in ("connected", "resting"):
        return f"the link is {status.link!r}, and all is well"
    return ""
