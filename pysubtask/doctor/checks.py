"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["TITLES", "Check", "Verdict"]

Verdict: TypeAlias = Literal["ok", "missing", "failed", "unknown", "skipped"]
"""``missing``: the destination can't do it, and delivery does without, at a cost. ``failed``: it
should be able to, or delivery can't do without. ``unknown``: it can't be found out."""

TITLES = {
    "dns": "name",
    "port": "port",
    "identity": "host key",
    "login": "login",
    "folder": "folder",
    "write": "write",
    "read": "read back",
    "append": "append in place",
    "replace": "replace in one step",
    "copy": "copy on the server",
    "order": "order of handling",
    "sync": "sync to disk",
    "clock": "server clock",
    "space": "free space",
    "delete": "delete",
}
"""Names of the checks, in their order, and how they are shown."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its outcome."""

    name: str
    """A key of :data:`TITLES`."""
    verdict: Verdict
    detail: str
    """What was found, or why it failed."""
    cost: str | None = None
    """What it costs delivery that this is missing."""
    remedy: str | None = None
    """What a person can do."""
    error: Exception | None = None
    """The error behind a ``failed``."""
    secs: float = 0.0

    @property
    def title(self) -> str:
        """The name for a person."""
        return TITLES[self.name]
