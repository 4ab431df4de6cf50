"""What is watched: the entries that a program declares.

An entry is a path, or a ``dict`` with ``file`` or ``dir`` and options::

    [
        "logs/test1.mrk",                                  # a file, or a folder if it is one
        {"file": "logs/test1.csv", "burstmode": True},
        {"file": "logs/raw.dat", "as": "site7.dat", "growth": "append"},
        {"dir": "logs/outgoing", "remote_dir": "pictures"},
    ]

Relative paths are resolved once, when the master is made. Folders do not include their subfolders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from pysubtask.errors import SettingsError
from pysubtask.patterns import complaint_of
from pysubtask.suffixes import OWN_SUFFIXES, TEMP_PREFIX

__all__ = [
    "Entry",
    "Watch",
    "home_folder",
    "leads_out",
    "parse_watches",
    "remote_path",
    "split_watch",
]

Entry: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes] | Mapping[str, Any]"

_SUSPICIOUS = re.compile(r"\.\.|\\|^/|^.:")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_OPTIONS = ("file", "dir", "as", "remote_dir", "burstmode", "growth", "records", "rotated_as")


class Watch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declared file or folder."""

    path: str
    """Absolute and normalised."""
    is_dir: bool
    """A folder: all files directly in it are watched."""
    declared: str
    """The path as the program wrote it: the key in ``status().files``."""
    remote_name: str | None = None
    """Name at the destination; None for a folder, whose files keep their names."""
    remote_dir: str = ""
    """Folder below the destination, without slashes at its ends; ``""`` is the destination."""
    burstmode: bool = False
    """Hold back notifies that come faster than they are worth sending."""
    growth: Literal["auto", "append", "rewrite"] = "auto"
    """``append``: the program promises to append only; ``rewrite``: it rewrites whole versions."""
    records: Literal["bytes", "lines"] = "bytes"
    """``lines``: publish up to the last newline."""
    rotated_as: str | None = None
    """The pattern of the names under which rotated files are kept at the destination; ``""``: none
    are; None: as the setting says."""

    @property
    def folder(self) -> str:
        """The folder itself, or the one that holds the file."""
        return self.path if self.is_dir else os.path.dirname(self.path)


def remote_path(watch: Watch, path: str) -> str:
    """Where a file of a watch goes, below the destination."""
    name = watch.remote_name or os.path.basename(path)
    return f"{watch.remote_dir}/{name}" if watch.remote_dir else name


def home_folder(watches: list[Watch]) -> str:
    """The folder of the first entry: state, logs, archive and heartbeat lie below it."""
    return watches[0].folder


def split_watch(watch: Any) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """The entries of a watch list that name sources, and the others.

    A single entry may stand without a list. What is no list at all is left to be complained of.
    """
    if isinstance(watch, str | bytes | os.PathLike | Mapping):
        watch = [watch]
    if not isinstance(watch, Iterable):
        return [], [watch]
    sources: list[Mapping[str, Any]] = []
    others: list[Any] = []
    for entry in watch:
        (sources if isinstance(entry, Mapping) and "pull" in entry else others).append(entry)
    return sources, others


def parse_watches(entries: Entry | Iterable[Entry], cwd: str | None = None) -> list[Watch]:
    """Read the entries of a watch list; a single entry may stand without a list.

    Args:
        entries: what the program declared.
        cwd: folder that relative paths start from; the current one by default.

    Raises:
        SettingsError: an entry can't be right, one is there twice, or two files would have one
            name at the destination.
    """
    if isinstance(entries, str | bytes | os.PathLike | Mapping):
        entries = [entries]
    if not isinstance(entries, Iterable):
        raise SettingsError(
            f"must be a list of paths or dicts, not {type(entries).__name__}", operation="watch"
        )
    start = os.getcwd() if cwd is None else cwd
    watches = [_parse_entry(entry, start) for entry in entries]
    if not watches:
        raise SettingsError("nothing is watched", operation="watch", hint="name a file or folder")
    _refuse_doubles(watches)
    return watches


def _parse_entry(entry: Entry, cwd: str) -> Watch:
    if not isinstance(entry, Mapping):
        declared = _text(entry)
        absolute = _absolute(declared, cwd)
        ends_as_folder = declared.endswith(("/", os.sep))
        if os.path.isdir(absolute) or ends_as_folder:
            return _parse_entry({"dir": declared}, cwd)
        return _parse_entry({"file": declared}, cwd)
    _check_options(entry)
    if ("file" in entry) == ("dir" in entry):
        raise SettingsError('must have either "file" or "dir"', operation="watch", path=str(entry))
    is_dir = "dir" in entry
    declared = _text(entry["dir"] if is_dir else entry["file"])
    path = _absolute(declared, cwd)
    if is_dir:
        if os.path.isfile(path):
            raise _mistake(declared, "is a file, not a folder", 'write {"file": …}')
        if entry.get("as") is not None:
            raise _mistake(declared, '"as" names one file', 'for a folder use "remote_dir"')
    elif os.path.isdir(path):
        raise _mistake(declared, "is a folder, not a file", 'write {"dir": …}')
    return Watch(
        path=path,
        is_dir=is_dir,
        declared=declared,
        remote_name=None if is_dir else _remote_name(declared, path, entry.get("as")),
        remote_dir=_remote_dir(declared, entry.get("remote_dir")),
        burstmode=_flag(declared, "burstmode", entry.get("burstmode", False)),
        growth=_choice(declared, "growth", entry, ("auto", "append", "rewrite")),
        records=_records(declared, entry),
        rotated_as=_rotated_as(declared, entry),
    )


def _check_options(entry: Mapping[str, Any]) -> None:
    for name in entry:
        if name not in _OPTIONS:
            import difflib

            near = difflib.get_close_matches(str(name), _OPTIONS, 1)
            raise SettingsError(
                f"{name!r} is no option of a watch",
                operation="watch",
                path=str(entry.get("file", entry.get("dir", ""))) or None,
                hint=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_OPTIONS)}",
            )


def _refuse_doubles(watches: list[Watch]) -> None:
    by_path: set[str] = set()
    by_remote: dict[tuple[str, str], Watch] = {}
    for watch in watches:
        key = os.path.normcase(watch.path)
        if key in by_path:
            raise _mistake(watch.declared, "is declared twice")
        by_path.add(key)
        if watch.remote_name is None:
            continue
        other = by_remote.setdefault((watch.remote_dir, watch.remote_name), watch)
        if other is not watch:
            raise _mistake(
                watch.declared,
                f"would have the name {watch.remote_name!r} at the destination, "
                f"as {other.declared} has",
                'give one of them another name with "as" or another "remote_dir"',
            )


def _text(path: Any) -> str:
    if not isinstance(path, str | bytes | os.PathLike):
        raise SettingsError(f"must be a path, not {type(path).__name__}", operation="watch")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise SettingsError("is no path", operation="watch", path=repr(text))
    return text


def _absolute(declared: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, os.path.expanduser(declared)))


def leads_out(remote: str) -> bool:
    r"""Whether a name below the destination leads out of it, if not here then on a server where
    ``\\`` parts names, too, as on Windows: ``..\\x``, ``\\x``, ``C:\\x``."""
    if not _SUSPICIOUS.search(remote):  # most are not, and there may be very many
        return not remote
    parts = re.split(r"[/\\]", remote)
    return ".." in parts or not parts[0] or bool(_DRIVE.match(remote))


def _remote_name(declared: str, path: str, given: Any) -> str:
    name = os.path.basename(path)
    if given is not None:
        if not isinstance(given, str):
            raise _mistake(declared, f'"as" must be text, not {type(given).__name__}')
        if "/" in given or "\\" in given:
            raise _mistake(declared, '"as" is a name without folders', 'use "remote_dir" beside it')
        name = given
    if name in ("", ".", "..") or any(ord(char) < 32 for char in name if given is not None):
        raise _mistake(declared, f"{name!r} is no file name")
    if name.startswith(TEMP_PREFIX) or name.endswith(OWN_SUFFIXES):
        raise _mistake(declared, f"{name!r} is a name that pysubtask keeps for itself")
    return name


def _remote_dir(declared: str, given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise _mistake(declared, f'"remote_dir" must be text, not {type(given).__name__}')
    if not given:
        return ""
    if given.startswith("/"):
        raise _mistake(declared, '"remote_dir" is below the destination', "drop the leading /")
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if leads_out(given) or any(ord(char) < 32 for char in given):
        raise _mistake(declared, '"remote_dir" leads out of the destination')
    return "/".join(parts)


def _flag(declared: str, name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _mistake(declared, f'"{name}" must be True or False')
    return value


def _choice(declared: str, name: str, entry: Mapping[str, Any], allowed: tuple[str, ...]) -> Any:
    value = entry.get(name, allowed[0])
    if value not in allowed:
        raise _mistake(declared, f'"{name}" must be one of {", ".join(allowed)}')
    return value


def _records(declared: str, entry: Mapping[str, Any]) -> Literal["bytes", "lines"]:
    chosen: Literal["bytes", "lines"] = _choice(declared, "records", entry, ("bytes", "lines"))
    if chosen == "lines" and entry.get("growth") == "rewrite":
        raise _mistake(
            declared,
            '"records": "lines" is for files that grow, not for "growth": "rewrite"',
            "leave it out: a rewritten file is published whole or not at all",
        )
    return chosen


def _rotated_as(declared: str, entry: Mapping[str, Any]) -> str | None:
    given = entry.get("rotated_as")
    if given is None:
        return None
    if not isinstance(given, str):
        raise _mistake(declared, f'"rotated_as" must be text, not {type(given).__name__}')
    if not given:
        return ""
    if "dir" in entry:
        raise _mistake(
            declared,
            '"rotated_as" is for a file: in a watched folder a rotated one is a file of its own',
            "leave it out: it is delivered under the name that it has here",
        )
    if entry.get("growth") == "rewrite":
        raise _mistake(declared, '"rotated_as" is for files that grow, not for "growth": "rewrite"')
    complaint = complaint_of(given)
    if complaint is not None:
        raise _mistake(declared, f'"rotated_as" {complaint}')
    return given


def _mistake(declared: str, message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(message, operation="watch", path=declared, hint=hint)
