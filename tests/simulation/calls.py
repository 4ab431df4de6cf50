"""Destinations whose clients make one call after the other, as FTP's and Dropbox's do.

No packets here: the transport acts on the server's disk itself, half a round trip after it was
asked, and is told half a round trip later. A cut falls before the server acted, or after it.

``ftp``: positioned writes into visible files, no atomic replace, one thing at a time. ``sessions``,
with the manners of Dropbox: whole files only, put in one request, or by an upload that nobody sees
before its commit; a digest instead of reading back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.checksum import DROPBOX, hasher
from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.transports.contract import Begun, RemoteStat, Wake
from pysubtask.transports.simple import SimpleTransport
from tests.simulation.network import SimChannel, SimConnector
from tests.simulation.remote import DENIED, NO_SUCH_FILE, RemoteDisk, RemoteRefusal
from tests.simulation.server import SimServer

__all__ = ["CallsTransport"]

FTP = Capabilities(positioned_write=True, sequential=True, atomic_replace=False, max_files=1)
SESSIONS = Capabilities(
    positioned_write=False,
    sequential=True,
    atomic_replace=True,
    max_put_bytes=30_000,
    upload_tokens=True,
    segments=True,
    checksum=DROPBOX,
    max_files=1,
)
_REQUEST_BYTES = 300


class CallsTransport(SimpleTransport):
    """One connection of that kind."""

    def __init__(self, connector: SimConnector, wake: Wake) -> None:
        super().__init__()
        self._connector = connector
        self._wake_up = wake
        self._channel: SimChannel | None = None
        self._begun: dict[str, str] = {}

    @property
    def _server(self) -> SimServer:
        return self._connector.network.server

    @property
    def _disk(self) -> RemoteDisk:
        return self._server.disk

    @property
    def capabilities(self) -> Capabilities:
        if self._server.kind.calls != "sessions":
            return FTP
        return replace(SESSIONS, folds_names=True) if self._server.kind.folds_names else SESSIONS

    def connect(self) -> None:
        self._channel = self._connector(self._wake_up)

    def close(self) -> None:
        super().close()
        if self._channel is not None:
            self._channel.close()

    def _call(
        self, name: str, path: str, act: Callable[[], object], sent: int = 0, answered: int = 0
    ) -> object:
        """Have the server do something: there, and back."""
        channel, server = self._channel, self._server
        if channel is None:
            raise LinkLost("not connected", operation=name, path=path)
        channel.travel(_REQUEST_BYTES + sent)
        server.executed += 1
        cut_here = server.executed == server.cut_at
        if cut_here and server.cut_before:
            channel.break_off()
        refused: RemoteRefusal | None = None
        result: object = None
        try:
            server.begin_request()
            result = act()
        except RemoteRefusal as error:
            refused = error
        if server.trace is not None:
            server.trace(f"{name} {path} {sent or ''} -> {refused or 'ok'}")
        if cut_here:
            channel.break_off()
        if server.lag is not None and server.executed >= server.lag[0]:
            (_, lag_ns), server.lag = server.lag, None
            channel.stall(lag_ns)
        channel.travel(_REQUEST_BYTES + answered, back=True)
        if refused is not None:
            raise self._error(refused, name, path)
        return result

    def _error(self, refusal: RemoteRefusal, name: str, path: str) -> RemoteError:
        kind: type[RemoteError] = RemoteExists if name == "rename" else RemoteError
        if refusal.args[0] == NO_SUCH_FILE:
            kind = RemoteNotFound
        elif refusal.args[0] == DENIED:
            kind = RemoteDenied
        elif name in ("write", "put") and self._disk.used_bytes >= self._disk.capacity_bytes:
            kind = RemoteFull
        return kind("refused", operation=name, path=path)

    # -- requests --------------------------------------------------------------------------------

    def _look(self, path: str) -> RemoteStat:
        path = self._disk.fold(path)
        if path in self._disk.folders:
            return RemoteStat(0, None, is_dir=True)
        file = self._disk.lookup(path)
        found = RemoteStat(len(file.content), float(file.mtime))
        if self.capabilities.checksum:
            digest = hasher(self.capabilities.checksum)
            digest.update(bytes(file.content))
            found = msgspec.structs.replace(found, digest=digest.hexdigest())
        return found

    def stat(self, path: str) -> RemoteStat:
        found = self._call("stat", path, lambda: self._look(path))
        assert isinstance(found, RemoteStat)
        return found

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        asked, path = path, self._disk.fold(path)
        self._server.write_bytes += len(data)
        if self._server.kind.calls != "sessions":

            def store() -> None:
                file = self._disk.open(
                    path, write=True, create=create, truncate=False, exclusive=False
                )
                self._disk.write(file, offset, data)

            self._call("write", path, store, len(data))
            return

        def append() -> None:
            upload = self._server.uploads.get(self._begun[asked])
            if upload is None or len(upload) != offset:
                raise RemoteRefusal(NO_SUCH_FILE)
            upload += data

        self._call("write", path, append, len(data))

    def put(self, path: str, data: bytes, *, modified: float | None, quiet: bool) -> RemoteStat:
        def place() -> RemoteStat:
            self._place(path, data)
            return self._look(path)

        self._server.write_bytes += len(data)
        found = self._call("put", path, place, len(data))
        assert isinstance(found, RemoteStat)
        return found

    def _place(self, path: str, data: bytes) -> None:
        """A whole file takes the name in one step; its folders are made."""
        disk, path = self._disk, self._disk.fold(path)
        code = disk.refuse("write", path)
        if code is not None:
            raise RemoteRefusal(code)
        old = disk.files.get(path)
        growth = len(data) - (len(old.content) if old is not None else 0)
        if growth > max(0, disk.capacity_bytes - disk.used_bytes):
            raise RemoteRefusal(4)
        parts = path.strip("/").split("/")[:-1]
        for count in range(1, len(parts) + 1):
            disk.folders.add("/" + "/".join(parts[:count]))
        disk.put(path, data)

    def begin(self, path: str, token: str, size: int, *, modified: float | None) -> Begun:
        uploads = self._server.uploads

        def start() -> Begun:
            now = token
            if not now:
                now = f"upload {self._server.executed}"
                uploads[now] = bytearray()
            if now not in uploads:
                raise RemoteRefusal(NO_SUCH_FILE)
            self._begun[path] = now
            return Begun(now, len(uploads[now]))

        found = self._call("begin", path, start)
        assert isinstance(found, Begun)
        return found

    def read(self, path: str, offset: int, length: int) -> bytes:
        path = self._disk.fold(path)

        def take() -> bytes:
            file = self._disk.open(path, write=False, create=False, truncate=False, exclusive=False)
            return bytes(file.content[offset : offset + length])

        found = self._call("read", path, take, answered=length)
        assert isinstance(found, bytes)
        return found

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        token = self._begun.get(path)
        if token is None:
            old, new = self._disk.fold(path), self._disk.fold(target)
            self._call("rename", path, lambda: self._disk.rename(old, new, replace=replace))
            return

        def commit() -> None:
            upload = self._server.uploads.get(token)
            if upload is None:
                raise RemoteRefusal(NO_SUCH_FILE)
            self._place(target, bytes(upload))
            del self._server.uploads[token]

        self._call("commit", target, commit)
        self._begun.pop(path, None)

    def remove(self, path: str) -> None:
        self._call("remove", path, lambda: self._disk.remove(self._disk.fold(path)))

    def make_dir(self, path: str) -> None:
        path = self._disk.fold(path)

        def make() -> None:
            if path not in self._disk.folders:
                self._disk.make_folder(path)

        self._call("make folder", path, make)

    def list(self, path: str) -> dict[str, RemoteStat]:
        path = self._disk.fold(path)

        def names() -> dict[str, RemoteStat]:
            found = self._disk.names_in(path)
            return {name: self._look(f"{path.rstrip('/')}/{name}") for name in found}

        found = self._call("list", path, names)
        assert isinstance(found, dict)
        return found
