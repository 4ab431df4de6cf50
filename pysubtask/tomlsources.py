"""What a TOML file says of sources: the entries of ``watch`` with ``pull``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeGuard

from pysubtask.errors import SettingsError
from pysubtask.passwords import SECRETS, SOURCES, check_private
from pysubtask.urls import parse_url

__all__ = [
    "absolute",
    "check_url",
    "is_source",
    "mistake",
    "source_entry",
    "source_words",
]

_PATHS = (
    "key_file",
    "known_hosts",
    "ca_file",
    *(name for name in SOURCES if name.endswith("_file")),
)


def is_source(entry: Any) -> TypeGuard[dict[str, Any]]:
    """Whether an entry of ``watch`` names a source."""
    return isinstance(entry, dict) and "pull" in entry


def source_entry(path: str, entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The entry with absolute paths.

    Args:
        path: of the TOML file.

    Raises:
        SettingsError: a mistake in it, or a secret in a file that others may read.
    """
    home = os.path.dirname(path)
    found = dict(entry)
    if not isinstance(found["pull"], str):
        raise mistake(path, f"{where}pull must be text")
    check_url(path, found["pull"], f"{where}pull")
    if isinstance(found.get("to"), str) and found["to"]:
        found["to"] = absolute(home, found["to"])
    for name in _PATHS:
        if isinstance(found.get(name), str):
            found[name] = os.path.join(home, os.path.expanduser(found[name]))
    for name in SOURCES:
        if name in found and not (isinstance(found[name], str) and found[name]):
            raise mistake(path, f"{where}{name} must be text")
    for name in SECRETS:
        if found.get(name):
            check_private(path, f"{name} in")
    return found


def source_words(url: str) -> str:
    """A source's URL without its password, for people; with its pattern."""
    from pysubtask.pull import parse_source

    source, pattern = parse_source(url)
    return str(source) + (f"/{pattern}" if pattern else "")


def check_url(path: str, url: str, where: str) -> None:
    """A URL in a TOML file can be read; one with a password only where nobody else may read it.

    Raises:
        SettingsError: it is not so.
    """
    try:
        if parse_url(url).password:
            check_private(path, "a password in")
    except SettingsError as error:
        if error.operation != "destination":
            raise
        raise mistake(path, f"{where}: {error.message}", error.hint) from None


def absolute(home: str, path: str) -> str:
    """A path that is counted from the file's folder; a slash at its end stays."""
    end = "/" if path.endswith("/") else ""
    return os.path.normpath(os.path.join(home, os.path.expanduser(path))) + end


def mistake(path: str, message: str, hint: str | None = None) -> SettingsError:
    """The error of a TOML file."""
    return SettingsError(message, operation="read", path=path, hint=hint)
