"""The contract between delivery and one protocol's client.

Delivery *submits* requests and later *collects* their results, so that a protocol with many
requests in flight (SFTP) shows its full speed, while a simple blocking client
(:class:`~pysubtask.transports.simple.SimpleTransport`) needs one method per request and nothing
else. A request that the server refuses ends as a :class:`~pysubtask.errors.RemoteError` *value*;
a connection that breaks raises :class:`~pysubtask.errors.LinkError`, after which every request
without a result is undecided: the server may or may not have acted on it.

Remote paths are ``str`` with ``/`` between parts. A name that is not valid UTF-8 carries its bytes
as lone surrogates (PEP 383, ``os.fsdecode``); a transport that sends bytes encodes them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

import msgspec

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import RemoteError

__all__ = [
    "SLOWEST_BYTES_PER_SEC",
    "Begin",
    "Begun",
    "Capabilities",
    "ChangeWaiter",
    "Copy",
    "Finish",
    "List",
    "MakeDir",
    "Put",
    "Read",
    "RemoteSpace",
    "RemoteStat",
    "Remove",
    "Rename",
    "Request",
    "Result",
    "Space",
    "Stat",
    "Transport",
    "Wake",
    "Write",
]

SLOWEST_BYTES_PER_SEC: Final = 1024
"""The slowest link that is still taken for alive, however often it moves a byte: the time that a
deadline gives to a size, beyond the patience that it has with silence."""


class RemoteStat(msgspec.Struct, frozen=True, gc=False):
    """Size in bytes and modified time in Unix seconds (``None`` where the server tells none).

    ``digest`` is of the whole file, of the kind that ``Capabilities.checksum`` names.
    """

    size: int
    mtime: float | None = None
    is_dir: bool = False
    digest: str | None = None


class RemoteSpace(msgspec.Struct, frozen=True, gc=False):
    """What is free for the user who is logged in (``None`` where the server does not tell)."""

    free_bytes: int
    free_files: int | None = None


class Stat(msgspec.Struct, frozen=True, gc=False):
    """Look at ``path``. Result: :class:`RemoteStat`; ``RemoteNotFound`` if nothing is there.

    ``by_handle=True`` looks at the file that earlier ``Write`` requests to ``path`` opened, even if
    somebody has moved or deleted it since; ``RemoteUnsupported`` without such an open file.
    """

    path: str
    by_handle: bool = False


class Write(msgspec.Struct, frozen=True, gc=False):
    """Write ``data`` at ``offset`` of ``path``. Result: ``None``.

    Without ``create`` a missing file is ``RemoteNotFound``. Nothing is ever truncated. The file
    stays open until :class:`Finish`, or until the transport needs the room.
    """

    path: str
    offset: int
    data: bytes
    create: bool = False


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Close ``path``, all writes to it having been acknowledged. Result: ``None``.

    Only after this result may the file be renamed: servers with parallel workers order a close
    after the writes, but nothing else. Nothing open under ``path``: nothing happens.
    """

    path: str
    sync: bool = False


class Put(msgspec.Struct, frozen=True, gc=False):
    """Make ``data`` the whole content of ``path``, in one step, whatever is there. Result:
    :class:`RemoteStat` of the new file. Only where ``max_put_bytes`` allows it.

    Doing it twice is as good as once. ``modified``: the file's time (Unix seconds), to be kept
    where the server keeps one beside its own. ``quiet``: nobody is to be told of the change.
    """

    path: str
    data: bytes
    modified: float | None = None
    quiet: bool = False


class Begin(msgspec.Struct, frozen=True, gc=False):
    """Begin an upload under the name ``path``, or go on with the one that ``token`` stands for.
    Result: :class:`Begun`. Only where ``upload_tokens``.

    Nobody sees the upload before :class:`Rename` puts it in place. ``size`` is what the caller
    knows of it; the result says what the server has. ``RemoteNotFound``: the server does not know
    the token any more, or the upload is in place already.
    """

    path: str
    token: str = ""
    size: int = 0
    modified: float | None = None


class Begun(msgspec.Struct, frozen=True, gc=False):
    """An upload: what stands for it on any later connection, and how many bytes are there."""

    token: str
    size: int


class Read(msgspec.Struct, frozen=True, gc=False):
    """Read ``length`` bytes at ``offset``. Result: ``bytes``, short only at the file's end."""

    path: str
    offset: int
    length: int


class Rename(msgspec.Struct, frozen=True, gc=False):
    """Rename ``path`` to ``target``. Result: ``None``.

    With ``replace`` an existing target is replaced atomically (only where ``atomic_replace``);
    without it an existing target is ``RemoteExists`` or another ``RemoteError``.
    """

    path: str
    target: str
    replace: bool = False


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Delete the file ``path``. Result: ``None``; ``RemoteNotFound`` if it is not there."""

    path: str


class MakeDir(msgspec.Struct, frozen=True, gc=False):
    """Make the folder ``path`` (its parent exists). Result: ``None``, also if it is there."""

    path: str


class List(msgspec.Struct, frozen=True, gc=False):
    """List the folder ``path``. Result: ``dict`` of name to :class:`RemoteStat`."""

    path: str


class Copy(msgspec.Struct, frozen=True, gc=False):
    """Copy ``length`` bytes on the server from ``path`` to ``target``. Result: ``None``.

    Without ``create`` a missing target is ``RemoteNotFound``. A source that ends before is a
    ``RemoteError``, and what was copied until then stays.
    """

    path: str
    offset: int
    length: int
    target: str
    target_offset: int
    create: bool = False


class Space(msgspec.Struct, frozen=True, gc=False):
    """What is free where the folder ``path`` lies. Result: :class:`RemoteSpace`."""

    path: str


Request: TypeAlias = (
    Stat | Write | Finish | Put | Begin | Read | Rename | Remove | MakeDir | List | Copy | Space
)
Result: TypeAlias = (
    "bytes | RemoteStat | RemoteSpace | Begun | dict[str, RemoteStat] | RemoteError | None"
)
Wake: TypeAlias = Callable[[], None]
"""Called from any thread when :meth:`Transport.collect` may have something new."""


class ChangeWaiter(Protocol):
    """Waits for a change in one folder, in a thread of its own and past the connection's end."""

    def wait(self) -> bool:
        """Wait until something in the folder is not as it was listed last: True. False: so far
        nothing was, and it has to be called again.

        Raises:
            LinkError, RemoteError: nobody would tell; the folder has to be looked at.
        """

    def close(self) -> None:
        """End the wait soon; from any thread, returns at once. Idempotent."""


class Transport(Protocol):
    """One connection to one destination. Used by one thread; made anew for each connection.

    Four more members are used if they are there: ``described``, text for the log once connected
    (as whom, by which algorithms); ``relax()``, called while the connection is open and nothing is
    in hand, to let go of what can be had again; ``due_at``, the monotonic time at which
    :meth:`collect` is to be called though nobody calls ``wake`` (infinity for never); and
    ``change_waiter(folder)``, which gives a :class:`ChangeWaiter` for a folder that this connection
    has listed (None if it can't), so that what is fetched need not be polled.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the connected destination can do."""

    def connect(self) -> None:
        """Connect and log in, within the time limits of the settings.

        Raises:
            LinkError: no connection; ``LoginRefused`` and ``HostKeyRefused`` are told apart.
        """

    def submit(self, ticket: int, request: Request) -> None:
        """Take a request; its result will come from :meth:`collect` under ``ticket``.

        Does not wait for the server. May wait, within a limit, for room in the send buffer.

        Raises:
            LinkError: the connection broke.
        """

    def collect(self) -> Iterator[tuple[int, Result]]:
        """Send what is still queued and give the results that have arrived; never waits for more.

        Whoever stops iterating finds the rest in the next call.

        Raises:
            LinkError: the connection broke.
        """

    def close(self) -> None:
        """End the connection now. Idempotent, never raises, never waits longer than a second."""
