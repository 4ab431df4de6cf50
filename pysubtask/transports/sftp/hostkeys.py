"""Is this the server it should be? ``known_hosts`` files and pinned fingerprints.

The format is that of ``sshd(8)``, section SSH_KNOWN_HOSTS FILE FORMAT: host patterns with ``*``,
``?`` and ``!``, ``[host]:port``, hashed names (``|1|salt|hash``), ``@revoked``. Certificate
authorities (``@cert-authority``) are not supported: their lines are passed over, so that a host
known only by them is unknown. Fingerprints are those of ``ssh-keygen -l``: ``SHA256:`` and base64
without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from pysubtask.errors import HostKeyRefused, SettingsError

__all__ = [
    "HostKeyPolicy",
    "KnownHosts",
    "PinnedKeys",
    "fingerprint",
    "matches_host",
    "policy_for",
]

# Key type to the signature algorithms that prove it (RFC 8332 for RSA), in order of preference.
_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


def fingerprint(key: bytes) -> str:
    """``SHA256:…`` of a public key in its wire form."""
    digest = hashlib.sha256(key).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


class HostKeyPolicy(Protocol):
    """Decides about a server's host key."""

    def algorithms(self, host: str, port: int) -> list[list[str]]:
        """Signature algorithms to offer, by attempt: the next list is for another connection."""

    def check(self, host: str, port: int, key_type: str, key: bytes) -> None:
        """Accept the key or raise.

        Raises:
            HostKeyRefused: the key is unknown, revoked, or not the one that was expected.
        """


def _flat(key_types: Iterable[str]) -> list[str]:
    return [name for key_type in key_types for name in _ALGORITHMS.get(key_type, ())]


class PinnedKeys:
    """Only keys with these fingerprints are accepted.

    A server has several keys and shows one per connection. Which of them is pinned can't be seen
    from a fingerprint, so types are tried one connection after the other, and what worked is
    remembered.
    """

    def __init__(self, fingerprints: Sequence[str]) -> None:
        self._fingerprints = [_checked_fingerprint(text) for text in fingerprints]
        self._last_good: str | None = None

    def __repr__(self) -> str:
        return f"PinnedKeys({self._fingerprints!r})"

    def algorithms(self, host: str, port: int) -> list[list[str]]:
        groups = [["ssh-ed25519"], [name for name in _ALGORITHMS if "ecdsa" in name], ["ssh-rsa"]]
        groups.sort(key=lambda group: self._last_good not in group)
        first = _flat([*groups[0], *groups[1], *groups[2]])
        return [first, _flat([*groups[1], *groups[2]]), _flat(groups[2])]

    def check(self, host: str, port: int, key_type: str, key: bytes) -> None:
        shown = fingerprint(key)
        if not any(hmac.compare_digest(shown, pinned) for pinned in self._fingerprints):
            raise HostKeyRefused(
                f"host key changed: {_name(host, port)} shows {shown} ({key_type}), "
                f"pinned is {', '.join(self._fingerprints)}",
                reason="changed",
                hint="if the server really has a new key, set host_key to its fingerprint",
            )
        self._last_good = key_type


def _checked_fingerprint(text: str) -> str:
    cleaned = text.strip().rstrip("=")
    kind, _, digest = cleaned.partition(":")
    try:
        good = kind == "SHA256" and len(base64.b64decode(digest + "=", validate=True)) == 32
    except (binascii.Error, ValueError):
        good = False
    if not good:
        raise SettingsError(
            f"{text!r} is no fingerprint of a host key",
            operation="setting",
            path="host_key",
            hint="it begins with SHA256: and has 43 more characters, as ssh-keygen -l shows it",
        )
    return cleaned


@dataclass(frozen=True, slots=True)
class _Line:
    names: str
    key_type: str
    key: bytes
    revoked: bool
    where: str


class KnownHosts:
    """Keys from ``known_hosts`` files; read anew for each connection.

    Args:
        paths: files that may be missing, in the order in which they are searched.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = [os.path.expanduser(path) for path in paths]

    def __repr__(self) -> str:
        return f"KnownHosts({self._paths!r})"

    def algorithms(self, host: str, port: int) -> list[list[str]]:
        known = [line.key_type for line in self._lines(host, port) if not line.revoked]
        return [
            _flat([*dict.fromkeys(known), *(kind for kind in _ALGORITHMS if kind not in known)])
        ]

    def check(self, host: str, port: int, key_type: str, key: bytes) -> None:
        lines = self._lines(host, port)
        shown = f"{fingerprint(key)} ({key_type})"
        name = _name(host, port)
        for line in lines:
            if line.revoked and line.key == key:
                raise HostKeyRefused(
                    f"host key revoked: {name} shows {shown}, which {line.where} revokes",
                    reason="revoked",
                )
        good = [line for line in lines if not line.revoked]
        if any(line.key == key for line in good):
            return
        if good:
            other = next((line for line in good if line.key_type == key_type), good[0])
            raise HostKeyRefused(
                f"host key changed: {name} shows {shown}, "
                f"{other.where} has {fingerprint(other.key)} ({other.key_type})",
                reason="changed",
                hint="somebody may be in the way; if the server really has a new key, "
                "remove that line and add the new key",
            )
        raise HostKeyRefused(
            f"host key unknown: {name} shows {shown}",
            reason="unknown",
            hint="if that is the server's fingerprint, set host_key to it or add the key to "
            + self._paths[0],
        )

    def _lines(self, host: str, port: int) -> list[_Line]:
        lines = [line for path in self._paths for line in _read(path)]
        found = [line for line in lines if matches_host(line.names, _name(host, port))]
        if not any(not line.revoked for line in found) and port != 22:
            # As ssh does: a key that is known for the host without a port counts for all ports.
            found += [line for line in lines if matches_host(line.names, host)]
        return found


def policy_for(host_key: str | Sequence[str] | None, known_hosts: str | None) -> HostKeyPolicy:
    """The policy that the settings ask for: pinned keys, or else ``known_hosts`` files.

    Args:
        host_key: a fingerprint or several; nothing else is then looked at.
        known_hosts: one file; default ``~/.ssh/known_hosts``, then the system's.

    Raises:
        SettingsError: a fingerprint that is none.
    """
    if host_key:
        return PinnedKeys([host_key] if isinstance(host_key, str) else list(host_key))
    if known_hosts is not None:
        return KnownHosts([known_hosts])
    return KnownHosts(["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"])


def _name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def _read(path: str) -> list[_Line]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostKeyRefused(
            f"host key unknown: {path} can't be read: {error.strerror or error}",
            reason="unknown",
            retryable=True,
        ) from None
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        fields = raw.split()
        revoked = bool(fields) and fields[0] == "@revoked"
        if revoked:
            fields = fields[1:]
        if len(fields) < 3 or fields[0].startswith(("#", "@")):
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        lines.append(_Line(fields[0], fields[1], key, revoked, f"{path}:{number}"))
    return lines


def matches_host(patterns: str, name: str) -> bool:
    """Whether the first field of a ``known_hosts`` line means the host ``name``."""
    lowered = name.lower()
    if patterns.startswith("|"):
        return _matches_hash(patterns, lowered)
    found = False
    for pattern in patterns.lower().split(","):
        negated = pattern.startswith("!")
        # In these patterns only * and ? are special; fnmatch knows [ ] as well.
        glob = pattern[negated:].replace("[", "[[]")
        if fnmatchcase(lowered, glob):
            if negated:
                return False
            found = True
    return found


def _matches_hash(text: str, name: str) -> bool:
    parts = text.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt = base64.b64decode(parts[2], validate=True)
        expected = base64.b64decode(parts[3], validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), expected)
