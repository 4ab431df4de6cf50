"""Configuration for other programs, printed by ``pysubtask-monitor export``."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["KINDS"]

KINDS: dict[str, Callable[[str], str]] = {}
