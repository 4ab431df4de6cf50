"""Reading the bytes of a version, from wherever its pieces lie."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from pysubtask.core.model import Piece, Stamp, Version
from pysubtask.core.ticks import tick_secs
from pysubtask.seams.disk import FileStat, ReadHandle
from pysubtask.subtask.store.outbox import Outbox
from pysubtask.subtask.store.slices import Slices
from pysubtask.subtask.store.sources import Sources, is_same_content

__all__ = ["BytesLost", "VersionReader"]

_TRIES = 5


class BytesLost(Exception):
    """Bytes that a snapshot noted can't be read any more, or are not the ones it saw."""


class VersionReader:
    """Reads ranges of one version; handles stay open until :meth:`close`.

    An outbox piece that this process did not write is checked against its digest, and the watched
    file against the version's print, before a byte of it is used; and with each reading once more:
    where all of it was hashed, what is read; else its samples, if it may have changed meanwhile.
    Where the program promised to append only, only its ends are looked at, for such a file may yet
    be copied and truncated.

    Args:
        now: Unix seconds, to tell whether a time stamp is old enough to be believed.
    """

    def __init__(
        self,
        path: str,
        version: Version,
        outbox: Outbox,
        sources: Sources,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._now = now
        self._checked: FileStat | None = None
        """The watched file when it was last seen to be what the snapshot noted."""
        self._path = path
        self._version = version
        self._outbox = outbox
        self._sources = sources
        self._slices: Slices | None = None
        """Of the watched file, where all of it was hashed."""
        self._slice: tuple[int, bytes] = 0, b""
        """The one that was read last, and where it begins."""
        self._open: dict[str | None, ReadHandle] = {}
        self._stack = ExitStack()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset`` of the version.

        Raises:
            BytesLost: they are not to be had.
            OSError: the disk refused; it may not the next time.
        """
        parts: list[bytes] = []
        while length > 0:
            piece = self._piece_at(offset)
            take = min(length, piece.end - offset)
            handle = self._handle(piece)
            if piece.name is None:
                data = self._read_source(handle, offset, take)
            else:
                data = handle.read_at(offset - piece.start, take)
            if len(data) < take:
                raise BytesLost(f"{self._path} shrank before its bytes were sent")
            parts.append(data)
            offset += take
            length -= take
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_source(self, handle: ReadHandle, offset: int, length: int) -> bytes:
        """From the watched file; the bytes that the snapshot saw, whatever the program does."""
        kind = self._version.print.kind
        if kind == "ends":  # growth="append": what was written stays
            data = handle.read_at(offset, length)
            st = handle.stat()
            if st != self._checked:
                self._check(handle)
                self._checked = st
            return data
        if self._slices is not None:
            return self._read_slices(handle, self._slices, offset, length)
        return self._read_checked(handle, offset, length)

    def _read_slices(self, handle: ReadHandle, slices: Slices, offset: int, length: int) -> bytes:
        """A part may have changed while another one was sent, and is told from what it was."""
        parts: list[bytes] = []
        while length > 0:
            start, data = self._slice
            if not start <= offset < start + len(data):
                found = slices.read(handle, offset)
                if found is None:
                    raise self._changed()
                start, data = self._slice = found
            parts.append(data[offset - start : offset - start + length])
            offset += len(parts[-1])
            length -= len(parts[-1])
        return b"".join(parts)

    def _read_checked(self, handle: ReadHandle, offset: int, length: int) -> bytes:
        for _ in range(_TRIES):
            data = handle.read_at(offset, length)
            if len(data) < length:
                return data
            st = handle.stat()
            if self._checked == st and self._is_telling(st):
                return data
            self._checked = st
            if not is_same_content(handle, self._version):
                raise self._changed()
            if handle.stat() == st and handle.read_at(offset, length) == data:
                return data
        raise BytesLost(f"{self._path} changes all the time")

    def _is_telling(self, st: FileStat) -> bool:
        """Whether a change since would show in these time stamps."""
        age_secs = (self._now() if self._now else 0.0) - max(st.mtime_ns, st.ctime_ns) / 1e9
        return abs(age_secs) > tick_secs(Stamp(st.mtime_ns, st.ctime_ns))

    def covers(self, start: int, end: int) -> bool:
        """Whether the pieces speak of every byte of ``[start, end)``."""
        for piece in self._version.pieces:
            if piece.start <= start < piece.end:
                start = piece.end
        return start >= end

    def _piece_at(self, offset: int) -> Piece:
        for piece in self._version.pieces:
            if piece.start <= offset < piece.end:
                return piece
        raise BytesLost(f"nothing says where byte {offset} of {self._path} is")

    def _handle(self, piece: Piece) -> ReadHandle:
        handle = self._open.get(piece.name)
        if handle is None:
            try:
                if piece.name is None:
                    handle = self._stack.enter_context(
                        self._sources.borrow(self._path, self._version)
                    )
                else:
                    handle = self._outbox.open_piece(piece.name)
                    self._stack.callback(handle.close)
            except FileNotFoundError as error:
                raise BytesLost(f"{error.filename}: {error.strerror}") from error
            if piece.name is None:
                self._check_first(handle)
            elif not self._outbox.is_own(piece.name) and not self._outbox.is_whole(piece):
                raise BytesLost(
                    f"outbox piece {piece.name} is not what the snapshot of {self._path} noted"
                )
            self._open[piece.name] = handle
        return handle

    def check_source(self) -> None:
        """Check once more that the watched file, if it was read, is what its snapshot noted.

        Raises:
            BytesLost: it has been changed.
        """
        handle = self._open.get(None)
        if handle is not None:
            self._check(handle)

    def _check_first(self, handle: ReadHandle) -> None:
        st = handle.stat()
        if self._version.print.kind == "whole":
            self._slices = Slices.of(handle, self._version.print)
            if self._slices is None:
                raise self._changed()
        else:
            self._check(handle)
        self._checked = st

    def _check(self, handle: ReadHandle) -> None:
        if not is_same_content(handle, self._version):
            raise self._changed()

    def _changed(self) -> BytesLost:
        return BytesLost(f"{self._path} is not what its snapshot noted any more")

    def close(self) -> None:
        """Let go of the handles."""
        self._open.clear()
        self._stack.close()
