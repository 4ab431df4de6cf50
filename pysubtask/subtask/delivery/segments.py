"""Growing files in segments: each delivery is a file of its own, and nothing is sent twice.

For destinations that can't continue a file. ``name.csv`` becomes the folder ``name.csv.d``, with
one file for each delivery, named by the offset of its first byte in 16 digits: in the order of
their names they are the file. A new version begins a new folder; the old one is kept as
``name.csv.d~YYYYMMDDThhmmssZ``.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from pysubtask.core.model import Delivered, Entry, Piece
from pysubtask.errors import RemoteNotFound
from pysubtask.subtask.delivery.comparison import Comparison
from pysubtask.subtask.delivery.engine import Step, call
from pysubtask.subtask.delivery.session import Session
from pysubtask.transports.contract import List

__all__ = ["Segments", "segment_folder", "segment_name"]

_DIGITS = 16


def segment_folder(name: str) -> str:
    """The folder that holds the segments of the remote file ``name``."""
    return f"{name}.d"


def segment_name(name: str, offset: int) -> str:
    """The segment of the remote file ``name`` that begins with its byte ``offset``."""
    return f"{segment_folder(name)}/{offset:0{_DIGITS}d}"


class Segments:
    """Looks at what a destination holds after the journal may have lost the last deliveries."""

    def __init__(self, session: Session, comparison: Comparison) -> None:
        self._session = session
        self._comparison = comparison

    def adopt(self, path: str, entry: Entry, done: Delivered) -> Generator[Step, Any, bool]:
        """Count as delivered the segments that follow what the journal calls delivered.

        False: something else is there beyond it, so that the next segment could overlap with it.
        """
        try:
            found = yield from call(List(segment_folder(self._session.remote_name(entry))))
        except RemoteNotFound:
            return True  # a consumer took all of it
        later = sorted(
            (int(name), st)
            for name, st in found.items()
            if len(name) == _DIGITS and name.isdecimal() and int(name) >= done.size
        )
        version = entry.version(done.version)
        if version is None:
            return True  # the next one begins a new folder
        end = done.size
        whole = replace(version, pieces=(Piece(0, version.size, None, ""),))
        for start, st in later:
            if start != end or end + st.size > version.size:
                return False
            ours = yield from self._comparison.digest(path, whole, start, start + st.size)
            if ours is None or ours != st.digest:
                return False
            end += st.size
        if end > done.size:
            self._session.record(path, version.number, end, done.base, None)
        return True
