"""Who is let in, and for how long: strangers must not use up what the monitor itself needs.

Connections that say nothing cost a descriptor each. Were there no bound, a few hundred of them,
from anybody who reaches the port, would leave none for reading the folder and for sending alerts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import time
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pysubtask.monitor.web.access import place_of

__all__ = ["Connection", "Door", "more_descriptors"]

MAX_CONNECTIONS = 1000
_WANTED_DESCRIPTORS = 4096
_ASK_SECS = 20.0
"""So long a whole request may take, from the connection (or the last answer) on."""
_TAKE_SECS = 60.0
"""So long an answer may lie here because the other side takes nothing of it."""
_PAUSE_SECS = 0.05
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_LOG = logging.getLogger("pysubtask.monitor")


def more_descriptors() -> int:
    """Raise this process's limit of open files as far as it may; gives the limit."""
    if sys.platform == "win32":
        return 2 * MAX_CONNECTIONS  # a socket is a handle there, of which there are millions
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _WANTED_DESCRIPTORS
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    wanted = max(soft, min(wanted, _WANTED_DESCRIPTORS))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


class Door(socket.socket):
    """A listening socket that takes so many connections, and not all from one place.

    Beyond ``limit`` a connection is closed as soon as it is made. When the process has no
    descriptor left all the same, one that is kept in reserve serves to do that: a connection that
    is left waiting would wake the loop again and again.
    """

    def __init__(self, family: int = -1, kind: int = -1) -> None:
        super().__init__(family, kind)
        self.limit = MAX_CONNECTIONS
        self._open: dict[socket.socket, str] = {}
        self._reserve = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that is let in.

        Raises:
            BlockingIOError: nobody waits, or whoever did was sent away.
        """
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            self._send_away(error)
            raise _nobody() from None
        place = place_of(str(address[0]))
        if not self._is_room(place):
            connection.close()
            _LOG.warning("too many connections: some are closed at once")
            raise _nobody()
        self._open[connection] = place
        return connection, address

    def close(self) -> None:
        """Stop listening."""
        super().close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _is_room(self, place: str) -> bool:
        """Half of all may come from one place: a program that leaks them shuts nobody else out."""
        if len(self._open) >= self.limit // 2:
            self._open = {one: who for one, who in self._open.items() if one.fileno() >= 0}
        if len(self._open) < self.limit // 2:
            return True
        return len(self._open) < self.limit and Counter(self._open.values())[place] * 2 < self.limit

    def _send_away(self, error: OSError) -> None:
        _LOG.warning("can't take a connection: %s", error.strerror)
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
            with contextlib.suppress(OSError):
                super().accept()[0].close()
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            time.sleep(_PAUSE_SECS)  # it still waits, and the loop would come back at once


def _nobody() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, "nobody else waits")


class Connection(H11Protocol):
    """uvicorn's waits for ever for a request, and for somebody to take the answer. Not so here."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It begins with a request."""
        super().connection_made(transport)
        self._give(_ASK_SECS)

    def data_received(self, data: bytes) -> None:
        """A byte now and then does not prolong the time for a request."""
        super().data_received(data)
        if self._owes_request():
            if self._timer is None:
                self._give(_ASK_SECS)
        else:
            self._give(None)

    def on_response_complete(self) -> None:
        """The next request, or the end: what is not taken of the answer must not stay for ever."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._give(_TAKE_SECS)
        else:  # the next one may have come, and be under way
            self._give(_ASK_SECS if self._owes_request() else None)

    def timeout_keep_alive_handler(self) -> None:
        """As above."""
        super().timeout_keep_alive_handler()
        self._give(_TAKE_SECS)

    def pause_writing(self) -> None:
        """Much of the answer waits to be taken."""
        super().pause_writing()
        self._give(_TAKE_SECS)

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._give(_ASK_SECS if self._owes_request() else None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        self._give(None)
        super().connection_lost(exc)

    def _owes_request(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _give(self, secs: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if secs is not None:
            self._timer = self.loop.call_later(secs, self.transport.abort)
