"""What ``status()`` says of the connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pysubtask.errors import HostKeyReason, HostKeyRefused, LinkError
from pysubtask.seams.clock import Clock
from pysubtask.status import Link

__all__ = ["LinkBoard", "LinkState"]


@dataclass(frozen=True, slots=True)
class LinkState:
    """The connection as it is. Times are Unix seconds."""

    link: Link
    since: float
    next_try: float | None = None
    last_error: str | None = None
    last_error_kind: str | None = None
    last_error_reason: HostKeyReason | None = None


class LinkBoard:
    """Shows the state; ``changed`` is called when another one is shown."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self.state = LinkState("resting", clock.time())

    def fine(self, link: Link) -> None:
        """It is like that, and the last trouble is over."""
        self._show(LinkState(link, self._since(link)))

    def connecting(self) -> None:
        """A try begins; the last trouble still counts."""
        since = self._since("connecting")
        self._show(replace(self.state, link="connecting", since=since, next_try=None))

    def retrying(self, error: LinkError, wait_secs: float) -> None:
        """There is none, for that reason; the next try comes after so long."""
        self._show(
            LinkState(
                "retrying",
                self._since("retrying"),
                self._clock.time() + wait_secs,
                str(error),
                type(error).__name__,
                error.reason if isinstance(error, HostKeyRefused) else None,
            )
        )

    def _since(self, link: Link) -> float:
        return self.state.since if self.state.link == link else self._clock.time()

    def _show(self, state: LinkState) -> None:
        if state != self.state:
            self.state = state
            self._changed()
