"""Which extension a master needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pysubtask.config import section_values
from pysubtask.errors import SettingsError
from pysubtask.urls import OWN, READY_SCHEMES, extension_of, parse_url
from pysubtask.watch import split_watch

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["choose"]


def choose(watch: Any, config: Any, given: Mapping[str, Any]) -> type[TaskMaster]:
    """The master class for ``to``, or else for what the settings tell, or else for what is fetched.

    Raises:
        SettingsError: nothing tells, or this version has no such extension.
    """
    to = given.get("to")
    if given.get("subtask") is not None:
        extension = "base"
    elif to is not None:
        extension = extension_of(parse_url(to).scheme)
    else:
        extension = _from_settings(config, given) or _from_sources(watch)
    if extension == "ftp":
        from pysubtask.ftp import FTPTaskMaster

        return FTPTaskMaster
    if extension == "folder":
        from pysubtask.folder import FolderTaskMaster

        return FolderTaskMaster
    if extension == "dropbox":
        from pysubtask.dropbox import DropboxTaskMaster

        return DropboxTaskMaster
    if extension == OWN:
        from pysubtask.own import OwnTaskMaster

        return OwnTaskMaster
    from pysubtask.base import BaseTaskMaster

    return BaseTaskMaster


def _from_settings(config: Any, given: Mapping[str, Any]) -> str | None:
    if _switch(config, "dropbox", "UseDropbox"):
        return extension_of("dropbox")
    in_section = section_values(config, "ftp", "ftp") if config is not None else {}
    if in_section.get("host") or any(str(name).lower() == "host" for name in given):
        return "ftp"
    return None


def _from_sources(watch: Any) -> str:
    # (what can be looked at but once is left for the master)
    listed = isinstance(watch, list | tuple | Mapping)
    sources, others = split_watch(watch) if listed else ([], [])
    if sources and not others:
        url = sources[0]["pull"]
        if isinstance(url, str | os.PathLike):
            return extension_of(parse_url(url).scheme)
    raise SettingsError(
        "says no destination",
        operation="destination",
        path="to",
        hint='such as to="sftp://user@host/folder"; '
        f"this version can do {', '.join(f'{name}://' for name in READY_SCHEMES)}",
    )


def _switch(config: Any, section: str, name: str) -> bool:
    held = config.get(section) if isinstance(config, Mapping) else getattr(config, section, None)
    value = held.get(name) if isinstance(held, Mapping) else getattr(held, name, False)
    return value is True
