"""What the names of our own small files end with, beside the data."""

from __future__ import annotations

from typing import Final

__all__ = ["ARRIVED_SUFFIX", "HEARTBEAT_SUFFIX", "NOTIFY_SUFFIX", "OWN_SUFFIXES"]

NOTIFY_SUFFIX: Final = ".notify"
HEARTBEAT_SUFFIX: Final = ".heartbeat"
ARRIVED_SUFFIX: Final = ".arrived"
OWN_SUFFIXES: Final = (NOTIFY_SUFFIX, HEARTBEAT_SUFFIX, ARRIVED_SUFFIX)
