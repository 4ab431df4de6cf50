"""Whose a name at the destination is, where two files would have one.

The file that came first has it, for as long as it is there and watched; the other one is held, with
an error that says who has the name. Which of them came first is in the journal: the one that has
sent something under the name, else the one that was noted first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from pysubtask.core.model import Entry
from pysubtask.core.names import Parting, are_one_lowered, claims_before, name_key, parting
from pysubtask.errors import RemoteError
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk, local_words
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.watch import Watch, remote_path

__all__ = ["NameTaken", "Names", "follow_watches"]

_GONE_SECS = 5.0
"""A file that is rotated is gone for a moment, and keeps its name."""
_LOOK_SECS = 10.0
_TRY_AGAIN_SECS = 600.0
"""After a trial that told nothing; twice as long after each further one, up to a day."""
_DAY_SECS = 86_400.0


class NameTaken(RemoteError):
    """Another file has the name at the destination; worth another look after ``wait_secs``, which
    costs nobody anything."""

    def __init__(self, message: str, path: str, hint: str, wait_secs: float) -> None:
        super().__init__(message, operation="name", path=path, hint=hint)
        self.wait_secs = wait_secs

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.path, self.hint, self.wait_secs)


class Names:
    """Knows whose each name is.

    Args:
        watch_of: the watch that a path belongs to, if it is watched.
        declared_name: a path as the program wrote it.
        let_go: called with the path and the version of a file whose name goes to another.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ledger: Ledger,
        *,
        watch_of: Callable[[str], Watch | None],
        declared_name: Callable[[str], str],
        let_go: Callable[[str, int], None] = lambda path, number: None,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._ledger = ledger
        self._watch_of = watch_of
        self._declared_name = declared_name
        self._let_go = let_go
        self._folds: bool | None = None
        self._tried: dict[Parting, bool] = {}
        self._untold: dict[Parting, tuple[float, float]] = {}
        """Trials that told nothing: the monotonic time of the next one, and the wait for it."""
        self._gone: dict[str, tuple[Entry, float]] = {}
        """Since when a file was not there, and what was known of it then."""

    def connected(self, folds: bool | None) -> None:
        """What the destination says of itself (``Capabilities.folds_names``)."""
        self._folds = folds

    def learn(self, tried: Parting, are_one: bool | None) -> None:
        """How a trial came out. It holds for as long as this process lives; one that told nothing
        (None) for some time, in which the names count as one."""
        if are_one is not None:
            self._tried[tried] = are_one
            self._untold.pop(tried, None)
            return
        _, before_secs = self._untold.get(tried, (0.0, _TRY_AGAIN_SECS / 2))
        wait_secs = min(2 * before_secs, _DAY_SECS)
        self._untold[tried] = self._clock.monotonic() + wait_secs, wait_secs

    def look(self, path: str) -> NameTaken | Parting | None:
        """Whether another file has the name of ``path``; what has to be tried to tell, if anything
        has."""
        entry = self._ledger.get(path)
        if entry is None:
            return None
        group = self._ledger.names.group(entry.remote)
        if len(group) < 2:
            return None
        key = name_key(entry.remote)
        entries = [e for p in group if (e := self._ledger.get(p)) is not None]
        entries = [e for e in entries if name_key(e.remote) == key]
        for other in claims_before(entries, path):
            are_one = self._are_one(entry.remote, other.remote)
            if isinstance(are_one, Parting):
                return are_one
            try:
                if are_one and not self._gives_up(other, entry):
                    return self._taken(entry, other)
            except OSError as error:
                return self._unnoted(entry, other, error)
        return None

    def taken(self, path: str) -> NameTaken | None:
        """Who else has the name of ``path``, as far as that is known without a trial."""
        found = self.look(path)
        return found if isinstance(found, NameTaken) else None

    def _are_one(self, ours: str, theirs: str) -> bool | Parting:
        """Whether the destination takes two names for one, or what to try."""
        if ours == theirs:
            return True
        if self._folds is not None:
            return self._folds and are_one_lowered(ours, theirs)
        todo = parting(ours, theirs)
        if todo is None or self._is_untold(todo):
            return True
        return self._tried.get(todo, todo)

    def _is_untold(self, todo: Parting) -> bool:
        """It was tried lately, and that told nothing."""
        return self._clock.monotonic() < self._untold.get(todo, (-math.inf, 0.0))[0]

    def _gives_up(self, other: Entry, entry: Entry) -> bool:
        """Whether a file needs its name no more. If so, it loses it: what is there is somebody
        else's from now on, for either of them.

        Raises:
            OSError: that can't be noted. It has to be first: a journal must never say that two
                files were sent under one name.
        """
        if not self._owes_nothing(other) or not self._is_away(other):
            return False
        given_up = False

        def give_up(e: Entry) -> Entry:
            nonlocal given_up
            given_up = self._owes_nothing(e)
            return replace(e, versions=(), delivered=None) if given_up else e

        self._ledger.update(other.path, give_up)
        if given_up:
            self._gone.pop(other.path, None)
            if other.delivered is not None:
                self._let_go(other.path, other.delivered.version)
            if entry.delivered is not None or entry.upload is not None:  # before they had one name
                self._ledger.begin_anew(entry.path, entry.remote)
        return given_up

    def _owes_nothing(self, entry: Entry) -> bool:
        owes = entry.next_owed is not None or entry.upload is not None
        return not owes and entry.path not in self._ledger.unverified

    def _is_away(self, other: Entry) -> bool:
        """Whether it is not watched any more, or has been gone for a while."""
        if self._watch_of(other.path) is None:
            return True
        try:
            self._disk.stat(other.path)
        except FileNotFoundError:
            now = self._clock.monotonic()
            known, since = self._gone.get(other.path, (other, now))
            if known != other:  # it was back, and seen, between two looks
                since = now
            self._gone[other.path] = other, since
            return now - since >= _GONE_SECS
        except OSError:
            pass
        self._gone.pop(other.path, None)
        return False

    def _taken(self, entry: Entry, other: Entry) -> NameTaken:
        same = "" if entry.remote == other.remote else f", which is one with {other.remote} there"
        if same and self._folds is None:
            todo = parting(entry.remote, other.remote)
            if todo is None or self._is_untold(todo):
                same = f", which may be one with {other.remote} there"
        holder = self._declared_name(other.path)
        message = f"{holder} has that name at the destination{same}; held until that file is gone"
        hint = "give one of the watches another 'remote_dir', or rename one of the files"
        watch = self._watch_of(entry.path)
        if watch is not None and not watch.is_dir:
            hint = "give it another name by 'as', or another 'remote_dir'"
        wait_secs = _GONE_SECS if other.path in self._gone else _LOOK_SECS
        return NameTaken(message, entry.remote, hint, wait_secs)

    def _unnoted(self, entry: Entry, other: Entry, error: OSError) -> NameTaken:
        holder = self._declared_name(other.path)
        message = f"{holder} needs that name no more, but it can't be noted: {local_words(error)}"
        return NameTaken(message, entry.remote, "", _LOOK_SECS)


def follow_watches(
    disk: Disk, ledger: Ledger, watch_of: Callable[[str], Watch | None]
) -> list[str]:
    """At a start: the files whose watches give them another remote name than before. What was
    delivered under the old one stays there, and all of it is owed under the new one."""
    moved = []
    for entry in ledger.journal.entries():
        watch = watch_of(entry.path)
        name = remote_path(watch, entry.path) if watch is not None else entry.remote
        if name == entry.remote:
            continue
        ledger.begin_anew(entry.path, name, is_there=_is_there(disk, entry.path))
        moved.append(entry.path)
    return moved


def _is_there(disk: Disk, path: str) -> bool:
    try:
        disk.stat(path)
    except OSError:
        return False
    return True
