"""Open files on the server: one handle per path and direction, and who waits for it.

``OPEN`` goes out with the first request that needs a handle; requests that come before its answer
queue up behind it, in their order. Idle handles are closed, the least recently used first, when
the server's limit is reached; a handle with anything outstanding never is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial

from pysubtask.errors import RemoteError
from pysubtask.transports.sftp.codec import (
    FX_NO_SUCH_FILE,
    FXF_CREAT,
    FXF_READ,
    FXF_WRITE,
    HANDLE,
    Reply,
    encode_close,
    encode_open,
    encode_path,
)
from pysubtask.transports.sftp.reasons import Reasons
from pysubtask.transports.sftp.statuses import remote_error
from pysubtask.transports.sftp.wire import Wire

__all__ = ["Handles", "OpenFile", "Task"]


class Task:
    """Something that is to be done once a file is open.

    Args:
        run: does it, with the handle at hand.
        fail: tells that the file can't be opened.
        creates: a missing file may be made for it.
    """

    __slots__ = ("creates", "fail", "ready", "run")

    def __init__(
        self,
        run: Callable[[], None],
        fail: Callable[[RemoteError], None],
        *,
        creates: bool = False,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self.run = run
        self.fail = fail
        self.creates = creates
        self.ready = ready
        """Where given: neither this nor anything behind it runs before this says so."""


class OpenFile:
    """A file that is open, or being opened."""

    __slots__ = ("busy", "creates", "detached", "handle", "path", "raw_path", "waiting", "writing")

    def __init__(self, path: str, raw_path: bytes, *, writing: bool, creates: bool) -> None:
        self.path = path
        self.raw_path = raw_path
        self.writing = writing
        self.creates = creates
        self.handle: bytes | None = None
        self.waiting: deque[Task] = deque()
        self.busy = 0
        """Tasks that wait, and requests that are not answered."""
        self.detached = False
        """No longer found by its path; closed as soon as it is idle."""


class Handles:
    """All open files of one connection, within the server's limit.

    Args:
        wire: carries the requests.
        limit: how many handles may be open at once, folders included.
        reasons: looks for the cause of a refusal.
    """

    def __init__(self, wire: Wire, limit: int, reasons: Reasons) -> None:
        self._wire = wire
        self._reasons = reasons
        self._limit = limit
        self._open = 0
        self._closing = 0
        self._files: OrderedDict[tuple[str, bool], OpenFile] = OrderedDict()
        self._stalled: dict[str, OpenFile] = {}
        self._no_room: deque[Callable[[], None]] = deque()
        self._readers: set[OpenFile] = set()

    def find(self, path: str, *, writing: bool) -> OpenFile | None:
        """The file that is open (or being opened) under ``path``."""
        return self._files.get((path, writing))

    def stalled(self, path: str) -> OpenFile | None:
        """The file at ``path`` that has tasks waiting, so that later ones must queue up too."""
        return self._stalled.get(path)

    def obtain(self, path: str, *, writing: bool, creates: bool = False) -> OpenFile:
        """The file at ``path``, opened if it is not.

        Raises:
            ValueError: ``path`` can't be sent (see :func:`~.codec.encode_path`).
        """
        key = path, writing
        file = self._files.get(key)
        if file is not None:
            self._files.move_to_end(key)
            return file
        file = OpenFile(path, encode_path(path), writing=writing, creates=creates)
        self._files[key] = file
        if writing:
            self._stalled[path] = file
        else:
            self._readers.add(file)
        self.with_room(partial(self._send_open, file))
        return file

    def queue(self, file: OpenFile, task: Task) -> None:
        """Do ``task`` as soon as the file is open and what was queued before is done.

        ``release`` must be called once for it when its work on the file has ended.
        """
        file.busy += 1
        if file.handle is not None and not file.waiting and (not task.ready or task.ready()):
            task.run()
            return
        file.waiting.append(task)
        if file.writing:
            self._stalled[file.path] = file

    def advance(self, file: OpenFile) -> None:
        """Run the tasks that wait, up to the first that is not ready."""
        if file.handle is None:
            return
        while file.waiting:
            ready = file.waiting[0].ready
            if ready is not None and not ready():
                return
            task = file.waiting.popleft()
            if not file.waiting:
                self._unstall(file)
            task.run()
        self._unstall(file)

    def release(self, file: OpenFile) -> None:
        """One task or request less on this file."""
        file.busy -= 1
        if not file.busy:
            if file.detached:
                self._shut(file)
            elif self._no_room:
                self._make_room()

    def detach(self, file: OpenFile) -> None:
        """Let the path be opened anew; close this file when nothing needs it any more."""
        if not file.detached:
            file.detached = True
            if self._files.get((file.path, file.writing)) is file:
                del self._files[file.path, file.writing]
            self._readers.discard(file)
            if not file.busy:
                self._shut(file)

    def take(self, file: OpenFile) -> None:
        """Let the path be opened anew; the caller closes this file by :meth:`close_handle`."""
        file.busy += 1
        self.detach(file)

    def forget(self, path: str) -> None:
        """``path`` is about to be another file: what is open under it no longer counts."""
        for writing in (True, False):
            file = self._files.get((path, writing))
            if file is not None:
                self.detach(file)

    def close_idle_readers(self) -> None:
        """Close files that nobody reads now: the next reader must see what is there then."""
        for file in [file for file in self._readers if not file.busy and file.handle is not None]:
            self.detach(file)

    def with_room(self, start: Callable[[], None]) -> None:
        """Call ``start``, which opens one handle, as soon as the limit allows."""
        if self._open < self._limit:
            self._open += 1
            start()
            return
        self._no_room.append(start)
        self._make_room()

    def close_handle(self, handle: bytes, done: Callable[[Reply], None] | None = None) -> None:
        """Send ``CLOSE``; ``done`` gets the answer."""
        self._closing += 1
        request_id = self._wire.ask(partial(self._closed, done))
        self._wire.put(encode_close(request_id, handle))

    def handle_refused(self) -> None:
        """An open that :meth:`with_room` started came to nothing."""
        self._open -= 1
        self._fill_room()

    def _make_room(self) -> None:
        if self._closing >= len(self._no_room):
            return
        for file in self._files.values():
            if file.handle is not None and not file.busy:
                self.detach(file)
                return

    def _shut(self, file: OpenFile) -> None:
        if file.handle is not None:
            handle, file.handle = file.handle, None
            self.close_handle(handle)

    def _closed(self, done: Callable[[Reply], None] | None, reply: Reply) -> None:
        self._closing -= 1
        self._open -= 1
        if done is not None:
            done(reply)
        self._fill_room()

    def _fill_room(self) -> None:
        while self._no_room and self._open < self._limit:
            self._open += 1
            self._no_room.popleft()()

    def _send_open(self, file: OpenFile) -> None:
        flags = FXF_READ if not file.writing else FXF_WRITE | (FXF_CREAT if file.creates else 0)
        request_id = self._wire.ask(partial(self._opened, file))
        self._wire.put(encode_open(request_id, file.raw_path, flags))

    def _opened(self, file: OpenFile, reply: Reply) -> None:
        if reply.kind == HANDLE and isinstance(reply.value, bytes):
            file.handle = reply.value
            self.advance(file)
            if file.detached and not file.busy:
                self._shut(file)
            return
        error = remote_error(reply, "open", file.path)
        if file.writing and not file.creates and reply.code == FX_NO_SUCH_FILE:
            while file.waiting and not file.waiting[0].creates:
                self._fail(file, error)
            if file.waiting:
                file.creates = True
                self._send_open(file)
                return
        self.detach(file)
        self.handle_refused()
        refuse = partial(self._refuse_all, file)
        if file.writing:
            needs = 1 if file.creates else 0
            self._reasons.find(error, file.raw_path, refuse, needs_bytes=needs)
        else:
            refuse(error)

    def _refuse_all(self, file: OpenFile, error: RemoteError) -> None:
        while file.waiting:
            self._fail(file, error)
        self._unstall(file)

    def _fail(self, file: OpenFile, error: RemoteError) -> None:
        task = file.waiting.popleft()
        if not file.waiting:
            self._unstall(file)
        file.busy -= 1
        task.fail(error)

    def _unstall(self, file: OpenFile) -> None:
        if self._stalled.get(file.path) is file:
            del self._stalled[file.path]
