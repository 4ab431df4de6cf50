"""What servers tell of files: MLST facts (RFC 3659, 7), LIST lines, MDTM times.

LIST has no standard form. Unix servers print what ``ls -l`` prints, Windows servers what ``dir``
does; their times have no zone and no seconds, so that only MLST and MDTM times are used.
"""

from __future__ import annotations

import calendar
import re

from pysubtask.transports.contract import RemoteStat
from pysubtask.transports.ftp.names import decode_name

__all__ = ["parse_facts", "parse_list_line", "parse_size", "parse_time"]

_MAX_LINE_BYTES = 8192
"""A name has 255 bytes on most systems. Nothing longer is looked at: a line may have millions."""

_UNIX = re.compile(
    rb"(?P<kind>[-dlbcps])[-rwxsStTlL]{9}[.+@]?\s+\d+\s+\S+\s+(?:\S+\s+)?(?P<size>\d+)\s+"
    rb"(?:\w{3}\s+\d{1,2}|\d{1,2}\s+\w{3}|\d{4}-\d\d-\d\d)\s+[\d:]+ (?P<name>.+)"
)
_DOS = re.compile(
    rb"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:\s*[AaPp][Mm])?\s+(?:(?P<dir><DIR>)\s+|(?P<size>\d+) )"
    rb"(?P<name>.+)"
)


def parse_time(text: bytes) -> float | None:
    """``YYYYMMDDHHMMSS[.sss]`` in UTC (RFC 3659, 2.3) as Unix seconds; None if it is none."""
    found = re.fullmatch(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d+)?", text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction = float(found[7]) if found[7] else 0.0
    try:
        return calendar.timegm((year, month, day, hour, minute, second)) + fraction
    except ValueError:  # a 13th month, the year 0
        return None


def parse_size(digits: bytes) -> int | None:
    """A file's size; None if it is no number, or larger than any file (19 digits are 9 EB)."""
    return int(digits) if digits.isdigit() and len(digits) < 20 else None


def parse_facts(line: bytes) -> tuple[str, RemoteStat] | None:
    """Name and stat of one line of MLSD or MLST; None if it tells too little."""
    facts_text, blank, name = line.lstrip(b" ").partition(b" ")
    if not blank or not facts_text.endswith(b";") or len(line) > _MAX_LINE_BYTES:
        return None
    facts: dict[bytes, bytes] = {}
    for fact in facts_text.split(b";"):
        key, _, value = fact.partition(b"=")
        facts[key.lower()] = value
    kind = facts.get(b"type", b"file").lower()
    is_dir = kind in (b"dir", b"cdir", b"pdir")
    size = 0 if is_dir else parse_size(facts.get(b"size", b""))
    if size is None:
        return None
    stat = RemoteStat(size, parse_time(facts.get(b"modify", b"")), is_dir)
    # some servers name the listed folder itself by its path, others by its name
    return ("." if kind in (b"cdir", b"pdir") else decode_name(name)), stat


def parse_list_line(line: bytes) -> tuple[str, RemoteStat] | None:
    """Name and stat of one line of LIST; None if the line names nothing."""
    if len(line) > _MAX_LINE_BYTES:
        return None
    found = _UNIX.fullmatch(line)
    if found is not None:
        size = parse_size(found["size"])
        if size is None:
            return None
        name = found["name"]
        if found["kind"] == b"l":
            name = name.partition(b" -> ")[0]
        return decode_name(name), RemoteStat(size, None, found["kind"] == b"d")
    found = _DOS.fullmatch(line)
    if found is not None:
        size = parse_size(found["size"] or b"0")
        if size is not None:
            return decode_name(found["name"]), RemoteStat(size, None, found["dir"] is not None)
    return None
