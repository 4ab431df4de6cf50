"""Reading parts of a file that may change meanwhile, each compared with what all of it was."""

from __future__ import annotations

from pysubtask.blake import blake2b
from pysubtask.core.model import Print
from pysubtask.core.prints import new_hash, ranges
from pysubtask.seams.disk import ReadHandle

__all__ = ["Slices"]

_SLICE_BYTES = 1 << 20
_DIGEST_BYTES = 16


class Slices:
    """The digests of a content, a MiB each: 16 MB of them for a file of 1 TB.

    All of a big file can't be hashed again for each part that is read of it, nor be kept in memory.
    """

    def __init__(self, size: int, digests: bytes) -> None:
        self._size = size
        self._digests = digests

    @classmethod
    def of(cls, handle: ReadHandle, known: Print) -> Slices | None:
        """Of an open file with that print of the kind ``whole``; None if it has another one."""
        state, digests = new_hash(), bytearray()
        for start in range(0, known.size, _SLICE_BYTES):
            part = new_hash()
            for offset, length in ranges("whole", min(_SLICE_BYTES, known.size - start)):
                data = handle.read_at(start + offset, length)
                if len(data) < length:
                    return None
                state.update(data)
                part.update(data)
            digests += part.digest()
        return cls(known.size, bytes(digests)) if state.hexdigest() == known.digest else None

    def read(self, handle: ReadHandle, offset: int) -> tuple[int, bytes] | None:
        """The slice that ``offset`` lies in: where it begins, and its bytes; None if they are not
        the ones that were there."""
        number = offset // _SLICE_BYTES
        start = number * _SLICE_BYTES
        length = min(_SLICE_BYTES, self._size - start)
        data = handle.read_at(start, length)
        kept = self._digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES]
        same = len(data) == length and blake2b(data, digest_size=_DIGEST_BYTES).digest() == kept
        return (start, data) if same else None
