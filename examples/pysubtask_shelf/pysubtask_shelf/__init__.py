"""A transport of one's own: ``shelf://host:port/folder``, to the server in ``server.py`` beside.

The protocol is a toy (no login, no encryption): a request is a line of JSON and, where it says
``bytes``, so many of them; so is the answer. What matters here is :class:`ShelfTransport`: one
method for each request of ``pysubtask/transports/contract.py`` that the server can do.
"""

from __future__ import annotations

import io
import json
import socket
from typing import Any, NoReturn

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import (
    LinkError,
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.transports.contract import RemoteStat
from pysubtask.transports.own import Setup
from pysubtask.transports.simple import SimpleTransport

__all__ = ["DEFAULT_PORT", "ShelfTransport", "make"]

DEFAULT_PORT = 7007

_REFUSALS: dict[str, type[RemoteError]] = {
    "missing": RemoteNotFound,
    "exists": RemoteExists,
    "denied": RemoteDenied,
    "full": RemoteFull,
}


def make(setup: Setup) -> ShelfTransport:
    """The entry point: called once for each connection; it does not connect yet."""
    return ShelfTransport(
        setup.destination.host,
        setup.destination.port or DEFAULT_PORT,
        connect_timeout_secs=setup.settings.connect_timeout_secs,
        reply_timeout_secs=setup.settings.reply_timeout_secs,
    )


class ShelfTransport(SimpleTransport):
    """One connection. An ``OSError`` (a timeout, a reset) may pass: pysubtask takes it for a
    connection that broke, and makes another one."""

    def __init__(
        self, host: str, port: int, *, connect_timeout_secs: float, reply_timeout_secs: float
    ) -> None:
        super().__init__()
        self._address = (host, port)
        self._connect_timeout_secs = connect_timeout_secs
        self._reply_timeout_secs = reply_timeout_secs
        self._socket: socket.socket | None = None
        self._stream: io.BufferedReader | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Said by the server's author: it works on one request at a time, writes with ``pwrite``
        and renames with ``rename(2)``."""
        return Capabilities(
            positioned_write=True,
            sequential=True,
            atomic_replace=True,
            fsync=True,
            max_write_bytes=1 << 18,
            max_read_bytes=1 << 18,
        )

    def connect(self) -> None:
        self._socket = socket.create_connection(self._address, self._connect_timeout_secs)
        self._socket.settimeout(self._reply_timeout_secs)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        answer, _ = self._ask("hello")
        if answer.get("shelf") != 1:
            raise LinkError("the server speaks another version", operation="connect")

    def close(self) -> None:
        super().close()
        for thing in (self._stream, self._socket):
            if thing is not None:
                thing.close()

    def stat(self, path: str) -> RemoteStat:
        answer, _ = self._ask("stat", path)
        return _stat(answer["stat"])

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        self._ask("write", path, data, offset=offset, create=create)

    def finish(self, path: str, *, sync: bool) -> None:
        if sync:
            self._ask("sync", path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        return self._ask("read", path, offset=offset, length=length)[1]

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        self._ask("rename", path, target=target, replace=replace)

    def remove(self, path: str) -> None:
        self._ask("remove", path)

    def make_dir(self, path: str) -> None:
        self._ask("make_dir", path)

    def list(self, path: str) -> dict[str, RemoteStat]:
        answer, _ = self._ask("list", path)
        return {name: _stat(found) for name, found in answer["names"].items()}

    def _ask(
        self, what: str, path: str = "", data: bytes = b"", **more: Any
    ) -> tuple[dict[str, Any], bytes]:
        assert self._socket is not None
        assert self._stream is not None
        head = {"do": what, "path": path, "bytes": len(data), **more}
        self._socket.sendall(json.dumps(head).encode("ascii") + b"\n" + data)
        line = self._stream.readline(1 << 24)
        if not line.endswith(b"\n"):
            raise LinkLost("the server closed the connection")
        answer = json.loads(line)
        found = self._stream.read(answer["bytes"])
        if len(found) < answer["bytes"]:
            raise LinkLost("the server closed the connection")
        if "refused" in answer:
            _refuse(what, path, answer)
        return answer, found


def _stat(found: list[Any]) -> RemoteStat:
    size, mtime, is_dir = found
    return RemoteStat(size, mtime, is_dir)


def _refuse(what: str, path: str, answer: dict[str, Any]) -> NoReturn:
    kind = _REFUSALS.get(answer["refused"], RemoteError)
    raise kind(answer["text"], operation=what, path=path)
