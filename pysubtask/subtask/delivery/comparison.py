"""Comparing what the destination shows with what we have, and having what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.checksum import hasher
from pysubtask.core.model import Entry, Piece, Version
from pysubtask.core.plan import Compare
from pysubtask.core.prints import ranges
from pysubtask.errors import RemoteDenied, RemoteError, RemoteUnsupported
from pysubtask.subtask.delivery.engine import Step, call, flight
from pysubtask.subtask.delivery.session import Session
from pysubtask.subtask.store.reader import BytesLost
from pysubtask.subtask.store.sources import is_same_content
from pysubtask.transports.contract import Read, Stat

__all__ = ["Comparison", "with_source"]

_COMPARE_FLIGHT = 8
_COPY_BYTES = 1 << 20


class Comparison:
    """Compares remote bytes with ours over one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def compare(
        self, path: str, version: Version, name: str, todo: Compare
    ) -> Generator[Step, Any, bool | None]:
        """Whether the remote range holds the version's bytes; None if we have none to compare.

        A long range is compared at the places of a ``samples`` print. Where the server tells
        digests, all of the remote file is compared, and none of it is read.
        """
        if self._session.can.checksum:
            return (yield from self._by_digest(path, version, name, todo.base))
        start = todo.base + todo.start
        if start < version.available_from:
            try:
                return (yield from self._compare(path, with_source(version, start), name, todo))
            except BytesLost:  # only what the pieces hold can be compared
                start = version.available_from
        todo = replace(todo, start=start - todo.base)
        if todo.start >= todo.end:
            return None
        try:
            return (yield from self._compare(path, version, name, todo))
        except BytesLost:
            return None

    def _compare(
        self, path: str, version: Version, name: str, todo: Compare
    ) -> Generator[Step, Any, bool | None]:
        reader = self._session.reader(path, version)
        try:
            places = self._places(todo)
            while places:
                batch, places = places[:_COMPARE_FLIGHT], places[_COMPARE_FLIGHT:]
                local = [reader.read(todo.base + at, length) for at, length in batch]
                replies = yield from flight(*(Read(name, at, length) for at, length in batch))
                for reply in replies:
                    if isinstance(reply, RemoteUnsupported | RemoteDenied):
                        return None  # a drop box that can't be read
                    if isinstance(reply, RemoteError):
                        raise reply
                if local != replies:
                    reader.check_source()  # or it is ours that changed while it was read
                    return False
            return True
        finally:
            reader.close()

    def _by_digest(
        self, path: str, version: Version, name: str, base: int
    ) -> Generator[Step, Any, bool | None]:
        st = yield from call(Stat(name))
        if st.digest is None:
            return None
        if base + st.size > version.size:
            return False
        ours = yield from self.digest(path, version, base, base + st.size)
        return None if ours is None else bool(ours == st.digest)

    def digest(
        self, path: str, version: Version, start: int, end: int
    ) -> Generator[Step, Any, str | None]:
        """The digest of ``[start, end)`` of the version, of the kind that the server tells; None
        if the bytes are not to be had any more."""
        found = hasher(self._session.can.checksum)
        reader = self._session.reader(path, with_source(version, start))
        try:
            while start < end:
                data = reader.read(start, min(_COPY_BYTES, end - start))
                found.update(data)
                start += len(data)
                yield None
            reader.check_source()  # it may have changed while it was read
        except BytesLost:
            return None
        finally:
            reader.close()
        return found.hexdigest()

    def _places(self, todo: Compare) -> list[tuple[int, int]]:
        length = todo.end - todo.start
        kind = "whole" if length <= self._session.verify_up_to_bytes else "samples"
        places = []
        for at, size in ranges("samples" if kind == "samples" else "whole", length):
            while size > 0:
                take = min(size, self._session.window.chunk_bytes(self._session.can.max_read_bytes))
                places.append((todo.start + at, take))
                at += take
                size -= take
        return places

    def cover(self, path: str, version: Version, base: int) -> Generator[Step, Any, int]:
        """Have pieces for all bytes from ``base``; gives the lowest offset that can be had."""
        low = version.available_from
        if base >= low:
            return base
        copied: list[Piece] = []
        used = False
        try:
            with self._session.sources.borrow(path, version) as handle:
                if not is_same_content(handle, version):
                    raise FileNotFoundError(2, "it has changed", path)
                at = base
                while at < low:
                    if not self._session.ledger.outbox.has_room(low - at):
                        copied.append(Piece(at, low, None, ""))  # the file itself is the source
                        break
                    end = min(at + _COPY_BYTES * 64, low)
                    name, _, digest = self._session.ledger.outbox.store(
                        _read_range(handle.read_at, at, end)
                    )
                    copied.append(Piece(at, end, name, digest))
                    at = end
                    yield None
                if not is_same_content(handle, version):
                    raise FileNotFoundError(2, "it changed while it was copied", path)

            fits = False

            def cover(e: Entry) -> Entry:
                nonlocal fits
                now = e.version(version.number)
                if now is None or now.available_from > low:
                    return e
                fits = True
                kept = tuple(p for p in now.pieces if p.start >= low)
                return e.with_version(replace(now, pieces=(*copied, *kept)))

            self._session.ledger.update(path, cover)
            used = fits  # not before: it may be refused
        except FileNotFoundError:
            self._session.log.warning(
                "deliver %s: its first %d bytes are not here any more; the rest goes to a name "
                "of its own",
                path,
                low,
            )
            return low
        finally:
            if not used:
                self._session.ledger.outbox.discard(p.name for p in copied if p.name is not None)
        return base if used else low


def with_source(version: Version, start: int) -> Version:
    """The version with the file itself as the source of what its pieces do not speak of."""
    if start >= version.available_from:
        return version
    head = Piece(0, version.available_from, None, "")
    return replace(version, pieces=(head, *version.pieces))


def _read_range(
    read_at: Callable[[int, int], bytes], start: int, end: int
) -> Generator[bytes, None, None]:
    while start < end:
        data = read_at(start, min(_COPY_BYTES, end - start))
        if not data:
            raise FileNotFoundError(2, "it shrank while it was copied")
        yield data
        start += len(data)
