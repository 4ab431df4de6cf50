"""The words of the log for what was delivered."""

from __future__ import annotations

import logging
import pathlib

import pytest

from pysubtask.core.digest import FULL_LINES
from pysubtask.subtask.delivery.account import Account
from tests.unit.core_fakes import HookedDisk, ManualClock, close_all
from tests.unit.core_local import Local


@pytest.fixture
def local(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> Local:
    caplog.set_level(logging.INFO, "pysubtask.test.account")
    return Local(tmp_path, ManualClock(), HookedDisk())


@pytest.fixture
def account(local: Local) -> Account:
    log = logging.getLogger("pysubtask.test.account")
    return Account(local.clock, local.ledger, log, lambda path: (path[0], path))


def deliver(account: Account, local: Local, path: str, size: int, secs: float = 0.25) -> None:
    account.began(path)
    local.clock.advance(secs)
    account.moved(path, size)
    account.ended(path)


def test_the_first_in_full_then_a_summary(
    account: Account, local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FULL_LINES + 2):
        deliver(account, local, "a", 1204)
    assert caplog.messages == [
        "delivered a: 1,204 bytes in 0.25 s, 0.25 s after the snapshot"
    ] * FULL_LINES  # fmt: skip
    caplog.clear()
    account.tick()
    assert caplog.messages == []
    local.write(b"12345")
    local.take()
    local.clock.advance(60)
    account.tick()
    (line,) = caplog.messages
    assert line == (
        "delivered a 2 more times in 71 s: 2,408 bytes, at most 0.25 s after the snapshot; "
        "5 bytes of 1 file are owed, the oldest for 60 s"
    )
    close_all()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("x", "delivered f once more in 60 s: 10 bytes"),
        ("xy", "delivered 2 more files of f in 60 s: 20 bytes"),
        ("xyx", "delivered 2 files of f 3 more times in 60 s: 30 bytes"),
    ],
)
def test_groups(
    account: Account, local: Local, caplog: pytest.LogCaptureFixture, names: str, words: str
) -> None:
    for _ in range(FULL_LINES):
        deliver(account, local, "f0", 1, 0)
    caplog.clear()
    for name in names:
        deliver(account, local, f"f{name}", 10)
    local.clock.advance(59.75)
    account.tick()
    assert [m.split(",")[0] for m in caplog.messages] == [words]
    assert caplog.messages[0].endswith("; nothing is owed")


def test_a_break_belongs_to_the_time_it_took(
    account: Account, local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    account.began("a")
    local.clock.advance(30)
    account.moved("a", 4)
    account.began("a")  # over a new connection
    local.clock.advance(30)
    account.moved("a", 6)
    account.ended("a")
    assert caplog.messages == ["delivered a: 10 bytes in 60 s, 60 s after the snapshot"]


def test_what_moved_nothing_is_not_told(
    account: Account, local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    account.began("a")
    account.ended("a")
    account.ended("b")
    account.moved("c", 10)
    account.tick(everything=True)
    assert caplog.messages == []


def test_the_end_tells_the_rest(
    account: Account, local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FULL_LINES + 1):
        deliver(account, local, "a", 1, 0)
    account.tick(everything=True)
    assert caplog.messages[-1].startswith("delivered a once more in 0.000 s: 1 bytes")
