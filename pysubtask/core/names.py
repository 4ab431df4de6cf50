"""Names that may be one at a destination: they differ in case, or in the form of their letters.

Some destinations keep ``A.csv`` and ``a.csv`` apart, others do not; and a letter with an accent
may be one code point or two (NFC, NFD: Unicode Standard Annex 15). What is known here before
anybody has asked is only which names *could* be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from pysubtask.core.model import Entry

__all__ = ["Parting", "are_one_lowered", "claims_before", "name_key", "parting"]

_MAX_PART = 60


def name_key(remote: str) -> str:
    """The same for any two names that some destination takes for one.

    Full case folding on top of canonical equivalence: no file system folds more than that.
    """
    if remote.isascii():
        return remote.lower()
    return normalize("NFC", normalize("NFD", remote).casefold())


def are_one_lowered(a: str, b: str) -> bool:
    """Whether two names are one where names are lower-cased letter by letter (Dropbox:
    ``path_lower``)."""
    return normalize("NFC", a).lower() == normalize("NFC", b).lower()


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two names that may be one part: below ``folder``, in ``ours`` and ``theirs``."""

    folder: str
    ours: str
    theirs: str


def parting(ours: str, theirs: str) -> Parting | None:
    """What has to be tried to tell whether two different names with one :func:`name_key` are one.

    Only what differs of the first part that does, so that it fits into a name of its own, and one
    trial answers for many files. None if that is too long to be tried.
    """
    mine, other = ours.split("/"), theirs.split("/")
    depth = next(at for at, pair in enumerate(zip(mine, other, strict=False)) if len({*pair}) > 1)
    a, b = mine[depth], other[depth]
    start, end = 0, 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    start = max(0, start - 1)  # a combining accent belongs to the letter before it
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    if max(len(a), len(b)) > _MAX_PART or name_key(a) != name_key(b):
        return None
    return Parting("/".join(mine[:depth]), a, b)


def claims_before(entries: Sequence[Entry], path: str) -> list[Entry]:
    """Of files whose names may be one, those that come before ``path``.

    What has sent something under the name comes first, then what was noted first.

    Args:
        entries: in the order in which they were noted, that of ``path`` among them.
    """
    at = next((n for n, entry in enumerate(entries) if entry.path == path), None)
    if at is None:
        return []
    mine = _has_sent(entries[at])
    found = []
    for number, entry in enumerate(entries):
        if number == at or not (entry.versions or _has_sent(entry)):
            continue
        first = number < at if _has_sent(entry) == mine else not mine
        if first:
            found.append(entry)
    return found


def _has_sent(entry: Entry) -> bool:
    return entry.delivered is not None or entry.upload is not None
