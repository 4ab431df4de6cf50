"""The seam below the SFTP client: a byte stream to an ``sftp`` subsystem.

Real ones are :mod:`~pysubtask.transports.sftp.ssh` (paramiko) and
:mod:`~pysubtask.transports.sftp.process` (the system's ``ssh`` program); the simulator and the
fuzzers put their own in their place.
"""

from __future__ import annotations

from typing import Protocol

from pysubtask.transports.contract import Wake

__all__ = ["HUNG_UP", "Channel", "Connector"]

HUNG_UP = (
    "the login was accepted, and then the server hung up; its log says why (with OpenSSH often: a "
    "ChrootDirectory, or a folder above it, that others than root own or may write)"
)
"""What a person can do about a stream that ends before the server has said anything."""


class Channel(Protocol):
    """A connected, full-duplex byte stream."""

    def send(self, *parts: bytes) -> None:
        """Send all of the parts, in order; waits at most the channel's time limit for room.

        Raises:
            LinkLost: the stream broke, or nothing moved for the time limit.
        """

    def receive(self) -> bytes:
        """Whatever has arrived, ``b""`` if nothing has; never waits.

        Raises:
            LinkLost: the stream has ended and everything that arrived before was given out.
        """

    def wait(self, timeout_secs: float) -> None:
        """Wait until :meth:`receive` has something to say, at most ``timeout_secs``."""

    def close(self) -> None:
        """Drop the stream now; idempotent, never raises."""


class Connector(Protocol):
    """Makes a connected channel."""

    def __call__(self, wake: Wake) -> Channel:
        """Connect, check the host key, log in, open the subsystem; bounded in time.

        ``wake`` is called, from any thread, whenever ``receive`` has something new to say.

        Raises:
            LinkError: no connection; ``LoginRefused`` and ``HostKeyRefused`` are told apart.
        """
