"""Pinning a server's host key: what it shows, whether that is known, writing it down."""

from __future__ import annotations

import base64
import os
from typing import Literal, TypeAlias

from pysubtask.errors import HostKeyRefused, SettingsError
from pysubtask.settings import Settings
from pysubtask.transports.sftp.hostkeys import matches_host, policy_for
from pysubtask.transports.sftp.scan import ServerKey, scan_host_key
from pysubtask.urls import Destination

__all__ = ["Judgement", "ServerKey", "judge", "known_hosts_file", "look", "pin"]

Judgement: TypeAlias = Literal["known", "unknown", "changed", "refused"]


def look(destination: Destination, settings: Settings) -> ServerKey:
    """The host key that the server shows; nobody logs in.

    Raises:
        LinkError: there is no SSH server.
        SettingsError: this kind of destination has no host key of its own.
    """
    if destination.scheme != "sftp" or settings.ssh_command is not None:
        why = "ssh_command" if destination.scheme == "sftp" else f"{destination.scheme}://"
        raise SettingsError(
            f"with {why} there is no host key for pysubtask to check",
            operation="look at the host key of",
            path=str(destination),
            hint="with ssh_command: connect once by that command; ftps: ca_file"
            if destination.scheme != "file"
            else "nothing: a folder needs none",
        )
    return scan_host_key(
        destination.host,
        destination.port,
        host_key=settings.host_key,
        known_hosts=settings.known_hosts,
        connect_timeout_secs=settings.connect_timeout_secs,
        login_timeout_secs=settings.login_timeout_secs,
    )


def judge(key: ServerKey, settings: Settings) -> tuple[Judgement, HostKeyRefused | None]:
    """Whether a connection would accept the key, and if not, why."""
    policy = policy_for(settings.host_key or None, settings.known_hosts)
    try:
        policy.check(key.host, key.port, key.key_type, key.key)
    except HostKeyRefused as error:
        if error.reason == "unknown" or error.reason == "changed":
            return error.reason, error
        return "refused", error
    return "known", None


def known_hosts_file(settings: Settings) -> str:
    """Where keys are written down."""
    return os.path.expanduser(settings.known_hosts or "~/.ssh/known_hosts")


def pin(key: ServerKey, known_hosts: str, *, replace: bool = False) -> None:
    """Add the key to a ``known_hosts`` file, which is made (mode 0600) if need be.

    Args:
        replace: take out the host's other keys, and those of its name; the former file is kept as
            ``….old``.

    Raises:
        OSError: it can't be written.
    """
    name = key.host if key.port == 22 else f"[{key.host}]:{key.port}"
    line = f"{name} {key.key_type} {base64.b64encode(key.key).decode('ascii')}\n"
    os.makedirs(os.path.dirname(known_hosts) or ".", mode=0o700, exist_ok=True)
    before = ""
    try:
        with open(known_hosts, encoding="utf-8", errors="surrogateescape") as file:
            before = file.read()
    except FileNotFoundError:
        pass
    kept = before
    if replace:
        kept = "".join(text for text in before.splitlines(keepends=True) if not _is_of(text, name))
    if kept and not kept.endswith("\n"):
        kept += "\n"
    if kept != before and before:
        _write(f"{known_hosts}.old", before)
    _write(known_hosts, kept + line)


def _is_of(text: str, name: str) -> bool:
    fields = text.split()
    return len(fields) >= 3 and not fields[0].startswith("#") and matches_host(fields[0], name)


def _write(path: str, text: str) -> None:
    """In one step; an existing file's mode stays."""
    path = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o600
    temporary = f"{path}.{os.urandom(8).hex()}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
