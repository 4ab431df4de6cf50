"""Transports by URL scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pysubtask.transports.contract import Transport, Wake
from pysubtask.transports.notes import Notes
from pysubtask.transports.said import hide_secrets

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
    notes: Notes | None = None,
) -> Callable[[], Transport]:
    """A function that makes a new, unconnected transport for the destination.

    Args:
        client_id: 8 hex digits that tell our temporary names at the destination from others'.
        notes: what is remembered of the destination over restarts; None: nothing (a single push, a
            look).

    Raises:
        SettingsError: there is no transport for the scheme, or it can't be loaded.
    """
    hide_secrets((destination, settings))  # before the server can say a word
    if destination.scheme == "sftp":
        from pysubtask.transports.sftp import SftpFactory

        return SftpFactory(destination, settings, clock, wake)
    if destination.scheme in ("ftp", "ftps"):
        from pysubtask.transports.ftp import ftp_factory

        return ftp_factory(destination, settings, clock, wake, client_id)
    if destination.scheme == "file":
        from pysubtask.transports.folder import FolderTransport

        held = notes or Notes()
        rule = settings.folder_mount
        if notes is None and rule == "auto":
            rule = "ignored"  # whoever remembers nothing has no use for a marker
        return lambda: FolderTransport(destination.path, notes=held, mount=rule)
    if destination.scheme == "dropbox":
        from pysubtask.transports.dropbox import dropbox_factory

        return dropbox_factory(destination, settings)
    from pysubtask.transports.own import Setup, own_factory

    return own_factory(
        Setup(
            destination=destination,
            settings=settings,
            clock=clock,
            wake=wake,
            client_id=client_id,
            notes=notes or Notes(),
        )
    )
