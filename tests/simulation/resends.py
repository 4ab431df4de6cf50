"""Bytes that are sent again, counted: they may not exceed what the breaks excuse.

Counted as sent again: bytes of a WRITE at places of a file that the child has written to before,
under a temporary name or in the visible file; and all that had arrived of a temporary file, when
its version is begun anew under another name.

Excused, each time: what was in flight when a connection ended, a process died or the server refused
a WRITE: the window as it stood, at least 256 KiB, or what had been sent behind a refused one; and
what is compared in one go afterwards to find out what arrived (128 KiB). A server that can't be
read gives no way to find out, so that after a death everything since the last note in the journal
(1 MiB) comes again. So does, of a file in a folder, what the system may still have in its cache. A
loss of power excuses all that was unfinished: the journal may not even know of it.

Whole files that are due again by the plan's table (the remote file gone, changed by another hand, a
new version) are not counted: they are other files at the destination. Nor is a version that is
begun anew because another hand changed the file that parts of it were copied from on the server:
what was copied can't be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pysubtask.errors import RemoteError
from pysubtask.subtask.delivery.beats import is_beat
from pysubtask.transports.contract import (
    Capabilities,
    Copy,
    Finish,
    Put,
    Read,
    Request,
    Result,
    Stat,
    Transport,
    Write,
)
from tests.simulation.remote import RemoteDisk, RemoteFile
from tests.simulation.spending import Spending

__all__ = ["CountingTransport", "Resends"]

_LEAST_BYTES = 256 * 1024
_COMPARED_BYTES = 128 * 1024
_NOTE_EVERY_BYTES = 1 << 20
_REQUEST_BYTES = 128

FindUpload = Callable[[str], "tuple[str, int] | None"]
"""The local path and the version that a temporary name belongs to."""


@dataclass(slots=True)
class _Sent:
    """What was written under one name, to one file."""

    file: RemoteFile | None
    end: int = 0
    first: int = 0
    upload: tuple[str, int] | None = None


@dataclass(slots=True)
class Resends:
    """The account of one history, and an observer of the server's disk."""

    disk: RemoteDisk
    readable: bool
    again_bytes: int = 0
    excused_bytes: int = 0
    window_bytes: int = _LEAST_BYTES
    cached_bytes: int = 0
    """So much of a file may count as sent that a cache has, and is not believed after a break."""
    spending: Spending | None = None
    """Where a budget is kept an eye on."""
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _copied: dict[str, str] = field(default_factory=dict)
    """By temporary name: the file that parts of it were copied from."""
    _touched: set[str] = field(default_factory=set)
    """Names that another hand changed since the child put its own there, or went on with it."""

    _brought: set[str] = field(default_factory=set)
    """Of these the last byte was sent once more, over this connection."""

    def sent(self, request: Write, upload: tuple[str, int] | None) -> None:
        """The child sends a WRITE."""
        name, start = self.disk.fold(request.path), request.offset
        end = start + len(request.data)
        if is_beat(name.rpartition("/")[2]):
            return
        file = self.disk.files.get(name)
        if file is None and upload is None:
            return  # there is no such file: it will be refused
        if upload is None:
            self._touched.discard(name)
        known = self._sent.get(name)
        if known is None or (known.file is not None and known.file is not file):
            if upload is not None and known is None:
                self._begun(name, upload)
            known = self._sent[name] = _Sent(file, start, start, upload)
        if known.file is None:
            known.file = file
        is_for_sync = end - start == 1 and end == known.end and name not in self._brought
        if is_for_sync:  # its last byte once more: only a file that is open can be synced
            self._brought.add(name)
        else:
            self.again_bytes += max(0, min(end, known.end) - max(start, known.first))
        known.end = max(known.end, end)

    def copied(self, request: Copy) -> None:
        """The child has the server copy a part of a file."""
        self._copied[self.disk.fold(request.target)] = self.disk.fold(request.path)

    def _begun(self, name: str, upload: tuple[str, int]) -> None:
        """A temporary file is begun; was there another one of the same version?"""
        for other, sent in list(self._sent.items()):
            if sent.upload == upload and other != name:
                del self._sent[other]
                spoilt = self._copied.pop(other, "") in self._touched
                if sent.file is not None and not sent.file.placed and not spoilt:
                    self.again_bytes += len(sent.file.content)

    def wrote(self, file: RemoteFile, offset: int, data: bytes) -> None:
        """Where another hand has been at work, nothing counts as sent before: neither what was in
        that file, nor what was copied from it."""
        if self.disk.another_hand:
            self._sent.clear()
            self._touched |= file.names

    def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> None:
        if self.disk.another_hand:
            self._sent.clear()
            self._touched.add(path)
        else:
            self._touched.discard(path)
        known = self._sent.get(path)
        if known is not None and known.file is None:
            known.file = file

    def unnamed(self, path: str, file: RemoteFile) -> None:
        pass

    def folder_moved(self, path: str, target: str) -> None:
        pass

    def lost(self) -> None:
        """The server has lost some of it: what comes again does not count."""
        self._sent.clear()

    def broke(self, *, died: bool = False, behind_bytes: int = 0) -> None:
        """A connection ended, a process died, a WRITE was refused, with so much sent behind it."""
        self.excused_bytes += max(self.window_bytes, behind_bytes)
        self.excused_bytes += _COMPARED_BYTES if self.readable else 0
        self.excused_bytes += self.cached_bytes
        if died and not self.readable:
            self.excused_bytes += _NOTE_EVERY_BYTES

    def closed(self) -> None:
        """A connection is over, however it ended."""
        self._brought.clear()
        if self.spending is not None:
            self.spending.closed()

    def lost_power(self) -> None:
        """The journal may have forgotten what was under way."""
        self._sent.clear()


class CountingTransport:
    """The child's own transport, with every WRITE on the account.

    ``window`` tells how many bytes may be unacknowledged now.
    """

    def __init__(
        self,
        inner: Transport,
        account: Resends,
        find_upload: FindUpload,
        window: Callable[[], int],
    ) -> None:
        self._inner = inner
        self._account = account
        self._find_upload = find_upload
        self._window = window
        self._asked: dict[int, int] = {}
        self._opening: dict[int, int] = {}
        self._windows: dict[int, int] = {}
        """Of each write that is under way: the window when it left."""
        self._places: dict[int, tuple[str, int]] = {}
        """And where it goes."""
        self._ends: dict[str, int] = {}
        self._sent_bytes = 0
        self._unanswered = 0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def connect(self) -> None:
        self._inner.connect()

    def submit(self, ticket: int, request: Request) -> None:
        if self._account.spending is not None:
            self._account.spending.sent(_weight(request), is_look=isinstance(request, Stat))
        if isinstance(request, Write):
            if request.create and request.offset == 0:  # half of it counts until it is open
                self._opening[ticket] = len(request.data)
            uncounted_bytes = sum(self._opening.values()) // 2
            self._windows[ticket] = max(_LEAST_BYTES, self._window()) + uncounted_bytes
            # it may be smaller now than when the first of those left that are under way
            self._account.window_bytes = max(self._windows.values())
            self._places[ticket] = request.path, request.offset
            end = request.offset + len(request.data)
            self._ends[request.path] = max(end, self._ends.get(request.path, 0))
            self._account.sent(request, self._find_upload(request.path))
            self._asked[ticket] = self._sent_bytes
            self._sent_bytes += len(request.data)
        elif isinstance(request, Copy | Finish):  # some refuse a write only when it is synced
            if isinstance(request, Copy):
                self._account.copied(request)
            self._asked[ticket] = self._sent_bytes
        self._unanswered += 1
        self._inner.submit(ticket, request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        for ticket, result in self._inner.collect():
            self._unanswered -= 1
            self._opening.pop(ticket, None)
            self._windows.pop(ticket, None)
            self._places.pop(ticket, None)
            before_bytes = self._asked.pop(ticket, None)
            if before_bytes is not None and isinstance(result, RemoteError):
                # Asking why (is the disk full?) takes a round trip, in which more is sent.
                self._account.broke(behind_bytes=self._sent_bytes - before_bytes)
            yield ticket, result

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._account.closed()
            if self._unanswered:
                self._account.broke(behind_bytes=self._behind_bytes())
        self._inner.close()

    def _behind_bytes(self) -> int:
        """Where answers come in any order, all behind the first that is missing counts for nothing,
        and more than the window may have been answered behind it."""
        if self.capabilities.sequential:
            return 0
        first: dict[str, int] = {}
        for path, offset in self._places.values():
            first[path] = min(offset, first.get(path, offset))
        return sum(self._ends[path] - offset for path, offset in first.items())


def _weight(request: Request) -> int:
    """What it moves, in bytes, its answer included."""
    if isinstance(request, Write | Put):
        return _REQUEST_BYTES + len(request.data)
    return _REQUEST_BYTES + (request.length if isinstance(request, Read) else 0)
