"""What the names of our own files beside the data end or begin with."""

from __future__ import annotations

from typing import Final

__all__ = ["ARRIVED_SUFFIX", "HEARTBEAT_SUFFIX", "NOTIFY_SUFFIX", "OWN_SUFFIXES", "TEMP_PREFIX"]

NOTIFY_SUFFIX: Final = ".notify"
HEARTBEAT_SUFFIX: Final = ".heartbeat"
ARRIVED_SUFFIX: Final = ".arrived"
OWN_SUFFIXES: Final = (NOTIFY_SUFFIX, HEARTBEAT_SUFFIX, ARRIVED_SUFFIX)
TEMP_PREFIX: Final = ".pysubtask-"
"""What our temporary names begin with, here and at the destination; 8 hex digits of the client and
8 of the upload follow."""
