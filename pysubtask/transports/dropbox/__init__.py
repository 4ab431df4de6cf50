"""Dropbox (``dropbox://``) by its official SDK, the extra ``pysubtask[dropbox]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pysubtask.secret import Secret

if TYPE_CHECKING:
    from pysubtask.settings import Settings
    from pysubtask.transports.contract import Transport
    from pysubtask.urls import Destination

__all__ = ["dropbox_factory"]


def dropbox_factory(destination: Destination, settings: Settings) -> Callable[[], Transport]:
    """A function that makes a new, unconnected transport. All share one account, so that an access
    token is asked for once in its life, not for each connection."""
    from pysubtask.transports.dropbox.account import Account
    from pysubtask.transports.dropbox.client import DropboxTransport

    account = Account(
        refresh_token=settings.dropbox_refresh_token,
        app_key=settings.dropbox_app_key,
        access_token=settings.dropbox_access_token or destination.password or Secret(""),
        ca_file=settings.ca_file,
        timeout_secs=settings.reply_timeout_secs,
    )
    return lambda: DropboxTransport(account, destination.path)
