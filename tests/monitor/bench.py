"""A monitor over a World, with its web application."""

from __future__ import annotations

import pathlib
from typing import Any

from pysubtask.monitor.alerts import AlertSettings
from pysubtask.monitor.fleet import Scan
from pysubtask.monitor.history import History
from pysubtask.monitor.keeper import Monitor
from pysubtask.monitor.web.access import Access, hash_password
from pysubtask.monitor.web.app import make_app
from tests.monitor.fakes import Answer, World, ask


class FakeSource:
    """A World as a source."""

    def __init__(self, world: World) -> None:
        self.world = world

    def scan(self) -> Scan:
        return self.world.scan()

    def close(self) -> None:
        pass

    def __str__(self) -> str:
        return "/srv/drop"


class Site:
    """Everything but the threads and the network."""

    def __init__(self, world: World, password: str | None = None, **options: Any) -> None:
        self.world = world
        self.monitor = Monitor(
            FakeSource(world),
            History(None),
            settings=world.settings,
            clock=lambda: world.now,
            monotonic=lambda: world.monotonic,
            **options,
        )
        self.access = Access(
            self.monitor.history,
            self.monitor.lock,
            hash_password(password) if password else None,
            clock=lambda: world.now,
        )
        self.app = make_app(self.monitor, self.access)

    def look(self, after: float = 1.0) -> None:
        """Let time pass, in which it looks as usual, then look."""
        while after > 25.0:
            self.stall(20.0)
            after -= 20.0
        self.stall(after)

    def stall(self, after: float) -> None:
        """Let time pass without any look, then look."""
        self.world.now += after
        self.world.monotonic += after
        self.monitor.step()

    def ask(self, path: str, **options: Any) -> Answer:
        return ask(self.app, path, **options)


class Bench:
    """A monitor that looks at a World and can be started again."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.world = folder, World()
        self.monitor = self.make()

    def make(self) -> Monitor:
        return Monitor(
            FakeSource(self.world),
            History(self.folder),
            alert_settings=AlertSettings(),
            clock=lambda: self.world.now,
            monotonic=lambda: self.world.monotonic,
        )

    def look(self, after: float = 5.0) -> None:
        self.world.now += after
        self.world.monotonic += after
        self.monitor.step()

    def run(self, secs: float, *beats: str) -> None:
        for _ in range(round(secs / 5)):
            for name in beats:
                self.world.beat(name)
            self.look()

    def restart(self, away: float = 3.0, *, kill: bool = False) -> None:
        if kill:
            self.monitor.history.close()  # nothing more is written
        else:
            self.monitor.stop()
        self.world.now += away
        self.world.monotonic = 7.0  # another boot's, maybe
        self.monitor = self.make()

    def states(self) -> dict[str, str]:
        return {row.name: row.state.value for row in self.monitor.snapshot.rows.values()}

    def told(self) -> list[str]:
        return [row[0] for row in self.monitor.history.query("SELECT kind FROM notices")]
