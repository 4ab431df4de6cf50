"""Where a password may come from, other than an argument list: a file, a command, a variable."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Mapping

from pysubtask.errors import SettingsError
from pysubtask.secret import Secret

__all__ = ["SOURCES", "check_private", "from_command", "from_environment", "from_file"]

SOURCES = ("password_file", "password_command", "password_env")
"""Names that stand for ``password`` in TOML files, ``PYSUBTASK_*`` and options."""

COMMAND_SECS = 60.0
_LIMIT_BYTES = 1 << 16


def check_private(path: str, operation: str) -> None:
    """Refuse a file with a secret that others may read (POSIX; not checked on Windows).

    Raises:
        SettingsError: others may read it, or it is not there.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SettingsError(error.strerror or str(error), operation=operation, path=path) from None
    if os.name == "posix" and mode & 0o077:
        raise SettingsError(
            f"others than its owner may read it (mode {stat.S_IMODE(mode):04o})",
            operation=operation,
            path=path,
            hint=f"chmod 600 {shlex.quote(path)}",
        )


def from_file(path: str) -> Secret:
    """The first line of a file that only its owner may read.

    Raises:
        SettingsError: the file is missing, empty, or open to others.
    """
    path = os.path.expanduser(path)
    operation = "read the password from"
    check_private(path, operation)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LIMIT_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(words or str(error), operation=operation, path=path) from None
    return _first_line(text, operation, path)


def from_command(command: str) -> Secret:
    """The first line that a command prints, such as ``pass show collector``.

    It is split as a shell splits words, run without a shell, and may take 60 s. Its standard error
    goes where ours goes.

    Raises:
        SettingsError: it can't be run, fails, or prints nothing.
    """
    operation = "run the password command"
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


def from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    """The value of the environment variable ``name``.

    Raises:
        SettingsError: it is not set.
    """
    value = environ.get(name)
    if not value:
        raise SettingsError(
            "it is not set", operation="read the password from the variable", path=name
        )
    return Secret(value)


def _first_line(text: str, operation: str, path: str) -> Secret:
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise SettingsError("its first line is empty", operation=operation, path=path)
    return Secret(lines[0])
