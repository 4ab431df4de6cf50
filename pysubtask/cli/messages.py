"""What ``--json`` prints: NDJSON, each line one of these, told apart by ``message_type``.

Times are Unix seconds, durations seconds, sizes bytes; a path is the local one unless its name
says otherwise. New fields may come; none changes its meaning. The JSON Schema made of them is
``docs/cli-messages.schema.json`` (``python -m pysubtask.cli.messages``).
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

import msgspec

from pysubtask.arrivals import Kind

__all__ = [
    "ArrivedMessage",
    "CheckMessage",
    "ConfigMessage",
    "DeliveredMessage",
    "DeliveryMessage",
    "ErrorMessage",
    "FailedMessage",
    "FileMessage",
    "HostKeyMessage",
    "LinkMessage",
    "LoginMessage",
    "Message",
    "NoteMessage",
    "ProgressMessage",
    "PullProgressMessage",
    "ResidualMessage",
    "ServiceMessage",
    "SettingMessage",
    "SourceMessage",
    "StatusMessage",
    "SummaryMessage",
    "VerifiedMessage",
    "schema",
]

Verdict: TypeAlias = Literal["ok", "missing", "failed", "unknown", "skipped"]


class _Base(msgspec.Struct, kw_only=True, tag_field="message_type"):
    pass


class ProgressMessage(_Base, tag="progress"):
    """An upload goes on."""

    path: str
    sent_bytes: int
    size_bytes: int
    resumed_bytes: int = 0
    """Of them, what was there before this command began."""
    rate_bytes_per_sec: float | None = None
    """Since the file's first sign of progress; None with the first one."""
    eta_secs: float | None = None
    """Until all of it has arrived, at that rate."""


class PullProgressMessage(_Base, tag="pull_progress"):
    """Fetching goes on."""

    source: str
    fetched_bytes: int
    """Since this command began."""
    pending_bytes: int
    """About so many are still to come, as far as it is known."""
    pending_files: int
    rate_bytes_per_sec: float | None = None
    eta_secs: float | None = None


class ArrivedMessage(_Base, tag="arrived"):
    """A file was fetched, or more of it; it is complete and on the disk."""

    path: str
    kind: Kind
    """``new``, ``grown``, ``replaced``, ``renamed``, or ``conflict``: it lies beside a file that
    was changed here."""
    remote: str
    """Its path on the server."""
    start_bytes: int
    """The first byte that is new."""
    size_bytes: int
    at: float
    delivery: str | None = None


class LinkMessage(_Base, tag="link"):
    """The connection is in another state."""

    link: str
    source: str | None = None
    """Of a source that is fetched from; None: of the delivery."""
    delivery: str | None = None
    error: str | None = None
    error_kind: str | None = None
    next_try: float | None = None


class DeliveredMessage(_Base, tag="delivered"):
    """A file is at the destination, as far as it was known."""

    path: str
    size_bytes: int
    delivery: str | None = None
    resumed_bytes: int | None = None
    secs: float | None = None


class FailedMessage(_Base, tag="failed"):
    """A file could not be delivered or fetched, or not yet."""

    path: str
    error: str
    delivery: str | None = None


class SummaryMessage(_Base, tag="summary"):
    """The last line of a command that treats several things."""

    command: str
    ok: int
    """How many of them are well."""
    total: int
    exit_code: int
    bytes: int | None = None
    resumed_bytes: int | None = None
    secs: float | None = None


class StatusMessage(_Base, tag="status"):
    """A state folder; its files follow as ``file``, its sources as ``source``."""

    state_dir: str
    link: str
    pid: int | None = None
    destination: str | None = None
    since: float | None = None
    next_try: float | None = None
    last_error: str | None = None
    last_error_kind: str | None = None
    pending_bytes: int = 0
    files: int = 0
    files_left_out: int = 0
    updated_at: float | None = None
    notes: tuple[str, ...] = ()


class SourceMessage(_Base, tag="source"):
    """A source that files are fetched from."""

    state_dir: str
    source: str
    to: str
    """The local folder."""
    link: str
    since: float | None = None
    next_try: float | None = None
    looked_at: float | None = None
    files: int = 0
    pending_files: int = 0
    pending_bytes: int = 0
    fetched_bytes: int = 0
    last_error: str | None = None
    last_error_kind: str | None = None
    refused: dict[str, str] = {}
    """Files that can't be fetched, and why."""


class FileMessage(_Base, tag="file"):
    """A watched file."""

    state_dir: str
    path: str
    size_bytes: int | None = None
    notified_at: float | None = None
    delivered_bytes: int = 0
    pending_bytes: int = 0
    sent_bytes: int = 0
    last_error: str | None = None


class CheckMessage(_Base, tag="check"):
    """One check of ``doctor``."""

    name: str
    title: str
    verdict: Verdict
    detail: str
    cost: str | None = None
    """What it costs that this is missing."""
    remedy: str | None = None
    secs: float = 0.0


class HostKeyMessage(_Base, tag="host_key"):
    """A server's host key."""

    host: str
    port: int
    key_type: str
    fingerprint: str
    state: Literal["known", "unknown", "changed", "pinned", "refused"]
    known_hosts: str | None = None


class LoginMessage(_Base, tag="login"):
    """A login was made; the settings for it are in a file."""

    service: Literal["dropbox"]
    file: str


class SettingMessage(_Base, tag="setting"):
    """A setting in force. The value of a secret is not shown."""

    name: str
    value: bool | int | float | str | list[str] | None
    origin: str
    delivery: str | None = None


class ConfigMessage(_Base, tag="config"):
    """A delivery of a configuration that is in order."""

    file: str
    destination: str | None
    watches: list[str]
    state_dir: str
    sources: list[str] = []
    """What is fetched, as URLs without passwords."""
    delivery: str | None = None
    warnings: list[str] = []


class DeliveryMessage(_Base, tag="delivery"):
    """``run`` started or stopped a delivery."""

    event: Literal["started", "stopped", "restarted", "taken_over"]
    delivery: str | None = None
    destination: str | None = None
    sources: list[str] = []
    """What it fetches, as URLs without passwords."""
    state_dir: str | None = None


class ServiceMessage(_Base, tag="service"):
    """A service's definition."""

    kind: Literal["systemd", "launchd", "windows"]
    text: str
    install: str
    """Where it belongs, and how it is started."""


class ResidualMessage(_Base, tag="residual"):
    """Data that a former run left undelivered."""

    path: str
    kind: Literal["owed", "beside"]
    """``owed``: in the journal. ``beside``: beside the watched files, never notified."""
    pending_bytes: int
    state_dir: str | None = None
    destination: str | None = None


class VerifiedMessage(_Base, tag="verified"):
    """A file compared with what is at the destination."""

    path: str
    remote: str
    verdict: Literal["equal", "behind", "different", "missing", "unreadable"]
    size_bytes: int
    remote_bytes: int | None = None
    detail: str = ""


class NoteMessage(_Base, tag="note"):
    """Something that a person should know."""

    text: str


class ErrorMessage(_Base, tag="error"):
    """The command failed; the last line."""

    message: str
    exit_code: int
    attempt: str = msgspec.field(name="try")
    kind: str | None = None
    """The error's class."""


Message: TypeAlias = (
    ProgressMessage
    | PullProgressMessage
    | ArrivedMessage
    | LinkMessage
    | DeliveredMessage
    | FailedMessage
    | SummaryMessage
    | StatusMessage
    | SourceMessage
    | FileMessage
    | CheckMessage
    | HostKeyMessage
    | LoginMessage
    | SettingMessage
    | ConfigMessage
    | DeliveryMessage
    | ServiceMessage
    | ResidualMessage
    | VerifiedMessage
    | NoteMessage
    | ErrorMessage
)


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line."""
    made = msgspec.json.schema(Message)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of pysubtask --json",
        **made,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
