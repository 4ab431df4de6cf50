"""Fetching a remote file: what is known about it, and the decision what to do next. Pure.

=====================================================  ===========================================
what the server shows                                  decision
=====================================================  ===========================================
what was fetched already                               :class:`Rest`
never seen; or changed in any way but growth           :class:`Fetch` once it has held still
the same, but it does not hold still                   :class:`Fetch` after ``settle_max_secs``:
                                                       it grows (never with ``rewrite``)
longer than what was fetched (1 KiB or more)           :class:`Check`: its beginning is compared,
                                                       then it is grown here, or fetched anew
what a fetch was begun of                              :class:`Fetch`: it goes on
=====================================================  ===========================================

With ``growth="append"`` nothing has to hold still: any beginning of the file is worth having.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from pysubtask.core.prints import new_hash

__all__ = [
    "HEAD_BYTES",
    "TAIL_BYTES",
    "Check",
    "Decision",
    "Drop",
    "Fetch",
    "Growth",
    "Local",
    "Mark",
    "Passage",
    "Pulled",
    "Rest",
    "Seen",
    "Settle",
    "SettleRule",
    "Told",
    "plan",
    "print_of",
    "pulled_from_json",
    "pulled_to_json",
    "tail_start",
]

Growth: TypeAlias = Literal["auto", "append", "rewrite"]

HEAD_BYTES = 1024
TAIL_BYTES = 4096
"""Whether a file that is longer is the same one is told by this much of the beginning and the end
of what was fetched, read again: a tail of 5 KB costs 10 KB, whatever the size of the file."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What the server told of a remote file."""

    size: int
    mtime: float | None = None
    digest: str | None = None

    @property
    def is_vague(self) -> bool:
        """Only the size was told: another content of that size looks the same."""
        return self.mtime is None and self.digest is None

    def is_like(self, other: Mark) -> bool:
        """Whether both were told of one content, as far as that can be told."""
        if self.size != other.size:
            return False
        if self.digest is not None and other.digest is not None:
            return self.digest == other.digest
        return self.mtime == other.mtime


class Local(msgspec.Struct, frozen=True, gc=False):
    """How a local file was left: if any of it differs, somebody has changed it since."""

    size: int
    mtime_ns: int
    ino: int


class Passage(msgspec.Struct, frozen=True, gc=False):
    """A content on its way, into a temporary file beside its place."""

    temp: str
    """Its name, without the folder."""
    goal: Mark
    synced: int = 0
    """So many of its bytes were on the disk before what a loss of power may take."""
    place: str = ""
    """Where it is being put, once it is complete: its name may or may not have changed."""
    kind: str = ""
    """What it is to the program there (:class:`Told`)."""
    local: Local | None = None
    """How it will be left there."""
    head: str = ""
    tail: str = ""
    """Its prints."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """What the program has to be told of, and may not have been yet."""

    kind: str
    start: int
    """The first byte that is news."""


class Pulled(msgspec.Struct, frozen=True, gc=False):
    """Everything that must outlive the process about one remote file."""

    path: str
    """Where it goes."""
    remote: str
    place: str = ""
    """Where it is: ``path``, or a name beside it while the program's own file is there."""
    size: int = 0
    """So many of its bytes are at ``place``, and on the disk."""
    reach: int = 0
    """Up to here bytes may stand at ``place`` that were being added; 0: none were."""
    reach_print: str = ""
    """The print of all that were being added."""
    source: Mark | None = None
    """What the server told when they were read; None before the first fetch is done."""
    head: str = ""
    tail: str = ""
    """Prints of the first and the last of them."""
    local: Local | None = None
    passage: Passage | None = None
    told: Told | None = None
    leaving: str = ""
    """The temporary name that it may have at the server while it is being removed there."""
    removed: bool = False
    """It was removed there by us."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """Since when the file is as it is, and since when it has been growing (monotonic times)."""

    mark: Mark
    steady_since: float
    restless_since: float

    @classmethod
    def first(cls, mark: Mark, now: float) -> Seen:
        """Of a file that comes into sight."""
        return cls(mark, now, now)

    def again(self, mark: Mark, now: float, rule: SettleRule) -> Seen:
        """After one more look."""
        if mark == self.mark:
            return self
        calm = now - self.steady_since >= rule.settle_secs  # what comes now is another change
        grew = mark.size > self.mark.size
        return Seen(mark, now, self.restless_since if grew and not calm else now)


class SettleRule(msgspec.Struct, frozen=True, gc=False):
    """How long a file has to hold still, and how long it may keep from doing so."""

    settle_secs: float
    settle_max_secs: float


class Rest(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do."""


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Look again at that monotonic time: it may be half written now."""

    until: float


class Check(msgspec.Struct, frozen=True, gc=False):
    """Is what was fetched still its beginning? If so, fetch the rest."""


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """Fetch all of it, and put it in place in one step.

    ``growing``: it may gain bytes meanwhile; what it had is worth having.
    """

    growing: bool = False


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Another version was being fetched, and the server has the one again that is here: what has
    come of the other goes (or is put in place first, if it was all there)."""


Decision: TypeAlias = Rest | Settle | Check | Fetch | Drop


def plan(
    entry: Pulled | None,
    remote: Mark,
    seen: Seen,
    now: float,
    growth: Growth,
    rule: SettleRule,
    *,
    grew: bool | None = None,
) -> Decision:
    """Decide what to do with a file that the server shows.

    Args:
        entry: what is known of it.
        seen: how long it has been as it is.
        now: monotonic time.
        grew: what a :class:`Check` found: False if its beginning is another one.
    """
    if entry is not None and entry.passage is not None and remote.is_like(entry.passage.goal):
        return Fetch(growing=growth == "append")
    if entry is not None and entry.source is not None:
        if remote.is_like(entry.source) and remote.size == entry.size:
            return Rest() if entry.passage is None else Drop()
        longer = remote.size > entry.size and _may_grow(entry, growth)
        only_touched = remote.size == entry.size and growth == "append"
        if grew is None and (longer or only_touched):
            return Check()
    if growth == "append" or now - seen.steady_since >= rule.settle_secs:
        return Fetch(growing=growth == "append")
    restless_until = seen.restless_since + rule.settle_max_secs
    if growth == "auto" and now >= restless_until:
        return Fetch(growing=True)
    steady_at = seen.steady_since + rule.settle_secs
    return Settle(min(steady_at, restless_until) if growth == "auto" else steady_at)


def _may_grow(entry: Pulled, growth: Growth) -> bool:
    """Whether it can be told that a longer file is this one, grown: of a few bytes, or none, any
    other version may begin with them."""
    return growth == "append" or (growth == "auto" and entry.size >= HEAD_BYTES)


def print_of(data: bytes) -> str:
    """The print of a head or a tail."""
    state = new_hash()
    state.update(data)
    return state.hexdigest()


def tail_start(size: int) -> int:
    """Where the tail of so many bytes begins."""
    return max(0, size - TAIL_BYTES)


def pulled_to_json(entry: Pulled) -> dict[str, Any]:
    """A dict for :func:`json.dumps`."""
    record: dict[str, Any] = {"p": entry.path, "r": entry.remote}
    if entry.source is not None:
        record["s"] = [entry.size, entry.head, entry.tail, *_mark_to_json(entry.source)]
    if entry.place and entry.place != entry.path:
        record["at"] = entry.place
    if entry.reach:
        record["to"] = [entry.reach, entry.reach_print]
    if entry.local is not None:
        record["l"] = _local_to_json(entry.local)
    if entry.passage is not None:
        passage = entry.passage
        record["f"] = [passage.temp, passage.synced, *_mark_to_json(passage.goal)]
        if passage.local is not None:
            record["f"] += [passage.place, passage.kind, passage.head, passage.tail]
            record["f"] += _local_to_json(passage.local)
    if entry.told is not None:
        record["t"] = [entry.told.kind, entry.told.start]
    if entry.leaving:
        record["x"] = entry.leaving
    if entry.removed:
        record["gone"] = 1
    return record


def pulled_from_json(record: dict[str, Any]) -> Pulled:
    """The inverse of :func:`pulled_to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    path, remote = record["p"], record["r"]
    if not isinstance(path, str) or not isinstance(remote, str):
        raise TypeError("a path is text")
    size, head, tail, source = 0, "", "", None
    if "s" in record:
        size, head, tail, *mark = record["s"]
        source = Mark(*mark)
    reach, reach_print = record.get("to", (0, ""))
    return Pulled(
        path=path,
        remote=remote,
        place=record.get("at", path if source is not None else ""),
        size=size,
        reach=reach,
        reach_print=reach_print,
        source=source,
        head=head,
        tail=tail,
        local=Local(*record["l"]) if "l" in record else None,
        passage=_passage_from_json(record["f"]) if "f" in record else None,
        told=Told(*record["t"]) if "t" in record else None,
        leaving=record.get("x", ""),
        removed=bool(record.get("gone")),
    )


def _passage_from_json(record: list[Any]) -> Passage:
    temp, synced, size, mtime, digest, *placed = record
    passage = Passage(temp, Mark(size, mtime, digest), synced)
    if not placed:
        return passage
    place, kind, head, tail, *local = placed
    return replace(passage, place=place, kind=kind, head=head, tail=tail, local=Local(*local))


def _local_to_json(local: Local) -> list[Any]:
    return [local.size, local.mtime_ns, local.ino]


def _mark_to_json(mark: Mark) -> list[Any]:
    return [mark.size, mark.mtime, mark.digest]
