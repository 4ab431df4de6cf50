"""A folder as the destination: the real client, on the server's simulated disk.

:class:`pysubtask.transports.folder.FolderTransport` speaks to the operating system. For the time of
each request its module finds a system of ours instead (:class:`MountedOs`), so that its own code
runs: which files it syncs, and when, is what has to be right here.

On a ``mount`` (NFS, SMB) what is written waits in the client's cache until it is synced or closed,
and reaches the server write by write in any order; a reader there sees each of them. On a ``disk``
of the machine's own, it is seen at once, and a loss of power takes what was not synced.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import posixpath
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import LinkError, LinkLost
from pysubtask.transports import folder
from pysubtask.transports.contract import Request, Result, Wake
from pysubtask.transports.folder import FolderTransport
from tests.simulation.network import SimChannel, SimConnector
from tests.simulation.remote import (
    DENIED,
    FAILURE,
    NO_SUCH_FILE,
    RemoteDisk,
    RemoteFile,
    RemoteRefusal,
)
from tests.simulation.server import SimServer

__all__ = ["SYNC_EVERY_BYTES", "SimFolderTransport"]

_CALL_BYTES = 200
SYNC_EVERY_BYTES = 262_144
"""Instead of 16 MiB, as files are small here."""
_REFUSED_LATE = 0.1
_WRITTEN_BACK_NS = (0, 1_000_000, 100_000_000, 5_000_000_000)


class SimFolderTransport(FolderTransport):
    """The real one; its connection is the mount."""

    def __init__(self, connector: SimConnector, wake: Wake, rng: random.Random) -> None:
        super().__init__("/")
        self._connector = connector
        self._wake_up = wake
        self._os = MountedOs(connector.network.server, rng)
        self._root = _SimRoot(self)  # type: ignore[assignment]

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, synced_every_bytes=SYNC_EVERY_BYTES)

    def attach(self) -> None:
        """The mount is there."""
        self._os.channel = self._connector(self._wake_up)

    def _carry_out(self, request: Request) -> Result:
        with self._os.in_place():
            return super()._carry_out(request)

    def relax(self) -> None:
        with self._os.in_place():
            super().relax()
        self._checked = True  # the folder's identity has tests of its own

    def close(self) -> None:
        super().close()
        if self._os.channel is not None:
            self._os.channel.close()


class _SimRoot:
    """The folder, which is always the one that it was."""

    limits: tuple[str, ...] = ()

    def __init__(self, transport: SimFolderTransport) -> None:
        self._transport = transport

    def check(self) -> None:
        self._transport.attach()

    @contextmanager
    def at(self) -> Iterator[int | None]:
        yield None

    def name(self, path: str, at: int | None) -> str:
        return path

    def keep_inside(self, path: str) -> None:
        """There are no links."""

    def lost(self, error: OSError) -> LinkError | None:
        if error.errno == errno.ENOTCONN:
            return LinkLost("the mount is gone", operation="deliver")
        return None


class MountedOs:
    """What the folder's client finds as the module ``os``."""

    def __init__(self, server: SimServer, rng: random.Random) -> None:
        self._server = server
        self._rng = rng
        self.channel: SimChannel | None = None
        self._files: dict[int, RemoteFile] = {}
        self._at: dict[int, int] = {}
        self._last_fd = 100
        self.path = posixpath
        for name in ("O_RDWR", "O_RDONLY", "O_CREAT", "SEEK_SET", "strerror", "stat_result"):
            setattr(self, name, getattr(os, name))
        self.fsencode = os.fsencode
        self.POSIX_FADV_DONTNEED = getattr(os, "POSIX_FADV_DONTNEED", 0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The folder's client finds this system instead of the real one."""
        names: dict[str, Any] = vars(folder)
        before = {name: names[name] for name in ("os", "_SYNC_EVERY_BYTES")}
        names |= {"os": self, "open": self._open_file, "_SYNC_EVERY_BYTES": SYNC_EVERY_BYTES}
        try:
            yield
        finally:
            names |= {**before, "open": builtins.open}

    @property
    def _disk(self) -> RemoteDisk:
        return self._server.disk

    def _call(self, name: str, path: str, act: Callable[[], Any], sent: int = 0) -> Any:
        """One call of the operating system, there and back."""
        server, channel = self._server, self.channel
        if channel is None:
            raise OSError(errno.ENOTCONN, "not mounted", path)
        try:
            channel.travel(_CALL_BYTES + sent)
            server.executed += 1
            cut_here = server.executed == server.cut_at
            if cut_here and server.cut_before:
                channel.break_off()
            server.begin_request()
            result = act()
            if server.trace is not None:
                server.trace(f"{name} {path} {sent or ''}")
            if cut_here:
                channel.break_off()
            if server.lag is not None and server.executed >= server.lag[0]:
                (_, lag_ns), server.lag = server.lag, None
                channel.stall(lag_ns)
            channel.travel(_CALL_BYTES, back=True)
            return result
        except LinkLost:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), path) from None
        except RemoteRefusal as refusal:
            if server.trace is not None:
                server.trace(f"{name} {path} {sent or ''} -> {refusal}")
            raise self._error(refusal, name, path) from None

    def _error(self, refusal: RemoteRefusal, name: str, path: str) -> OSError:
        number = {NO_SUCH_FILE: errno.ENOENT, DENIED: errno.EACCES}.get(refusal.args[0])
        if number is None:
            full = self._disk.used_bytes >= self._disk.capacity_bytes
            number = errno.ENOSPC if full and name in ("write", "fsync") else errno.EBUSY
        return OSError(number, os.strerror(number), path)

    # -- the cache of a mount --------------------------------------------------------------------

    def _flush(self, file: RemoteFile, count: int | None = None) -> None:
        """Write back what waits, in any order: all of it, or ``count`` of the writes."""
        waiting = self._server.cache.get(file, [])
        for _ in range(len(waiting) if count is None else count):
            offset, data = waiting.pop(self._rng.randrange(len(waiting)))
            self._disk.write(file, offset, data)
        if not waiting:
            self._server.cache.pop(file, None)

    def _write_back(self, file: RemoteFile) -> None:
        waiting = self._server.cache.get(file, [])
        if len(waiting) > 1 and self._refuses_now():
            del waiting[self._rng.randrange(len(waiting))]
            self._server.cache_errors.add(file)
            self._server.on_refusal()
            return
        try:
            self._flush(file, min(1, len(waiting)))
        except RemoteRefusal:
            self._server.cache_errors.add(file)

    def _refuses_now(self) -> bool:
        """Whether the server has no room just now (somebody else's quota, for a moment)."""
        return self._server.kind.refuses_late and self._rng.random() < _REFUSED_LATE

    def _tell(self, file: RemoteFile) -> None:
        """Tell once what was refused since the last time."""
        if file in self._server.cache_errors:
            self._server.cache_errors.discard(file)
            raise RemoteRefusal(FAILURE)

    def _content(self, file: RemoteFile) -> bytes:
        """As this machine sees it."""
        content = bytearray(file.content)
        for offset, data in self._server.cache.get(file, ()):
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
        return bytes(content)

    # -- the module's functions ------------------------------------------------------------------

    def _stat_of(self, file: RemoteFile) -> Any:
        return SimpleNamespace(
            st_size=len(self._content(file)), st_mtime=float(file.mtime), st_mode=0o100644
        )

    def stat(self, path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
        def look() -> Any:
            code = self._disk.refuse("stat", path)
            if code is not None:
                raise RemoteRefusal(code)
            if path in self._disk.folders:
                return SimpleNamespace(st_size=4096, st_mtime=0.0, st_mode=0o040755)
            return self._stat_of(self._disk.lookup(path))

        return self._call("stat", path, look)

    def fstat(self, fd: int) -> Any:
        return self._call("fstat", str(fd), lambda: self._stat_of(self._files[fd]))

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        def opened() -> int:
            file = self._disk.open(
                path,
                write=bool(flags & os.O_RDWR),
                create=bool(flags & os.O_CREAT),
                truncate=False,
                exclusive=False,
            )
            self._last_fd += 1
            self._files[self._last_fd] = file
            return self._last_fd

        return int(self._call("open", path, opened))

    def lseek(self, fd: int, offset: int, whence: int) -> int:
        self._at[fd] = offset
        return offset

    def write(self, fd: int, data: bytes | memoryview) -> int:
        file, offset, whole = self._files[fd], self._at[fd], bytes(data)

        def store() -> None:
            self._tell(file)
            if not self._server.kind.cached:
                self._disk.write(file, offset, whole)
                return
            self._server.cache.setdefault(file, []).append((offset, whole))
            # The system writes it back by itself in the end, whatever became of the process.
            after_ns = self._rng.choice(_WRITTEN_BACK_NS)
            self._server.clock.after(after_ns, lambda: self._write_back(file))

        self._call("write", str(fd), store, len(whole))
        self._server.write_bytes += len(whole)
        self._at[fd] = offset + len(whole)
        return len(whole)

    def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None:
        """Writing back begins by itself here."""

    def fsync(self, fd: int) -> None:
        file = self._files[fd]

        def sync() -> None:
            self._flush(file)
            self._tell(file)
            self._disk.sync(file)

        self._call("fsync", str(fd), sync)

    def close(self, fd: int) -> None:
        file = self._files.pop(fd, None)
        if file is not None and file not in self._files.values():
            try:
                self._call("close", str(fd), lambda: self._flush(file))
            except OSError:
                pass  # as close(2): what was not synced may be lost, and nobody is told

    def rename(self, path: str, target: str, **_: Any) -> None:
        self._call("rename", path, lambda: self._disk.rename(path, target, replace=True))

    replace = rename

    def unlink(self, path: str, **_: Any) -> None:
        self._call("unlink", path, lambda: self._disk.remove(path))

    def mkdir(self, path: str, **_: Any) -> None:
        if path in self._disk.folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._call("mkdir", path, lambda: self._disk.make_folder(path))

    @contextmanager
    def scandir(self, path: str) -> Iterator[Iterator[Any]]:
        names = self._call("scandir", path, lambda: self._disk.names_in(path))
        folder_path = path.rstrip("/")
        yield iter(
            [
                SimpleNamespace(
                    name=name,
                    stat=partial(self.stat, f"{folder_path}/{name}"),
                    is_symlink=lambda: False,
                )
                for name in names
            ]
        )

    def _open_file(self, fd: int, mode: str) -> io.BytesIO:
        """The builtin ``open``, of a descriptor."""
        file = self._files.pop(fd)
        return io.BytesIO(self._content(file))
