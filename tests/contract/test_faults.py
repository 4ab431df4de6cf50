"""Permission denied, disk full, read-only, server restarted: told as what it is, nothing torn, and
over when it is over. For every transport whose server can be brought into that state."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pysubtask.errors import (
    LinkError,
    LoginRefused,
    PysubtaskError,
    RemoteDenied,
    RemoteFull,
)
from pysubtask.transports.contract import (
    Begin,
    Finish,
    MakeDir,
    Put,
    Remove,
    Rename,
    Request,
    Write,
)
from tests.contract.cases import Driver, Harness
from tests.contract.troubles import BOX, Troubles
from tests.unit.core_remote import numbered

OLD, MORE, NEW = numbered(6_000), numbered(40_000, 1), numbered(50_000, 2)
TEMP = ".pysubtask-"


@dataclass
class Trial:
    """Two files at the destination, and changes that are tried there."""

    harness: Harness
    driver: Driver
    _numbers: Iterator[int]

    def __post_init__(self) -> None:
        self.can = self.driver.transport.capabilities

    def path(self, name: str) -> str:
        return self.harness.path(f"{BOX}/{name}")

    def peek(self, name: str) -> bytes | None:
        """What is at the destination, though a server shows something else (rclone's cache)."""
        peek = getattr(self.harness, "peek_below", self.harness.peek)
        found: bytes | None = peek(f"{BOX}/{name}")
        return found

    def writes(self) -> dict[str, Callable[[], None]]:
        """What takes room."""
        found: dict[str, Callable[[], None]] = {"replace": self.replace}
        if self.can.positioned_write:
            found["append"] = self.append
        if self.can.max_put_bytes:
            found["put"] = lambda: self.ask(Put(self.path("other"), NEW))
        return found

    def changes(self) -> dict[str, Callable[[], None]]:
        """What needs permission."""
        return {
            **self.writes(),
            "make a folder": lambda: self.ask(MakeDir(self.path("sub"))),
            "rename": lambda: self.ask(Rename(self.path("other"), self.path("third"))),
            "remove": lambda: self.ask(Remove(self.path("log"))),
        }

    def ask(self, *requests: Request) -> None:
        """One after the other; over another connection, if the former was lost."""
        if not self.driver.is_usable:
            self.driver.close()
            self.driver = Driver(self.harness)
        for request in requests:
            self.driver.ask(request)

    def write(self, path: str, offset: int, data: bytes, *, create: bool = False) -> None:
        step = self.can.max_write_bytes
        for at in range(0, len(data), step):
            self.ask(Write(path, offset + at, data[at : at + step], create=create))
        self.ask(Finish(path))

    def append(self) -> None:
        """To a file that readers see."""
        path = self.path("log")
        self.write(path, len(OLD), MORE)

    def replace(self) -> None:
        """By a new version under another name."""
        temp, path = self.path(f"{TEMP}{next(self._numbers):016x}"), self.path("other")
        if self.can.upload_tokens:
            self.ask(Begin(temp))
        self.write(temp, 0, NEW, create=True)
        if not self.can.atomic_replace:
            self.ask(Remove(path))
        self.ask(Rename(temp, path, replace=self.can.atomic_replace))

    def refusal(self, change: Callable[[], None]) -> PysubtaskError:
        """What the change is refused with. Nothing is torn by it."""
        try:
            change()
        except PysubtaskError as error:
            found = error
        else:
            raise AssertionError("nothing was refused")
        assert self.peek("other") == OLD
        log = self.peek("log")
        assert log is not None
        assert log.startswith(OLD)
        assert (OLD + MORE).startswith(log)
        return found


@pytest.fixture
def trial(alone: None, harness: Harness, troubles: Troubles) -> Iterator[Trial]:
    with troubles.opened():
        driver = Driver(harness)
        try:
            harness.put(f"{BOX}/log", OLD)
            harness.put(f"{BOX}/other", OLD)
            trial = Trial(harness, driver, itertools.count(1))
            yield trial
        finally:
            driver.close()
            trial.driver.close()


def helps(error: PysubtaskError) -> bool:
    """Whether trying again may help with nobody changing anything. Where the server does not tell
    its reason, it may."""
    return "most likely" in str(error) or isinstance(error, LinkError)


def done(trial: Trial) -> None:
    """The trouble is over: what was refused is done, each by one call."""
    for change in trial.writes().values():
        change()
    assert trial.peek("other") == NEW
    if trial.can.positioned_write:
        assert trial.peek("log") == OLD + MORE
    trial.ask(MakeDir(trial.path("sub")))
    trial.ask(Rename(trial.path("other"), trial.path("third")))
    trial.ask(Remove(trial.path("log")))
    assert (trial.peek("log"), trial.peek("third")) == (None, NEW)


def test_permission_denied_is_told_and_nothing_is_torn(trial: Trial, troubles: Troubles) -> None:
    with troubles.denied(BOX):
        for change in trial.changes().values():
            error = trial.refusal(change)
            assert isinstance(error, RemoteDenied), error
            assert re.search("permission|not permitted", str(error)), error
            assert error.path
            assert error.retryable is helps(error)
    done(trial)


def test_a_full_disk_is_told_and_nothing_is_torn(trial: Trial, troubles: Troubles) -> None:
    with troubles.full():
        for change in trial.writes().values():
            error = trial.refusal(change)
            assert isinstance(error, RemoteFull), error
            assert re.search("[Nn]o space|is full", str(error)), error
            assert error.path
            assert error.retryable or error.hint  # others may make room; or we have to
    done(trial)


def test_a_read_only_place_is_told_and_nothing_is_torn(trial: Trial, troubles: Troubles) -> None:
    with troubles.read_only():
        for change in trial.changes().values():
            error = trial.refusal(change)
            assert isinstance(error, RemoteDenied | LoginRefused), error
            assert re.search("[Rr]ead-only|lacks a permission", str(error)), error
            assert error.path
            assert error.retryable is helps(error)
    done(trial)
