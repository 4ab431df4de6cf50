"""A base for transports whose library blocks: one method per request, in order.

Override the methods that the protocol can do; the rest answer ``RemoteUnsupported``. Results and
errors are what :mod:`~pysubtask.transports.contract` says of each request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import LinkLost, RemoteError, RemoteUnsupported
from pysubtask.transports.contract import (
    Begin,
    Begun,
    Copy,
    Finish,
    List,
    MakeDir,
    Put,
    Read,
    RemoteSpace,
    RemoteStat,
    Remove,
    Rename,
    Request,
    Result,
    Space,
    Stat,
    Write,
)

__all__ = ["SimpleTransport"]


class SimpleTransport(ABC):
    """Carries out each request when it is collected, one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Request]] = deque()
        self._closed = False

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the destination can do, once connected."""

    @abstractmethod
    def connect(self) -> None:
        """Connect and log in."""

    def close(self) -> None:
        """End the connection; overrides call this one first."""
        self._closed = True
        self._waiting.clear()

    def submit(self, ticket: int, request: Request) -> None:
        """Take the request; it is carried out by :meth:`collect`."""
        if self._closed:
            raise LinkLost("the connection is closed")
        self._waiting.append((ticket, request))

    def collect(self) -> Iterator[tuple[int, Result]]:
        """Carry out what was submitted, one after the other, as the results are asked for.

        Whoever stops asking finds the rest undone, as does a ``LinkError``.
        """
        while self._waiting:
            yield self._carry_out_next()

    def _carry_out_next(self) -> tuple[int, Result]:
        ticket, request = self._waiting.popleft()
        try:
            return ticket, self._carry_out(request)
        except RemoteError as error:
            return ticket, error

    def _carry_out(self, request: Request) -> Result:
        match request:
            case Stat(path, by_handle):
                return self.stat_open(path) if by_handle else self.stat(path)
            case Write(path, offset, data, create):
                self.write(path, offset, data, create=create)
            case Finish(path, sync):
                self.finish(path, sync=sync)
            case Put(path, data, modified, quiet):
                return self.put(path, data, modified=modified, quiet=quiet)
            case Begin(path, token, size, modified):
                return self.begin(path, token, size, modified=modified)
            case Read(path, offset, length):
                return self.read(path, offset, length)
            case Rename(path, target, replace):
                self.rename(path, target, replace=replace)
            case Remove(path):
                self.remove(path)
            case MakeDir(path):
                self.make_dir(path)
            case List(path):
                return self.list(path)
            case Copy():
                self.copy(request)
            case Space(path):
                return self.space(path)
        return None

    def stat(self, path: str) -> RemoteStat:
        raise _unsupported("stat", path)

    def stat_open(self, path: str) -> RemoteStat:
        raise _unsupported("stat the open file", path)

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        raise _unsupported("write", path)

    def finish(self, path: str, *, sync: bool) -> None:
        """Nothing is kept open by default."""
        return

    def put(self, path: str, data: bytes, *, modified: float | None, quiet: bool) -> RemoteStat:
        raise _unsupported("put", path)

    def begin(self, path: str, token: str, size: int, *, modified: float | None) -> Begun:
        raise _unsupported("begin an upload", path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        raise _unsupported("read", path)

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        raise _unsupported("rename", path)

    def remove(self, path: str) -> None:
        raise _unsupported("remove", path)

    def make_dir(self, path: str) -> None:
        raise _unsupported("make folder", path)

    def list(self, path: str) -> dict[str, RemoteStat]:
        raise _unsupported("list", path)

    def copy(self, request: Copy) -> None:
        raise _unsupported("copy", request.path)

    def space(self, path: str) -> RemoteSpace:
        raise _unsupported("ask for the free space of", path)


def _unsupported(operation: str, path: str) -> RemoteUnsupported:
    return RemoteUnsupported(
        "this kind of destination can't do that", operation=operation, path=path
    )
