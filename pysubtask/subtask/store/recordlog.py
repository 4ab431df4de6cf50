"""Durable records in an append-only log: what a journal is made of.

Each line is ``<crc32 of the rest, 8 hex digits> <JSON>\\n``. The first line is the header, each
other line one whole record; the last line for a path counts. A record is handed to the operating
system at once, so the death of the process loses nothing, and reaches the disk within ``sync_secs``
(group commit), so a loss of power costs at most that. When the log has grown to several times what
it says, it is rewritten and swapped in by a rename.

Why not SQLite: one delivery is one line of some 300 bytes instead of several 4 KiB pages, which
matters on an SD card; it is as safe on FAT and on a network mount; and the simulator can take its
power away at every single write.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk
from pysubtask.subtask.store.newfolder import NewFolder
from pysubtask.subtask.store.recordfile import RecordFile
from pysubtask.subtask.store.recordlines import FORMAT, as_count, encode, lines, refuse_newer
from pysubtask.subtask.store.refusals import Refusals

__all__ = ["Codec", "RecordLog"]

_COMPACT_MIN_BYTES = 1 << 20
_COMPACT_FACTOR = 4


class Record(Protocol):
    """What a log keeps one of for each path. Immutable, and equal if it says the same."""

    @property
    def path(self) -> str:
        """Which it is."""


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Codec(Generic[R]):
    """How a kind of record is made and written."""

    new: Callable[[str, str], R]
    """From a path and a remote path."""
    to_json: Callable[[R], dict[str, Any]]
    from_json: Callable[[dict[str, Any]], R]
    """Raises KeyError, TypeError or ValueError for what is no such record."""


class RecordLog(Generic[R]):
    """All records of a kind, in memory and on disk. Thread-safe.

    Args:
        codec: the kind.
        path: the log; its folder exists.
        sync_secs: at most this long after a record was written, it is on the disk.
        boot_id: names this boot of the machine; a journal left without :meth:`close` by another
            boot has met an unclean boot.
        new_id: makes the :attr:`client_id` of a new journal.
        before_sync: brings to the disk what the records speak of; called before they are synced.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        path: str,
        *,
        codec: Codec[R],
        sync_secs: float = 5.0,
        boot_id: str = "",
        new_id: Callable[[], str] = lambda: os.urandom(4).hex(),
        before_sync: Callable[[], None] = lambda: None,
        log: logging.Logger | None = None,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._path = path
        self._codec = codec
        self._sync_secs = sync_secs
        self._boot_id = boot_id
        self._log = log or logging.getLogger(__name__)
        self.lock = threading.RLock()
        """Held for every change; for those that belong together, by their caller."""
        self._syncing = threading.Lock()
        """Taken before :attr:`lock`, never while it is held."""
        self._entries: dict[str, R] = {}
        self._file = RecordFile(disk, path)
        self._is_open = False
        self._live_bytes: dict[str, int] = {}
        self._live_total = 0
        self._unsaved: set[str] = set()
        self._dirty_since: float | None = None
        self._after_sync: list[Callable[[], None]] = []
        self._refusals = Refusals()
        self._folder = NewFolder(disk, path)
        self._closing = False
        self._clean = False
        """It is left cleanly."""
        self._new_id = new_id
        self._before_sync = before_sync
        self.client_id = ""
        """8 random hex digits, the same as long as the journal lives: they tell our temporary
        names at the destination from those of others."""
        self.damaged = False
        """What was found on disk could not all be read: the destination is asked instead."""
        self.unclean_boot = False
        """The machine went down while the journal was in use, in this boot or before; kept until
        a clean stop that follows :attr:`purged` and leaves no suspects."""
        self.other_boot = False
        """The machine was started anew since the journal was used last."""
        self._suspects_left = False
        self.purged = False
        """Temporary files that the journal lost with the power were removed at the destination."""
        self.fresh = False
        """There was no journal."""
        self.was_killed = False
        """Whoever had it before did not close it."""
        self.starts = 1
        """How often it was opened."""

    # -- opening -----------------------------------------------------------------------------

    def open(self) -> None:
        """Read the log and make it ready to be appended to.

        A torn last line is cut off. A log that is damaged in the middle gets a second name,
        ``<path>.damaged-<unix seconds>``, and is replaced by the lines that are whole.

        Raises:
            StateError: the log was written by a newer version.
            OSError: it can't be read or written.
        """
        data = self._file.read()
        good_end, header = self._load(data)
        left_open = False
        self.fresh = not data
        self.client_id = str((header or {}).get("id") or self._new_id())
        if header is not None:
            self.other_boot = header.get("boot") != self._boot_id
            left_open = self.other_boot and not header.get("clean")
            self.unclean_boot = left_open or bool(header.get("unclean"))
            self.was_killed = not header.get("clean")
            self.starts = as_count(header.get("starts")) + 1
        if data and (header is None or self.damaged):
            self._keep_evidence(data)
            self.damaged = True
            self.unclean_boot = True
        if self.damaged or not data:
            self._rewrite()
        elif not self.was_killed or left_open or not self._take_over():
            self._file.open(good_end, len(data))
            self._write_line(self._header())
        self._is_open = True
        if data:  # what it speaks of may not be on the disk either
            self._dirty_since = self._clock.monotonic()
        self._file.sync()  # that it is in use must be known to whoever finds it after the power
        try:
            self._folder.sync()  # the one that made it may have died before it could
        except OSError as error:
            self._log.warning("sync the folder of %s: %s; will be repeated", self._path, error)

    def _take_over(self) -> bool:
        """Write the log of a process that was killed anew: it may have been refused a sync (see
        :attr:`RecordFile.is_doubtful`). On a disk without room the old one stays: False."""
        try:
            self._rewrite()
        except OSError as error:
            if self._file.size and self._file.last_written is None:
                raise  # it is there, and can't be opened
            self._log.warning("rewrite journal %s: %s", self._path, error)
        return self._file.size > 0

    def _load(self, data: bytes) -> tuple[int, dict[str, Any] | None]:
        header: dict[str, Any] | None = None
        good_end = 0
        bad_at: int | None = None
        for start, end, record in lines(data):
            if record is None:
                bad_at = start if bad_at is None else bad_at
                continue
            if bad_at is not None:
                self.damaged = True  # a whole line after a broken one: not a torn end
            if "journal" in record:
                if not isinstance(record["journal"], int):
                    self.damaged = True
                    continue
                refuse_newer(record, self._path)
                header = record
            else:
                try:
                    entry = self._codec.from_json(record)
                except (KeyError, TypeError, ValueError):
                    self.damaged = True
                    continue
                self._entries[entry.path] = entry
                self._account(entry.path, end - start)
            if bad_at is None:
                good_end = end
        return good_end, header

    def _keep_evidence(self, data: bytes) -> None:
        aside = self._file.keep_as(f"{self._path}.damaged-{int(self._clock.time())}", data)
        self._log.error(
            "journal %s is damaged (%d bytes); kept as %s. What is on the server is compared "
            "before anything is sent.",
            self._path,
            len(data),
            aside,
        )

    # -- reading -----------------------------------------------------------------------------

    def get(self, path: str) -> R | None:
        """The entry for a local path, or None."""
        return self._entries.get(path)

    def entries(self) -> list[R]:
        """All entries, as they are now."""
        with self.lock:
            return list(self._entries.values())

    def is_written(self, path: str) -> bool:
        """Whether the log says of ``path`` what :meth:`get` does; not while a disk refuses it."""
        return path not in self._unsaved

    def __len__(self) -> int:
        return len(self._entries)

    # -- writing -----------------------------------------------------------------------------

    def update(
        self, path: str, change: Callable[[R], R], *, remote: str = "", must: bool = True
    ) -> R:
        """Replace the entry of ``path`` by ``change(entry)`` in one step.

        Args:
            remote: the remote path for an entry that does not exist yet.
            must: raise if the record can't be written, and change nothing. With ``False`` the
                change holds in memory and is written with the next record that can be.

        Raises:
            OSError: the record could not be written (``must``).
        """
        with self.lock:
            before = self._entries.get(path) or self._codec.new(path, remote)
            after = change(before)
            if after == before and path in self._entries:
                return after
            try:
                self._write_entry(after)
            except OSError as error:
                if must:
                    raise
                if not self._unsaved:
                    self._log.warning("write journal %s: %s; will be repeated", self._path, error)
                self._unsaved.add(path)
                if self._dirty_since is None:
                    self._dirty_since = self._clock.monotonic()
            self._entries[path] = after
            return after

    def forget(self, *paths: str) -> None:
        """Drop records.

        Raises:
            OSError: the log could not be rewritten without them.
        """
        with self.lock:
            known = [path for path in paths if self._entries.pop(path, None) is not None]
            for path in known:
                self._live_total -= self._live_bytes.pop(path, 0)
                self._unsaved.discard(path)
            if known:
                self._rewrite()

    def after_sync(self, action: Callable[[], None]) -> None:
        """Call ``action`` once everything written so far is on the disk."""
        with self.lock:
            self._after_sync.append(action)
            if self._dirty_since is None:
                self._dirty_since = self._clock.monotonic()

    def sync_due(self) -> float | None:
        """Monotonic time at which :meth:`sync` is due; None if nothing waits for it."""
        since = self._dirty_since
        return None if since is None else since + self._sync_secs

    def sync(self, *, must: bool = False) -> bool:
        """Bring everything written so far to the disk, then run what waits for that.

        A failing disk is logged; the sync is repeated after a second, or ``sync_secs`` if less.
        After ten times in a row the records no longer wait for what ``before_sync`` can't bring to
        the disk.
        Any thread: one that comes second waits, so that what it wrote is on the disk, too.

        Args:
            must: what follows relies on it.

        Returns:
            Whether all of it is there.

        Raises:
            OSError: the disk refused (``must``).
        """
        with self._syncing:
            return self._sync(must)

    def _sync(self, must: bool = False) -> bool:
        actions: list[Callable[[], None]] = []
        try:
            with self.lock:
                if self._dirty_since is None:
                    return True
                refused = self._write_unsaved()
                # What comes from here on is for the next sync.
                self._dirty_since = None
                actions, self._after_sync = self._after_sync, []
            missing = self._bring_before()
            self._sync_file()
            if self._folder.is_due:
                self._folder.sync()
            if refused is not None and self._unsaved:
                raise refused  # all others are on the disk
        except OSError as error:
            self._repeat(error, min(self._sync_secs, self._refusals.wait_secs))
            with self.lock:
                self._after_sync[:0] = actions
            if must:
                raise
            return False
        if missing is None:
            self._refusals.clear()
        else:
            self._repeat(missing, self._sync_secs)
        for action in actions:
            action()
        self._compact()
        if missing is not None and must:
            raise missing
        return missing is None

    def _bring_before(self) -> OSError | None:
        """One copy in a bad block must not keep all records from the disk for ever: what lasts is
        given, not raised. Copies are checked by their digests after a loss of power."""
        try:
            self._before_sync()
        except OSError as error:
            if not self._refusals.is_lasting:
                raise
            return error
        return None

    def _repeat(self, error: OSError, wait_secs: float) -> None:
        """It was refused: say so, and when the next sync is due."""
        now = self._clock.monotonic()
        if self._refusals.note(error, now):
            self._log.warning("sync journal %s: %s; will be repeated", self._path, error)
        with self.lock:
            self._dirty_since = now - self._sync_secs + wait_secs

    def _sync_file(self) -> None:
        if not self._file.is_doubtful:
            self._file.sync()
            return
        with self.lock:
            self._rewrite()

    def _write_unsaved(self) -> OSError | None:
        """Write the entries that could not be written before; gives why one still can't be."""
        refused: OSError | None = None
        for path in list(self._unsaved):
            try:
                self._write_entry(self._entries[path])
            except OSError as error:
                refused = error
        return refused

    @property
    def last_written(self) -> tuple[int, int, bytes] | None:
        """Of the file as we left it: how often it was made anew, its size, its last line. None
        while it is not open. Hold :attr:`lock`."""
        return None if self._closing else self._file.last_written

    def write_anew(self) -> None:
        """Write all entries to a new file.

        Raises:
            OSError: it can't be.
        """
        with self.lock:
            if not self._closing:
                self._rewrite()

    def _compact(self) -> None:
        """Rewrite the log if most of it is history. A full disk leaves it as it is."""
        with self.lock:
            if not self._is_open or self._closing:
                return
            if self._file.size <= max(_COMPACT_MIN_BYTES, _COMPACT_FACTOR * self._live_total):
                return
            try:
                self._rewrite()
            except OSError as error:
                self._log.warning("rewrite journal %s: %s; will be repeated", self._path, error)

    def note_suspects(self, *, left: bool) -> None:
        """Whether there are files still to be looked at for what a loss of power may have cost
        them. If so, the next start meets an unclean boot, however this process ends."""
        with self.lock:
            if left == self._suspects_left:
                return
            self._suspects_left = left
            try:
                self._write_line(self._header())
            except OSError as error:
                self._log.warning("note suspects in %s: %s", self._path, error)

    def close(self, *, clean: bool = True) -> None:
        """Sync, mark the journal as cleanly left, and close it.

        Args:
            clean: False if it speaks of what may not be on the disk: a loss of power that comes
                later is to be noticed.
        """
        with self._syncing, self.lock:
            if not self._is_open or self._closing:
                return
            self._closing = True
            self._clean = clean
            try:
                self._write_line(self._header())
            except OSError as error:
                self._log.warning("close journal %s: %s", self._path, error)
            if not (self._sync() or self._sync()):  # the second one is to a new file
                self._leave_open()
            self._file.close()

    def _leave_open(self) -> None:
        """What can be read may not be on the disk: the next start must not believe it, nor the
        line before this one, which may be."""
        self._clean = False
        with suppress(OSError):
            self._write_line(self._header())
            self._sync_file()

    # -- the file ----------------------------------------------------------------------------

    def _header(self) -> dict[str, Any]:
        is_over = self._clean and self.purged
        return {
            "journal": FORMAT,
            "id": self.client_id,
            "boot": self._boot_id,
            "clean": self._clean,
            "unclean": self._suspects_left or (self.unclean_boot and not is_over),
            "starts": self.starts,
        }

    def _write_entry(self, entry: R) -> None:
        self._account(entry.path, self._write_line(self._codec.to_json(entry)))
        self._unsaved.discard(entry.path)

    def _account(self, path: str, size: int) -> None:
        self._live_total += size - self._live_bytes.get(path, 0)
        self._live_bytes[path] = size

    def _write_line(self, record: dict[str, Any]) -> int:
        line = encode(record)
        try:
            self._file.append(line)
        except OSError:
            if self._file.is_torn:
                with suppress(OSError):  # then nothing is added before it can be cut off
                    self._rewrite()
            raise
        if self._dirty_since is None:
            self._dirty_since = self._clock.monotonic()
        return len(line)

    def _rewrite(self) -> None:
        lines = [encode(self._header())]
        self._live_total = 0
        for entry in self._entries.values():
            line = encode(self._codec.to_json(entry))
            self._live_bytes[entry.path] = len(line)
            self._live_total += len(line)
            lines.append(line)
        self._file.replace(lines)
        self._unsaved.clear()
