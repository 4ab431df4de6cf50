"""SFTP: our own client over paramiko's SSH, or over the system's ``ssh`` program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysubtask.transports.sftp.client import SftpTransport

if TYPE_CHECKING:
    from pysubtask.seams.clock import Clock
    from pysubtask.settings import Settings
    from pysubtask.transports.contract import Transport, Wake
    from pysubtask.transports.sftp.channel import Connector
    from pysubtask.urls import Destination

__all__ = ["SftpFactory", "SftpTransport"]


class SftpFactory:
    """Makes new, unconnected SFTP transports for the destination."""

    def __init__(
        self, destination: Destination, settings: Settings, clock: Clock, wake: Wake
    ) -> None:
        self._connector = _connector(destination, settings)
        self._settings = settings
        self._clock = clock
        self._wake = wake

    def __call__(self) -> Transport:
        return SftpTransport(
            self._connector,
            self._clock,
            wake=self._wake,
            ack_timeout_secs=self._settings.reply_timeout_secs,
            handshake_timeout_secs=self._settings.login_timeout_secs,
        )

    def prepare(self) -> None:
        """Load the library that the first connection needs; takes a good part of its time."""
        prepare = getattr(self._connector, "prepare", None)
        if prepare is not None:
            prepare()


def _connector(destination: Destination, settings: Settings) -> Connector:
    if settings.ssh_command is not None:
        from pysubtask.transports.sftp.process import ProcessConnector

        return ProcessConnector(
            settings.ssh_command,
            destination.host,
            user=destination.user,
            port=destination.port if destination.port != 22 else None,
            send_timeout_secs=settings.reply_timeout_secs,
            compress=settings.compress is True,
        )
    from pysubtask.transports.sftp.ssh import SshConnector

    return SshConnector(
        destination.host,
        user=destination.user,
        port=destination.port,
        password=destination.password,
        key_file=settings.key_file,
        key_passphrase=settings.key_passphrase,
        host_key=settings.host_key or None,
        known_hosts=settings.known_hosts,
        connect_timeout_secs=settings.connect_timeout_secs,
        login_timeout_secs=settings.login_timeout_secs,
        send_timeout_secs=settings.reply_timeout_secs,
        keepalive_secs=settings.keepalive_secs,
        compress=settings.compress,
    )
