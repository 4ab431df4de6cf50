"""What the subtask is doing, as :meth:`TaskMaster.status` shows it.

The subtask writes a :class:`Status` to ``status.json``; the master adds what only it knows. Times
are Unix seconds or None, sizes are bytes.
"""

from __future__ import annotations

import time
from typing import Any, Literal, TypeAlias

import msgspec

from pysubtask.errors import HostKeyReason

__all__ = [
    "FileStatus",
    "Link",
    "PullStatus",
    "Status",
    "printable",
    "size_words",
    "without_subtask",
]

Link: TypeAlias = Literal["connecting", "connected", "resting", "retrying", "conflict", "gone"]
"""``resting``: no connection, because none is needed. ``retrying``: no connection, and
``next_try`` says when the next one is tried. ``conflict``: another hand changes our files at the
destination. ``gone``: there is no subtask."""


class FileStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One watched file."""

    size_bytes: int | None = None
    """When the subtask looked last; None if it has not, or the file is not there."""
    notified_at: float | None = None
    """The last touch that the subtask saw."""
    delivered_bytes: int = 0
    """How much of the file is at the destination, under its final name."""
    pending_bytes: int = 0
    """How much is known and not yet there."""
    copied_bytes: int = 0
    """How much of that has a copy in the outbox; the rest is in the file only."""
    sent_bytes: int = 0
    """How much of a version that is being uploaded the destination has acknowledged, under a
    temporary name. (Told once a MiB.)"""
    last_error: str | None = None


class PullStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source that files are fetched from."""

    source: str = ""
    """As a URL, without the password."""
    to: str = ""
    """The local folder as declared."""
    link: Link = "resting"
    since: float | None = None
    next_try: float | None = None
    """When the next connection is tried."""
    looked_at: float | None = None
    """When it was looked at last."""
    files: int = 0
    """How many of its files are known."""
    pending_files: int = 0
    """How many of them are being fetched, or wait for that: for their turn, for another try, or
    until they hold still."""
    pending_bytes: int = 0
    """About so much of what the last look found is still to come."""
    fetched_bytes: int = 0
    """What came from there since the subtask started."""
    last_error: str | None = None
    """The true cause of the last trouble, in words; None once it is over."""
    last_error_kind: str | None = None
    """As :attr:`Status.last_error_kind`."""
    last_error_reason: HostKeyReason | None = None
    """As :attr:`Status.last_error_reason`."""
    refused: dict[str, str] = {}
    """Files that can't be fetched, by their local path, with the reason in words; at most 100.
    They are tried again, but for names that no file may have here."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The subtask as a whole. ``str()`` says it in words."""

    pid: int | None = None
    """The subtask's process; None when there is none."""
    link: Link = "gone"
    since: float | None = None
    """Since when ``link`` is as it is."""
    next_try: float | None = None
    """When the next connection is tried."""
    last_error: str | None = None
    """The true cause of the last trouble, in words; None once it is over."""
    last_error_kind: str | None = None
    """For programs: the class of the link's last error (``LoginRefused``, ``HostKeyRefused``,
    ``LinkLost`` … in :mod:`pysubtask.errors`); None if ``last_error`` is not the link's."""
    last_error_reason: HostKeyReason | None = None
    """For programs, where that is ``HostKeyRefused``: why (:attr:`.HostKeyRefused.reason`)."""
    pending_bytes: int = 0
    """What is known and not yet at the destination."""
    copied_bytes: int = 0
    """How much of that has a copy in the outbox, safe from what happens to its file."""
    only_in_files_bytes: int = 0
    """How much of it only the files themselves have, wherever they were renamed to."""
    deleted_bytes: int = 0
    """How much of that is in files that were deleted and that the subtask holds open."""
    outbox_bytes: int = 0
    """What the outbox takes of the disk."""
    outbox_limit_bytes: int | None = None
    """What it may take; None where there is no outbox."""
    outbox_full: str | None = None
    """Which limit keeps new data from being copied, in words; None if none does."""
    given_up_bytes: int = 0
    """What could not be kept, since the subtask started: its files were deleted or changed, and
    there was no copy."""
    files: dict[str, FileStatus] = {}
    """By the path as declared (folder + ``/`` + name for files in folders)."""
    files_left_out: int = 0
    """Pending or failed files in folders that ``files`` has no room for."""
    destination: str | None = None
    """As a URL, without the password."""
    pulls: tuple[PullStatus, ...] = ()
    """What is fetched, one for each source."""
    notes: tuple[str, ...] = ()
    """What a person should know although nothing failed."""
    updated_at: float | None = None
    """When the subtask wrote this."""

    # added by the master
    restarts: int = 0
    """How often the subtask was started again since ``start()``."""
    notify_failures: int = 0
    """Touches that could not be written; the next notify of the file tries again."""
    last_notify_error: str | None = None
    taken_over: bool = False
    """Another master has taken the state folder; this one's subtask left and stays away."""

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Status:
        """From plain values; unknown ones (of a newer version) are passed over.

        Raises:
            msgspec.ValidationError: a value has the wrong type.
        """
        return msgspec.convert(plain, cls)

    def __str__(self) -> str:
        return "\n".join(_lines(self, time.time()))


def without_subtask(pulls: tuple[PullStatus, ...]) -> tuple[PullStatus, ...]:
    """The sources as they are when no subtask runs: nothing is on its way."""
    return tuple(msgspec.structs.replace(pull, link="gone", next_try=None) for pull in pulls)


def _lines(status: Status, now: float) -> list[str]:
    where = f" {status.destination}" if status.destination else ""
    pid = f" (subtask {status.pid})" if status.pid else ""
    lines = [f"{_link_words(status, now)}{where}{pid}"]
    if status.link == "gone" and status.next_try is not None:
        lines.append(f"the next subtask starts in {max(0, round(status.next_try - now))} s")
    if status.taken_over:
        lines.append("another program has taken over the state folder")
    if status.last_error:
        lines.append(f"last error: {printable(status.last_error)}")
    if status.pending_bytes:
        lines.append(f"pending: {size_words(status.pending_bytes)}{_held_words(status)}")
    if status.outbox_full:
        lines.append(status.outbox_full)
    if status.given_up_bytes:
        lines.append(f"given up: {size_words(status.given_up_bytes)} (see the log)")
    if status.restarts:
        times = "once" if status.restarts == 1 else f"{status.restarts} times"
        lines.append(f"restarted {times}")
    if status.notify_failures:
        lines.append(
            f"{status.notify_failures} failed notifies: {printable(status.last_notify_error or '')}"
        )
    lines.extend(map(printable, status.notes))
    lines.extend(_pull_words(pull, now) for pull in status.pulls)
    for path, file in status.files.items():
        lines.append(f"  {printable(path)}: {_file_words(file)}")
    if status.files_left_out:
        lines.append(f"  … and {status.files_left_out} more")
    return lines


def _link_words(status: Status, now: float) -> str:
    words = {
        "connecting": "connecting to",
        "connected": "connected to",
        "resting": "resting, nothing to deliver to",
        "retrying": "not connected to",
        "conflict": "in conflict: another hand changes our files at",
        "gone": "no subtask runs for",
    }[status.link]
    if not status.destination:
        words = words.removesuffix(" to").removesuffix(" for").removesuffix(" at")
    if status.link == "retrying" and status.next_try is not None:
        wait = max(0, round(status.next_try - now))
        words = f"next try in {wait} s, {words}"
    return words


def _file_words(file: FileStatus) -> str:
    if file == FileStatus():
        return "not notified yet"
    if file.size_bytes is None:
        text = "not there" if not file.pending_bytes else "gone"
    else:
        text = size_words(file.size_bytes)
    text += f", {size_words(file.delivered_bytes)} delivered"
    if file.pending_bytes:
        text += f", {size_words(file.pending_bytes)} pending"
    if file.last_error:
        text += f"; {printable(file.last_error)}"
    return text


def _pull_words(pull: PullStatus, now: float) -> str:
    text = f"  {printable(pull.to)} ← {printable(pull.source)}: {pull.link}"
    if pull.next_try is not None:
        text += f", next try in {max(0, round(pull.next_try - now))} s"
    text += f", {pull.files} file" + ("" if pull.files == 1 else "s")
    if pull.pending_files:
        text += f", {pull.pending_files} pending"
    if pull.pending_bytes:
        text += f" ({size_words(pull.pending_bytes)})"
    if pull.last_error:
        text += f"; {pull.last_error}"
    return text


def _held_words(status: Status) -> str:
    """Where it is held."""
    places = []
    if status.copied_bytes:
        places.append(f"{size_words(status.copied_bytes)} copied to the outbox")
    in_files = status.only_in_files_bytes - status.deleted_bytes
    if in_files > 0:
        places.append(f"{size_words(in_files)} in their files only")
    if status.deleted_bytes:
        places.append(f"{size_words(status.deleted_bytes)} in deleted files that are held open")
    return f": {', '.join(places)}" if places else ""


def size_words(count: float) -> str:
    """A number of bytes for people: ``64.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def printable(text: str) -> str:
    """``text`` with lone surrogates and control characters escaped, so that it can be shown."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
