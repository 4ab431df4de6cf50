"""FTP and FTPS, on the standard library's sockets and TLS.

Not on ``ftplib``: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pysubtask.transports.ftp.client import FtpTransport, Memory
from pysubtask.transports.ftp.login import FtpConnector

if TYPE_CHECKING:
    from pysubtask.seams.clock import Clock
    from pysubtask.settings import Settings
    from pysubtask.transports.contract import Transport, Wake
    from pysubtask.urls import Destination

__all__ = ["FtpTransport", "ftp_factory"]


def ftp_factory(
    destination: Destination,
    settings: Settings,
    clock: Clock,
    wake: Wake,
    client_id: Callable[[], str],
) -> Callable[[], Transport]:
    """A function that makes a new, unconnected FTP transport for the destination.

    Args:
        client_id: 8 hex digits that no other client has.
    """
    tls = settings.ftp_tls if settings.ftp_tls != "off" else "explicit"
    connector = FtpConnector(
        destination.host,
        destination.port,
        clock,
        user=destination.user,
        password=destination.password,
        tls=tls if destination.scheme == "ftps" else "off",
        ca_file=settings.ca_file,
        connect_timeout_secs=settings.connect_timeout_secs,
        login_timeout_secs=settings.login_timeout_secs,
        reply_timeout_secs=settings.reply_timeout_secs,
    )
    memory = Memory()  # what the first connection finds out serves the later ones
    return lambda: FtpTransport(
        connector,
        clock,
        folder=destination.path,
        client_id=client_id(),
        consumed=settings.on_remote_gone == "continue",
        memory=memory,
        wake=wake,
    )
