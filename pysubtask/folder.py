"""Delivery to a folder: a mounted share, a stick, another disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pysubtask.base import BaseTaskMaster
from pysubtask.config import build
from pysubtask.errors import SettingsError
from pysubtask.master._master import TaskMaster
from pysubtask.settings import Settings
from pysubtask.urls import Destination, parse_url

if TYPE_CHECKING:
    from pysubtask.subtask.context import Context
    from pysubtask.subtask.transfer import TransferSubtask

__all__ = ["FolderTaskMaster"]


class FolderTaskMaster(BaseTaskMaster):
    """Delivers the watched files to a folder, as ``to="file:///mnt/share"`` names it."""

    extension = "folder"
    module = "pysubtask.folder"

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        url = None if to is None else parse_url(to)
        if url is None or url.scheme != "file":
            raise SettingsError(
                f"{type(self).__name__} delivers to a folder",
                operation="destination",
                path="to",
                hint='such as to="file:///mnt/share"',
            )
        for watch in self._watches:
            if watch.is_dir and os.path.realpath(watch.path) == os.path.realpath(url.path):
                raise SettingsError("is watched itself", operation="destination", path=url.path)
        return build(self.extension, config, url, settings), url

    _user_subtask = TaskMaster._user_subtask


def _make(context: Context) -> TransferSubtask:
    from pysubtask.subtask.transfer import TransferSubtask

    return TransferSubtask(context)


def main() -> int:
    """Run the subtask: the child process starts here."""
    from pysubtask.subtask.shell.main import run

    return run(_make)


if __name__ == "__main__":
    raise SystemExit(main())
