"""Trouble that comes from outside the child: the wire, the server, other people."""

from __future__ import annotations

import random
from collections.abc import Callable

from pysubtask.signals import NOTIFY_SUFFIX
from tests.simulation.checker import TEMP_PREFIX, Checker
from tests.simulation.clock import SimClock
from tests.simulation.filesystem import FileSystemKind, SimFileSystem
from tests.simulation.ledger import Source
from tests.simulation.network import SimNetwork
from tests.simulation.script import Event

__all__ = ["Troubles"]

_SEC = 1_000_000_000
_RESTLESS_NS = 150_000_000


class Troubles:
    """Makes it, event by event (a method for each kind), and ends all of it."""

    def __init__(
        self,
        clock: SimClock,
        rng: random.Random,
        file_system: SimFileSystem,
        network: SimNetwork,
        checker: Checker,
        kind: FileSystemKind,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._fs = file_system
        self._network = network
        self._server = network.server
        self._remote = network.server.disk
        self._checker = checker
        self._kind = kind
        self.cuts = 0
        self.disk_full_until_ns = -(1 << 62)
        self._denied: set[str] = set()
        self._meddled: set[str] = set()
        self._in_the_way: set[str] = set()
        self._restless: list[Source] = []
        self.disturb: Callable[[Source], None] = lambda source: None
        """The program writes to a file while it is being looked at."""
        self.take_away: Callable[[Source], None] = lambda source: None
        """The program deletes a file."""
        self._taken = 0
        self._lost_server = False
        self.remote_full_until_ns = 0

    def end(self) -> None:
        """No more trouble."""
        self._server.cut_at = self._server.down_at = 0
        self._server.echo = self._server.lag = self._server.refusal = None
        self._network.heal()
        self._remote.capacity_bytes = self._fs.capacity_bytes = 1 << 40
        self._denied.clear()
        self._fs.unreadable.clear()
        self._remote.folders -= self._in_the_way
        self._restless.clear()

    def cut(self, event: Event, source: Source) -> None:
        how, nth = event.detail
        if how in ("before", "after"):
            self._server.cut_at = self._server.executed + nth
            self._server.cut_before = how == "before"
            self.cuts += 1
        elif self._network.cut(how):
            self.cuts += 1

    def refuse(self, event: Event, source: Source) -> None:
        self._network.refusing, duration_ns = event.detail
        self._network.cut("both")
        self._clock.after(duration_ns, self._accept)

    def _accept(self) -> None:
        self._network.refusing = ""

    def clock(self, event: Event, source: Source) -> None:
        if event.detail < 0 and self._kind.tick_ns >= _SEC:
            return  # a coarse stamp may come again after it: nobody could tell such a touch
        self._clock.step_wall(event.detail)

    def disk_full(self, event: Event, source: Source) -> None:
        self._fs.capacity_bytes = self._fs.used_bytes + self._rng.choice([0, 100, 1000])
        self.disk_full_until_ns = self._clock.now_ns + event.detail

        def room() -> None:
            self._fs.capacity_bytes = 1 << 40

        self._clock.after(event.detail, room)

    def denied(self, event: Event, source: Source) -> None:
        self._denied.add(source.remote)
        self._remote.refuse = self._refuses

        def allow() -> None:
            self._denied.discard(source.remote)

        self._clock.after(event.detail, allow)

    def _refuses(self, operation: str, path: str) -> int | None:
        if path not in self._denied or operation == "stat":
            return None
        if operation == "read":
            self._checker.hide(path)
        return 3

    def remote_full(self, event: Event, source: Source) -> None:
        self._remote.capacity_bytes = self._remote.used_bytes + self._rng.choice([0, 10, 1000])
        self.remote_full_until_ns = self._clock.now_ns + event.detail

        def room() -> None:
            self._remote.capacity_bytes = 1 << 40

        self._clock.after(event.detail, room)

    def consumer(self, event: Event, source: Source) -> None:
        if source.remote in self._remote.files and source.remote not in self._meddled:
            self._taken += 1
            self._checker.take(source.remote, f"/taken/{self._taken}")

    def foreign(self, event: Event, source: Source) -> None:
        file = self._remote.files.get(source.remote)
        if (
            file is None
            or source.remote in self._meddled
            or self._checker.pieces.get(source.remote)
        ):
            return
        if self._checker.continued:
            return  # whoever takes a file away there is a consumer
        if event.detail in ("replace", "outgrow") and not self._server.kind.readable:
            return  # nobody could tell
        if event.detail == "remove" and self._server.kind.calls == "appe":
            return  # APPE would begin it anew: nobody could prevent that
        self._meddled.add(source.remote)
        source.interfered = True
        self._remote.another_hand = True
        try:
            if event.detail == "replace":
                size = len(file.content) + 1  # none of it is ours: nor is what we still have
                self._remote.put(source.remote, (b"foreign" * (size // 7 + 1))[:size])
            elif event.detail == "outgrow":
                self._remote.put(source.remote, b"foreign" * (len(file.content) + 200_000))
            elif event.detail == "append":
                self._remote.write(file, len(file.content), b"foreign")
            elif event.detail == "truncate":
                # By a shorter file in its place: a write that is on its way to the open file would
                # leave a hole, and the size that is expected.
                self._remote.put(source.remote, bytes(file.content[: len(file.content) // 2]))
            else:
                self._remote.remove(source.remote)
        finally:
            self._remote.another_hand = False
        if event.detail in ("replace", "truncate"):
            # While a connection lasts, its own last look is believed: an append at the old end
            # into a file of another length gives the size that is expected. No client can tell.
            self._network.cut("both")

    @property
    def may_hold_a_file(self) -> bool:
        """What is twice within an hour not as it should be, is held for that hour."""
        return self._lost_server and bool(self._meddled)

    def server_loss(self, event: Event, source: Source) -> None:
        """The server goes down, loses what it had not synced, and comes back after a while."""
        if self._lost_server or self._checker.continued:
            return  # twice within an hour, a file that differs is held for that hour
        self._lost_server = True
        how, duration_ns, *at = event.detail
        if at:
            self._server.down_at = self._server.executed + at[0]
            self._server.goes_down = lambda: self._clock.after(
                0, lambda: self._go_down(how, duration_ns)
            )
        else:
            self._go_down(how, duration_ns)

    def _go_down(self, how: str, duration_ns: int) -> None:
        self._network.refusing = "refuse"
        self._server.go_down()
        self._checker.remember()
        self._remote.lose(self._rng, how)
        self._clock.after(duration_ns, self._accept)

    def echo(self, event: Event, source: Source) -> None:
        nth, delay_ns = event.detail
        self._server.echo = (self._server.executed + nth, delay_ns)

    def lag(self, event: Event, source: Source) -> None:
        nth, delay_ns = event.detail
        self._server.lag = (self._server.executed + nth, delay_ns)

    def refusal(self, event: Event, source: Source) -> None:
        nth, code = event.detail
        self._server.refusal = (self._server.executed + nth, code)

    def jam(self, event: Event, source: Source) -> None:
        """Until the end, this file can't be delivered."""
        if event.detail == "denied":
            self._denied.add(source.remote)
            self._remote.refuse = self._refuses
        elif event.detail == "folder" and source.remote not in self._remote.files:
            self._remote.folders.add(source.remote)
            self._in_the_way.add(source.remote)
        elif event.detail == "unreadable":
            self._fs.unreadable.add(source.path)
        elif event.detail == "restless" and source not in self._restless:
            self._restless.append(source)
            self._clock.after(_RESTLESS_NS, lambda: self._disturb(source))

    def _disturb(self, source: Source, left: int = 100) -> None:
        if source in self._restless and left:
            self.disturb(source)
            self._clock.after(_RESTLESS_NS, lambda: self._disturb(source, left - 1))

    def neighbour(self, event: Event, source: Source) -> None:
        """Another client works in the same folder: its temporary files are not ours to remove."""
        folder = source.remote.rpartition("/")[0]
        if folder in self._remote.folders:
            self._taken += 1
            path = f"{folder}/{TEMP_PREFIX}fedcba98{self._taken:08x}"
            self._remote.another_hand = True
            self._remote.put(path, b"another client's")
            self._remote.another_hand = False
            self._checker.neighbours.add(path)

    def other_master(self, event: Event, source: Source) -> None:
        """Another master watches the same file. Its child has served the touch and ends: the
        ``.notify`` goes. Perhaps it starts again at once: a blank one is made.

        Where times are coarse, that one may look like the blank one of before the touch.
        """
        notify = source.path + NOTIFY_SUFFIX
        looks_the_same = event.detail and self._kind.tick_ns >= _SEC
        for touch in source.touches if source.in_folder or looks_the_same else ():
            touch.taken = touch.taken or not touch.served_ns
        if self._fs.exists(notify):
            self._fs.remove(notify)
        if event.detail:
            self._fs.touch(notify, 0)

    def leave(self, event: Event, source: Source) -> None:
        """The program takes a file away, for good or for a while."""
        if source.in_folder and source.touches:
            source.stale_touch = True  # it may be taken for one of what comes next
        self.take_away(source)

    def write_back(self, event: Event, source: Source) -> None:
        self._fs.write_back(self._rng)
