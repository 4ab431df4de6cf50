"""Is what lies at the destination what lies here? Compared byte for byte, by reading it back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.settings import Settings
from pysubtask.transports.contract import Read, RemoteStat, Stat
from pysubtask.transports.conversation import Conversation
from pysubtask.urls import Destination

__all__ = ["Comparison", "Match", "compare", "pairs"]

Match: TypeAlias = Literal["equal", "behind", "different", "missing", "unreadable"]
"""``behind``: an exact beginning of ours is there. ``unreadable``: the sizes are equal, the bytes
can't be read back; or there is nothing here to compare with."""

_FLIGHT = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """One file and its copy."""

    path: str
    remote: str
    match: Match
    size_bytes: int
    remote_bytes: int | None = None
    detail: str = ""


def pairs(watches: Sequence[object], destination: Destination) -> list[tuple[str, str]]:
    """Local and remote path of each file of watches; of folders, the files that are there now."""
    from pysubtask.watch import Watch

    found = []
    for watch in watches:
        assert isinstance(watch, Watch)
        if not watch.is_dir:
            found.append((watch.path, destination.join(watch.remote_dir, watch.remote_name or "")))
            continue
        for entry in sorted(os.scandir(watch.path), key=lambda entry: entry.name):
            hidden = entry.name.startswith(".") or entry.name.endswith((".notify", ".heartbeat"))
            if entry.is_file() and not hidden:
                found.append((entry.path, destination.join(watch.remote_dir, entry.name)))
    return found


def compare(
    files: Sequence[tuple[str, str]],
    destination: Destination,
    settings: Settings,
    *,
    sizes_only: bool = False,
) -> Iterator[Comparison]:
    """Compare each local file with its remote path; one connection for all of them.

    Raises:
        LinkError: no connection, or it broke.
    """
    with Conversation(destination, settings) as talk:
        talk.connect()
        for path, remote in files:
            yield _compare_one(talk, path, remote, sizes_only)


def _compare_one(talk: Conversation, path: str, remote: str, sizes_only: bool) -> Comparison:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        return Comparison(path, remote, "unreadable", 0, None, error.strerror or str(error))
    try:
        found = talk.ask(Stat(remote))
    except RemoteNotFound:
        return Comparison(path, remote, "missing", size, None, "not there")
    except RemoteError as error:
        return Comparison(path, remote, "unreadable", size, None, error.message)
    assert isinstance(found, RemoteStat)
    there = found.size
    if there > size:
        return Comparison(
            path, remote, "different", size, there, f"{there - size:,} bytes longer than here"
        )
    behind = f"{size - there:,} bytes behind" if there < size else ""
    if sizes_only:
        return Comparison(path, remote, "behind" if behind else "equal", size, there, behind)
    try:
        at = _first_difference(talk, path, remote, there)
    except RemoteError as error:
        return Comparison(path, remote, "unreadable", size, there, error.message)
    except OSError as error:
        return Comparison(path, remote, "unreadable", size, there, error.strerror or str(error))
    if at is not None:
        return Comparison(path, remote, "different", size, there, f"from byte {at:,} on")
    return Comparison(path, remote, "behind" if behind else "equal", size, there, behind)


def _first_difference(talk: Conversation, path: str, remote: str, size: int) -> int | None:
    piece = min(talk.can.max_read_bytes, 262_144)
    with open(path, "rb") as file:
        offset = 0
        while offset < size:
            asks = [
                Read(remote, start, min(piece, size - start))
                for start in range(offset, min(offset + _FLIGHT * piece, size), piece)
            ]
            for ask, result in zip(asks, talk.ask_all(*asks), strict=True):
                if isinstance(result, RemoteError):
                    raise result
                assert isinstance(result, bytes)
                ours = file.read(ask.length)
                if result != ours:
                    both = zip(result, ours, strict=False)
                    same = next(
                        (at for at, (a, b) in enumerate(both) if a != b),
                        min(len(result), len(ours)),
                    )
                    return ask.offset + same
            offset += sum(ask.length for ask in asks)
    return None
