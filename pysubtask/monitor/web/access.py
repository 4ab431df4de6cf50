"""Who may do what: a password for people, keys for programs. Only hashes are stored.

The password goes through scrypt (RFC 7914; slow on purpose). Keys and sessions are 256 random bits,
which nobody guesses, so one SHA-256 is enough for them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from pysubtask.errors import SettingsError
from pysubtask.monitor.history import History

__all__ = ["Access", "Scope", "hash_password", "place_of"]

SESSION_SECS = 14 * 86_400.0
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_MAX_TRIES, _TRIES_SECS = 10, 60.0
"""So many wrong passwords a minute from one place; then those from there wait."""
_MAX_TRIES_OF_ALL = 100
"""So many from all places together: then everybody waits, for each costs 50 ms and 16 MiB."""
_HASHES_AT_ONCE = 2
_KEY_CACHE_SECS = 10.0


class Scope(IntEnum):
    """Each includes those before it."""

    NOTHING = 0
    METRICS = 1
    READ = 2
    WRITE = 3


def hash_password(password: str, salt: bytes | None = None) -> str:
    """``scrypt$salt$hash``, in hex."""
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT)
    return f"scrypt${salt.hex()}${digest.hex()}"


def settle_password(history: History, password: str) -> str:
    """The hash of the password; whoever logged in with another one has to do so again."""
    stored = history.get("password")
    if isinstance(stored, str):
        salt = bytes.fromhex(stored.split("$")[1])
        if hmac.compare_digest(hash_password(password, salt), stored):
            return stored
    made = hash_password(password)
    history.query("DELETE FROM sessions")
    history.put("password", made)
    return made


class Access:
    """Checks passwords, sessions and keys.

    Args:
        password_hash: None: nobody has to log in (loopback only; the command sees to it).
    """

    def __init__(
        self,
        history: History,
        lock: threading.RLock,
        password_hash: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history, self._lock, self._clock = history, lock, clock
        self._password = password_hash
        self._tries: list[tuple[float, str]] = []
        self._hashing = threading.BoundedSemaphore(_HASHES_AT_ONCE)
        # What was found lately, so that not each request has to wait for the history.
        self._sessions: dict[str, float] = {}
        self._keys: dict[str, tuple[Scope, float]] = {}

    @property
    def open(self) -> bool:
        """Whether everybody who can connect may do everything."""
        return self._password is None

    def log_in(self, password: str, address: str = "") -> str | None:
        """A new session's secret; None if the password is wrong.

        Args:
            address: whose tries are counted together: who guesses locks nobody else out, unless
                all together guess too often.

        Raises:
            PermissionError: too many were wrong lately.
        """
        place = place_of(address)
        now = self._clock()
        if self._password is None:
            return None
        with self._lock:
            self._tries = [(at, who) for at, who in self._tries if now - at < _TRIES_SECS]
            mine = sum(who == place for _, who in self._tries)
            if mine >= _MAX_TRIES or len(self._tries) >= _MAX_TRIES_OF_ALL:
                raise PermissionError("too many wrong passwords; wait a minute")
            self._tries.append((now, place))
        salt = bytes.fromhex(self._password.split("$")[1])
        with self._hashing:
            found = hash_password(password, salt)
        if not hmac.compare_digest(found, self._password):
            return None
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._tries = [(at, who) for at, who in self._tries if who != place]
            self._history.query(
                "INSERT INTO sessions VALUES (?, ?)", _digest(secret), now + SESSION_SECS
            )
        return secret

    def log_out(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._history.query("DELETE FROM sessions WHERE hash = ?", _digest(secret))
            self._sessions.pop(_digest(secret), None)

    def of_session(self, secret: str | None) -> Scope:
        """What the holder of a session's cookie may do."""
        if self.open:
            return Scope.WRITE
        if not secret:
            return Scope.NOTHING
        digest, now = _digest(secret), self._clock()
        if self._sessions.get(digest, 0.0) > now:
            return Scope.WRITE
        with self._lock:
            rows = self._history.query("SELECT until FROM sessions WHERE hash = ?", digest)
            if not rows or rows[0][0] <= now:
                return Scope.NOTHING
            self._sessions[digest] = rows[0][0]  # a log-out comes before this, or after
        return Scope.WRITE

    def of_key(self, key: str) -> Scope:
        """What the holder of a key may do."""
        digest, now = _digest(key), self._clock()
        scope, until = self._keys.get(digest, (Scope.NOTHING, 0.0))
        if now < until <= now + _KEY_CACHE_SECS:
            return scope
        with self._lock:
            rows = self._history.query("SELECT scope FROM keys WHERE hash = ?", digest)
        if not rows:  # not remembered: a stranger could fill the memory
            self._keys.pop(digest, None)
            return Scope.NOTHING
        scope = Scope[rows[0][0]]
        self._keys[digest] = (scope, now + _KEY_CACHE_SECS)
        return scope

    def make_key(self, name: str, scope: Scope) -> str:
        """A new key; shown once, never stored."""
        if scope is Scope.NOTHING:
            raise SettingsError("a key that may do nothing is of no use", operation="make a key")
        public, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = f"psm_{public}_{secret}"
        with self._lock:
            self._history.query(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                public,
                name,
                _digest(key),
                scope.name,
                self._clock(),
            )
        return key

    def all_keys(self) -> list[tuple[str, str, str, float]]:
        """All keys: id, name, scope, when made."""
        with self._lock:
            rows = self._history.query("SELECT id, name, scope, made_at FROM keys ORDER BY made_at")
        return [(row[0], row[1], row[2].lower(), row[3]) for row in rows]

    def drop_key(self, key_id: str) -> bool:
        """Make a key worthless; a monitor that runs notices within ten seconds."""
        self._keys.clear()
        with self._lock:
            found = self._history.query("SELECT 1 FROM keys WHERE id = ?", key_id)
            self._history.query("DELETE FROM keys WHERE id = ?", key_id)
        return bool(found)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def place_of(address: str) -> str:
    """An address, or the network of 64 bits that one line gives a choice of (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), 64), strict=False))
