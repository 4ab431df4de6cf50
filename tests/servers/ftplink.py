"""A link for FTP in the clear: its data connections go the same way as the control connection."""

from __future__ import annotations

import re
import socket

from tests.servers.proxy import TcpProxy, Way

__all__ = ["FtpLink"]


class FtpLink(TcpProxy):
    """A :class:`TcpProxy` that reads the server's answers to EPSV and PASV, and puts a port of its
    own into them. Its counters count all connections together."""

    def _translate(self, way: Way, data: bytes) -> bytes:
        if way.up or way.target != self._target:
            return data
        data = re.sub(rb"(?m)^229 .*?\(\|\|\|(\d+)\|\)", self._extended, data)
        return re.sub(rb"(?m)^227 .*?\((\d+,){4}(\d+),(\d+)\)", self._passive, data)

    def _extended(self, found: re.Match[bytes]) -> bytes:
        port = self._listen(int(found[1]))
        return b"229 Entering Extended Passive Mode (|||%d|)" % port

    def _passive(self, found: re.Match[bytes]) -> bytes:
        port = self._listen(int(found[2]) * 256 + int(found[3]))
        return b"227 Entering Passive Mode (10,9,8,7,%d,%d)" % divmod(port, 256)

    def _listen(self, target_port: int) -> int:
        listener = socket.create_server((self.host, 0))
        listener.setblocking(False)
        self._listeners[listener] = self._target[0], target_port
        return int(listener.getsockname()[1])
