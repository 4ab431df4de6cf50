"""A service described by a TOML file: many watches, many destinations.

::

    to = "sftp://edge@collector.example/incoming"        # one destination …
    watch = ["logs/test1.csv", {dir = "logs/outgoing"}]

    [settings]                                           # of all destinations
    dead_time_milli = 60_000
    password_file = "secret/collector"

    [[deliver]]                                          # … or several, each with a name
    name = "collector"
    to = "sftp://edge@collector.example/incoming"
    watch = ["logs/test1.csv"]
    settings = {key_file = "secret/id_ed25519"}

    [[deliver]]
    name = "share"
    to = "file:///mnt/share"
    watch = [{dir = "logs/outgoing"}]

    [[deliver]]                                          # without "to": it only fetches
    name = "orders"
    watch = [{pull = "sftp://edge@collector.example/orders/*.cfg", to = "inbox"}]

An entry of ``watch`` with ``pull`` is fetched (:mod:`pysubtask.pull`).

Relative paths (of watches, of key and password files) are counted from the file's folder. With
``follow`` (``true``) a service looks at the declared files every ``follow_secs`` (1) seconds and
notifies what changed. Each named destination has a state folder ``upload/<name>`` and logs of its
own. Settings that ``PYSUBTASK_*`` variables name win over the file.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pysubtask.errors import SettingsError
from pysubtask.layers import Layer, Merged, canonical, environment_layer, is_secret, merge
from pysubtask.passwords import SOURCES, check_private
from pysubtask.tomlsources import (
    absolute,
    check_url,
    is_source,
    mistake,
    source_entry,
)

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["Delivery", "Project", "load", "read_layer"]

_TOP = ("to", "watch", "follow", "follow_secs", "settings", "deliver")
_DELIVER = ("name", "to", "watch", "follow", "follow_secs", "settings")
_PATHS = (
    "key_file",
    "known_hosts",
    "ca_file",
    *(name for name in SOURCES if name.endswith("_file")),
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One destination of a file, with its watches and settings."""

    name: str | None
    watches: tuple[Any, ...]
    """Entries for a master, their paths absolute."""
    merged: Merged
    follow: bool = True
    follow_secs: float = 1.0
    origin: str = ""
    """The file, in words."""
    only_fetches: bool = False
    """It has no destination. ``merged.to`` is its first source then."""

    def without_passwords(self) -> Delivery:
        """The same with no password to fetch: to look at, not to deliver."""
        settings = {
            name: given for name, given in self.merged.settings.items() if name not in SOURCES
        }
        watches = tuple(
            {name: value for name, value in entry.items() if name not in SOURCES}
            if is_source(entry)
            else entry
            for entry in self.watches
        )
        return replace(self, watches=watches, merged=replace(self.merged, settings=settings))

    def make_master(self, environ: Mapping[str, str] | None = None) -> TaskMaster:
        """A master for it; passwords are fetched now.

        Raises:
            SettingsError: a mistake in it.
        """
        from pysubtask.master._master import TaskMaster

        to = self.merged.to if not self.only_fetches else None
        return TaskMaster(
            self.watches,
            to=to.value if to is not None else None,
            **self.merged.keywords(environ),
        )


@dataclass(frozen=True, slots=True)
class Project:
    """A whole file."""

    path: str
    deliveries: tuple[Delivery, ...]

    def delivery(self, name: str | None = None) -> Delivery:
        """The one of that name; without a name the only one.

        Raises:
            SettingsError: there is none, or there are several.
        """
        if name is None and len(self.deliveries) == 1:
            return self.deliveries[0]
        names = [delivery.name or "" for delivery in self.deliveries]
        for delivery in self.deliveries:
            if name is not None and delivery.name == name:
                return delivery
        raise SettingsError(
            "several destinations are in it" if name is None else f"no [[deliver]] is {name!r}",
            operation="read",
            path=self.path,
            hint=f"name one of {', '.join(names)}",
        )


def load(
    path: str | os.PathLike[str],
    *,
    keywords: Mapping[str, Any] | None = None,
    to: str | None = None,
    environ: Mapping[str, str] | None = None,
    below: Layer | None = None,
    origin: str = "keyword",
) -> Project:
    """Read and check a file; nothing is started, no password fetched.

    Args:
        keywords: settings that win over everything, from ``origin``.
        to: a destination that wins over everything.
        environ: instead of the process's environment.
        below: another file's settings, which this one's win over (:func:`read_layer`).

    Raises:
        SettingsError: it can't be read, or holds a mistake.
    """
    whole = os.path.abspath(os.path.expanduser(os.fspath(path)))
    table = _read(whole)
    _check_names(table, _TOP, whole, "")
    if "deliver" in table and ("to" in table or "watch" in table):
        raise mistake(whole, 'has both "to" or "watch" on top and [[deliver]]')
    tables = table.get("deliver", [table])
    if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
        raise mistake(whole, "deliver must be tables", "write [[deliver]]")
    common = _settings(whole, table.get("settings", {}), "settings")
    variables = environment_layer(os.environ if environ is None else environ)
    above = Layer(origin, to, canonical(keywords or {}))
    names: set[str] = set()
    deliveries = []
    for number, item in enumerate(tables):
        where = f"deliver {number + 1}: " if "deliver" in table else ""
        if where:
            _check_names(item, _DELIVER, whole, where)
        name = _name(whole, item, where, needed=len(tables) > 1)
        if name in names:
            raise mistake(whole, f"{where}the name {name!r} is there twice")
        own = common
        if where:
            own = {**common, **_settings(whole, item.get("settings", {}), f"{where}settings")}
        if name is not None:
            names.add(name)
            own = {**_places(name), **own}
        watches = _watches(whole, item, where)
        to_here = _url(whole, item, where)
        fetches = to_here is None and to is None and all(is_source(entry) for entry in watches)
        if fetches:  # what others say of their destination, passwords too, is not for the source
            to_here = watches[0]["pull"]
        layers = [
            *([below] if below is not None else []),
            Layer(f"file {whole}", to_here, own, is_file=True),
            replace(variables, to=None) if fetches else variables,
            above,
        ]
        deliveries.append(
            Delivery(
                name,
                watches,
                merge(layers),
                _typed(whole, item, where, "follow", True, bool),
                float(_typed(whole, item, where, "follow_secs", 1.0, int | float)),
                origin=f"file {whole}",
                only_fetches=fetches,
            )
        )
    return Project(whole, tuple(deliveries))


def read_layer(path: str) -> Layer:
    """Only ``to`` and ``[settings]`` of a file: what a user has set for all commands.

    Raises:
        SettingsError: it can't be read, or holds a mistake.
    """
    table = _read(path)
    _check_names(table, _TOP, path, "")
    settings = _settings(path, table.get("settings", {}), "settings")
    return Layer(f"file {path}", _url(path, table, ""), settings, is_file=True)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError("there is no such file", operation="read", path=path) from None
    except OSError as error:
        raise SettingsError(error.strerror or str(error), operation="read", path=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise mistake(path, f"is no TOML: {error}", 'a line is such as: name = "text"') from None


def _settings(path: str, table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise mistake(path, f"{where} must be a table")
    try:
        found = canonical(table)
    except SettingsError as error:
        raise mistake(path, f"{where}.{error.path}: {error.message}", error.hint) from None
    for name in found:
        if is_secret(name) and found[name]:
            check_private(path, f"{name} in")
    home = os.path.dirname(path)
    for name in _PATHS:
        if isinstance(found.get(name), str):
            found[name] = os.path.join(home, os.path.expanduser(found[name]))
    return found


def _url(path: str, table: Mapping[str, Any], where: str) -> str | None:
    to = table.get("to")
    if to is None:
        return None
    if not isinstance(to, str):
        raise mistake(path, f"{where}to must be text")
    check_url(path, to, f"{where}to")
    return to


def _watches(path: str, table: Mapping[str, Any], where: str) -> tuple[Any, ...]:
    given = table.get("watch", [])
    entries = given if isinstance(given, list) else [given]
    home = os.path.dirname(path)
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            found.append(absolute(home, entry))
        elif is_source(entry):
            found.append(source_entry(path, entry, where))
        elif isinstance(entry, dict):
            paths = {
                name: absolute(home, entry[name])
                for name in ("file", "dir")
                if isinstance(entry.get(name), str)
            }
            found.append({**entry, **paths})
        else:
            raise mistake(path, f"{where}a watch must be text or a table, not {entry!r}")
    if not found:
        raise mistake(path, f"{where}watches nothing", 'such as watch = ["logs/test1.csv"]')
    return tuple(found)


def _places(name: str) -> dict[str, str]:
    return {
        "bak_to_folder": f"upload/{name}",
        "master_log_file_name": f"{name}_taskmaster.log.txt",
        "subtask_log_file_name": f"{name}_subtask.log.txt",
    }


def _name(path: str, table: Mapping[str, Any], where: str, *, needed: bool) -> str | None:
    name = table.get("name")
    if name is None:
        if needed:
            raise mistake(path, f"{where}has no name", 'such as name = "collector"')
        return None
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise mistake(path, f"{where}the name must be letters, digits, . - _")
    return name


def _typed(
    path: str, table: Mapping[str, Any], where: str, name: str, default: Any, kind: Any
) -> Any:
    value = table.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise mistake(path, f"{where}{name} can't be {value!r}")
    if kind is not bool and not 0.05 <= value <= 86_400:
        raise mistake(path, f"{where}{name} must be from 0.05 to 86400 seconds")
    return value


def _check_names(table: Mapping[str, Any], known: tuple[str, ...], path: str, where: str) -> None:
    for name in table:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        try:
            canonical({name: table[name]})
        except SettingsError:
            pass
        else:
            hint = "settings belong below [settings]"
        raise mistake(path, f"{where}there is no {name!r}", hint)
