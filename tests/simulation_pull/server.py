"""The server's side of a history: files that grow, are rewritten, rotated, slowly written, removed.

Every content that a name ever had is kept, so that the checker can tell what may be seen here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import LinkLost, RemoteDenied
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.transports.contract import RemoteStat

__all__ = ["FOLDER", "Line", "SimServer", "SimTransport"]

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


class SimServer(MemoryServer):
    """Names are without the folder. Times have the coarseness that servers tell them in."""

    def __init__(self, rng: random.Random, now: Callable[[], float], tick_secs: float) -> None:
        super().__init__(
            Capabilities(
                positioned_write=True,
                sequential=rng.random() < 0.5,
                atomic_replace=True,
                max_read_bytes=rng.choice([512, 4096, 65_536]),
                max_files=rng.choice([1, 4, 64]),
            ),
            now=lambda: now() // tick_secs * tick_secs,
        )
        self.make_folder(FOLDER)
        self.lines: dict[str, list[Line]] = {}
        """All that a name ever stood for."""
        self.read_bytes = 0

    def _data(self, name: str) -> bytearray | None:
        found = self._files.get(f"{FOLDER}/{name}")
        return None if found is None else found.data

    def names_there(self) -> list[str]:
        """What is there now."""
        return [name.rpartition("/")[2] for name in self.names()]

    def content(self, name: str) -> bytes | None:
        """What a name stands for now."""
        return self.read_file(f"{FOLDER}/{name}")

    def line(self, name: str) -> Line:
        """What a name stands for now, with its story."""
        return self.lines[name][-1]

    def append(self, name: str, data: bytes) -> None:
        """A file grows; a new one is begun so."""
        there = self._data(name)
        if there is None:
            self.put_file(f"{FOLDER}/{name}", data)
            self.lines.setdefault(name, []).append(Line(True, bytearray(data)))
            return
        there += data
        self._files[f"{FOLDER}/{name}"].mtime = self._now()
        self.line(name).data += data

    def replace(self, name: str, data: bytes) -> None:
        """Another version, in one step."""
        self.put_file(f"{FOLDER}/{name}", data)
        self.lines.setdefault(name, []).append(Line(False, bytearray(data)))

    def begin_slowly(self, name: str, part: bytes) -> None:
        """Another version is written in steps, into the visible file."""
        self.put_file(f"{FOLDER}/{name}", part)
        self.lines.setdefault(name, []).append(Line(False, bytearray(part), complete=False))

    def go_on_slowly(self, name: str, part: bytes, *, end: bool) -> None:
        """The next step."""
        there = self._data(name)
        if there is None or self.line(name).complete:
            return  # somebody else was quicker
        there += part
        self._files[f"{FOLDER}/{name}"].mtime = self._now()
        line = self.line(name)
        line.data += part
        line.complete = end

    def rotate(self, name: str, target: str) -> None:
        """A rename, over what had that name."""
        file = self._files.pop(f"{FOLDER}/{name}", None)
        if file is None:
            return
        self._files[f"{FOLDER}/{target}"] = file
        self.lines.setdefault(target, []).append(self.line(name))

    def delete(self, name: str) -> None:
        """A file goes."""
        self._files.pop(f"{FOLDER}/{name}", None)


class SimTransport(MemoryTransport):
    """One connection over a link that takes its time and breaks.

    Args:
        spend: called for each request: time passes.
        cut: whether the link breaks here.
        refuse: whether the server refuses this one.
    """

    def __init__(
        self,
        server: SimServer,
        spend: Callable[[], None],
        cut: Callable[[], bool],
        refuse: Callable[[], bool],
    ) -> None:
        super().__init__(server)
        self._sim = server
        self._spend = spend
        self._cut = cut
        self._refuse = refuse

    def _arrive(self, name: str, path: str) -> None:
        self._spend()
        if self._cut():
            raise LinkLost("cut", operation=name, path=path)
        if self._refuse():
            raise RemoteDenied("not now", operation=name, path=path)
        super()._arrive(name, path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        data = super().read(path, offset, length)
        self._sim.read_bytes += len(data)
        if self._cut():
            raise LinkLost("cut on the way back", operation="read", path=path)
        return data

    def remove(self, path: str) -> None:
        super().remove(path)
        if self._cut():
            raise LinkLost("cut on the way back", operation="remove", path=path)

    def stat(self, path: str) -> RemoteStat:
        found = super().stat(path)
        if self._cut():
            raise LinkLost("cut on the way back", operation="stat", path=path)
        return found
