"""Taking secrets out of texts that people, or other programs, get to see.

Used for each line of the child's log, and where a server's words enter: some repeat what they were
sent (``500 'PASS …': command not understood``).
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping

from pysubtask.secret import Secret

__all__ = ["MASK", "escape", "redactor", "secrets_of"]

MASK = "•••"

# C0 and C1 controls, the line and paragraph separators, and the marks that turn the direction of
# writing (https://www.unicode.org/reports/tr9/): what could make a line look like another one.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_WHOLE_WORD_UP_TO = 3


def escape(text: str) -> str:
    """``text`` with what could pass for another line, or turn it round, in a form to be seen."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def secrets_of(thing: object) -> list[str]:
    """All secrets in a handover: looks into structs, dataclasses, mappings and sequences."""
    found: list[str] = []
    _collect(thing, found, depth=0)
    return sorted(set(found), key=len, reverse=True)


def _collect(thing: object, found: list[str], depth: int) -> None:
    if isinstance(thing, Secret):
        if thing.reveal():
            found.append(thing.reveal())
        return
    if depth > 8 or thing is None or isinstance(thing, str | bytes | int | float):
        return
    parts: Iterable[object]
    if isinstance(thing, Mapping):
        parts = thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        parts = thing
    else:
        names: Iterable[str] = (
            getattr(thing, "__struct_fields__", ())
            or getattr(thing, "__slots__", ())
            or getattr(thing, "__dict__", ())
        )
        parts = [getattr(thing, name, None) for name in names]
    for part in parts:
        _collect(part, found, depth + 1)


def redactor(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds each secret in every spelling in which it may be printed.

    A secret of up to three characters is only found as a word of its own: taking each ``a`` out
    of a log would tell more than it hides.
    """
    spellings: set[str] = set()
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        spellings.update(
            (
                secret,
                " ".join(secret.split()),  # as in a server's words (transports/said.py)
                escape(secret),
                repr(secret)[1:-1],
                repr(raw)[2:-1],
                json.dumps(secret)[1:-1],
                urllib.parse.quote(raw, safe=""),
                urllib.parse.quote(raw),
                urllib.parse.quote_plus(raw),
            )
        )
    patterns = [
        re.escape(text) if len(text) > _WHOLE_WORD_UP_TO else rf"(?<!\w){re.escape(text)}(?!\w)"
        for text in sorted(spellings, key=len, reverse=True)
        if text
    ]
    return re.compile("|".join(patterns)) if patterns else None
