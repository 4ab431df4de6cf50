"""Files and folders of the simulated disk: what is seen, and what a loss of power would leave."""

from __future__ import annotations

import random

__all__ = ["Directory", "Inode", "last_kept", "write_into"]


class Inode:
    """A file's data and times, whatever its names."""

    __slots__ = (
        "ctime_ns",
        "data",
        "durable",
        "links",
        "lost",
        "made",
        "mtime_ns",
        "number",
        "opens",
        "path",
        "pending",
    )

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.data = bytearray()
        self.mtime_ns = 0
        self.ctime_ns = 0
        self.links = 0
        self.made = 0
        """Greater than that of every file made before."""
        self.opens = 0
        self.durable: tuple[bytes, int, int] = (b"", 0, 0)
        """Data, mtime and ctime that a loss of power can't take."""
        self.pending: list[tuple[int, bytes | None, int, int]] = []
        """Changes since: (offset, data, mtime, ctime) writes, (size, None, ...) truncates."""
        self.lost: list[tuple[int, int]] = []
        """Ranges (start, end) that processes see, and that no sync brings to the platter any
        more."""

    def sync(self) -> None:
        """fsync: what is in the file now stays."""
        if self.pending:
            kept = self._without_lost() if self.lost else bytes(self.data)
            self.durable = (kept, self.mtime_ns, self.ctime_ns)
            self.pending.clear()

    def _without_lost(self) -> bytes:
        kept = bytearray(self.data)
        for start, end in self.lost:
            kept[start:end] = bytes(len(kept[start:end]))
        return bytes(kept)

    def fail_sync(self) -> None:
        """fsync failed, and what it should have written counts as written (fsync(2), "Errors")."""
        data, mtime_ns, ctime_ns = self.durable
        shorter = bytearray(data)
        for offset, written, mtime_ns, ctime_ns in self.pending:  # noqa: B007
            if written is None:
                write_into(shorter, offset, None)
                self.cut(offset)
            elif written:
                self.lost.append((offset, offset + len(written)))
        self.durable = (bytes(shorter), mtime_ns, ctime_ns)
        self.pending.clear()

    def cut(self, size: int) -> None:
        """What is lost beyond it is not in the file any more."""
        self.lost = [(start, min(end, size)) for start, end in self.lost if start < size]

    def settle(
        self, rng: random.Random, zero_tails: bool, zero_writes: bool, share: int | None = None
    ) -> None:
        """The power fails: choose what is left (``share``: see :func:`last_kept`)."""
        if not self.pending and not self.lost:
            return
        self.lost.clear()
        kept = _how_many_survive(rng, len(self.pending), share)
        saved, mtime_ns, ctime_ns = self.durable
        data = bytearray(saved)
        for offset, written, mtime_ns, ctime_ns in self.pending[:kept]:  # noqa: B007
            write_into(data, offset, written)
        if kept < len(self.pending) and share is None:
            offset, written, _, _ = self.pending[kept]
            if written:
                part = written[: rng.randrange(len(written) + 1)]
                if zero_tails and rng.random() < 0.5:
                    part = bytes(len(written) if zero_writes else len(part))
                if part:
                    write_into(data, offset, part)
        self.data, self.mtime_ns, self.ctime_ns = data, mtime_ns, ctime_ns
        self.durable = (bytes(data), mtime_ns, ctime_ns)
        self.pending.clear()


def write_into(data: bytearray, offset: int, written: bytes | None) -> None:
    """Write at an offset, with zeros up to it; ``None`` cuts there."""
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    if written is None:
        del data[offset:]
    else:
        data[offset : offset + len(written)] = written


def _how_many_survive(rng: random.Random, count: int, share: int | None) -> int:
    if share is not None:
        return count * share
    choice = rng.random()
    return 0 if choice < 0.3 else count if choice < 0.6 else rng.randrange(count + 1)


class Directory:
    """Names, as they are and as they would survive."""

    __slots__ = ("changed_ns", "durable", "entries", "number", "path", "pending")

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.changed_ns = 0
        """When a name came or went last."""
        self.entries: dict[str, Inode | Directory] = {}
        self.durable: dict[str, Inode | Directory] = {}
        self.pending: list[tuple[int, list[tuple[str, Inode | Directory | None]]]] = []
        """Changes since: (sequence number, [(name, what it names from then on)])."""

    def sync(self) -> None:
        """fsync of a folder: its names stay."""
        if self.pending:
            self.durable = dict(self.entries)
            self.pending.clear()


def last_kept(rng: random.Random, sequences: list[int], share: int | None = None) -> int:
    """The last of these changes that survives, 0 for none.

    Args:
        share: 0: none of them, 1: all; None: as it happens.
    """
    count = _how_many_survive(rng, len(sequences), share)
    return sequences[count - 1] if count else 0
