"""What the monitor's tests share."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.monitor.bench import Bench, Site
from tests.monitor.fakes import World


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """Makes web applications over a World: ``site(password="…")``."""
    made: list[Site] = []

    def make(world: World | None = None, password: str | None = None) -> Site:
        made.append(Site(world or World(), password))
        return made[-1]

    yield make
    for one in made:
        one.monitor.stop()


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    yield made
    made.monitor.stop()
