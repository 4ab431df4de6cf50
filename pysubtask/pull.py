"""What is fetched: the entries of a watch list that name a source.

::

    [
        {"pull": "sftp://edge@collector.example/in/*.cfg", "to": "inbox/"},
        {"pull": "sftp://collector.example/logs/app.log", "to": "logs", "growth": "append"},
        {"pull": "dropbox:///orders/", "to": "orders", "delete_remote": True},
    ]

The URL names one file, a folder (all files directly in it), or a folder with a pattern for the
names (``*``, ``[abc]``; ``%3F`` for a ``?``). Hidden files need a pattern that begins with a dot.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pysubtask.config import build, destination_from
from pysubtask.errors import SettingsError
from pysubtask.passwords import SOURCES, lay
from pysubtask.settings import Secret, Settings
from pysubtask.urls import Destination, extension_of, parse_url

__all__ = ["Pull", "local_folder", "parse_pull", "parse_source"]

_OPTIONS = ("pull", "to", "growth", "delete_remote", "interval_secs")
_LOGIN = (
    "username",
    "password",
    "key_file",
    "key_passphrase",
    "known_hosts",
    "host_key",
    "ssh_command",
    "ca_file",
    "dropbox_refresh_token",
    "dropbox_app_key",
    "dropbox_access_token",
    *SOURCES,
)
"""Settings that belong to one server: a source on another one does not inherit them."""
_MAGIC = frozenset("*?[")


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """One source and the local folder that its files go to."""

    source: Destination
    """The folder, or the file."""
    pattern: str | None
    """For the names of the files in the folder; None: ``source`` may be a file or a folder."""
    to: str
    """The local folder, absolute and normalised."""
    declared: str
    """The local folder as the program wrote it."""
    growth: Literal["auto", "append", "rewrite"] = "auto"
    """``append``: the files only ever gain bytes at their end; ``rewrite``: each version is
    whole, and is taken only as a whole; ``auto``: found out."""
    delete_remote: bool = False
    """Remove a file from the server once it is safe here."""

    @property
    def suffix(self) -> str:
        """The pattern, as the end of the URL."""
        return f"/{self.pattern}" if self.pattern else ""

    def matches(self, name: str) -> bool:
        """Whether a file of that name in the folder is wanted."""
        pattern = self.pattern or "*"
        if name.startswith(".") and not pattern.startswith("."):
            return False
        return fnmatch.fnmatchcase(name, pattern)


def parse_pull(
    entry: Mapping[str, Any],
    cwd: str,
    config: Any,
    keywords: Mapping[str, Any],
    destination: Destination | None,
) -> tuple[Pull, Settings]:
    """Read one entry.

    Args:
        cwd: folder that a relative path starts from.
        config: the program's configuration.
        keywords: the settings given to the master. Those that log in hold for the source as well
            if it is on the server that the master delivers to, or if the master delivers nowhere.
        destination: where the master delivers to.

    Returns:
        The source, and its settings.

    Raises:
        SettingsError: an entry that can't be right.
    """
    path = local_folder(entry, cwd)
    declared = os.fsdecode(entry["to"])
    for name in entry:
        if name not in _OPTIONS and name not in _LOGIN:
            raise _unknown(str(name))
    source, pattern = parse_source(entry["pull"])
    growth = entry.get("growth", "auto")
    if growth not in ("auto", "append", "rewrite"):
        raise _mistake('"growth" must be one of auto, append, rewrite')
    delete_remote = entry.get("delete_remote", False)
    if not isinstance(delete_remote, bool):
        raise _mistake('"delete_remote" must be True or False')
    if delete_remote and growth == "append":
        raise _mistake(
            '"delete_remote" does not go with "growth": "append"',
            "what is appended between the last fetch and the removal would be lost",
        )
    if os.path.isfile(path):
        raise _mistake(f"{declared} is a file, not a folder")
    settings = _settings(entry, source, config, keywords, destination)
    if source.scheme in ("sftp", "ftp", "ftps"):
        source = destination_from(source.scheme, settings)
    pull = Pull(
        source=source,
        pattern=pattern,
        to=path,
        declared=declared,
        growth=growth,
        delete_remote=delete_remote,
    )
    return pull, settings


def local_folder(entry: Mapping[str, Any], cwd: str) -> str:
    """The folder that an entry's files go to, absolute.

    Raises:
        SettingsError: it names none.
    """
    declared = entry.get("to")
    if not isinstance(declared, str | os.PathLike) or not os.fspath(declared):
        raise _mistake("names no local folder", 'such as "to": "inbox/"')
    return os.path.normpath(os.path.join(cwd, os.path.expanduser(os.fsdecode(declared))))


def parse_source(url: Any) -> tuple[Destination, str | None]:
    """The folder (or the file), and the pattern for names in it.

    Raises:
        SettingsError: it can't be right.
    """
    if not isinstance(url, str | os.PathLike):
        raise _mistake(f"must be a URL, not {type(url).__name__}")
    text = os.fspath(url)
    parsed = parse_url(text)
    if text.endswith("/") or not parsed.path.strip("/"):
        return parsed, "*"  # a folder; the login folder, or the root
    folder, _, name = parsed.path.rpartition("/")
    if _MAGIC & set(folder):
        raise _mistake("has a pattern in a folder's name", "only the last part may be a pattern")
    if not _MAGIC & set(name):
        return parsed, None
    if parsed.absolute and not folder:
        folder = "/"
    return msgspec.structs.replace(parsed, path=folder), name


def _settings(
    entry: Mapping[str, Any],
    source: Destination,
    config: Any,
    keywords: Mapping[str, Any],
    destination: Destination | None,
) -> Settings:
    extension = extension_of(source.scheme)
    same = destination is None or (
        (destination.scheme, destination.host, destination.port)
        == (source.scheme, source.host, source.port)
    )
    given = {name: value for name, value in keywords.items() if same or not _is_login(name)}
    if not same:  # nor from a section of the configuration, which the lowest layer here hides
        plain = Settings()
        given = {**{n: getattr(plain, n) for n in _LOGIN if n not in SOURCES}, **given}
    lay(given, {name: entry[name] for name in _LOGIN if name in entry})
    if "interval_secs" in entry:
        given["pull_interval_secs"] = entry["interval_secs"]
    if destination is not None and same:
        if destination.user is not None:
            given.setdefault("username", destination.user)
        if destination.password is not None:
            given = {"password": Secret(destination.password.reveal()), **given}
    if source.user is not None:
        given["username"] = source.user
    if source.password is not None:
        given["password"] = source.password
    for name in ("host", "host_port", "host_path", "use_sftp", "ftp_tls"):
        given.pop(name, None)
    return build(extension, config, source, given)


def _is_login(name: str) -> bool:
    key = name.replace("_", "").lower()
    return key in {known.replace("_", "") for known in _LOGIN} or key in ("user", "accesstoken")


def _unknown(name: str) -> SettingsError:
    import difflib

    known = (*_OPTIONS, *_LOGIN)
    near = difflib.get_close_matches(name, known, 1)
    return _mistake(
        f"{name!r} is no option of a pull",
        f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_OPTIONS)}",
    )


def _mistake(message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(message, operation="watch", path="pull", hint=hint)
