"""Patterns for the names under which rotated files are kept (``rotated_as``): what they may say.

``{name}`` is the name at the destination, ``{stem}`` and ``{ext}`` its parts, ``{time}`` the time
of the last change, ``{local}`` the name that the rotation gave the file here.
"""

from __future__ import annotations

import re
import string

from pysubtask.suffixes import OWN_SUFFIXES, TEMP_PREFIX

__all__ = ["complaint_of"]

_FIELDS = ("name", "stem", "ext", "time", "local")


def complaint_of(pattern: str) -> str | None:
    """What is wrong with a pattern, in words; None if nothing is."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        return f"is no pattern: {error}"
    fields = [field for _, field, _, _ in parts if field is not None]
    for _, field, form, conversion in parts:
        if field is not None and (field not in _FIELDS or form or conversion):
            known = ", ".join(f"{{{name}}}" for name in _FIELDS)
            return f"has {{{field}}}, but there are {known}"
    if not {"time", "local"} & set(fields):
        return "must have {time} or {local}: each rotated file needs a name of its own"
    if re.search(r"[/\\\0-\x1f]", pattern):
        return "is a name without folders"
    if pattern.startswith(TEMP_PREFIX) or pattern.endswith(OWN_SUFFIXES):
        return "makes names that pysubtask keeps for itself"
    return None
