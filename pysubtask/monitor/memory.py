"""What is kept of a client between two runs of the monitor, as one JSON text. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from typing import Any

from pysubtask.monitor.beatfile import Facts
from pysubtask.monitor.clients import Client, Identity
from pysubtask.monitor.rule import State

__all__ = ["from_text", "to_text"]

_PLAIN = (
    "first_seen present gone_at beat_at interval_secs problem skew no_data data_at data_bytes "
    "state_since pardon_until pause pause_until unseen_since unseen_why"
).split()


def to_text(client: Client) -> str:
    """Everything that the next run needs in order to judge as this one would."""
    kept: dict[str, Any] = {name: getattr(client, name) for name in _PLAIN}
    kept["state"] = client.state.value
    kept["tags"] = list(client.tags)
    kept["downs"] = list(client.downs)
    kept["backlogs"] = list(client.backlogs)
    kept["facts"] = dataclasses.asdict(client.facts)
    if client.identity is not None:
        one = client.identity
        kept["identity"] = [one.mtime_ns, one.inode, one.size, one.digest.hex()]
    return json.dumps(kept, separators=(",", ":"))


def from_text(name: str, text: str) -> Client:
    """The client again.

    Raises:
        ValueError: the text was not written by ``to_text``.
    """
    try:
        kept = json.loads(text)
        client = Client(name, first_seen=kept["first_seen"])
        for field in _PLAIN:
            setattr(client, field, kept.get(field))
        client.state = State(kept["state"])
        client.tags = tuple(kept["tags"])
        client.downs.extend(kept["downs"])
        client.backlogs.extend(kept["backlogs"])
        client.facts = Facts(**kept["facts"])
        if "identity" in kept:
            mtime_ns, inode, size, digest = kept["identity"]
            client.identity = Identity(mtime_ns, inode, size, bytes.fromhex(digest))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a remembered client: {error!r}") from error
    client.downs = deque(client.downs, maxlen=20)
    return client
