"""What the names of our own small files end with, beside the data."""

from __future__ import annotations

from typing import Final

__all__ = ["HEARTBEAT_SUFFIX", "NOTIFY_SUFFIX"]

NOTIFY_SUFFIX: Final = ".notify"
HEARTBEAT_SUFFIX: Final = ".heartbeat"
