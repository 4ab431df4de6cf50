"""What the server's disk would keep if the server went down now.

As with the local disk, what was written lately and not synced may be gone: of each file's data a
prefix of the writes is left, of all names a prefix of their changes, and neither waits for the
other. What is older than :data:`WRITTEN_BACK_NS` has been brought to the disk by the system itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.remote import RemoteFile

__all__ = ["WRITTEN_BACK_NS", "Platter"]

WRITTEN_BACK_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class _Bytes:
    """How to undo one write: what was there, and how long the file was."""

    at_ns: int
    file: RemoteFile
    offset: int
    before: bytes
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class _Name:
    """How to undo one change of a name."""

    at_ns: int
    path: str
    before: RemoteFile | None


class Platter:
    """The changes that are not on the disk yet, in their order."""

    def __init__(self) -> None:
        self._bytes: list[_Bytes] = []
        self._names: list[list[_Name]] = []
        """Changes of names; those in one list are one step (a rename)."""

    def wrote(
        self, at_ns: int, file: RemoteFile, offset: int, before: bytes, size: int, mtime: int
    ) -> None:
        """A file was written to, or cut."""
        self._bytes.append(_Bytes(at_ns, file, offset, before, size, mtime))
        self._trim(at_ns)

    def named(self, at_ns: int, *changes: tuple[str, RemoteFile | None]) -> None:
        """Names changed in one step; each with what it named until then."""
        self._names.append([_Name(at_ns, path, before) for path, before in changes])
        self._trim(at_ns)

    def _trim(self, now_ns: int) -> None:
        old_ns = now_ns - WRITTEN_BACK_NS
        if self._bytes and self._bytes[0].at_ns < old_ns:
            self._bytes = [change for change in self._bytes if change.at_ns >= old_ns]
        while self._names and self._names[0][0].at_ns < old_ns:
            del self._names[0]

    def sync(self, file: RemoteFile) -> None:
        """``fsync`` of a file; one journal of names commits them all with it."""
        self._bytes = [change for change in self._bytes if change.file is not file]
        self._names.clear()

    def settle(self) -> None:
        """All of it is on the disk."""
        self._bytes.clear()
        self._names.clear()

    def lose(self, rng: random.Random, how: str, now_ns: int, files: dict[str, RemoteFile]) -> None:
        """The server goes down; ``files`` becomes what is left.

        Args:
            how: ``nothing`` of it survives, ``some`` does, or all ``names`` or all ``data``.
        """
        self._trim(now_ns)
        kept = _share(rng, how, "names", len(self._names))
        for step in reversed(self._names[kept:]):
            for change in reversed(step):
                if change.before is None:
                    files.pop(change.path, None)
                else:
                    files[change.path] = change.before
        by_file: dict[int, list[_Bytes]] = {}
        for written in self._bytes:
            by_file.setdefault(id(written.file), []).append(written)
        for changes in by_file.values():
            for written in reversed(changes[_share(rng, how, "data", len(changes)) :]):
                content = written.file.content
                del content[written.size :]
                content.extend(bytes(written.size - len(content)))
                content[written.offset : written.offset + len(written.before)] = written.before
                written.file.mtime = written.mtime
        self.settle()


def _share(rng: random.Random, how: str, what: str, count: int) -> int:
    """How many of ``count`` changes survive."""
    if how == what:
        return count
    return rng.randrange(count + 1) if how == "some" else 0
