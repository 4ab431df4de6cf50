"""Delivery itself through troubles: the file waits and says why, a reader sees nothing torn, and
what is owed arrives once the trouble is over. And servers that restart."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pysubtask.errors import LinkError
from pysubtask.transports.contract import (
    Capabilities,
    RemoteStat,
    Request,
    Result,
    Stat,
    Transport,
    Write,
)
from tests.contract.cases import Driver, Harness
from tests.contract.test_deliveries import LIMIT_SECS, Scene
from tests.contract.troubles import BOX, Troubles
from tests.unit.core_fakes import close_all
from tests.unit.core_remote import numbered

LINK_SECS = 10.0
"""A connection that is gone is told within this time."""
RESENT_BYTES = 64 * 1024
"""So much of what was acknowledged before a break may be sent again after it."""
DENIED = "permission|not permitted"
FULL = "[Nn]o space|is full"
READ_ONLY = "[Rr]ead-only|lacks a permission"
GONE = "reset|closed|broke|ended|not there|refused"
AWAY = "refused|not there"
FIRST, MORE, OTHER = numbered(6_000), numbered(40_000, 1), numbered(50_000, 2)


@pytest.fixture(autouse=True)
def _nothing_left_open() -> object:
    yield
    close_all()


class Account:
    """What connections have sent, over all of them; at some point the server restarts."""

    def __init__(self) -> None:
        self.acked_bytes = 0
        """Of writes, since the restart if there was one."""
        self.restarted = False
        self._restart_at: int | None = None

    def restart_at(self, acked_bytes: int, troubles: Troubles) -> None:
        """Once so much was acknowledged."""
        self._restart_at, self._troubles = acked_bytes, troubles

    def note(self, size: int) -> None:
        self.acked_bytes += size
        if self._restart_at is not None and self.acked_bytes >= self._restart_at:
            self._restart_at = None
            with self._troubles.down():
                pass
            self.acked_bytes, self.restarted = 0, True


class Counted:
    """A real connection whose acknowledged writes are counted."""

    def __init__(self, inner: Transport, account: Account) -> None:
        self._inner = inner
        self._account = account
        self._sizes: dict[int, int] = {}
        self.connect = inner.connect
        self.close = inner.close

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def submit(self, ticket: int, request: Request) -> None:
        if isinstance(request, Write):
            self._sizes[ticket] = len(request.data)
        self._inner.submit(ticket, request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        for ticket, result in self._inner.collect():
            size = self._sizes.pop(ticket, 0)
            if result is None:
                self._account.note(size)
            yield ticket, result


@dataclass
class Live(Scene):
    """Every connection is a real one."""

    account: Account = field(default_factory=Account)

    def connect(self) -> Transport:
        self.connections += 1
        return Counted(self.harness.make(self.driver.news.set), self.account)

    def hold(self, data: bytes, mode: str) -> str:
        """Write, have it looked at, and wait until it can't be delivered; the reason."""
        self.local.write(data, mode)
        self.local.take()
        found: list[str] = []

        def told() -> bool:
            assert not self.remote.is_settled(), "delivered all the same"
            delivery = self.remote.delivery
            words = delivery.error_of(self.local.path)
            if words is None and delivery.link.link == "retrying":
                words = delivery.link.last_error
            found.extend([words] if words else [])
            return bool(found)

        self._step_until(told)
        return found[0]

    def settle(self) -> None:
        """Nothing is in the way any more: deliver what is owed."""
        self._step_until(self.remote.is_settled, retries=True)

    def _step_until(self, done: Callable[[], bool], *, retries: bool = False) -> None:
        until = time.monotonic() + LIMIT_SECS
        while True:
            self.driver.news.clear()
            if retries and self.remote.delivery.errors:
                self.remote.delivery.retry_now()
            due = self.remote.step()
            if self.remote.looked_again:
                self.remote.looked_again.clear()
                self.local.take()
            elif done():
                break
            assert time.monotonic() < until, self.remote.delivery.link
            if self.remote.delivery.link.link == "retrying":
                self.local.clock.now = max(self.local.clock.now, due)
            else:
                self.driver.news.wait(0.02)

    def there(self, file: str = "a.csv") -> bytes | None:
        """At the destination, though a server shows something else (rclone's cache)."""
        peek = getattr(self.harness, "peek_below", self.harness.peek)
        found: bytes | None = peek(f"{self.name}/{file}")
        return found

    def goes_through(self, trouble: AbstractContextManager[object], words: str) -> None:
        """What was delivered grows while there is trouble, and once more after it."""
        self.deliver(FIRST)
        with trouble:
            error = self.hold(MORE, "ab")
            assert re.search(words, error), error
            seen = self.there()
            assert seen is not None
            assert seen.startswith(FIRST)
            assert (FIRST + MORE).startswith(seen)
        self.settle()
        assert self.there() == FIRST + MORE

    def is_replaced_after(
        self, trouble: AbstractContextManager[object], words: str, other: bytes = OTHER
    ) -> None:
        """What was delivered gets a new version while there is trouble."""
        self.deliver(FIRST)
        with trouble:
            error = self.hold(other, "wb")
            assert re.search(words, error), error
            assert self.there() == FIRST
        self.settle()
        assert self.there() == other


@pytest.fixture
def live(alone: None, harness: Harness, troubles: Troubles, tmp_path: Path) -> Iterator[Live]:
    with troubles.opened():
        driver = Driver(harness)
        scene = Live(driver, harness, tmp_path / "here", f"{BOX}/k")
        try:
            yield scene
        finally:
            scene.close()
            driver.close()


@pytest.fixture
def growing(live: Live) -> Live:
    if getattr(live.harness, "caches", False):
        pytest.skip("what the server has in its cache counts as delivered")
    return live


def test_an_append_waits_for_permission(growing: Live, troubles: Troubles) -> None:
    growing.goes_through(troubles.denied(f"{BOX}/k"), DENIED)


def test_an_append_waits_for_room(growing: Live, troubles: Troubles) -> None:
    growing.goes_through(troubles.full(), FULL)


def test_an_append_waits_while_all_is_read_only(growing: Live, troubles: Troubles) -> None:
    growing.goes_through(troubles.read_only(), READ_ONLY)


def test_a_new_version_waits_for_permission(live: Live, troubles: Troubles) -> None:
    live.is_replaced_after(troubles.denied(f"{BOX}/k"), DENIED)


def test_a_new_version_waits_for_room(live: Live, troubles: Troubles) -> None:
    live.is_replaced_after(troubles.full(), FULL)


def test_a_new_version_of_one_write_waits_for_room(live: Live, troubles: Troubles) -> None:
    """A server may take a part of a write, and say that it has all of it: no other follows, which
    would be refused."""
    live.is_replaced_after(troubles.full(), FULL, OTHER[:20_000])


def test_a_new_version_waits_while_all_is_read_only(live: Live, troubles: Troubles) -> None:
    live.is_replaced_after(troubles.read_only(), READ_ONLY)


def test_a_server_that_is_away_is_told_soon(
    alone: None, harness: Harness, troubles: Troubles
) -> None:
    harness.put("file", b"x")
    look = Stat(harness.path("file"))
    driver = Driver(harness)
    driver.ask(look)
    with troubles.down():
        for attempt, words in ((lambda: driver.ask(look), GONE), (lambda: Driver(harness), AWAY)):
            began = time.monotonic()
            with pytest.raises(LinkError, match=words) as caught:
                attempt()
            assert time.monotonic() - began < LINK_SECS
            assert caught.value.retryable
    driver.close()
    again = Driver(harness)
    found = again.ask(look)
    again.close()
    assert isinstance(found, RemoteStat)
    assert found.size == 1


def test_an_upload_goes_on_after_the_server_restarted(
    alone: None, harness: Harness, troubles: Troubles, tmp_path: Path
) -> None:
    driver = Driver(harness)
    can = driver.transport.capabilities
    live = Live(driver, harness, tmp_path / "here", "k")
    driver.close()
    content = numbered(max(1_500_000, can.max_put_bytes * 3 // 2))
    before = len(content) // 3
    live.account.restart_at(before, troubles)
    try:
        live.local.write(content)
        live.local.take()
        live.settle()
        assert live.account.restarted
        assert live.there() == content
        if can.positioned_write or can.upload_tokens:
            assert live.account.acked_bytes <= len(content) - before + RESENT_BYTES
    finally:
        live.close()
