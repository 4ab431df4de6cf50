"""One long STOR, for servers that can't continue a file: all of it must go in one transfer."""

from __future__ import annotations

from pysubtask.errors import LinkLost
from pysubtask.transports.ftp.data import DataConnection
from pysubtask.transports.ftp.login import Session
from pysubtask.transports.ftp.names import encode_path
from pysubtask.transports.ftp.replies import remote_error

__all__ = ["Stream"]


class Stream:
    """An upload that stays open between writes. Nothing else can be asked meanwhile, and what was
    written is acknowledged by :meth:`finish` only.

    Raises:
        RemoteError: refused.
    """

    def __init__(self, session: Session, path: str) -> None:
        self.path = path
        self.position = 0
        self._control = session.control
        self._connection: DataConnection = session.passive.open()
        try:
            reply = self._control.ask(b"STOR " + encode_path(path))
            if not reply.begins:
                raise remote_error(reply, "write", path)
            self._connection.begin()
        except BaseException:
            self._connection.close()
            raise

    def write(self, data: bytes) -> None:
        """Send what comes next.

        Raises:
            RemoteError: the server gave up; the stream is over.
        """
        try:
            self._connection.send(memoryview(data), lambda: True)
        except TimeoutError:
            raise LinkLost("nothing could be sent for too long", operation="write") from None
        except OSError as error:
            self._connection.close()
            reply = self._control.reply()
            if reply.code >= 400:
                raise remote_error(reply, "write", self.path) from error
            raise LinkLost(f"the data connection broke: {error.strerror or error}") from error
        self.position += len(data)

    def finish(self) -> None:
        """Nothing more comes: wait for the server's word.

        Raises:
            RemoteError: it could not store it.
        """
        try:
            self._connection.end()
            reply = self._control.reply(progress=self._connection.unsent, sent_bytes=self.position)
        finally:
            self._connection.close()
        if not reply.done:
            raise remote_error(reply, "write", self.path)

    def close(self) -> None:
        """Break it off. Idempotent, never raises."""
        self._connection.close()
