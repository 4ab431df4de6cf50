"""The signatures of what was sent, one file each: what a changed content is compared with.

Nothing here has to survive. A signature that is missing, shorter than its content or damaged costs
bytes on the link, never the truth: each record carries a checksum, what follows a damaged one is
not read, and after a loss of power the folder is emptied.

A file is a line of JSON (path, version, block size), then records: the number of blocks (2 bytes),
their anchors, their hashes, the CRC-32 of it all.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pysubtask.core.delta import (
    HASH_BYTES,
    DeltaRule,
    Signature,
    Signer,
    anchor_bytes,
    block_bytes_for,
)
from pysubtask.core.model import Entry, Version
from pysubtask.core.prints import digest_of
from pysubtask.seams.disk import Disk

__all__ = ["Signatures"]

_SUFFIX = ".sig"
_WRITE_BLOCKS = 64
_MAX_RECORD_BLOCKS = 32_768
_MAX_OPEN = 256
_READ_BYTES = 1 << 20
_COUNT = struct.Struct(">H")
_CRC = struct.Struct(">I")


@dataclass(slots=True)
class _Open:
    """A signature that is being made."""

    number: int
    signer: Signer | None
    """None: there is no signature of it that could be gone on with."""
    hashes: bytearray = field(default_factory=bytearray)
    anchors: bytearray = field(default_factory=bytearray)
    written: int = 0
    """So many blocks are in the file."""


class Signatures:
    """Makes, keeps and finds signatures. Used by the thread that delivers.

    Args:
        folder: made if missing.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        rule: DeltaRule = DeltaRule(),  # noqa: B008 - frozen
    ) -> None:
        self.rule = rule
        self._disk = disk
        self._folder = folder
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def open(self, entries: Iterable[Entry]) -> None:
        """Make the folder ready and remove what belongs to none of these.

        A disk that refuses means no signatures, and nothing else.
        """
        try:
            self._disk.make_dirs(self._folder)
            names = [name for name, _ in self._disk.scan(self._folder)]
            wanted: set[str] = set()
            for entry in entries if names else ():
                sent = (entry.delivered, entry.upload)
                wanted.update(self._file(entry.path, it.version) for it in sent if it is not None)
            for name in names:
                if f"{self._folder}/{name}" not in wanted:
                    self._disk.remove(f"{self._folder}/{name}")
        except OSError:
            pass

    def wants(self, version: Version) -> bool:
        """Whether a signature of this version may be worth its bytes.

        One of a file that is only appended to never is.
        """
        least = self.rule.from_bytes if version.number == 1 else self.rule.changed_from_bytes
        return version.print.kind != "ends" and version.size >= least

    def begin(self, path: str, number: int, size: int) -> None:
        """A version is sent from its first byte on: its bytes will come by :meth:`add`."""
        block_bytes = block_bytes_for(size, self.rule.block_bytes)
        header = {"path": path, "version": number, "block": block_bytes}
        try:
            line = json.dumps(header).encode("ascii") + b"\n"
            self._disk.write_whole(self._file(path, number), line)
        except OSError:
            self.drop(path, number)
            return
        self._keep(path, _Open(number, Signer(block_bytes)))

    def position(self, path: str, number: int) -> int | None:
        """From which offset on :meth:`add` wants the bytes of a version; None if it wants none."""
        making = self._making(path, number)
        if making is None or making.signer is None or making.signer.is_full:
            return None
        return making.signer.size

    def is_full(self, path: str, number: int) -> bool:
        """Whether the signature of a version has all the blocks that one may have."""
        making = self._making(path, number)
        return making is not None and making.signer is not None and making.signer.is_full

    def add(self, path: str, number: int, offset: int, data: bytes) -> None:
        """Bytes of a version, in order; those that came before, or leave a gap, are passed over."""
        making = self._open.get(path)
        if making is None or making.number != number:
            return
        if making.signer is None or making.signer.is_full:
            return
        behind = making.signer.size - offset
        if not 0 <= behind < len(data):
            return
        self._open.move_to_end(path)
        hashes, anchors = making.signer.add(data[behind:] if behind else data)
        making.hashes += hashes
        making.anchors += anchors
        if len(making.hashes) >= _WRITE_BLOCKS * HASH_BYTES:
            self._write(path, making)

    def finish(self, path: str) -> None:
        """All of a version has come for now."""
        making = self._open.get(path)
        if making is not None and making.hashes:
            self._write(path, making)

    def load(self, path: str, number: int) -> Signature | None:
        """The signature of a version, as far as there is one."""
        self.finish(path)
        found = self._read(path, number)
        return found[0] if found is not None and len(found[0]) else None

    def peek(self, path: str, number: int) -> Signature | None:
        """As :meth:`load`, but from any thread, and only what is in the file."""
        found = self._read(path, number)
        return found[0] if found is not None and len(found[0]) else None

    def drop(self, path: str, number: int) -> None:
        """It is wanted no more, or can't be right."""
        making = self._open.get(path)
        if making is not None and making.number == number:
            del self._open[path]
        try:
            self._disk.remove(self._file(path, number))
        except OSError:
            pass

    # -- inside ------------------------------------------------------------------------------

    def _file(self, path: str, number: int) -> str:
        digest = digest_of(path.encode("utf-8", "surrogatepass"))
        return f"{self._folder}/{digest}-{number}{_SUFFIX}"

    def _keep(self, path: str, making: _Open) -> None:
        self.finish(path)
        self._open[path] = making
        while len(self._open) > _MAX_OPEN:
            oldest = next(iter(self._open))
            self.finish(oldest)
            self._open.pop(oldest, None)

    def _write(self, path: str, making: _Open) -> None:
        number = making.number
        records = bytearray()
        hashes, anchors = bytes(making.hashes), bytes(making.anchors)
        while hashes:
            count = min(len(hashes) // HASH_BYTES, _MAX_RECORD_BLOCKS)
            places = anchor_bytes(making.written, count)
            body = _COUNT.pack(count) + anchors[:places] + hashes[: count * HASH_BYTES]
            records += body + _CRC.pack(zlib.crc32(body))
            hashes, anchors = hashes[count * HASH_BYTES :], anchors[places:]
            making.written += count
        try:
            handle = self._disk.open_append(self._file(path, number))
            try:
                handle.append(bytes(records))
            finally:
                handle.close()
        except OSError:
            self.drop(path, number)
            return
        making.hashes.clear()
        making.anchors.clear()

    def _making(self, path: str, number: int) -> _Open | None:
        """What is being made, or one that an earlier process left, to be gone on with."""
        making = self._open.get(path)
        if making is None or making.number != number:
            making = self._go_on(path, number) or _Open(number, None)
            self._keep(path, making)
        return making

    def _go_on(self, path: str, number: int) -> _Open | None:
        found = self._read(path, number)
        if found is None:
            return None
        signature, end, size = found
        if end < size:  # torn: what is whole is written anew
            try:
                data = self._read_file(path, number)[:end]
                self._disk.write_whole(self._file(path, number), data)
            except OSError:
                return None
        signer = Signer(signature.block_bytes, len(signature))
        return _Open(number, signer, written=len(signature))

    def _read(self, path: str, number: int) -> tuple[Signature, int, int] | None:
        """The signature, where the last whole record ends, and the size of the file."""
        try:
            data = self._read_file(path, number)
        except OSError:
            return None
        at = data.find(b"\n") + 1
        try:
            header = json.loads(data[:at])
            if (header["path"], header["version"]) != (path, number):
                return None
            block_bytes = int(header["block"])
        except (ValueError, KeyError, TypeError):
            return None
        hashes, anchors = bytearray(), bytearray()
        while at + _COUNT.size <= len(data):
            (count,) = _COUNT.unpack_from(data, at)
            places = anchor_bytes(len(hashes) // HASH_BYTES, count)
            end = at + _COUNT.size + places + count * HASH_BYTES
            if end + _CRC.size > len(data) or block_bytes <= 0:
                break
            if _CRC.unpack_from(data, end)[0] != zlib.crc32(data[at:end]):
                break
            at += _COUNT.size
            anchors += data[at : at + places]
            hashes += data[at + places : end]
            at = end + _CRC.size
        return Signature(block_bytes, bytes(hashes), bytes(anchors)), at, len(data)

    def _read_file(self, path: str, number: int) -> bytes:
        handle = self._disk.open_read(self._file(path, number))
        try:
            parts = []
            at = 0
            while part := handle.read_at(at, _READ_BYTES):
                parts.append(part)
                at += len(part)
            return b"".join(parts)
        finally:
            handle.close()
