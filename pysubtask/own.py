"""Delivery by a transport of your own, or of another package: ``docs/transports.md``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from pysubtask.base import BaseTaskMaster
from pysubtask.config import build
from pysubtask.errors import SettingsError
from pysubtask.master._master import TaskMaster
from pysubtask.settings import Settings
from pysubtask.urls import Destination, extension_of, parse_url

if TYPE_CHECKING:
    from pysubtask.subtask.context import Context
    from pysubtask.subtask.transfer import TransferSubtask

__all__ = ["OwnTaskMaster"]


class OwnTaskMaster(BaseTaskMaster):
    """Delivers by what an installed package offers for the URL's scheme.

    State and logs bear the scheme's name (``upload/shelf``, ``shelf_subtask.log.txt``), unless the
    settings give others.
    """

    extension = "own"
    module = "pysubtask.own"

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        url = None if to is None else parse_url(to)
        if url is None or extension_of(url.scheme) != self.extension:
            raise SettingsError(
                f"{type(self).__name__} delivers by a transport that another package brings",
                operation="destination",
                path="to",
                hint="TaskMaster picks the right master by the URL",
            )
        chosen = build(self.extension, config, url, settings)
        named: dict[str, str] = {}
        if chosen.bak_to_folder == f"upload/{self.extension}":
            named["bak_to_folder"] = f"upload/{url.scheme}"
        for setting, side in (
            ("master_log_file_name", "taskmaster"),
            ("subtask_log_file_name", "subtask"),
        ):
            if getattr(chosen, setting) is None:
                named[setting] = f"{url.scheme}_{side}.log.txt"
        return msgspec.structs.replace(chosen, **named), url

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
