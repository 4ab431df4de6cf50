"""An end to a try that drips: timeouts of sockets begin anew with each byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

__all__ = ["Cut"]


class Cut:
    """Ends the connections it was told of after ``secs``; a context manager.

    Args:
        secs: for all of the try.
    """

    def __init__(self, secs: float) -> None:
        self._timer = threading.Timer(secs, self._cut)
        self._timer.daemon = True
        self._watched: list[socket.socket] = []
        self._is_over = False

    def __enter__(self) -> Cut:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        for one in self._watched:
            one.close()

    def watch(self, connection: socket.socket) -> socket.socket:
        """Watch this one, and give it back; TLS may wrap it afterwards."""
        self._watched.append(connection.dup())  # TLS takes the descriptor out of the one it wraps
        if self._is_over:  # finding an address has taken all of the time
            self._cut()
        return connection

    def _cut(self) -> None:
        self._is_over = True
        for one in list(self._watched):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
