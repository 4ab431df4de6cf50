"""What is told, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pysubtask.monitor.clients import Client
from pysubtask.monitor.names import shown
from pysubtask.monitor.words import explain

__all__ = ["Notice", "about", "trial_notice", "who"]

_LISTED = 20
_TITLE_CHARS = 150
_WHO_CHARS = 80
_PLAIN = re.compile(r"[\w./@+-]+")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell.

    ``kind``: down, up, stopped, gone, flapping, steady, no_data, data, reminder, blind, sight,
    test; ``mass`` if it is about many at once.
    """

    at: float
    kind: str
    title: str
    body: str
    clients: tuple[dict[str, Any], ...] = ()
    mass: bool = False

    def facts(self) -> dict[str, Any]:
        """As JSON for a webhook."""
        return {
            "kind": self.kind,
            "at": self.at,
            "title": self.title,
            "text": self.body,
            "mass": self.mass,
            "clients": list(self.clients),
        }


def who(client: Client) -> str:
    """Its name in a title. The verdict stands behind it, and whoever names a file writes it: so it
    is short, and stands in quotes if it could be read as words."""
    name = shown(client.name)
    if len(name) > _WHO_CHARS:
        name = f"{name[: _WHO_CHARS // 2 - 1]}…{name[-_WHO_CHARS // 2 :]}"
    return name if _PLAIN.fullmatch(name) else f"“{name}”"


def trial_notice(now: float) -> Notice:
    """What the test button sends."""
    return Notice(
        now, "test", "Test of the alerts", "Somebody pressed the test button. All is well."
    )


def about(
    now: float, kind: str, title: str, clients: Sequence[Client], *, mass: bool = False
) -> Notice:
    lines = [f"{shown(client.name)}: {explain(client, now)}" for client in clients[:_LISTED]]
    if len(clients) > _LISTED:
        lines.append(f"… and {len(clients) - _LISTED} more.")
    return Notice(
        now, kind, title[:_TITLE_CHARS], "\n".join(lines), tuple(_facts(clients)), mass=mass
    )


def _facts(clients: Iterable[Client]) -> list[dict[str, Any]]:
    return [
        {
            "id": client.id,
            "name": shown(client.name),
            "state": client.state.value,
            "online": client.online,
            "last_seen": client.beat_at,
            "deadline": client.deadline,
            "flags": [flag.value for flag in client.flags],
            "tags": list(client.tags),
        }
        for client in list(clients)[:1000]
    ]
