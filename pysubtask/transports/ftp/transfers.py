"""Transfers: STOR, APPE, RETR, MLSD, LIST, each over a data connection of its own."""

from __future__ import annotations

from collections.abc import Callable

from pysubtask.errors import LinkLost, RemoteError, RemoteNotFound, RemoteUnsupported
from pysubtask.transports.ftp.data import DataConnection
from pysubtask.transports.ftp.facts import parse_size
from pysubtask.transports.ftp.login import Session
from pysubtask.transports.ftp.names import encode_path
from pysubtask.transports.ftp.replies import Reply, check_that_it_looked, remote_error

__all__ = ["RestRefused", "Transfers", "size_of", "size_told"]

_MAX_LISTING_BYTES = 64 * 1024 * 1024
_MAX_NAMES = 250_000
_OF_THE_OFFSET = (501, 504, 551, 552, 554)
"""REST is refused by these for its argument (one that is too large, say), not as a command."""


class RestRefused(RemoteUnsupported):
    """The server takes no REST; nothing was read or written. What the trial found holds no more, if
    it had found that it does."""


def size_of(reply: Reply) -> int | None:
    """The size in a reply to SIZE; None if there is none."""
    return parse_size(reply.lines[0].strip()) if reply.code == 213 else None


def size_told(reply: Reply, path: str) -> int | None:
    """The size in a reply to SIZE; None if there is no such file.

    Raises:
        RemoteError: the server can't tell it, at the moment.
        LinkLost: it is no reply to SIZE.
    """
    if reply.code != 213:
        check_that_it_looked(reply, path)
        return None
    size = size_of(reply)
    if size is None:
        raise RemoteError(f"the size makes no sense: {str(reply)!r}", operation="stat", path=path)
    return size


class Transfers:
    """Moves bytes over one session.

    Args:
        pipelined: the server is known to take several commands at once.
    """

    def __init__(self, session: Session, *, pipelined: bool = False) -> None:
        self._session = session
        self._control = session.control
        self.pipelined = pipelined
        self._takes_rest = False
        """It has taken one over this connection."""

    def store(
        self,
        path: str,
        data: memoryview,
        *,
        offset: int = 0,
        append: bool = False,
        expected_size: int | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> int:
        """Store at an offset (REST + STOR), from the start (STOR), or at the end (APPE).

        Args:
            expected_size: the size that the file was just seen to have. On a server that takes
                commands in one go it is asked for once more, right before the file is opened: had
                a consumer taken the file meanwhile, STOR would make a new one that begins with a
                hole.
            go_on: asked now and then while sending; False ends the transfer early, in order.

        Returns:
            How many bytes the server acknowledged.

        Raises:
            RemoteError: refused; RemoteNotFound also for a file that is gone meanwhile.
            RestRefused: it takes no REST.
        """
        raw = encode_path(path)
        commands = [b"SIZE " + raw] if expected_size is not None and self.pipelined else []
        checked = bool(commands)
        positioned = offset > 0 and not append
        if positioned:
            self._try_rest(path, offset)
            commands.append(b"REST %d" % offset)
        commands.append((b"APPE " if append else b"STOR ") + raw)
        connection = self._session.passive.open()
        try:
            replies = self._ask_all(commands)
            last = replies[-1]
            if positioned and not replies[checked].goes_on:
                if last.begins:  # it has emptied the file, but gets no byte for a wrong place
                    self._give_up(connection)
                raise self._rest_refused(replies[checked], "write", path)
            taken = checked and size_of(replies[0]) != expected_size
            if not last.begins:
                error = remote_error(last, "write", path)
                # ProFTPD makes the file before it finds that it is too short for the offset
                raise self._taken_meanwhile(path, replies[0]) if taken else error
            if taken:
                self._give_up(connection)
                raise self._taken_meanwhile(path, replies[0])
            connection.begin()
            return self._send(connection, path, data, go_on)
        finally:
            connection.close()

    def _try_rest(self, path: str, offset: int) -> None:
        """Where commands go out together, STOR would empty the file if the REST before it were
        refused: the first REST of a connection, whose server may have been set up anew since the
        trial, waits for its reply. The one that belongs to the STOR takes its place.

        Raises:
            RemoteError: refused.
        """
        if self.pipelined and not self._takes_rest:
            reply = self._control.ask(b"REST %d" % offset)
            if not reply.goes_on:
                raise self._rest_refused(reply, "write", path)
            self._takes_rest = True

    def _rest_refused(self, reply: Reply, operation: str, path: str) -> RemoteError:
        self._takes_rest = False
        if reply.done and not self.pipelined:  # a server that nobody knows: it may be its way
            return RestRefused(f"REST: {str(reply)!r}", operation=operation, path=path)
        error = remote_error(reply, operation, path)
        if reply.code < 500 or reply.code in _OF_THE_OFFSET:
            return error
        return RestRefused(error.message, operation=operation, path=path)

    def _give_up(self, connection: DataConnection) -> None:
        """End a STOR that has begun, with no data, in order."""
        connection.begin()  # vsftpd answers in the clear after a TLS handshake that failed
        connection.end()
        self._control.reply()

    def _ask_all(self, commands: list[bytes]) -> list[Reply]:
        if self.pipelined:
            self._control.send(*commands)
            return [self._control.reply() for _ in commands]
        replies: list[Reply] = []
        for command in commands:
            reply = self._control.ask(command)
            replies.append(reply)
            if not reply.goes_on and not reply.begins:
                break
        return replies

    def _taken_meanwhile(self, path: str, size_reply: Reply) -> RemoteError:
        """No data was sent. If STOR made a new, empty file, it goes.

        Args:
            size_reply: to SIZE, right before the STOR.
        """
        raw = encode_path(path)
        if size_of(self._control.ask(b"SIZE " + raw)) == 0:
            self._control.ask(b"DELE " + raw)
        else:
            size_told(size_reply, path)  # raises: it may be what it was
        return RemoteNotFound("it is not what it was a moment ago", operation="write", path=path)

    def _send(
        self,
        connection: DataConnection,
        path: str,
        data: memoryview,
        go_on: Callable[[], bool],
    ) -> int:
        try:
            sent = connection.send(data, go_on)
            connection.end()
        except TimeoutError:
            raise LinkLost("nothing could be sent for too long", operation="write") from None
        except OSError as error:
            reply = self._control.reply()  # the server may say why it hung up
            if reply.code >= 400:
                raise remote_error(reply, "write", path) from error
            raise LinkLost(f"the data connection broke: {error.strerror or error}") from error
        reply = self._control.reply(progress=connection.unsent, sent_bytes=sent)
        if not reply.done:
            raise remote_error(reply, "write", path)
        return sent

    def fetch(self, path: str, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only at the end of the file."""
        raw = encode_path(path)
        connection = self._session.passive.open(length)
        try:
            commands = [b"REST %d" % offset] if offset else []
            first, *others = self._ask_all([*commands, b"RETR " + raw])
            reply = others[-1] if others else first
            if offset and not first.goes_on:
                if reply.begins:  # from the start: none of that is wanted
                    connection.close()
                    self._control.reply()
                raise self._rest_refused(first, "read", path)
            if not reply.begins:
                if offset and reply.code in (501, 551, 554):
                    return b""  # ProFTPD, of an offset behind the end
                raise remote_error(reply, "read", path)
            connection.begin()
            parts: list[bytes] = []
            missing = length
            try:
                for piece in connection.receive():
                    parts.append(piece[:missing])
                    missing -= len(parts[-1])
                    if not missing:
                        break
            except OSError as error:
                raise LinkLost(f"the data connection broke: {error}", operation="read") from error
            connection.close()
            reply = self._control.reply()
            if not reply.done and (missing or reply.code < 400):  # 4xx: it was ended early
                raise remote_error(reply, "read", path)
            return b"".join(parts)
        finally:
            connection.close()

    def listing(self, command: bytes, path: str) -> list[bytes]:
        """The lines that MLSD or LIST sends.

        Raises:
            RemoteError: refused.
        """
        connection = self._session.passive.open()
        try:
            reply = self._control.ask(command)
            if not reply.begins:
                raise remote_error(reply, "list", path)
            connection.begin()
            listed = bytearray()
            names = 0
            try:
                for piece in connection.receive():
                    listed += piece
                    names += piece.count(b"\n")
                    if len(listed) > _MAX_LISTING_BYTES or names > _MAX_NAMES:
                        raise RemoteUnsupported(
                            "the folder is too large", operation="list", path=path
                        )
            except OSError as error:
                raise LinkLost(f"the data connection broke: {error}", operation="list") from error
            finally:
                connection.close()
                reply = self._control.reply()
            if not reply.done:
                raise remote_error(reply, "list", path)
            return bytes(listed).replace(b"\r\n", b"\n").split(b"\n")
        finally:
            connection.close()
