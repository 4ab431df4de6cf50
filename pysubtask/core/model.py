"""What is known about one watched file: the words that journal, intake, plan and delivery share.

A *version* is one content as it grew: it starts at byte 0 and only ever gains bytes at its end.
A file that only grows has one version all its life; rotation, truncation and rewriting start the
next. *Pieces* say where the bytes that are still owed can be read. Everything here is immutable;
an :class:`Entry` is replaced as a whole.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

__all__ = [
    "Delivered",
    "Entry",
    "Identity",
    "Piece",
    "Print",
    "PrintKind",
    "Stage",
    "Stamp",
    "Upload",
    "Version",
    "entry_from_json",
    "entry_to_json",
]

PrintKind: TypeAlias = Literal["whole", "samples", "ends"]
Stage: TypeAlias = Literal["sending", "sent", "swapping"]


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """Both times of a file, in nanoseconds. Compared for equality only, never for order."""

    mtime_ns: int
    ctime_ns: int


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Which file it is to the file system. Inodes are reused: never believed alone."""

    dev: int
    ino: int


class Print(msgspec.Struct, frozen=True, gc=False):
    """A fingerprint of the first ``size`` bytes of a content.

    ``whole`` reads all of them; ``samples`` the head, the tail and 16 places between; ``ends``
    the head and the tail.
    """

    kind: PrintKind
    size: int
    digest: str


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Where the bytes ``[start, end)`` of a version can be read, and their digest.

    ``name`` is a file in the outbox; ``None`` means the watched file itself, wherever it has been
    renamed to.
    """

    start: int
    end: int
    name: str | None
    digest: str
    synced_bytes: int = 0
    """So much of its beginning was on the disk before the rest was added, which a loss of power
    may have torn."""
    synced_digest: str = ""

    @property
    def synced_part(self) -> Piece | None:
        """That beginning as a piece of its own."""
        if not self.synced_bytes:
            return None
        return Piece(self.start, self.start + self.synced_bytes, self.name, self.synced_digest)


class Version(msgspec.Struct, frozen=True, gc=False):
    """One content of a file, as large as the latest snapshot of it."""

    number: int
    size: int
    growing: bool
    """It gained bytes, or the program promised that it will: it is delivered to its end before
    a newer version may take its place."""
    identity: Identity
    stamp: Stamp
    """The file's times just before the snapshot was read."""
    settled: bool
    """The snapshot was read more than a tick after the last change, so that an equal stamp
    means an equal content."""
    print: Print
    pieces: tuple[Piece, ...]
    taken_at: float
    may_grow: bool = True
    """False for a file that the program rewrites as a whole: a part of it is worth nothing."""

    @property
    def available_from(self) -> int:
        """The lowest offset from which the pieces give every byte up to ``size``."""
        low = self.size
        for piece in reversed(self.pieces):
            if piece.end < low:
                break
            low = min(low, piece.start)
        return low


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """What the destination shows, as far as it was confirmed.

    The remote file holds the local bytes ``[base, size)`` of version ``version``. ``base`` is not
    0 only after a consumer took the file away and a new one was begun.
    """

    version: int
    size: int
    base: int = 0
    mtime: float | None = None
    """The remote file's modified time when that was confirmed, by the server's clock."""
    at: float = 0.0

    @property
    def remote_size(self) -> int:
        """How many bytes the remote file should have."""
        return self.size - self.base


class Upload(msgspec.Struct, frozen=True, gc=False):
    """A version on its way under a temporary name.

    ``sending``: bytes up to ``acked`` are acknowledged. ``sent``: the temporary file is complete
    and closed; its rename may or may not have happened. ``swapping``: on a server without atomic
    replace, the old file may or may not have been removed.

    Without a temporary name it goes as one request, which is repeated as it is: nobody can tell
    whether it arrived, and twice is as good as once.
    """

    version: int
    size: int
    temp: str
    base: int = 0
    acked: int = 0
    stage: Stage = "sending"
    set_aside: bool = False
    tail: bool = False
    """Its first bytes are to be had nowhere any more: it goes to a name of its own, since under
    the file's name it would look like its beginning."""
    conflict: bool = False
    """It is sent because another hand changed what was there."""
    token: str = ""
    """Stands for the upload at the server (``Capabilities.upload_tokens``)."""
    reach: int = 0
    """With a token: where the request ends that begins at ``acked`` and may be on its way. The
    server has one or the other."""
    segment: bool = False
    """It goes to a name of its own in the file's folder of segments."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Everything that must outlive the process about one watched file."""

    path: str
    remote: str
    served: Stamp | None = None
    """The ``.notify`` stamp that the latest snapshot served."""
    notified_at: float | None = None
    versions: tuple[Version, ...] = ()
    """Oldest first; the last one is current. Older ones are here only while they are owed."""
    delivered: Delivered | None = None
    upload: Upload | None = None
    litter: tuple[str, ...] = ()
    """Our temporary names at the destination that are to be removed."""
    conflict_at: float | None = None
    """When it was last sent whole because another hand had changed it there (Unix seconds)."""
    rotated: tuple[tuple[int, str], ...] = ()
    """Versions by number, and the remote name under which each is kept when a newer one takes its
    place."""
    last_number: int = 0
    """The highest number that was used, where nothing above says so any more."""
    doubts: tuple[int, ...] = ()
    """Numbers of versions before which the file lost its end when the power failed, or may have:
    what the server has of an older one may be all there is of the rest."""

    def sets_aside(self, number: int) -> bool:
        """Whether what is at the destination is to be kept under another name when the version of
        that number takes its place. It need not be the one of the doubt, which may be given up."""
        shown = 0 if self.delivered is None else self.delivered.version
        return any(shown < doubt <= number for doubt in self.doubts)

    @property
    def current(self) -> Version | None:
        """The version that the latest snapshot belongs to."""
        return self.versions[-1] if self.versions else None

    def version(self, number: int) -> Version | None:
        """The version of that number, if it is still kept."""
        return next((v for v in self.versions if v.number == number), None)

    @property
    def next_number(self) -> int:
        """The number for a new version: greater than any that was ever used."""
        used = [self.last_number, *(v.number for v in self.versions)]
        if self.delivered is not None:
            used.append(self.delivered.version)
        if self.upload is not None:
            used.append(self.upload.version)
        return max(used) + 1

    @property
    def next_owed(self) -> Version | None:
        """The oldest version with bytes that the destination does not show yet."""
        done = self.delivered
        for version in self.versions:
            if done is None or version.number > done.version:
                return version
            if version.number == done.version and version.size > done.size:
                return version
        return None

    @property
    def pending_bytes(self) -> int:
        """How many bytes are owed, counting each version that must be delivered.

        What is gone before they could be is none of them.
        """
        done = self.delivered
        total = 0
        for version in self.versions:
            if done is None or version.number > done.version:
                total += version.size - version.available_from
            elif version.number == done.version:
                total += max(0, version.size - max(done.size, version.available_from))
        return total

    def with_version(self, version: Version) -> Entry:
        """The same entry with the version of that number replaced, or appended if it is new."""
        kept = tuple(version if v.number == version.number else v for v in self.versions)
        if all(v.number != version.number for v in self.versions):
            kept = (*kept, version)
        return replace(self, versions=kept)

    def without_upload(self) -> Entry:
        """The same entry with its upload given up; its temporary name, if it has one, is litter."""
        if self.upload is None:
            return self
        return replace(self, upload=None, litter=self.temps)

    @property
    def temps(self) -> tuple[str, ...]:
        """The temporary names at the destination that are this entry's business."""
        if self.upload is None or not self.upload.temp:  # one request for all has none
            return self.litter
        return (*self.litter, self.upload.temp)

    def outbox_names(self) -> set[str]:
        """Names of the outbox files that this entry refers to."""
        return {p.name for v in self.versions for p in v.pieces if p.name is not None}


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """A dict for :func:`json.dumps`; short keys, since one is written for every delivery."""
    record: dict[str, Any] = {"p": entry.path, "r": entry.remote}
    if entry.served is not None:
        record["s"] = [entry.served.mtime_ns, entry.served.ctime_ns]
    if entry.notified_at is not None:
        record["n"] = entry.notified_at
    if entry.versions:
        record["v"] = [_version_to_json(v) for v in entry.versions]
    if entry.delivered is not None:
        d = entry.delivered
        record["d"] = [d.version, d.size, d.base, d.mtime, d.at]
    if entry.upload is not None:
        u = entry.upload
        record["u"] = [
            u.version,
            u.size,
            u.temp,
            u.base,
            u.acked,
            u.stage,
            u.set_aside,
            u.tail,
            u.conflict,
        ]
        if u.token or u.segment:
            record["u"] += [u.token, u.reach, u.segment]
    if entry.litter:
        record["l"] = list(entry.litter)
    if entry.conflict_at is not None:
        record["c"] = entry.conflict_at
    if entry.rotated:
        record["k"] = [list(pair) for pair in entry.rotated]
    if entry.last_number:
        record["h"] = entry.last_number
    if entry.doubts:
        record["x"] = list(entry.doubts)
    return record


def entry_from_json(record: dict[str, Any]) -> Entry:
    """The inverse of :func:`entry_to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is not such a record.
    """
    versions = record.get("v", ())
    # Until November 2026 each version that was to keep something said so itself. Why is not known:
    # one too many of them keeps a copy too many, one too few loses what is there.
    flagged = [number for number, _, flags, *_ in versions if flags & 4]
    return Entry(
        path=_text(record["p"]),
        remote=_text(record["r"]),
        served=Stamp(*record["s"]) if "s" in record else None,
        notified_at=record.get("n"),
        versions=tuple(map(_version_from_json, versions)),
        delivered=Delivered(*record["d"]) if "d" in record else None,
        upload=Upload(*record["u"]) if "u" in record else None,
        litter=tuple(record.get("l", ())),
        conflict_at=record.get("c"),
        rotated=tuple((number, _text(name)) for number, name in record.get("k", ())),
        last_number=record.get("h", 0),
        doubts=tuple(record.get("x", flagged)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a path is text")
    return value


def _version_to_json(v: Version) -> list[Any]:
    flags = v.growing | v.settled << 1 | v.may_grow << 3
    return [
        v.number,
        v.size,
        flags,
        [v.identity.dev, v.identity.ino],
        [v.stamp.mtime_ns, v.stamp.ctime_ns],
        [v.print.kind, v.print.size, v.print.digest],
        [_piece_to_json(p) for p in v.pieces],
        v.taken_at,
    ]


def _piece_to_json(p: Piece) -> list[Any]:
    record = [p.start, p.end, p.name, p.digest]
    return [*record, p.synced_bytes, p.synced_digest] if p.synced_bytes else record


def _version_from_json(record: list[Any]) -> Version:
    number, size, flags, identity, stamp, fingerprint, pieces, taken_at = record
    return Version(
        number=number,
        size=size,
        growing=bool(flags & 1),
        identity=Identity(*identity),
        stamp=Stamp(*stamp),
        settled=bool(flags & 2),
        print=Print(*fingerprint),
        pieces=tuple(Piece(*p) for p in pieces),
        taken_at=taken_at,
        may_grow=bool(flags & 8),
    )
