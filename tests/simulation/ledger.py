"""What the program did to each file, as the checker remembers it.

A *lineage* is one content as it grew. Appending makes the current lineage longer; anything else
(truncating, overwriting, replacing, a crash that took bytes away) begins the next. ``base`` is the
size from which on a prefix of a lineage is something that a reader may see: 0 for a file that was
begun empty and only grew, the whole size for a version that was there at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Ledger", "Lineage", "Source", "Touch", "common"]


class Lineage:
    """One content of a file, at its longest."""

    __slots__ = (
        "base",
        "content",
        "first_served",
        "grown",
        "index",
        "known_ns",
        "returned",
        "rotated",
        "shown",
        "surely_seen",
    )

    def __init__(self, index: int, content: bytes, base: int) -> None:
        self.index = index
        self.content = bytearray(content)
        self.base = base
        self.shown = -1
        """The largest size at which a reader could see it."""
        self.first_served: Touch | None = None
        """The first touch that was served: what comes later shows the child that it grows."""
        self.surely_seen = 0
        """So many bytes were there when it was touched, and so were at the look that followed."""
        self.grown: list[tuple[int, int]] = []
        """When (ns) it reached which size, by appending."""
        self.known_ns = 0
        """Since when the child is known to know it: served, or shown; 0: it need not."""
        self.rotated = False
        """The program has rotated it, and the child can follow it."""
        self.returned = 0
        """So many bytes of it are a content of before, which a loss of power brought back together
        with the journal of that time: what a consumer took of it, and what of the content between,
        nobody can tell."""

    def holds(self, content: bytes | bytearray, *, in_place: bool = False) -> bool:
        """Whether ``content`` is a state of this lineage that somebody may see.

        ``in_place``: what was visible before has only gained bytes at its end, so that a reader
        sees a file that grows, however it came to be.
        """
        return (in_place or self.base <= len(content)) and self.content.startswith(content)


@dataclass(slots=True)
class Touch:
    """A notify: at that time the file held ``size`` bytes of lineage ``index``."""

    mtime_ns: int
    index: int
    size: int
    at_ns: int
    present: bool = True
    """Whether there was a file at all."""
    served_ns: int = 0
    caught: bool = False
    """It was served while the file still held what was notified."""
    plain: bool = False
    """As ``touch`` does it, not ``notify()``: two within a tick have one time stamp."""
    seen_bytes: int = 0
    """So much at most had the file when it was looked at for this touch."""
    taken: bool = False
    """Another master took it away before anybody looked, of a file that was not declared: that it
    ever was there can't be known. The file is delivered once it has settled."""


@dataclass(slots=True)
class Source:
    """One watched file and the remote name that it is to have."""

    path: str
    remote: str
    growth: str
    in_folder: bool = False
    header: bytes = b""
    """How its contents often begin, if no other file's may begin so."""
    lines: bool = False
    """A reader is to see whole lines only."""
    keeps: bool = False
    """What is rotated is kept at the destination."""
    dated: bool = False
    """The program rotates it to names with a date."""
    rotated_to: list[str] = field(default_factory=list)
    """Those names."""
    lineages: list[Lineage] = field(default_factory=list)
    present: bool = False
    touches: list[Touch] = field(default_factory=list)
    """Touches that were not served yet."""
    owed: list[Touch] = field(default_factory=list)
    """What was served, and no reader could have seen yet."""
    last_touch: Touch | None = None
    copied_ns: int = -1
    """When a longer copy was moved into its place: nobody who has not looked since knows it."""
    looked_ns: int = -1
    """The child has looked at it since then."""
    rewritten: bool = False
    was_found: bool = False
    """Something was at the destination under its name before we ever came."""
    found_size: int = 0
    """So much of it was at the destination before we ever came."""
    interfered: bool = False
    """A consumer or another hand was at the remote file."""
    stale_touch: bool = False
    """After a loss of power its ``.notify`` may hold a touch for what was there before."""
    untold: bool = False
    """Another hand changed the remote file, and the server would not let us read it: a client can
    only go by the sizes, as with a drop box."""

    @property
    def current(self) -> Lineage:
        """What the file holds now, if it is there."""
        return self.lineages[-1]

    def begin(self, content: bytes, base: int) -> None:
        """The file's content is another one now."""
        if self.growth == "rewrite":
            base = len(content)
        if self.lines:  # the half of a line at its end comes later
            base = content.rfind(b"\n", 0, base) + 1
        self.lineages.append(Lineage(len(self.lineages), content, base))
        self.present = True

    def grow(self, data: bytes) -> None:
        """Bytes were added at the end."""
        if self.growth == "rewrite":
            self.begin(bytes(self.current.content) + data, 0)
        else:
            self.current.content += data

    def touched(self, mtime_ns: int, now_ns: int) -> Touch:
        """The program notified."""
        index = len(self.lineages) - 1
        size = len(self.current.content) if self.present else 0
        touch = Touch(mtime_ns, index, size, now_ns, self.present)
        self.touches.append(touch)
        self.last_touch = touch
        return touch

    def served(self, touch: Touch, now_ns: int) -> None:
        """The child says that the snapshot for ``touch`` is taken."""
        touch.served_ns = now_ns
        self.touches = [t for t in self.touches if t.at_ns > touch.at_ns]
        if not self.present or touch.index != len(self.lineages) - 1:
            return  # the program changed the file first: there is nothing to hold the child to
        touch.caught = True
        self.looked_ns = max(self.looked_ns, touch.at_ns)
        self.stale_touch = False
        touch.seen_bytes = len(self.current.content)
        if self.current.first_served is None:
            self.current.first_served = touch
        self.current.surely_seen = max(self.current.surely_seen, touch.size)
        self.current.known_ns = self.current.known_ns or now_ns
        self.owed.append(touch)

    def was_shown(self, touch: Touch) -> bool:
        """Whether a reader could see what ``touch`` notified.

        Under which lineage does not matter: after a loss of power the next one often is what the
        disk kept of the one before, byte for byte.
        """
        wanted = self.lineages[touch.index].content[: touch.size]
        return any(x.shown >= touch.size and x.content.startswith(wanted) for x in self.lineages)

    def forget_since(self, recent_ns: int) -> None:
        """The power took what the journal learned since then.

        A file that the child met only after that is unknown to it again: if the program rotates it
        before the next child has looked, nobody can follow it.
        """
        for lineage in self.lineages:
            if lineage.known_ns > recent_ns:
                lineage.known_ns = 0
            first = lineage.first_served
            if first is not None and first.served_ns > recent_ns:
                lineage.first_served = first = None
            lineage.surely_seen = first.size if first is not None else 0

    def must_precede(self, touch: Touch) -> bool:
        """Whether this snapshot must have been visible before a newer lineage is."""
        if self.growth == "append":
            return True
        first = self.lineages[touch.index].first_served
        return (
            self.growth == "auto"
            and first is not None
            and touch.at_ns > first.served_ns
            and touch.size > first.seen_bytes  # else no look ever saw it grow
        )


class Ledger:
    """All sources, by local path and by remote name."""

    def __init__(self) -> None:
        self.by_path: dict[str, Source] = {}
        self.by_remote: dict[str, Source] = {}

    def add(self, source: Source) -> Source:
        """Remember a file that is watched."""
        self.by_path[source.path] = source
        self.by_remote[source.remote] = source
        return source

    def names_of(self, source: Source) -> list[str]:
        """Where the program may have put what was in ``source``, the oldest first."""
        folder, _, name = source.path.rpartition("/")
        numbered = [f"{source.path}.{n}" for n in range(9, 0, -1)]
        return [*source.rotated_to, *numbered, f"{folder}/.{name}.new"]

    def after_crash(
        self,
        read: Callable[[str], bytes | None],
        before: dict[str, bytes | None],
        recent_ns: int,
    ) -> None:
        """The power failed: ``read`` gives what a local file holds now, None if it is gone.

        ``before``: what :meth:`names_of` held until then.

        What was served after ``recent_ns`` may be forgotten with it; and where the watched
        file is the only copy (``growth="append"``), what the disk has lost is lost.
        """
        for source in self.by_path.values():
            source.forget_since(recent_ns)
            content = read(source.path)
            source.touches.clear()
            source.stale_touch = source.in_folder
            source.last_touch = None
            source.owed = [t for t in source.owed if 0 < t.served_ns < recent_ns]
            if source.growth == "append" and source.present and content is not None:
                last = source.current
                if not last.content.startswith(content):  # the name is an older file's again
                    left = [read(other) for other in self.names_of(source)]
                    source.owed = [
                        t for t in source.owed if t.index != last.index or _is_left(source, t, left)
                    ]
            for other in self.names_of(source):  # what was rotated may have lost its end, too
                rotated = read(other)
                if rotated and rotated != before[other]:
                    source.begin(rotated, len(rotated))
            if content is None:
                source.present = False
            elif not source.present or content != source.current.content:
                older = source.lineages
                came_back = any(lineage.content.startswith(content) for lineage in older)
                source.begin(content, len(content))
                source.current.grown.append((0, len(content)))  # it had begun before
                source.current.returned = len(content) if came_back else 0
            else:  # whoever was still writing it is gone: it is as complete as it will be
                source.current.base = min(source.current.base, len(content))


def _is_left(source: Source, touch: Touch, contents: list[bytes | None]) -> bool:
    wanted = source.lineages[touch.index].content[: touch.size]
    return any(content is not None and content.startswith(wanted) for content in contents)


def common(a: bytearray, b: bytearray) -> int:
    """How many bytes two contents have in common at their beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
