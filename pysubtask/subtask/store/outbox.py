"""The folder of copied bytes that are still owed.

A piece is written before the journal speaks of it, and removed only after the journal has been on
the disk without it; whatever nobody speaks of at the start is removed.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from pysubtask.blake import blake2b
from pysubtask.core.model import Piece
from pysubtask.core.prints import new_hash
from pysubtask.seams.disk import Disk, ReadHandle

__all__ = ["Outbox"]

_SUFFIX = ".piece"
_READ_BYTES = 1 << 20
_EXTEND_UP_TO_BYTES = 64 << 20
_FIRST_WAIT_SECS = 1.0
_LONGEST_WAIT_SECS = 300.0


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a piece could not be written anew."""

    number: int
    words: str
    until: float
    """Not tried again before (monotonic)."""
    wait_secs: float


class Outbox:
    """Pieces by name, below one folder.

    Args:
        folder: made if missing.
        still_alive: called again and again while something takes long.
        now: monotonic; without it, what the disk refused is tried each time.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        *,
        still_alive: Callable[[], None] = lambda: None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._still_alive = still_alive
        self._now = now
        self._disk = disk
        self._folder = folder
        self._next = 1
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        """Who wants to rely on a sync waits for the one that is under way."""
        self._names_due = False
        """The folder's names are to be synced."""
        self.held_bytes = 0
        """Bytes in the outbox now."""
        self.has_room: Callable[[int], bool] = lambda size: True
        """Whether that many more bytes may be copied; to be asked before storing."""
        self._sizes: dict[str, int] = {}
        self._hashes: dict[str, blake2b] = {}
        self._dirty: dict[str, None] = {}
        self._synced: dict[str, tuple[int, str]] = {}
        self._doubtful: set[str] = set()
        """Pieces of which a sync failed."""
        self._refused: dict[str, _Refused] = {}
        """Those that could not be written anew either."""
        self._extended: set[str] = set()
        """Pieces that are being written."""
        self._left_over: dict[str, int] = {}
        """Paths that the disk would not remove, and their bytes."""

    def open(self, wanted: Iterable[str]) -> None:
        """Make the folder, count what is there, remove pieces that nobody refers to."""
        self._disk.make_dirs(self._folder)
        try:
            self._disk.sync_dir(self._folder.rpartition("/")[0])
        except OSError:
            pass
        keep = set(wanted)
        for name in keep:  # a name that was lost with the power must not be given again
            self._next = max(self._next, _number(name) + 1)
        for name, st in list(self._disk.scan(self._folder)):
            if not name.endswith(_SUFFIX) or st is None:
                continue
            self._next = max(self._next, _number(name) + 1)
            if name in keep:
                self._sizes[name] = st.size
                self._dirty[name] = None
                self.held_bytes += st.size
            else:
                self._remove(self._path(name))

    def store(self, chunks: Iterable[bytes]) -> tuple[str, int, str]:
        """Write a new piece. Gives its name, its size in bytes and its digest.

        Raises:
            OSError: the disk refused; nothing is left behind.
        """
        name = self._new_name()
        self._hashes[name] = new_hash()
        self._sizes[name] = 0
        try:
            return name, *self._append(name, chunks, create_new=True)
        except BaseException:
            self.discard([name])
            raise

    def _new_name(self) -> str:
        with self._lock:  # both threads store pieces
            name = f"{self._next:012x}{_SUFFIX}"
            self._next += 1
        return name

    def may_extend(self, name: str, size: int) -> bool:
        """Whether :meth:`extend` can add to a piece that should have ``size`` bytes now.

        Only pieces of this run, since their hash is at hand, and only up to 64 MiB.
        """
        known = self._sizes.get(name)
        return self.is_own(name) and known == size and size < _EXTEND_UP_TO_BYTES

    def is_own(self, name: str) -> bool:
        """Whether this process wrote the piece: no loss of power can have damaged it, nor a sync
        that failed."""
        return name in self._hashes and name not in self._doubtful

    def extend(self, name: str, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Add bytes to a piece. Gives its new size and its new digest.

        One that the other thread discards meanwhile stays gone. No entry speaks of it then, which
        is found by whoever notes what he has added.

        Raises:
            OSError: the disk refused; the piece can't be extended again, what it had is still good.
        """
        try:
            return self._append(name, chunks, create_new=False)
        except BaseException:
            self._hashes.pop(name, None)
            raise

    def synced(self, name: str) -> tuple[int, str]:
        """How many bytes of a piece of this run are on the disk, and their digest."""
        return self._synced.get(name, (0, ""))

    def _append(self, name: str, chunks: Iterable[bytes], *, create_new: bool) -> tuple[int, str]:
        with self._lock:
            state, size = self._hashes.get(name) or new_hash(), self._sizes.get(name, 0)
            if name in self._doubtful:  # by the other thread, just now
                raise OSError(errno.EIO, "a sync of it failed", self._path(name))
            self._extended.add(name)
        try:
            size += self._append_all(name, state, chunks, create_new=create_new)
        finally:
            self._extended.discard(name)
        return size, state.hexdigest()

    def _append_all(
        self, name: str, state: blake2b, chunks: Iterable[bytes], *, create_new: bool
    ) -> int:
        added = 0
        handle = self._disk.open_append(self._path(name), create_new=create_new)
        try:
            for chunk in chunks:
                handle.append(chunk)
                with self._lock:  # sync() notes both in one step
                    state.update(chunk)
                    if name in self._sizes:
                        self._sizes[name] += len(chunk)
                        self.held_bytes += len(chunk)
                added += len(chunk)
                self._still_alive()
        except OSError:
            self._count_anew(name)
            raise
        finally:
            handle.close()
            self._dirty[name] = None
            if name not in self._sizes:  # the opening may have made it anew
                self._dirty.pop(name, None)
                self._remove(self._path(name))
        return added

    def _count_anew(self, name: str) -> None:
        """A full disk may have taken a part of a chunk. (Nothing is added behind it.)"""
        with self._lock:
            self._hashes.pop(name, None)  # it is not of what is there
            known = self._sizes.get(name)
        size = self._size_of(self._path(name), known or 0)
        with self._lock:
            if name in self._sizes:
                self.held_bytes += size - self._sizes[name]
                self._sizes[name] = size

    def unneeded(self, names: Iterable[str]) -> None:
        """These pieces are about to go: they need not reach the disk any more."""
        for name in names:
            self._dirty.pop(name, None)

    def sync(self, only: Collection[str] | None = None) -> None:
        """Bring what was written to the disk; the journal calls it before its own sync.

        Args:
            only: the pieces that the caller relies on. Another one, in a bad block, is no reason
                to keep no copy of any file.

        Raises:
            OSError: the disk refused.
        """
        with self._syncing:
            self._sync(only)
            self.remove_left_over()

    def _sync(self, only: Collection[str] | None) -> None:
        names = list(self._dirty)  # one step: the other thread may add or drop some meanwhile
        if only is not None:
            names = [name for name in names if name in only]
        self._names_due = self._names_due or bool(names)
        refused: OSError | None = None
        for name in names:
            self._still_alive()
            try:
                self._sync_piece(name)
            except OSError as error:
                refused = error
        if self._names_due:
            self._disk.sync_dir(self._folder)
            self._names_due = False
        if refused is not None:
            raise refused  # all others are on the disk

    def _sync_piece(self, name: str) -> None:
        if name not in self._dirty:
            return
        self._dirty.pop(name, None)  # now: what is added from here on marks it anew
        try:
            if name in self._doubtful:
                self._renew_in_turn(name)
            else:
                self._bring(name)
        except BaseException:
            self._dirty[name] = None
            raise

    def _bring(self, name: str) -> None:
        path = self._path(name)
        try:
            self._disk.stat(path)
        except FileNotFoundError:
            return  # dropped since; opening it would make it anew
        with self._lock:
            state = self._hashes.get(name)
            reached = None if state is None else (self._sizes[name], state.hexdigest())
        handle = self._disk.open_append(path)
        try:
            handle.sync()
        except OSError:
            self._doubtful.add(name)
            raise
        finally:
            handle.close()
            if name not in self._sizes:  # dropped between the look and the opening
                self._doubtful.discard(name)
                self._remove(path)
        if reached is not None:
            self._synced[name] = reached

    def _renew_in_turn(self, name: str) -> None:
        """As :meth:`_renew`, ever more rarely while it fails, since all of the piece is written
        each time. The error is of the piece, not of its new file, so that its words are the same.

        Raises:
            OSError: as the last time, or anew.
        """
        last = self._refused.get(name)
        if last is None or self._now is None or self._now() >= last.until:
            try:
                self._renew(name)
            except BlockingIOError:
                raise  # it is being added to: nothing was written
            except OSError as error:
                last = self._note_refused(name, error, last)
            else:
                self._refused.pop(name, None)
                return
        raise OSError(last.number, last.words, self._path(name))

    def _note_refused(self, name: str, error: OSError, last: _Refused | None) -> _Refused:
        wait_secs = _FIRST_WAIT_SECS
        if last is not None:
            wait_secs = min(2 * last.wait_secs, _LONGEST_WAIT_SECS)
        until = self._now() + wait_secs if self._now is not None else 0.0
        # whoever copies a file would take the loss of a copy for that of the file
        is_lost = isinstance(error, FileNotFoundError)
        number = errno.EIO if is_lost or error.errno is None else error.errno
        noted = _Refused(number, error.strerror or str(error), until, wait_secs)
        with self._lock:
            if name in self._sizes:
                self._refused[name] = noted
        return noted

    def _renew(self, name: str) -> None:
        """Write a piece whose sync failed to a new file: what that sync did not write can be read,
        and no other one will write it (as of :attr:`RecordFile.is_doubtful`).

        One that the other thread discards meanwhile stays gone, which is no error.

        Raises:
            OSError: the disk refuses, or does not show what was written.
        """
        with self._lock:
            size = self._sizes.get(name)
            state = self._hashes.get(name)
            digest = None if state is None else state.hexdigest()
            if name in self._extended:
                raise OSError(errno.EAGAIN, "it is being added to", self._path(name))
        if size is None:
            return  # dropped since
        copy = self._path(self._new_name())  # nobody speaks of it
        try:
            found = self._copy(name, copy, size)
            if found[0] != size or digest not in (None, found[1]):
                raise OSError(errno.EIO, "it can't be read as it was written", self._path(name))
            with self._lock:
                if name not in self._sizes:
                    raise FileNotFoundError(errno.ENOENT, "it was removed", self._path(name))
                self._disk.rename(copy, self._path(name))
                self._doubtful.discard(name)
                if digest is not None:
                    self._synced[name] = found
        except OSError:
            self._remove(copy)
            if name in self._sizes:
                raise

    def _copy(self, name: str, target: str, size: int) -> tuple[int, str]:
        """Copy a piece to another file, on the disk. Gives what was read: its size and digest."""
        state = new_hash()
        at = 0
        with ExitStack() as stack:
            source = self.open_piece(name)
            stack.callback(source.close)
            handle = self._disk.open_append(target, create_new=True)
            stack.callback(handle.close)
            while at < size and (data := source.read_at(at, min(_READ_BYTES, size - at))):
                handle.append(data)
                state.update(data)
                at += len(data)
                self._still_alive()
            handle.sync()
        return at, state.hexdigest()

    def whole_part(self, piece: Piece) -> Piece | None:
        """What can be believed of a piece: all of it, what was synced before it was extended, or
        nothing."""
        for part in (piece, piece.synced_part):
            if part is not None and self.is_whole(part):
                return part
        return None

    def is_whole(self, piece: Piece) -> bool:
        """Whether a piece holds the bytes that its digest is of.

        Raises:
            OSError: the disk does not say; it may the next time.
        """
        if piece.name is None:
            return False
        name, size, digest = piece.name, piece.end - piece.start, piece.digest
        state = new_hash()
        try:
            handle = self.open_piece(name)
        except FileNotFoundError:
            return False
        try:
            at = 0
            while at < size and (data := handle.read_at(at, min(_READ_BYTES, size - at))):
                state.update(data)
                self._still_alive()
                at += len(data)
        finally:
            handle.close()
        return at == size and state.hexdigest() == digest

    def open_piece(self, name: str) -> ReadHandle:
        """Open a piece for reading.

        Raises:
            OSError: it is not there, or can't be read.
        """
        return self._disk.open_read(self._path(name))

    def discard(self, names: Iterable[str]) -> None:
        """Remove pieces; call it only once the journal is on the disk without them."""
        for name in names:
            with self._lock:
                self.held_bytes -= self._sizes.pop(name, 0)
                self._hashes.pop(name, None)
            self._synced.pop(name, None)
            self._doubtful.discard(name)
            self._refused.pop(name, None)
            self._dirty.pop(name, None)
            self._remove(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _remove(self, path: str) -> None:
        try:
            self._disk.remove(path)
        except FileNotFoundError:
            pass
        except OSError:
            size = self._size_of(path, 0)
            with self._lock:
                self.held_bytes += size - self._left_over.get(path, 0)
                self._left_over[path] = size  # no name is given twice, so it can go at any time
            return
        with self._lock:
            self.held_bytes -= self._left_over.pop(path, 0)

    def _size_of(self, path: str, otherwise: int) -> int:
        try:
            return self._disk.stat(path).size
        except OSError:
            return otherwise

    def remove_left_over(self) -> None:
        """Try what the disk would not remove before; the next start does, too."""
        for path in list(self._left_over):
            self._remove(path)
            if path in self._left_over:
                return  # nor does it now


def _number(name: str) -> int:
    try:
        return int(name.removesuffix(_SUFFIX), 16)
    except ValueError:
        return 0
