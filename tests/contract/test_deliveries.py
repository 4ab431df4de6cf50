"""Delivery itself over every transport: what a reader sees at every step, whatever breaks."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pysubtask.core.plan import Policy
from pysubtask.transports.contract import MakeDir, Remove, Transport
from tests.contract.cases import Driver, Harness
from tests.contract.fragile import Fragile, Link
from tests.unit.core_fakes import HookedDisk, ManualClock, close_all
from tests.unit.core_local import Local
from tests.unit.core_remote import Remote, WatchedServer, numbered

LIMIT_SECS = 20.0
MOST_BREAKS = 100


@pytest.fixture(autouse=True)
def _nothing_left_open() -> object:
    yield
    close_all()


@dataclass
class Scene:
    """A file here, its delivery to ``name`` below the test's folder, and a reader there."""

    driver: Driver
    harness: Harness
    folder: Path
    name: str
    policy: Policy = field(default_factory=Policy)
    seen: list[bytes | None] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.driver.ask(MakeDir(self.harness.path(self.name)))
        self.link = Link(self.driver.transport, self.driver.news, self.look)
        self.local = Local(self.folder, ManualClock(), HookedDisk())
        self.remote = Remote(
            self.local,
            WatchedServer(),
            policy=self.policy,
            root=self.harness.path(self.name),
            make_transport=self.connect,
        )

    def connect(self) -> Transport:
        self.connections += 1
        return Fragile(self.link)

    def look(self) -> None:
        """What a reader sees now."""
        if self.harness.peeks_cheaply:
            content = self.harness.peek(f"{self.name}/a.csv")
            if not self.seen or content != self.seen[-1]:
                self.seen.append(content)

    def deliver(self, data: bytes, mode: str = "wb") -> None:
        """Write, have it looked at, and wait until all is delivered."""
        self.local.write(data, mode)
        self.local.take()
        until = time.monotonic() + LIMIT_SECS
        while True:
            self.driver.news.clear()
            due = self.remote.step()
            if self.remote.looked_again:
                self.remote.looked_again.clear()
                self.local.take()
            elif self.remote.is_settled():
                break
            assert time.monotonic() < until, self.remote.delivery.link
            if self.remote.delivery.link.link == "retrying" or self.remote.delivery.errors:
                self.local.clock.now = max(self.local.clock.now, due)
            else:
                self.driver.news.wait(0.02)

    def there(self, file: str = "a.csv") -> bytes | None:
        return self.harness.peek(f"{self.name}/{file}")

    def close(self) -> None:
        self.remote.delivery.close()


def is_sound(seen: list[bytes | None], grown: bytes, rewritten: bytes, *, gap: bool) -> bool:
    """Whether a reader saw ever longer beginnings of the first, and then the second. Before the
    first there is no file; with ``gap`` also for a moment before a new version."""
    if None in seen[1:] and not gap:
        return False
    states = [content for content in seen if content is not None]
    *before, last = states
    lengths = [len(content) for content in before]
    return (
        last == rewritten
        and all(grown.startswith(content) for content in before)
        and lengths == sorted(lengths)
    )


def test_a_break_at_every_request_and_a_reader_at_every_step(
    driver: Driver, harness: Harness, tmp_path: Path
) -> None:
    first, more, other = numbered(30_000), numbered(9_000, 1), numbered(20_000, 2)
    gap = not driver.transport.capabilities.atomic_replace
    for number in itertools.count():
        scene = Scene(driver, harness, tmp_path / f"here{number}", f"k{number}")
        scene.link.break_at = number
        scene.deliver(first)
        assert scene.there() == first
        scene.deliver(more, "ab")
        assert scene.there() == first + more
        scene.deliver(other)
        assert scene.there() == other
        scene.close()
        if harness.peeks_cheaply:
            assert is_sound(scene.seen, first + more, other, gap=gap), [
                None if s is None else len(s) for s in scene.seen
            ]
        if number and scene.link.requests < number:
            break
        assert scene.connections >= (2 if number else 1)
        assert number < MOST_BREAKS


def test_consumers_that_take_files_away(driver: Driver, harness: Harness, tmp_path: Path) -> None:
    scene = Scene(driver, harness, tmp_path / "here", "k", Policy(on_remote_gone="continue"))
    whole = b""
    taken = b""
    for number in range(4):
        data = numbered(5_000, number)
        whole += data
        scene.deliver(data, "ab")
        found = scene.there()
        assert found is not None
        taken += found
        driver.ask(Remove(harness.path("k/a.csv")))
    assert taken == whole
    scene.close()


def test_what_is_gone_is_sent_again(driver: Driver, harness: Harness, tmp_path: Path) -> None:
    scene = Scene(driver, harness, tmp_path / "here", "k")
    scene.deliver(b"one\n")
    driver.ask(Remove(harness.path("k/a.csv")))
    scene.deliver(b"two\n", "ab")
    assert scene.there() == b"one\ntwo\n"
    scene.close()
