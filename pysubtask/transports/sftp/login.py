"""Who we are for an SSH server: password, key file, agent, default keys."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from pysubtask.errors import LinkLost, LoginRefused

if TYPE_CHECKING:
    import paramiko

__all__ = ["Credentials", "RevealsText"]

LastWords: TypeAlias = Callable[[], str | None]

_DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

_AGENT_SECS = 10.0

_MOST_KEYS = 5
"""Servers hang up after six tries (``MaxAuthTries`` of ``sshd_config(5)``)."""


@runtime_checkable
class RevealsText(Protocol):
    """A secret that shows itself only when asked to."""

    def reveal(self) -> str: ...


def _reveal(secret: str | RevealsText | None) -> str | None:
    return secret.reveal() if isinstance(secret, RevealsText) else secret


class _Outcome:
    """What one try at logging in came to."""

    def __init__(self, *, ok: bool = False, offered: str = "", link: str | None = None) -> None:
        self.ok = ok
        self.offered = offered
        """Methods that the server takes instead, if it said so."""
        self.link = link
        """Set if the connection failed rather than the login."""


class Credentials:
    """Logs in; keeps secrets out of ``repr``, errors and their tracebacks.

    Args:
        user: default: the local user's name.
        password: with it neither the agent nor the default keys are offered.
        key_file: offered first.
        key_passphrase: opens ``key_file``.
    """

    def __init__(
        self,
        user: str | None,
        password: str | RevealsText | None,
        key_file: str | None,
        key_passphrase: str | RevealsText | None,
    ) -> None:
        self.user = user or getpass.getuser()
        self._secrets = _Secrets(password, key_passphrase)
        self._key_file = key_file

    def log_in(self, transport: paramiko.Transport, last_words: LastWords) -> None:
        """Authenticate by what there is.

        Args:
            transport: with the keys exchanged and the host key checked.
            last_words: why the connection ended, if it did and that is known.

        Raises:
            LoginRefused: the server accepts nothing of it, or the key file can't be used.
            LinkLost: the connection broke over it.
        """
        user = self.user
        offered = ""
        if self._key_file is not None:
            key = _load_key(self._key_file, self._secrets)
            outcome = _try_key(transport, user, key, last_words)
            if outcome.ok:
                return
            offered = outcome.offered
            if self._secrets.password is None:
                raise self._refusal(f"the key {self._key_file} is not accepted for {user}", offered)
        if self._secrets.password is not None:
            outcome = _try_password(transport, user, self._secrets, last_words)
            if outcome.ok:
                return
            words = f"wrong password for {user} (or the account is locked or expired)"
            if outcome.offered and "password" not in outcome.offered:
                words = f"the server takes no password from {user}"
            raise self._refusal(words, outcome.offered)
        tried = 0
        for key in _own_keys():
            outcome = _try_key(transport, user, key, last_words)
            if outcome.ok:
                return
            offered = outcome.offered
            tried += 1
            if tried >= _MOST_KEYS:
                break
        if tried:
            words = f"none of {tried} keys (agent, ~/.ssh) is accepted for {user}"
        else:
            words = f"no password, no key file, no agent and no key in ~/.ssh for {user}"
        raise self._refusal(words, offered)

    def _refusal(self, words: str, offered: str) -> LoginRefused:
        hint = f"the server takes: {offered}" if offered else None
        return LoginRefused(f"login refused: {words}", hint=hint)


class _Secrets:
    """Holds secrets so that a debugger's or traceback's view of variables does not show them."""

    def __init__(
        self, password: str | RevealsText | None, passphrase: str | RevealsText | None
    ) -> None:
        self.password = password
        self.passphrase = passphrase

    def __repr__(self) -> str:
        return "<secrets>"


def _judge(error: Exception, last_words: LastWords) -> _Outcome:
    """Refused, or did the connection break? paramiko tells them apart by text only
    (``AuthHandler.wait_for_response``); a server may well refuse and then hang up."""
    import paramiko

    if isinstance(error, paramiko.BadAuthenticationType):
        return _Outcome(offered=", ".join(error.allowed_types))
    if isinstance(error, paramiko.AuthenticationException):
        text = str(error).lower()
        if "timeout" in text:
            return _Outcome(link="no answer to the login in time")
        if "shut down" not in text:
            return _Outcome()
    said = last_words() or "the server closed the connection during the login"
    if "authentication failures" in said.lower():  # OpenSSH, after MaxAuthTries
        return _Outcome()
    return _Outcome(link=said)


def _settle(outcome: _Outcome) -> _Outcome:
    if outcome.link is not None:
        raise LinkLost(outcome.link, operation="log in")
    return outcome


def _try_password(
    transport: paramiko.Transport, user: str, secrets: _Secrets, last_words: LastWords
) -> _Outcome:
    # The error is judged and dropped: its traceback would hold paramiko's variables.
    import paramiko

    try:
        more = transport.auth_password(user, _reveal(secrets.password) or "")
        outcome = _Outcome(ok=not more, offered=", ".join(more))
    except (paramiko.SSHException, EOFError, OSError) as error:
        outcome = _judge(error, last_words)
    if outcome.offered and not outcome.ok and "password" in outcome.offered:
        outcome.offered = ""
    return _settle(outcome)


def _try_key(
    transport: paramiko.Transport, user: str, key: paramiko.PKey, last_words: LastWords
) -> _Outcome:
    import paramiko

    try:
        more = transport.auth_publickey(user, key)
        outcome = _Outcome(ok=not more, offered=", ".join(more))
    except (paramiko.SSHException, EOFError, OSError) as error:
        outcome = _judge(error, last_words)
    return _settle(outcome)


def _load_key(path: str, secrets: _Secrets) -> paramiko.PKey:
    words: str
    hint = None
    try:
        return _load(path, _reveal(secrets.passphrase))
    except FileNotFoundError:
        words = f"there is no key file {path}"
    except OSError as error:
        words = f"the key file {path} can't be read: {error.strerror or error}"
    except Exception as error:
        # cryptography raises TypeError for a missing, ValueError for a wrong passphrase or a file
        # that is no key; paramiko's own errors join them.
        text = str(error).lower()
        vague = "unsupported algorithm" in text  # cryptography before 45 says that of anything
        if vague and secrets.passphrase is None:
            words = (
                f"{path} is no private key of a kind that is known here, or needs its passphrase"
            )
            hint = "set key_passphrase"
        elif isinstance(error, TypeError) or ("encrypted" in text and not vague):
            words, hint = f"the key file {path} needs its passphrase", "set key_passphrase"
            if secrets.passphrase is not None and "not encrypted" in text:
                words, hint = f"the key file {path} has no passphrase", "remove key_passphrase"
        elif secrets.passphrase is not None:
            words = f"wrong passphrase for the key file {path}, or no key in it"
        else:
            words = f"{path} is no private key of a kind that is known here"
    raise LoginRefused(f"login refused: {words}", hint=hint)


def _load(path: str, passphrase: str | None) -> paramiko.PKey:
    import paramiko

    secret = None if passphrase is None else passphrase.encode("utf-8")
    return paramiko.PKey.from_path(os.path.expanduser(path), secret)


def _own_keys() -> Iterator[paramiko.PKey]:
    """The agent's keys, then the default files that need no passphrase."""
    from paramiko.agent import get_agent_connection

    connection = get_agent_connection()
    if connection is not None:
        try:
            yield from _agent_keys(connection)
        finally:
            connection.close()
    for path in _DEFAULT_KEYS:
        if os.path.isfile(os.path.expanduser(path)):
            key = _load_if_open(path)
            if key is not None:
                yield key


def _agent_keys(connection: Any) -> Sequence[paramiko.PKey]:
    """None of an agent that does not answer: one behind a forwarding whose link is gone, say."""
    import paramiko
    from paramiko.agent import AgentSSH

    agent: Any = AgentSSH()
    set_timeout = getattr(connection, "settimeout", None)  # on Windows it is no socket
    try:
        if set_timeout is not None:
            set_timeout(_AGENT_SECS)
        agent._connect(connection)
        if set_timeout is not None:
            set_timeout(None)  # to sign may take a touch; that is the login's own limit
    except (paramiko.SSHException, OSError, EOFError):
        return ()
    keys: Sequence[paramiko.PKey] = agent.get_keys()
    return keys


def _load_if_open(path: str) -> paramiko.PKey | None:
    """A default key, unless it has a passphrase or is of a kind that is not known here."""
    try:
        return _load(path, None)
    except Exception:
        return None
