"""The connection to one source: made when it is needed, tried again as the rules say."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask.core.flow import Window
from pysubtask.core.retry import RetryRule
from pysubtask.errors import AskedToWait, LinkError, LoginRefused
from pysubtask.seams.clock import Clock
from pysubtask.settings import Settings
from pysubtask.subtask.delivery.engine import Engine
from pysubtask.subtask.delivery.linklog import LinkLog
from pysubtask.subtask.delivery.linkstate import LinkBoard, LinkState
from pysubtask.subtask.delivery.waiting import LinkWaits
from pysubtask.transports.contract import Capabilities, ChangeWaiter, Transport

__all__ = ["Connection", "SourceLink", "rule_of"]

_PROGRESS_BYTES = 64 * 1024


def rule_of(settings: Settings) -> RetryRule:
    """How often and how far apart something is tried."""
    return RetryRule(
        settings.retry_tries,
        settings.retry_short_wait_secs,
        settings.retry_long_wait_secs,
        settings.retry_growth,
        settings.retry_max_wait_secs,
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """One that is there."""

    transport: Transport
    engine: Engine
    window: Window
    since: float
    """Monotonic."""

    @property
    def can(self) -> Capabilities:
        """What the server can do."""
        return self.transport.capabilities

    @property
    def has_room(self) -> bool:
        """One more file may be in hand."""
        return self.engine.jobs < max(1, self.can.max_files)

    def relax(self) -> None:
        """Nothing is on its way: let go of what can be had again."""
        relax = getattr(self.transport, "relax", None)
        if relax is not None:
            relax()

    def change_waiter(self, folder: str) -> ChangeWaiter | None:
        """What tells of changes in a folder since it was listed; None if the server can't."""
        make = getattr(self.transport, "change_waiter", None)
        made: ChangeWaiter | None = make(folder) if make is not None else None
        return made


class SourceLink:
    """Makes connections, and knows how they are.

    Args:
        source: as a URL, without the password.
        changed: called when it is another way with them.
    """

    def __init__(
        self,
        clock: Clock,
        settings: Settings,
        make_transport: Callable[[], Transport],
        *,
        source: str,
        rng: random.Random,
        log: logging.Logger,
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._make_transport = make_transport
        self._says = LinkLog(clock, log, source)
        self._board = LinkBoard(clock, changed)
        self._waits = LinkWaits(clock, rule_of(settings), settings.retry_jitter, rng)
        self.connection: Connection | None = None

    @property
    def state(self) -> LinkState:
        """For ``status()``."""
        return self._board.state

    @property
    def next_try(self) -> float:
        """Not before this monotonic time."""
        return self._waits.next_try

    def connect(self) -> Connection | None:
        """Make one; None if that failed: ``next_try`` says when it is worth trying again."""
        self._board.connecting()
        transport = self._make_transport()
        began = self._clock.monotonic()
        try:
            transport.connect()
        except LinkError as error:
            transport.close()
            wait = self._waits.after(error)
            self._says.failed(str(error), wait)
            self._retry_in(wait, error)
            return None
        window = Window()
        now = self._clock.monotonic()
        engine = Engine(
            transport, self._clock, window, ack_timeout_secs=self._settings.reply_timeout_secs
        )
        self.connection = Connection(transport, engine, window, now)
        self._says.connected(now - began, str(getattr(transport, "described", "")))
        self._board.fine("connected")
        return self.connection

    def works(self) -> None:
        """The server has answered: whatever was wrong is over."""
        self._waits.over()

    def lost(self, error: LinkError, *, busy: bool) -> None:
        """It broke; ``busy``: something was on its way."""
        lived, moved = 0.0, 0
        if self.connection is not None:
            lived = self._clock.monotonic() - self.connection.since
            moved = self.connection.engine.acked_bytes
        self.close()
        if not busy:
            self._says.lost_idle(str(error))
            return
        told = isinstance(error, AskedToWait | LoginRefused)
        if moved:
            self._waits.got_on()
        gets_on = moved >= _PROGRESS_BYTES and not told  # it got somewhere: go on at once
        wait = 0.0 if gets_on else self._waits.after(error)
        self._says.lost(str(error), lived, wait)
        self._retry_in(wait, error)

    def retry_now(self) -> None:
        """Forget the wait, unless it was asked for, or the login was refused."""
        self._waits.forget()

    def rest(self, idle_secs: float) -> None:
        """Nothing is to be done for a while."""
        self._says.resting(idle_secs)
        self.close()

    def close(self) -> None:
        """End the connection now; idempotent."""
        if self.connection is not None:
            self.connection.engine.abandon()
            self.connection.transport.close()
            self.connection = None
        self._board.fine("resting")

    def _retry_in(self, wait_secs: float, error: LinkError) -> None:
        self._waits.next_try = self._clock.monotonic() + wait_secs
        self._board.retrying(error, wait_secs)
