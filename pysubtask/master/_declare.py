"""What a program declares: what is watched, and what is fetched from where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pysubtask.errors import SettingsError
from pysubtask.watch import Watch, home_folder, parse_watches, split_watch

if TYPE_CHECKING:
    from pysubtask.handover import Source
    from pysubtask.urls import Destination

__all__ = ["Entries", "only_fetches", "sources_of", "understand"]


class Entries(NamedTuple):
    """The entries of a watch list, by their kinds."""

    watches: list[Watch]
    fetched: list[Mapping[str, Any]]
    """Those that name a source, not understood yet: that takes the settings."""
    home: str
    """The folder of the first entry."""


def understand(watch: Any, cwd: str) -> Entries:
    """Read a watch list.

    Raises:
        SettingsError: an entry that can't be right.
    """
    if not isinstance(watch, str | bytes | os.PathLike | Mapping | list | tuple):
        watch = list(watch) if hasattr(watch, "__iter__") else watch
    fetched, others = split_watch(watch)
    if not fetched:
        watches = parse_watches(watch, cwd)
        return Entries(watches, [], home_folder(watches))
    watches = parse_watches(others, cwd) if others else []
    first = watch if isinstance(watch, Mapping) else watch[0]
    if first is not fetched[0]:
        return Entries(watches, fetched, home_folder(watches))
    from pysubtask.pull import local_folder

    return Entries(watches, fetched, local_folder(fetched[0], cwd))


def only_fetches(
    entries: Entries, to: str | os.PathLike[str] | None, settings: Mapping[str, Any]
) -> bool:
    """Whether nothing is delivered, so that no destination has to be named."""
    names_host = any(str(name).lower() == "host" for name in settings)
    return bool(entries.fetched) and not entries.watches and to is None and not names_host


def sources_of(
    entries: Entries,
    config: Any,
    settings: Mapping[str, Any],
    destination: Destination | None,
    *,
    cwd: str,
    extension: str,
) -> list[Source]:
    """What is fetched, understood.

    Raises:
        SettingsError: a source that can't be right.
    """
    if not entries.fetched:
        return []
    if extension == "base":
        raise SettingsError(
            "goes with a master that delivers, not with a subtask of your own",
            operation="watch",
            path="pull",
        )
    from pysubtask.handover import Source
    from pysubtask.pull import parse_pull

    sources = []
    seen = set()
    for entry in entries.fetched:
        pull, login = parse_pull(entry, cwd, config, settings, destination)
        key = (str(pull.source), pull.pattern, pull.to)
        if key in seen:
            raise SettingsError("is declared twice", operation="watch", path=pull.declared)
        seen.add(key)
        sources.append(Source(pull=pull, settings=login))
    return sources
