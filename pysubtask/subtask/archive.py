"""Moving old files aside: ``start(precleanup_old_files=True)``.

A file that was not changed for ``archive_after_days_old`` days moves from the folder of the first
watch, or from a watched folder, to ``archive/YYYYMM/DD/`` below that folder. Never over another
file, never a declared one, never one of ours, and data only once they are delivered: what is still
owed waits. The folders are swept at the start and then once a day; a slice at a time, so that
looking at new data never waits for it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from pysubtask.core.aging import Found, LocalTime, day_folder, decide
from pysubtask.core.model import Entry, Version
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, FileStat, is_missing, local_words
from pysubtask.subtask.moving import Mover, Stuck
from pysubtask.subtask.store.alive import AliveHandle
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.sources import is_same_content
from pysubtask.watch import Watch, home_folder

__all__ = ["Archive", "is_shown"]

_SLICE_NAMES = 64
_SWEEP_SECS = 86_400.0
_SWEEP_CHECKS = 10
_PAUSE_SECS = 600.0
_MAX_TOLD = 1000


@dataclass(frozen=True, slots=True)
class _Place:
    folder: str
    archive: str
    is_watched: bool


class Archive:
    """Moves old files of one child's folders. Called from the main thread.

    Args:
        archive_to: folder below each of the folders; an absolute one serves all of them.
        days: age from which a file is old (``archive_after_days_old``).
        recheck_secs: how often to see whether files that wait may go.
        is_delivered: whether that content of a data file is at the destination, given what the
            journal knows of it; None: nothing yet.
        is_settled: whether no look at a path is planned or due.
        is_own: whether a name is that of one of our logs.
        moved: a file was moved away: its ``.notify`` has no use any more.
        still_alive: called again and again while something takes long.
        to_local: the clock on the wall.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        watches: list[Watch],
        state_dir: str,
        *,
        archive_to: str,
        days: float,
        recheck_secs: float,
        is_delivered: Callable[[Entry | None, FileStat], bool],
        is_settled: Callable[[str], bool],
        is_own: Callable[[str], bool],
        moved: Callable[[str], bool],
        log: logging.Logger,
        still_alive: Callable[[], None] = lambda: None,
        to_local: LocalTime = datetime.fromtimestamp,
    ) -> None:
        self._disk = disk
        self._mover = Mover(disk)
        self._clock = clock
        self._ledger = ledger
        self._days = days
        self._recheck_secs = recheck_secs
        self._sweep_secs = min(_SWEEP_SECS, max(days * _SWEEP_SECS, _SWEEP_CHECKS * recheck_secs))
        self._is_delivered = is_delivered
        self._is_settled = is_settled
        self._is_own = is_own
        self._moved = moved
        self._log = log
        self._still_alive = still_alive
        self._to_local = to_local
        self._declared = {watch.path for watch in watches if not watch.is_dir}
        self._declared_files: set[tuple[int, int]] | None = None
        """For one slice: what they are, by device and inode."""
        folders = dict.fromkeys([home_folder(watches), *(w.path for w in watches if w.is_dir)])
        self._places = [
            _Place(
                folder,
                os.path.normpath(os.path.join(folder, archive_to)),
                any(w.is_dir and w.path == folder for w in watches),
            )
            for folder in folders
            if folder != state_dir
        ]
        self._sweep: Iterator[None] | None = None
        self._next_sweep = 0.0
        self._next_check = 0.0
        self._paused: dict[str, tuple[float, str]] = {}
        self._told: set[str] = set()
        self._waiting: dict[str, _Place] = {}
        self._stranded: dict[str, tuple[str, _Place]] = {}
        """Files that are to go back and could not, by the name that they have in the archive."""
        self._inodes: dict[int, set[str]] | None = None
        """For one slice: the entries that speak of a file by its inode."""
        self.moved_files = 0
        """How many were moved since the start."""

    @property
    def waiting(self) -> int:
        """How many old files wait until they are delivered."""
        return len(self._waiting)

    def step(self, now: float) -> float:
        """Do a slice of what is due. Gives the monotonic time at which to be called again."""
        if self._sweep is None and now >= self._next_sweep:
            self._next_sweep = now + self._sweep_secs
            self._sweep = self._everything()
        elif self._sweep is None and self._has_waiting and now >= self._next_check:
            self._sweep = self._what_waits()
        self._inodes = self._declared_files = None
        if self._sweep is not None:
            for _ in range(_SLICE_NAMES):
                if next(self._sweep, self) is self:
                    self._sweep = None
                    self._next_check = now + self._recheck_secs
                    break
        if self._sweep is not None:
            return now
        return min(self._next_sweep, self._next_check) if self._has_waiting else self._next_sweep

    @property
    def _has_waiting(self) -> bool:
        return bool(self._waiting or self._stranded)

    # -- finding -----------------------------------------------------------------------------

    def _everything(self) -> Iterator[None]:
        self._waiting.clear()
        self._told.clear()
        for place in self._places:
            names = []
            try:
                # All names first: files that move away must not disturb the listing.
                for name, _ in self._disk.scan(place.folder):
                    names.append(name)
                    yield None
            except OSError as error:
                self._log.warning("archive: list %s: %s", place.folder, local_words(error))
                continue
            for name in names:
                self._consider(place, name)
                yield None

    def _what_waits(self) -> Iterator[None]:
        for target, (path, place) in list(self._stranded.items()):
            self._bring_back(target, path, place)
            yield None
        now = self._clock.monotonic()
        for path, place in list(self._waiting.items()):
            if path in self._ledger.owed or now < self._paused.get(place.folder, (0.0, ""))[0]:
                continue  # cheap: there may be thousands while the link is down
            del self._waiting[path]
            self._consider(place, os.path.basename(path))
            yield None

    def _consider(self, place: _Place, name: str) -> None:
        path = os.path.join(place.folder, name)
        try:
            st = self._disk.stat(path, follow=False)
        except OSError:
            return
        found = Found(name, st.mtime_ns / 1e9, st.is_file, is_own_log=self._is_own(path))
        if self._decide(found) == "stays":
            return  # most do: the rest is not asked then
        found = dataclasses.replace(found, is_declared=self._is_declared(path, st))
        verdict = self._decide(dataclasses.replace(found, is_owed=self._is_owed(place, path, st)))
        if verdict == "stays":
            return
        if verdict == "waits":
            self._waiting[path] = place
            return
        until, _ = self._paused.get(place.folder, (0.0, ""))
        if self._clock.monotonic() < until:
            self._waiting[path] = place
            return
        try:
            self._move(place, path, st)
        except Stuck as stuck:
            self._pause(place, str(stuck))
            self._waiting[path] = place
        except OSError as error:
            self._tell(path, local_words(error))

    def _decide(self, found: Found) -> str:
        return decide(found, now=self._clock.time(), days=self._days, to_local=self._to_local)

    def _is_declared(self, path: str, st: FileStat) -> bool:
        """By name or by another one: a hard link, a link's target, other case."""
        if path in self._declared:
            return True
        if self._declared_files is None:
            self._declared_files = set()
            for declared in self._declared:
                try:
                    other = self._disk.stat(declared)
                except OSError:
                    continue
                self._declared_files.add((other.dev, other.ino))
        return (st.dev, st.ino) in self._declared_files

    def _is_owed(self, place: _Place, path: str, st: FileStat) -> bool:
        entry = self._ledger.get(path)
        if path in self._ledger.owed:
            return True
        is_data = entry is not None or place.is_watched
        if is_data and not (self._is_settled(path) and self._is_delivered(entry, st)):
            return True
        return self._is_rotated(path, st)

    def _is_rotated(self, path: str, st: FileStat) -> bool:
        """Whether it is a file of ours under a new name, that is not delivered to its end."""
        if self._inodes is None:
            self._inodes = {}
            for entry in self._ledger.journal.entries():
                for version in entry.versions:
                    self._inodes.setdefault(version.identity.ino, set()).add(entry.path)
        for other in self._inodes.get(st.ino, ()):
            entry_now = self._ledger.get(other)
            for version in entry_now.versions if entry_now is not None and other != path else ():
                if version.identity.ino != st.ino or st.size < version.size:
                    continue
                if not _is_all_there(entry_now, version, st) and self._holds(
                    path, version, unread=True
                ):
                    return True
        return False

    def _holds(self, path: str, version: Version, *, unread: bool) -> bool:
        """Inodes are used again: only the content tells. ``unread``: what is said of a file that
        can't be read."""
        try:
            handle = AliveHandle(self._disk.open_read(path), self._still_alive)
        except OSError:
            return unread
        try:
            return is_same_content(handle, version)
        except OSError:
            return unread
        finally:
            handle.close()

    # -- moving ------------------------------------------------------------------------------

    def _move(self, place: _Place, path: str, st: FileStat) -> None:
        day = os.path.join(place.archive, *day_folder(st.mtime_ns / 1e9, self._to_local))
        above = place.folder, os.path.dirname(place.archive)
        target = self._mover.move(path, day, above=above)
        entry = self._ledger.get(path)
        version = None if entry is None else entry.current
        if not self._is_what_was_meant(path, target, st, version):
            self._bring_back(target, path, place)
            return
        self._paused.pop(place.folder, None)
        self.moved_files += 1
        self._log.info("archived %s as %s", path, target)
        forget_touch = self._moved(path)

        def forget(entry: Entry) -> Entry:
            """A file of that name is another one; what is at the destination stays known."""
            served = None if forget_touch else entry.served
            return replace(entry, versions=(), served=served)

        if self._ledger.get(path) is not None:
            self._ledger.update(path, forget, must=False)

    def _is_what_was_meant(
        self, path: str, target: str, st: FileStat, version: Version | None
    ) -> bool:
        """Whether the file did not change between the look and the move. The move itself is a
        change of its ctime, so what was overwritten and got its old time back shows in its content
        only."""
        try:
            now = self._disk.stat(target)
        except OSError:
            return False
        same = (now.size, now.mtime_ns, now.ino) == (st.size, st.mtime_ns, st.ino)
        same = same and self._is_settled(path)  # nor was it notified meanwhile
        return same and (version is None or self._holds(target, version, unread=False))

    def _bring_back(self, target: str, path: str, place: _Place) -> None:
        """A file changed while it was moved: what is new in it is still to be delivered."""
        try:
            back = self._mover.move_back(target, path)
        except OSError as error:
            if is_missing(self._disk, target):  # somebody took it from the archive
                self._stranded.pop(target, None)
                return
            if target not in self._stranded:
                self._log.warning(
                    "archive %s: it changed while it was moved to %s, and can't go back now: %s; "
                    "will be tried again",
                    path,
                    target,
                    local_words(error),
                )
            self._stranded[target] = path, place
            return
        if self._stranded.pop(target, None) is not None:
            self._log.info("archive %s: it is back from %s", path, target)
        self._waiting[path] = place
        if back != path:
            self._log.warning(
                "archive %s: it changed while it was moved, and another took its name: it is "
                "%s now",
                path,
                back,
            )

    # -- telling -----------------------------------------------------------------------------

    def _pause(self, place: _Place, words: str) -> None:
        _, before = self._paused.get(place.folder, (0.0, ""))
        self._paused[place.folder] = (self._clock.monotonic() + _PAUSE_SECS, words)
        if words != before:
            self._log.warning(
                "archive: old files stay in %s, for %s can't be written: %s; next try in %.0f s",
                place.folder,
                place.archive,
                words,
                _PAUSE_SECS,
            )

    def _tell(self, path: str, words: str) -> None:
        if path not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(path)
            self._log.warning("archive %s: %s; it stays where it is", path, words)


def _is_all_there(entry: Entry | None, version: Version, st: FileStat) -> bool:
    done = None if entry is None else entry.delivered
    if entry is None or done is None or entry.upload is not None or st.size != version.size:
        return False
    return done.version == version.number and done.size >= version.size


def is_shown(entry: Entry | None, st: FileStat) -> bool:
    """Whether the destination shows this very content of the file."""
    version = None if entry is None else entry.current
    if version is None or (version.identity.ino, version.stamp.mtime_ns) != (st.ino, st.mtime_ns):
        return False
    return _is_all_there(entry, version, st)
