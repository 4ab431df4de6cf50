"""Transports by URL scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pysubtask.errors import SettingsError
from pysubtask.transports.contract import Transport, Wake

if TYPE_CHECKING:
    from pysubtask.seams.clock import Clock
    from pysubtask.settings import Settings
    from pysubtask.urls import Destination

__all__ = ["Transport", "transport_factory"]


def transport_factory(
    destination: Destination,
    settings: Settings,
    clock: Clock,
    wake: Wake,
    client_id: Callable[[], str] = lambda: "00000000",
) -> Callable[[], Transport]:
    """A function that makes a new, unconnected transport for the destination.

    Args:
        client_id: 8 hex digits that tell our temporary names at the destination from others'.

    Raises:
        SettingsError: this version has no transport for the scheme.
    """
    if destination.scheme == "sftp":
        from pysubtask.transports.sftp import sftp_factory

        return sftp_factory(destination, settings, clock, wake)
    if destination.scheme in ("ftp", "ftps"):
        from pysubtask.transports.ftp import ftp_factory

        return ftp_factory(destination, settings, clock, wake, client_id)
    if destination.scheme == "file":
        from pysubtask.transports.folder import FolderTransport

        return lambda: FolderTransport(destination.path)
    if destination.scheme == "dropbox":
        from pysubtask.transports.dropbox import dropbox_factory

        return dropbox_factory(destination, settings)
    raise SettingsError(
        f"no transport for {destination.scheme}://", operation="connect", path=str(destination)
    )
