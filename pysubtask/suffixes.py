"""What the names of our own files beside the data end or begin with."""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "ARRIVED_SUFFIX",
    "HEARTBEAT_SUFFIX",
    "NOTIFY_SUFFIX",
    "OWN_SUFFIXES",
    "TEMP_PREFIX",
    "has_own_suffix",
    "is_half_written",
]

NOTIFY_SUFFIX: Final = ".notify"
HEARTBEAT_SUFFIX: Final = ".heartbeat"
ARRIVED_SUFFIX: Final = ".arrived"
OWN_SUFFIXES: Final = (NOTIFY_SUFFIX, HEARTBEAT_SUFFIX, ARRIVED_SUFFIX)
TEMP_PREFIX: Final = ".pysubtask-"
"""What our temporary names begin with, here and at the destination; 8 hex digits of the client and
8 of the upload follow."""

_TEMPORARY = re.compile(r"\.\d+(?:-[0-9a-f]+)?\.tmp$")
"""What a file is called while it is written beside the one that it is to replace."""


def has_own_suffix(name: str) -> bool:
    """Whether a file beside the data is one of ours, or one that was left half-written."""
    return _TEMPORARY.sub("", name).endswith(OWN_SUFFIXES)


def is_half_written(name: str) -> bool:
    """Whether a small file of ours, of whatever kind, was being written when it got this name."""
    return _TEMPORARY.search(name) is not None
