"""Where a secret may come from, other than an argument list or a program's own text.

Each secret setting has five further names: ``password_file``, ``password_command``,
``password_env``, ``password_keyring``, ``password_credential``, and the same for
``key_passphrase``, ``dropbox_refresh_token`` and ``dropbox_access_token``. They are settings in
every place where settings are given; the secret itself is fetched when the settings are put
together, in the program's process.
"""

from __future__ import annotations

import os
import shlex
import stat
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any

from pysubtask.errors import SettingsError
from pysubtask.secret import Secret

__all__ = [
    "PASSWORD_SOURCES",
    "SECRETS",
    "SOURCES",
    "check_private",
    "fetch",
    "from_command",
    "from_credential",
    "from_environment",
    "from_file",
    "from_keyring",
    "lay",
    "secret_of",
]

SECRETS = ("password", "key_passphrase", "dropbox_refresh_token", "dropbox_access_token")
"""Settings whose value must not be seen."""

_WAYS = ("file", "command", "env", "keyring", "credential")

SOURCES = tuple(f"{secret}_{way}" for secret in SECRETS for way in _WAYS)
"""Names that stand for a secret setting."""

PASSWORD_SOURCES = tuple(f"password_{way}" for way in _WAYS)

COMMAND_SECS = 60.0
_LIMIT_BYTES = 1 << 16


def secret_of(name: str) -> str | None:
    """The secret setting that ``name`` is, or is a source of; None: neither."""
    if name in SECRETS:
        return name
    return name.rpartition("_")[0] if name in SOURCES else None


def lay(below: MutableMapping[str, Any], above: Mapping[str, Any]) -> None:
    """Put settings over others: one source of a secret takes the place of every other."""
    for name, value in above.items():
        secret = secret_of(name)
        if secret is not None:
            for other in (secret, *(f"{secret}_{way}" for way in _WAYS)):
                below.pop(other, None)
        below[name] = value


def fetch(name: str, text: str, environ: Mapping[str, str] | None = None) -> Secret:
    """The secret from the source ``name``.

    Args:
        name: one of :data:`SOURCES`.
        text: its value: a path, a command, a name.
        environ: instead of the process's environment.

    Raises:
        SettingsError: it can't be had. The message never shows it.
    """
    secret, _, way = name.rpartition("_")
    environ = os.environ if environ is None else environ
    if way == "file":
        return from_file(text, secret)
    if way == "command":
        return from_command(text, secret)
    if way == "keyring":
        return from_keyring(text, secret)
    if way == "credential":
        return from_credential(text, environ, secret)
    return from_environment(text, environ, secret)


def check_private(path: str, operation: str) -> None:
    """Refuse a file with a secret that others may read (POSIX; not checked on Windows).

    Raises:
        SettingsError: others may read it, or it is not there.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise SettingsError(error.strerror or str(error), operation=operation, path=path) from None
    _check_mode(found.st_mode, path, operation)


def _check_mode(mode: int, path: str, operation: str) -> None:
    # systemd lets a service's user into the service's own folder by an access control list, whose
    # mask shows as the group's bits: those are not to be judged there.
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    is_credential = bool(folder) and os.path.dirname(os.path.abspath(path)) == folder
    if os.name == "posix" and mode & (0o007 if is_credential else 0o077):
        raise SettingsError(
            f"others than its owner may read it (mode {stat.S_IMODE(mode):04o})",
            operation=operation,
            path=path,
            hint=f"chmod 600 {shlex.quote(path)}",
        )


def from_file(path: str, what: str = "password") -> Secret:
    """The first line of a file that only its owner may read.

    Raises:
        SettingsError: the file is missing, empty, or open to others.
    """
    return _from_file(os.path.expanduser(path), f"read the {what} from")


def _from_file(path: str, operation: str) -> Secret:
    try:
        with open(path, "rb") as file:
            # of the open file: nobody can put another in its place in between
            _check_mode(os.fstat(file.fileno()).st_mode, path, operation)
            text = file.read(_LIMIT_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(words or str(error), operation=operation, path=path) from None
    return _first_line(text, operation, path)


def from_command(command: str, what: str = "password") -> Secret:
    """The first line that a command prints, such as ``pass show collector``.

    It is split as a shell splits words, run without a shell, and may take 60 s. Its standard error
    goes where ours goes.

    Raises:
        SettingsError: it can't be run, fails, or prints nothing.
    """
    import subprocess  # late: a program that only imports us has no need of it

    operation = f"run the {what} command"
    try:
        words = shlex.split(command, posix=os.name != "nt")
    except ValueError as error:
        raise SettingsError(str(error), operation=operation) from None
    if not words:
        raise SettingsError("it is empty", operation=operation)
    program = words[0]  # alone in messages: arguments may say more than they should
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_SECS
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"it did not end within {COMMAND_SECS:.0f} s", operation=operation, path=program
        ) from None
    except OSError as error:
        raise SettingsError(
            error.strerror or str(error), operation=operation, path=program
        ) from None
    if done.returncode != 0:
        raise SettingsError(
            f"it ended with exit code {done.returncode}",
            operation=operation,
            path=program,
            hint="run it by hand",
        )
    return _first_line(done.stdout.decode("utf-8", "replace"), operation, program)


def from_environment(name: str, environ: Mapping[str, str], what: str = "password") -> Secret:
    """The value of the environment variable ``name``.

    Raises:
        SettingsError: it is not set.
    """
    value = environ.get(name)
    if not value:
        raise SettingsError(
            "it is not set", operation=f"read the {what} from the variable", path=name
        )
    return Secret(value)


def from_keyring(entry: str, what: str = "password") -> Secret:
    """From the system's keyring (Secret Service, KWallet, macOS Keychain, Windows Credential
    Locker), by the package of the extra ``pysubtask[keyring]``.

    Args:
        entry: ``SERVICE/USER``, as given to ``keyring set SERVICE USER``; the last slash counts.

    Raises:
        SettingsError: no such entry, no keyring, or it did not answer within 60 s (a locked one
            may ask its user).
    """
    operation = f"read the {what} from the keyring"
    service, slash, user = entry.rpartition("/")
    if not slash or not service or not user:
        raise SettingsError("must be SERVICE/USER", operation=operation, path=entry)
    try:
        import keyring
    except ImportError:
        raise SettingsError(
            "the package keyring is not installed",
            operation=operation,
            path=entry,
            hint='python -m pip install "pysubtask[keyring]"',
        ) from None
    found: list[str | None] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            found.append(keyring.get_password(service, user))
        except Exception as error:  # each backend has errors of its own
            failed.append(error)

    thread = threading.Thread(target=ask, name="pysubtask keyring", daemon=True)
    thread.start()
    thread.join(COMMAND_SECS)
    if failed:
        words = str(failed[0]).strip().splitlines()
        raise SettingsError(
            words[0] if words else type(failed[0]).__name__,
            operation=operation,
            path=entry,
            hint="a service without a desktop session has no keyring: use a credential or a file",
        ) from None
    if thread.is_alive():
        raise SettingsError(
            f"it did not answer within {COMMAND_SECS:.0f} s", operation=operation, path=entry
        )
    if not found or not found[0]:
        raise SettingsError(
            "there is no such entry",
            operation=operation,
            path=entry,
            hint=f"keyring set {shlex.quote(service)} {shlex.quote(user)}",
        )
    return Secret(found[0])


def from_credential(name: str, environ: Mapping[str, str], what: str = "password") -> Secret:
    """The first line of a systemd credential: ``LoadCredential=NAME:/path`` or
    ``LoadCredentialEncrypted=`` in the unit (systemd.exec(5), "Credentials").

    Raises:
        SettingsError: the service has no such credential.
    """
    operation = f"read the {what} from the credential"
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SettingsError(
            "there are none: CREDENTIALS_DIRECTORY is not set",
            operation=operation,
            path=name,
            hint=f"LoadCredential={name}:/path in the unit, and systemd 247 or newer",
        )
    if name in ("", ".", "..") or "/" in name or os.sep in name:
        raise SettingsError("is no name of a credential", operation=operation, path=name)
    return _from_file(os.path.join(folder, name), operation)


def _first_line(text: str, operation: str, path: str) -> Secret:
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise SettingsError("its first line is empty", operation=operation, path=path)
    return Secret(lines[0])
