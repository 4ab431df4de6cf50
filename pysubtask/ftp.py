"""Delivery by SFTP, FTPS and FTP: :class:`FTPTaskMaster` and its subtask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pysubtask.base import BaseTaskMaster
from pysubtask.config import build, destination_from
from pysubtask.errors import SettingsError
from pysubtask.master._master import TaskMaster
from pysubtask.settings import Settings
from pysubtask.urls import Destination, extension_of, parse_url

if TYPE_CHECKING:
    from pysubtask.subtask.context import Context
    from pysubtask.subtask.transfer import TransferSubtask

__all__ = ["FTPTaskMaster"]


class FTPTaskMaster(BaseTaskMaster):
    """Delivers the watched files to an SFTP or FTP server. See :class:`pysubtask.TaskMaster`.

    The server is named by ``to="sftp://user@host/folder"`` (``ftps://``, ``ftp://``), or by the
    settings ``host``, ``host_port``, ``host_path``, ``username`` and ``password`` (``Host``,
    ``HostPort`` … in a section ``ftp``); ``use_sftp=False`` is FTP, with TLS as ``ftp_tls`` says.
    """

    extension = "ftp"
    module = "pysubtask.ftp"

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        url = None if to is None else parse_url(to)
        if url is not None and extension_of(url.scheme) != self.extension:
            raise SettingsError(
                f"{type(self).__name__} can't deliver to {url.scheme}://",
                operation="destination",
                path="to",
                hint="TaskMaster picks the right master by the URL",
            )
        chosen = build(self.extension, config, url, settings)
        if chosen.use_sftp:
            scheme = "sftp"
        else:
            scheme = "ftp" if chosen.ftp_tls == "off" else "ftps"
            if scheme == "ftp" and url is not None and url.scheme == "ftps":
                raise SettingsError(
                    '"off" does not go with ftps://',
                    operation="setting",
                    path="ftp_tls",
                    hint="ftp:// is FTP without TLS",
                )
        return chosen, destination_from(scheme, chosen)

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
