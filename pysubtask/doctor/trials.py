"""What a connected destination can do, found out by doing it with files of our own.

Everything is written under temporary names (``.pysubtask-`` and 16 hex digits) and removed again.
What a server declares is not believed where it can be tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from pysubtask.core.costs import ABILITIES
from pysubtask.doctor.checks import Check
from pysubtask.errors import (
    PysubtaskError,
    RemoteDenied,
    RemoteError,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.status import size_words
from pysubtask.transports.contract import (
    Copy,
    Finish,
    Put,
    Read,
    RemoteSpace,
    RemoteStat,
    Remove,
    Rename,
    Space,
    Stat,
    Write,
)
from pysubtask.transports.conversation import Conversation

__all__ = ["Trials"]

_FIRST = b"pysubtask doctor: "
_SECOND = b"appended\n"
_LOW_SPACE_BYTES = 64 << 20
_CLOCK_OFF_SECS = 60.0
_COSTS = {ability.name: ability.cost for ability in ABILITIES}


class Trials:
    """Trials in one folder.

    Args:
        talk: a connected conversation.
        folder: the destination's path, ``""`` for the login folder.
    """

    def __init__(self, talk: Conversation, folder: str) -> None:
        self._talk = talk
        self._folder = folder
        self._made: list[str] = []
        self._name = ""
        self._offset_secs: float | None = None
        self._mtime: float | None = None
        self._written_at = 0.0

    def run(self) -> Iterator[Check]:
        """One check after the other; stops with the first that makes the rest pointless."""
        folder = self._timed("folder", self._try_folder)
        yield folder
        if folder.verdict == "failed":
            return
        try:
            write = self._timed("write", self._try_write)
            yield write
            if write.verdict == "ok":
                yield self._timed("read", self._try_read)
                yield self._timed("append", self._try_append)
                yield self._timed("replace", self._try_replace)
                yield self._timed("copy", self._try_copy)
                yield self._timed("order", self._try_order)
                yield self._timed("sync", self._try_sync)
                yield self._timed("clock", self._try_clock)
        finally:
            left = self._clean()
        yield self._timed("space", self._try_space)
        if write.verdict == "ok":
            yield _delete_check(left)

    # --- one by one

    def _try_folder(self) -> Check:
        shown = self._folder or "the login folder"
        try:
            found = self._talk.ask(Stat(self._folder or "."))
        except RemoteNotFound:
            parent = self._folder.rpartition("/")[0]
            while parent and not self._is_folder(parent):
                parent = parent.rpartition("/")[0]
            missing, root = self._folder, "/" if self._folder.startswith("/") else ""
            self._folder = parent or root
            where = self._folder or "the login folder"
            return Check(
                "folder", "missing", f"{missing} is not there",
                cost=f"it is made at the first delivery; tried in {where} instead",
            )  # fmt: skip
        if isinstance(found, RemoteStat) and not found.is_dir:
            error = RemoteError("it is a file, not a folder", operation="look at", path=shown)
            remedy = "name a folder in the URL"
            return Check("folder", "failed", f"{shown} is a file", remedy=remedy, error=error)
        return Check("folder", "ok", f"{shown} is there")

    def _is_folder(self, path: str) -> bool:
        try:
            found = self._talk.ask(Stat(path))
        except RemoteError:
            return False
        return isinstance(found, RemoteStat) and found.is_dir

    def _try_write(self) -> Check:
        self._name = self._new_name()
        self._made.append(self._name)
        self._written_at = time.time()
        self._write_whole(self._name, _FIRST)
        found = self._talk.ask(Stat(self._name))
        assert isinstance(found, RemoteStat)
        self._mtime = found.mtime
        if found.size != len(_FIRST):
            return _wrong("write", f"wrote {len(_FIRST)} bytes, the server shows {found.size}")
        return Check("write", "ok", "a new file, its size as it should be")

    def _try_read(self) -> Check:
        if not self._talk.can.readable:
            return _missing("read", "what was written can't be read back", "readable")
        try:
            data = self._talk.ask(Read(self._name, 0, len(_FIRST)))
        except RemoteDenied:
            return _missing("read", "not allowed to this login", "readable")
        if data != _FIRST:
            return _wrong("read", "other bytes came back than were written")
        return Check("read", "ok", "the same bytes came back")

    def _try_append(self) -> Check:
        if not self._talk.can.positioned_write:
            return _missing("append", "no writes at an offset", "positioned_write")
        self._talk.ask(Write(self._name, len(_FIRST), _SECOND))
        self._talk.ask(Finish(self._name))
        return self._expect("append", self._name, _FIRST + _SECOND, "only new bytes are sent")

    def _try_replace(self) -> Check:
        if self._talk.can.max_put_bytes:
            self._write_whole(self._name, _SECOND)
            return self._expect("replace", self._name, _SECOND, "readers never miss the file")
        new = self._new_name()
        self._made.append(new)
        self._write_whole(new, _SECOND)
        if self._talk.can.atomic_replace:
            self._talk.ask(Rename(new, self._name, replace=True))
            self._made.remove(new)
            return self._expect("replace", self._name, _SECOND, "readers never miss the file")
        # what the swap is made of
        other = self._new_name()
        self._made.append(other)
        self._talk.ask(Rename(new, other))
        self._made.remove(new)
        return _missing("replace", "only a rename to a free name", "atomic_replace")

    def _try_copy(self) -> Check:
        if not self._talk.can.server_copy:
            return _missing("copy", "not offered", "server_copy")
        copy = self._new_name()
        self._made.append(copy)
        size = self._size(self._name)
        self._talk.ask(Copy(self._name, 0, size, copy, 0, create=True))
        self._talk.ask(Finish(copy))
        if self._size(copy) != size:
            return _wrong("copy", f"the copy has {self._size(copy)} bytes, not {size}")
        return Check("copy", "ok", "ranges are copied without being sent")

    def _try_order(self) -> Check:
        if self._talk.can.sequential:
            return Check("order", "ok", "one request after the other, as they come")
        return _missing("order", "not known to be one after the other", "sequential")

    def _try_sync(self) -> Check:
        if not self._talk.can.fsync:
            return _missing("sync", "not offered", "fsync")
        self._talk.ask(Write(self._name, 0, b"p"))
        self._talk.ask(Finish(self._name, sync=True))
        return Check("sync", "ok", "an upload is on the server's disk before it counts")

    def _try_clock(self) -> Check:
        if self._mtime is None:
            return Check("clock", "unknown", "the server tells no times")
        off = self._mtime - self._written_at
        if abs(off) <= 2:
            return Check("clock", "ok", "as ours, within 2 s")
        words = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} ours"
        if abs(off) < _CLOCK_OFF_SECS:
            return Check("clock", "ok", words)
        return Check(
            "clock",
            "missing",
            words,
            cost="who compares times of files there with times in them will wonder; delivery "
            "compares contents and does not mind",
            remedy="NTP, on the computer whose clock is wrong",
        )

    def _try_space(self) -> Check:
        try:
            found = self._talk.ask(Space(self._folder or "."))
        except RemoteError:
            return Check(
                "space",
                "unknown",
                "the server does not tell",
                cost="a full disk shows only when a write is refused",
            )
        assert isinstance(found, RemoteSpace)
        words = f"{size_words(found.free_bytes)} free"
        if found.free_files is not None:
            words += f", room for {found.free_files:,} files"
        if found.free_bytes < _LOW_SPACE_BYTES or found.free_files == 0:
            error = RemoteFull(f"only {words}", operation="ask for the free space")
            return Check("space", "failed", words, remedy="make room there", error=error)
        return Check("space", "ok", words)

    # --- helpers

    def _timed(self, name: str, work: Callable[[], Check]) -> Check:
        from dataclasses import replace

        began = time.monotonic()
        try:
            check = work()
        except RemoteError as error:
            check = Check(name, "failed", error.message, remedy=_remedy(error), error=error)
        return replace(check, secs=time.monotonic() - began)

    def _new_name(self) -> str:
        name = f".pysubtask-{os.urandom(8).hex()}"
        if not self._folder:
            return name
        return f"{self._folder.rstrip('/')}/{name}"

    def _write_whole(self, path: str, data: bytes) -> None:
        if self._talk.can.max_put_bytes:
            self._talk.ask(Put(path, data))
            return
        self._talk.ask(Write(path, 0, data, create=True))
        self._talk.ask(Finish(path))

    def _size(self, path: str) -> int:
        found = self._talk.ask(Stat(path))
        assert isinstance(found, RemoteStat)
        return found.size

    def _expect(self, name: str, path: str, content: bytes, good: str) -> Check:
        """Does the file hold this? By its bytes where they can be read, else by its size."""
        size = self._size(path)
        if size != len(content):
            return _wrong(name, f"the file has {size} bytes, not {len(content)}")
        try:
            data = self._talk.ask(Read(path, 0, len(content)))
        except RemoteError:
            return Check(name, "ok", f"{good} (by its size; it can't be read)")
        if data != content:
            return _wrong(name, "the file holds other bytes than it should")
        return Check(name, "ok", good)

    def _clean(self) -> list[tuple[str, RemoteError]]:
        left: list[tuple[str, RemoteError]] = []
        for name in self._made:
            try:
                self._talk.ask(Finish(name))
                self._talk.ask(Remove(name))
            except RemoteNotFound:
                pass
            except RemoteError as error:
                left.append((name, error))
            except PysubtaskError:
                break  # the link: that error is on its way already
        return left


def _delete_check(left: list[tuple[str, RemoteError]]) -> Check:
    if not left:
        return Check("delete", "ok", "the files of these trials are gone")
    name, error = left[0]
    return Check(
        "delete",
        "failed",
        f"{name}: {error.message}",
        cost="what broken uploads left there stays",
        remedy=f"allow it to this login, or remove {', '.join(name for name, _ in left)}",
        error=error,
    )


def _missing(name: str, detail: str, ability: str) -> Check:
    return Check(name, "missing", detail, cost=_COSTS[ability])


def _wrong(name: str, detail: str) -> Check:
    error = RemoteError(detail, operation=name)
    remedy = "the server does not do what it says: please report it, with its name and version"
    return Check(name, "failed", detail, remedy=remedy, error=error)


def _remedy(error: RemoteError) -> str:
    if isinstance(error, RemoteDenied):
        return "allow it to this login at the server, or name another folder in the URL"
    if isinstance(error, RemoteFull):
        return "make room on the server, or ask for a larger quota"
    if isinstance(error, RemoteUnsupported):
        return "allow this request in the server's configuration"
    return "the server's own log may say more"
