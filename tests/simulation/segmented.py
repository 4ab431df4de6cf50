"""Growing files in segments, as their reader sees them: joined in the order of their names.

At each instant the segments of one folder, joined, are an exact prefix of one lineage: none is
missing, none overlaps with another. A new version begins a new folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.ledger import Source
from tests.simulation.remote import RemoteFile

__all__ = ["Segments", "is_segment"]

_SEGMENT = re.compile(r"^(.*)\.d/(\d{16})$", re.DOTALL)
_FOLDER = re.compile(r"^.*\.d(~[^/]*)?(/|$)", re.DOTALL)


def is_segment(path: str) -> bool:
    """Whether it is a segment, or lies in a folder of them that was set aside."""
    return _FOLDER.match(path) is not None


@dataclass(slots=True)
class _Shelf:
    """One folder of segments."""

    index: int = 0
    """The lineage that they are known to belong to."""
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def joined(self) -> bytes:
        return b"".join(self.parts[start] for start in sorted(self.parts))


class Segments:
    """All folders of segments.

    Args:
        by_remote: the sources.
        broken: raises what is wrong (kind, words).
        shown: told after each change: the source, the lineage, and all that is there of it.
    """

    def __init__(
        self,
        by_remote: dict[str, Source],
        broken: Callable[[str, str], None],
        shown: Callable[[Source, int, bytes], None],
    ) -> None:
        self._by_remote = by_remote
        self._broken = broken
        self._shown = shown
        self._shelves: dict[str, _Shelf] = {}
        self.rolled_back = False
        """A loss of power: the next folder may be of an older lineage."""

    def content(self, source: Source) -> bytes | None:
        """What is there of a file, joined; None if there is no segment."""
        shelf = self._shelves.get(source.remote)
        return None if shelf is None or not shelf.parts else shelf.joined

    def is_between(self, source: Source) -> bool:
        """Its folder was set aside, and the next is about to be made."""
        shelf = self._shelves.get(source.remote)
        return shelf is not None and not shelf.parts

    def named(self, path: str, file: RemoteFile) -> None:
        """A segment took its place."""
        match = _SEGMENT.match(path)
        source = self._by_remote.get(match[1]) if match else None
        if match is None or source is None:
            return
        shelf = self._shelves.setdefault(source.remote, _Shelf())
        start, data = int(match[2]), bytes(file.content)
        before = shelf.parts.get(start)
        grew = before is not None and start == max(shelf.parts) and data.startswith(before)
        if before is not None and before != data and not grew:  # the same again: nobody can see it
            self._broken("torn", f"{path!r} takes the place of another segment")
        if before is None and start != len(shelf.joined):
            self._broken("torn", f"{path!r} does not follow {len(shelf.joined)} bytes before it")
        shelf.parts[start] = data
        whole = shelf.joined
        for lineage in source.lineages[shelf.index :]:
            if lineage.content.startswith(whole):
                shelf.index = lineage.index
                self._shown(source, lineage.index, whole)
                return
        self._broken("torn", f"{path!r}: the segments, joined, are no lineage from {shelf.index}")

    def folder_moved(self, path: str) -> None:
        """A folder was set aside."""
        remote = path.removesuffix(".d")
        shelf = self._shelves.get(remote)
        if shelf is not None:
            self._shelves[remote] = _Shelf(0 if self.rolled_back else shelf.index)
            self.rolled_back = False
