"""Which extension a master needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pysubtask.config import section_values
from pysubtask.errors import SettingsError
from pysubtask.urls import READY_SCHEMES, extension_of, parse_url

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["choose"]


def choose(config: Any, given: Mapping[str, Any]) -> type[TaskMaster]:
    """The master class for ``to``, or else for what the settings tell.

    Raises:
        SettingsError: nothing tells, or this version has no such extension.
    """
    to = given.get("to")
    if given.get("subtask") is not None:
        extension = "base"
    elif to is not None:
        extension = extension_of(parse_url(to).scheme)
    else:
        extension = _from_settings(config, given)
    if extension == "ftp":
        from pysubtask.ftp import FTPTaskMaster

        return FTPTaskMaster
    if extension == "folder":
        from pysubtask.folder import FolderTaskMaster

        return FolderTaskMaster
    if extension == "dropbox":
        from pysubtask.dropbox import DropboxTaskMaster

        return DropboxTaskMaster
    from pysubtask.base import BaseTaskMaster

    return BaseTaskMaster


def _from_settings(config: Any, given: Mapping[str, Any]) -> str:
    if _switch(config, "dropbox", "UseDropbox"):
        return extension_of("dropbox")
    in_section = section_values(config, "ftp", "ftp") if config is not None else {}
    if in_section.get("host") or any(str(name).lower() == "host" for name in given):
        return "ftp"
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
