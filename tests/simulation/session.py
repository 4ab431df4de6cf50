"""One SFTP connection's end at the simulated server: packets in, packets out."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation import packets
from tests.simulation.packets import (
    ATTRS,
    BAD_MESSAGE,
    CLOSE,
    DATA,
    DENIED,
    EOF,
    EXTENDED,
    EXTENDED_REPLY,
    FAILURE,
    FSETSTAT,
    FSTAT,
    HANDLE,
    INIT,
    LSTAT,
    MAX_PACKET_BYTES,
    MKDIR,
    NAME,
    OK,
    OPEN,
    OPENDIR,
    READ,
    READDIR,
    REALPATH,
    REMOVE,
    RENAME,
    SETSTAT,
    STAT,
    STATUS,
    UNSUPPORTED,
    VERSION,
    WRITE,
    Packet,
    describe,
    read_string,
)
from tests.simulation.remote import RemoteFile, RemoteRefusal

if TYPE_CHECKING:
    from tests.simulation.server import SimServer

__all__ = ["Session"]


class _DirHandle:
    def __init__(self, folder: str, names: list[str]) -> None:
        self.folder = folder
        self.names = names


class Session:
    """One connection's end at the server."""

    def __init__(self, server: SimServer, reply: Callable[[bytes], None]) -> None:
        self._server = server
        self._disk = server.disk
        self._reply = reply
        self._buffer = bytearray()
        self._queue: list[Packet] = []
        self._arrived = 0
        self._handles: dict[bytes, tuple[RemoteFile, bool] | _DirHandle] = {}
        self._handle_number = 0
        self._held: dict[int, bytes] = {}
        self._next_reply = 1
        self.connected = True
        """Whether replies still reach anybody; a session goes on with what it has received."""
        self.broken = False
        self.orphaned = False
        """Its client has lost its power."""

    # -- taking in and choosing ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self.broken:
            return
        buffer = self._buffer
        buffer += data
        position, end = 0, len(buffer)
        while end - position >= 5:
            (length,) = packets.U32.unpack_from(buffer, position)
            if not 1 <= length <= MAX_PACKET_BYTES:
                self.hang_up()
                return
            stop = position + 4 + length
            if stop > end:
                break
            self._take(bytes(buffer[position + 4 : stop]))
            position = stop
        del buffer[:position]
        if not self._server.kind.parallel and not self._server.kind.service_ns:
            while self._queue and not self.broken:
                self._execute(self._queue.pop(0))

    def _take(self, packet: bytes) -> None:
        self._arrived += 1
        request_id = packets.U32.unpack_from(packet, 1)[0] if len(packet) >= 5 else 0
        request = Packet(self._arrived, packet[0], request_id, packet[5:])
        self._queue.append(request)
        server = self._server
        if server.kind.parallel or server.kind.service_ns:
            delay_ns = server.rng.randrange(1, max(2, server.kind.service_ns))
            server.clock.after(delay_ns, self._work)

    def _work(self) -> None:
        if not self._queue or self.broken:
            return
        if not self._server.kind.parallel:
            self._execute(self._queue.pop(0))
            return
        ready = [i for i in range(len(self._queue)) if self._may_run(i)]
        self._execute(self._queue.pop(self._server.rng.choice(ready)))

    def _may_run(self, index: int) -> bool:
        request = self._queue[index]
        if request.kind in (READ, WRITE):
            return True
        earlier = self._queue[:index]
        if request.kind == CLOSE and any(
            r.handle == request.handle for r in earlier if r.kind in (READ, WRITE)
        ):
            return False
        if request.kind == INIT or not self._server.kind.ordered_commands:
            return True
        return all(r.kind in (READ, WRITE) for r in earlier)

    def lose(self, rng: random.Random) -> None:
        """The connection broke: of what has arrived a part is still done, in the server's order."""
        self.connected = False
        if self._server.kind.parallel or self._server.kind.service_ns:
            if rng.random() < 0.5:
                return  # all of it
            for _ in range(rng.randrange(len(self._queue) + 1)):
                self._work()
            self._queue.clear()

    def hang_up(self) -> None:
        """The server ends the connection; nothing more is done."""
        self.broken = True
        self._server.cut(self)

    # -- answering -------------------------------------------------------------------------------

    def _send(self, request: Packet, packet: bytes) -> None:
        if not self.connected:
            return
        if not self._server.kind.ordered_replies:
            self._leave(packet)
            return
        self._held[request.number] = packet
        while self._next_reply in self._held:
            self._leave(self._held.pop(self._next_reply))
            self._next_reply += 1

    def _leave(self, packet: bytes) -> None:
        """An answer leaves: once, or twice, or late."""
        server = self._server
        lag, echo = server.lag, server.echo
        if lag is not None and server.executed >= lag[0]:
            server.lag = None
            server.clock.after(lag[1], lambda: self._still(packet))
        else:
            self._reply(packet)
        if echo is not None and server.executed >= echo[0]:
            server.echo = None
            server.clock.after(echo[1], lambda: self._still(packet))

    def _still(self, packet: bytes) -> None:
        if self.connected and not self.broken:
            self._reply(packet)

    def _status(self, request: Packet, code: int) -> bytes:
        text = packets.TEXTS[code]
        return (
            packets.STATUS_HEAD.pack(17 + len(text), STATUS, request.request_id, code, len(text))
            + text
            + b"\0\0\0\0"
        )

    @staticmethod
    def _packet(kind: int, request: Packet, body: bytes) -> bytes:
        return packets.HEAD.pack(5 + len(body), kind, request.request_id) + body

    def _execute(self, request: Packet) -> None:
        server = self._server
        server.executed += 1
        cut_now = server.executed == server.cut_at
        if cut_now and server.cut_before:
            self.hang_up()
            return
        self._disk.late = self.orphaned
        try:
            if request.kind != INIT:
                server.begin_request()
            packet = self._act(request)
        except RemoteRefusal as refusal:
            packet = self._status(request, refusal.args[0])
        except (IndexError, KeyError, ValueError, ArithmeticError):
            packet = self._status(request, FAILURE)
        except struct.error:
            packet = self._status(request, BAD_MESSAGE)
        finally:
            self._disk.late = False
        if server.trace is not None:
            server.trace(describe(request, packet))
        if cut_now:
            self.connected = False
            self.broken = server.rng.random() < 0.5  # or it does what it has received
            server.cut(self)
            return
        self._send(request, packet)

    def _act(self, request: Packet) -> bytes:
        if request.kind == INIT:
            return self._version()
        action = _ACTIONS.get(request.kind)
        if action is None:
            return self._status(request, UNSUPPORTED)
        answer = action(self, request)
        return self._status(request, OK) if answer is None else answer

    def _version(self) -> bytes:
        body = b"".join(
            packets.U32.pack(len(text)) + text
            for pair in self._server.kind.extensions
            for text in pair
        )
        return packets.HEAD.pack(5 + len(body), VERSION, 3) + body

    # -- requests --------------------------------------------------------------------------------

    def _path(self, raw: bytes) -> str:
        path = self._disk.fold(os.fsdecode(raw))
        home = self._server.home
        if path in ("", "."):
            path = home
        elif not path.startswith("/"):
            path = f"{home.rstrip('/')}/{path}"
        return path.rstrip("/") or "/"

    def _file(self, handle: bytes, *, write: bool = False) -> RemoteFile:
        found = self._handles[handle]
        if isinstance(found, _DirHandle) or (write and not found[1]):
            raise RemoteRefusal(FAILURE)
        return found[0]

    def _new_handle(self, what: tuple[RemoteFile, bool] | _DirHandle) -> bytes:
        if len(self._handles) >= self._server.kind.max_handles:
            raise RemoteRefusal(FAILURE)
        self._handle_number += 1
        handle = b"h%d" % self._handle_number
        self._handles[handle] = what
        return handle

    def _do_open(self, request: Packet) -> bytes:
        raw, at = read_string(request.body, 0)
        (flags,) = packets.U32.unpack_from(request.body, at)
        if flags & 1 and not self._server.kind.readable:
            raise RemoteRefusal(DENIED)
        if len(self._handles) >= self._server.kind.max_handles:
            raise RemoteRefusal(FAILURE)
        file = self._disk.open(
            self._path(raw),
            write=bool(flags & 2),
            create=bool(flags & 8),
            truncate=bool(flags & 16),
            exclusive=bool(flags & 32),
        )
        handle = self._new_handle((file, bool(flags & 2)))
        return self._packet(HANDLE, request, packets.U32.pack(len(handle)) + handle)

    def _do_close(self, request: Packet) -> None:
        del self._handles[request.handle]

    def _do_read(self, request: Packet) -> bytes:
        offset, length = packets.OFFSET_LENGTH.unpack_from(request.body, 4 + len(request.handle))
        if not self._server.kind.readable:
            raise RemoteRefusal(DENIED)
        data = bytes(self._file(request.handle).content[offset : offset + min(length, 261_120)])
        if not data:
            return self._status(request, EOF)
        return self._packet(DATA, request, packets.U32.pack(len(data)) + data)

    def _do_write(self, request: Packet) -> None:
        at = 4 + len(request.handle)
        offset, length = packets.OFFSET_LENGTH.unpack_from(request.body, at)
        data = request.body[at + 12 : at + 12 + length]
        if len(data) != length:
            raise RemoteRefusal(BAD_MESSAGE)
        self._server.write_bytes += length
        self._disk.write(self._file(request.handle, write=True), offset, data)

    def _attributes(self, path: str) -> bytes:
        if path in self._disk.folders:
            return packets.ATTRIBUTES.pack(0xD, 4096, 0o040755, 0, 0)
        return self._attributes_of(self._disk.lookup(path))

    @staticmethod
    def _attributes_of(file: RemoteFile) -> bytes:
        return packets.ATTRIBUTES.pack(0xD, len(file.content), 0o100644, file.mtime, file.mtime)

    def _do_stat(self, request: Packet) -> bytes:
        path = self._path(read_string(request.body, 0)[0])
        code = self._disk.refuse("stat", path)
        if code is not None:
            raise RemoteRefusal(code)
        return self._packet(ATTRS, request, self._attributes(path))

    def _do_fstat(self, request: Packet) -> bytes:
        file = self._file(read_string(request.body, 0)[0])
        return self._packet(ATTRS, request, self._attributes_of(file))

    def _do_setstat(self, request: Packet) -> None:
        raise RemoteRefusal(DENIED)  # as with ``internal-sftp -P setstat,fsetstat``

    def _do_opendir(self, request: Packet) -> bytes:
        folder = self._path(read_string(request.body, 0)[0])
        handle = self._new_handle(_DirHandle(folder, self._disk.names_in(folder)))
        return self._packet(HANDLE, request, packets.U32.pack(len(handle)) + handle)

    def _do_readdir(self, request: Packet) -> bytes:
        found = self._handles[read_string(request.body, 0)[0]]
        if not isinstance(found, _DirHandle):
            raise RemoteRefusal(FAILURE)
        if not found.names:
            return self._status(request, EOF)
        names, found.names = found.names[:100], found.names[100:]
        body = bytearray()
        there = 0
        for name in names:
            try:
                attributes = self._attributes(f"{found.folder.rstrip('/')}/{name}")
            except RemoteRefusal:
                continue  # it has gone since the folder was opened
            raw = os.fsencode(name)
            body += packets.U32.pack(len(raw)) + raw + packets.U32.pack(len(raw)) + raw
            body += attributes
            there += 1
        return self._packet(NAME, request, packets.U32.pack(there) + bytes(body))

    def _do_remove(self, request: Packet) -> None:
        self._disk.remove(self._path(read_string(request.body, 0)[0]))

    def _do_mkdir(self, request: Packet) -> None:
        self._disk.make_folder(self._path(read_string(request.body, 0)[0]))

    def _do_realpath(self, request: Packet) -> bytes:
        raw = os.fsencode(self._path(read_string(request.body, 0)[0]))
        text = packets.U32.pack(len(raw)) + raw
        return self._packet(NAME, request, packets.U32.pack(1) + text + text + packets.U32.pack(0))

    def _do_rename(self, request: Packet) -> None:
        raw, at = read_string(request.body, 0)
        target = read_string(request.body, at)[0]
        self._disk.rename(self._path(raw), self._path(target), replace=False)

    def _do_extended(self, request: Packet) -> bytes | None:
        name, at = read_string(request.body, 0)
        known = dict(self._server.kind.extensions)
        if name not in known:
            return self._status(request, UNSUPPORTED)
        if name == b"posix-rename@openssh.com":
            raw, at = read_string(request.body, at)
            target = read_string(request.body, at)[0]
            self._disk.rename(self._path(raw), self._path(target), replace=True)
            return None
        if name == b"fsync@openssh.com":
            self._disk.sync(self._file(read_string(request.body, at)[0]))
            return None
        if name == b"limits@openssh.com":
            body = packets.TWO_U64.pack(262_144, 261_120)
            body += packets.TWO_U64.pack(261_120, self._server.kind.max_handles)
            return self._packet(EXTENDED_REPLY, request, body)
        if name == b"statvfs@openssh.com":
            free = max(0, self._disk.capacity_bytes - self._disk.used_bytes)
            fields = (1, 1, self._disk.capacity_bytes, free, free, 9_999, 9_999, 9_999, 1, 0, 255)
            return self._packet(EXTENDED_REPLY, request, struct.Struct(">11Q").pack(*fields))
        if name == b"copy-data":
            source, at = read_string(request.body, at)
            offset, length = packets.TWO_U64.unpack_from(request.body, at)
            target, at = read_string(request.body, at + 16)
            (target_offset,) = packets.U64.unpack_from(request.body, at)
            content = self._file(source).content
            stop = offset + length if length else len(content)
            data = bytes(content[offset:stop])
            self._disk.write(self._file(target, write=True), target_offset, data)
            return self._status(request, EOF if length and len(data) < length else OK)
        return self._status(request, UNSUPPORTED)


_ACTIONS: dict[int, Callable[[Session, Packet], bytes | None]] = {
    OPEN: Session._do_open,
    CLOSE: Session._do_close,
    READ: Session._do_read,
    WRITE: Session._do_write,
    LSTAT: Session._do_stat,
    STAT: Session._do_stat,
    FSTAT: Session._do_fstat,
    SETSTAT: Session._do_setstat,
    FSETSTAT: Session._do_setstat,
    OPENDIR: Session._do_opendir,
    READDIR: Session._do_readdir,
    REMOVE: Session._do_remove,
    MKDIR: Session._do_mkdir,
    REALPATH: Session._do_realpath,
    RENAME: Session._do_rename,
    EXTENDED: Session._do_extended,
}
