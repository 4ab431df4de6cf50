"""What a program is told of files that were fetched: small files in ``<state>/arrivals``.

Each is ``<hash of the path>.json``, by rename: a later piece of news of the same file takes its
place, so that a program that never looks has one of them for each file. Who has dealt with one
takes it away by renaming it first: had it become another meanwhile, that one is told, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from pysubtask.blake import blake2b
from pysubtask.signals import read_json
from pysubtask.suffixes import ARRIVED_SUFFIX

__all__ = ["Arrival", "Kind", "arrived_path", "news_name", "take_arrivals"]

Kind: TypeAlias = Literal["new", "grown", "replaced", "renamed", "conflict"]
"""``new``: it was not there. ``grown``: it has more bytes at its end. ``replaced``: it is another
version. ``renamed``: it has this name now, as on the server. ``conflict``: the program's own file
of that name stays, this one lies beside it."""

_SUFFIX = ".json"
_TAKEN = ".taken"
_LOOK_SECS = 0.05


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One file that arrived, or changed. Its bytes are complete and on the disk."""

    path: str
    """The file, absolute."""
    kind: Kind
    remote: str
    """Its path on the server."""
    start_bytes: int
    """The first byte that is new: not 0 where a file has grown."""
    size_bytes: int
    """Its size now."""
    at: float
    """When it came (Unix seconds)."""
    number: int = 0
    """Greater for each later one."""


def arrived_path(path: str) -> str:
    """The file that is touched when ``path`` has arrived or grown."""
    return path + ARRIVED_SUFFIX


def news_name(path: str) -> str:
    """The name of the small file about ``path``."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest() + _SUFFIX


def take_arrivals(folder: str, wait_secs: float = 0.0) -> Iterator[Arrival]:
    """What has arrived and was not taken yet, oldest first.

    An arrival counts as taken when the next one is asked for, or the iterator ends: a program that
    dies in between is told again.

    Args:
        folder: ``<state>/arrivals``.
        wait_secs: how long to wait for one if there is none; 0: not at all.
    """
    until = time.monotonic() + wait_secs
    told: set[tuple[str, int]] = set()  # what can't be taken away is told once all the same
    while True:
        found = [item for item in _news(folder) if (item[1].path, item[1].number) not in told]
        for name, arrival in sorted(found, key=lambda item: item[1].number):
            yield arrival
            told.add((arrival.path, arrival.number))
            _take(folder, name, arrival.number)
            until = time.monotonic() + wait_secs
        rest = until - time.monotonic()
        if not found:
            if rest <= 0:
                return
            time.sleep(min(rest, _LOOK_SECS))


def _news(folder: str) -> Iterator[tuple[str, Arrival]]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if not name.endswith((_SUFFIX, _TAKEN)):
            continue
        plain = read_json(os.path.join(folder, name))
        if plain is None:
            continue
        try:
            yield name, msgspec.convert(plain, Arrival)
        except msgspec.ValidationError:
            continue


def _take(folder: str, name: str, number: int) -> None:
    """It was dealt with. If the child has put later news in its place, they stay, as ``.taken``."""
    path = os.path.join(folder, name)
    taken = path if name.endswith(_TAKEN) else f"{path}.{os.urandom(4).hex()}{_TAKEN}"
    try:
        if taken != path:
            os.rename(path, taken)
        plain: dict[str, Any] = read_json(taken) or {}
        if plain.get("number", number) == number:
            os.unlink(taken)
    except OSError:
        pass  # another reader was quicker
