"""What others do at the server: files that grow, are rewritten, rotated, slowly written, removed.

The server itself, its sessions and the wire are those of :mod:`tests.simulation`. Every content
that a name ever had is kept, so that the checker can tell what may be seen here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.simulation.remote import RemoteDisk, RemoteFile

__all__ = ["FOLDER", "Line", "Origin"]

FOLDER = "/out"


@dataclass(slots=True)
class Line:
    """One content as it came to be; a rotation or a new version begins the next."""

    grows: bool
    data: bytearray = field(default_factory=bytearray)
    complete: bool = True
    """False while a slow writer is at it."""

    def allows(self, content: bytes) -> bool:
        """Whether a reader here may see that."""
        if self.grows:
            return bytes(self.data[: len(content)]) == content
        return self.complete and bytes(self.data) == content


class Origin:
    """The folder that is fetched from. Names are without it."""

    def __init__(self, disk: RemoteDisk) -> None:
        self._disk = disk
        disk.folders.add(FOLDER)
        self.lines: dict[str, list[Line]] = {}
        """All that a name ever stood for."""

    @contextmanager
    def _by_hand(self) -> Iterator[RemoteDisk]:
        """Nothing is refused to those who work there."""
        self._disk.another_hand = True
        try:
            yield self._disk
        finally:
            self._disk.another_hand = False

    def _file(self, name: str) -> RemoteFile | None:
        return self._disk.files.get(f"{FOLDER}/{name}")

    def names_there(self) -> list[str]:
        """What is there now."""
        return [path.rpartition("/")[2] for path in self._disk.files]

    def content(self, name: str) -> bytes | None:
        """What a name stands for now."""
        file = self._file(name)
        return None if file is None else bytes(file.content)

    def line(self, name: str) -> Line:
        """What a name stands for now, with its story."""
        return self.lines[name][-1]

    def _begin(self, name: str, line: Line) -> None:
        with self._by_hand() as disk:
            disk.put(f"{FOLDER}/{name}", bytes(line.data))
        self.lines.setdefault(name, []).append(line)

    def append(self, name: str, data: bytes) -> None:
        """A file grows; a new one is begun so."""
        file = self._file(name)
        if file is None:
            self._begin(name, Line(True, bytearray(data)))
            return
        with self._by_hand() as disk:
            disk.write(file, len(file.content), data)
        self.line(name).data += data

    def replace(self, name: str, data: bytes) -> None:
        """Another version, in one step."""
        self._begin(name, Line(False, bytearray(data)))

    def begin_slowly(self, name: str, part: bytes) -> tuple[RemoteFile, Line]:
        """Another version is written in steps, into the visible file; gives what its writer holds
        open."""
        line = Line(False, bytearray(part), complete=False)
        self._begin(name, line)
        file = self._file(name)
        assert file is not None
        return file, line

    def go_on_slowly(self, file: RemoteFile, line: Line, part: bytes, *, end: bool) -> None:
        """The next step, whatever name the file has by now."""
        with self._by_hand() as disk:
            disk.write(file, len(file.content), part)
        line.data += part
        line.complete = end

    def rotate(self, name: str, target: str) -> None:
        """A rename, over what had that name."""
        if self._file(name) is None:
            return
        with self._by_hand() as disk:
            disk.rename(f"{FOLDER}/{name}", f"{FOLDER}/{target}", replace=True)
        self.lines.setdefault(target, []).append(self.line(name))

    def delete(self, name: str) -> None:
        """A file goes."""
        if self._file(name) is not None:
            with self._by_hand() as disk:
                disk.remove(f"{FOLDER}/{name}")
