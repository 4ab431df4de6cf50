"""Durations and sizes in words. Pure."""

from __future__ import annotations

__all__ = ["bytes_in_words", "duration"]


def duration(seconds: float) -> str:
    """``4 m 12 s``; the two largest units that are not zero."""
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def bytes_in_words(count: float) -> str:
    """``1.4 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
