"""What the log says of the connection: once when it changes, once an hour while it does not."""

from __future__ import annotations

import logging

from pysubtask.seams.clock import Clock

__all__ = ["LinkLog"]

_STILL_SECS = 3600.0


class LinkLog:
    """Says when there is a connection and when there is none, why, and when the next try is.

    Args:
        destination: as a URL, without the password.
    """

    def __init__(self, clock: Clock, log: logging.Logger, destination: str) -> None:
        self._clock = clock
        self._log = log
        self._destination = destination
        self._tries = 0
        self._since: float | None = None
        self._told = ""
        self._told_at = 0.0
        self._lacks: tuple[tuple[str, ...], tuple[str, ...]] = (), ()

    def connected(self, took_secs: float, described: str) -> None:
        """``described``: as whom and by which algorithms; "" where the transport does not tell."""
        words = f" {described}" if described else ""
        if self._since is not None and self._tries:
            away = self._clock.monotonic() - self._since
            words += f" (after {self._tries} failed tries in {away:.0f} s)"
        self._since = None
        self._tries = 0
        self._log.info("connected to %s%s in %.0f ms", self._destination, words, took_secs * 1000)

    def lacks(self, limits: tuple[str, ...], costs: tuple[str, ...] = ()) -> None:
        """What the destination can't do, and what that costs; told once, and again if it is
        something else. ``costs``: what many destinations can't, so that it is no warning."""
        if (limits, costs) == self._lacks:
            return
        self._lacks = limits, costs
        for limit in limits:
            self._log.warning("%s: %s", self._destination, limit)
        for cost in costs:
            self._log.info("%s: %s", self._destination, cost)

    def lost(self, why: str, lived_secs: float, wait_secs: float) -> None:
        """A connection broke that was needed."""
        self._log.warning(
            "lost %s after %.0f s: %s; next try in %.0f s",
            self._destination,
            lived_secs,
            why,
            wait_secs,
        )
        now = self._clock.monotonic()
        self._since = now
        self._told, self._told_at = why, now

    def lost_idle(self, why: str) -> None:
        """A connection broke that nobody needed."""
        self._log.info("%s ended an idle connection: %s", self._destination, why)

    def failed(self, why: str, wait_secs: float) -> None:
        """A try to connect failed. The same words are repeated once an hour only."""
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        self._tries += 1
        if self._tries == 1 or why != self._told:
            self._log.warning(
                "connect to %s: %s; next try in %.0f s", self._destination, why, wait_secs
            )
        elif now - self._told_at >= _STILL_SECS:
            self._log.warning(
                "still not connected to %s, %d tries in %.0f s: %s; next try in %.0f s",
                self._destination,
                self._tries,
                now - self._since,
                why,
                wait_secs,
            )
        else:
            return
        self._told, self._told_at = why, now

    def resting(self, idle_secs: float) -> None:
        """The dead time is over."""
        self._log.info("nothing to deliver for %.0f s: closing the connection", idle_secs)
