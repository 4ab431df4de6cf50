"""The simulator's reader at the destination: what it forgives after a loss of power."""

from __future__ import annotations

import pytest

from tests.simulation.checker import Checker, Violation
from tests.simulation.ledger import Ledger, Source
from tests.simulation.remote import RemoteDisk

NAME = "/in/a.csv"
TEMP = "/in/.pysubtask-0123456789abcdef"


def test_what_was_on_its_way_when_the_power_failed_is_forgotten_by_the_journal() -> None:
    disk, checker = _reader()
    checker.roll_back(0)
    disk.late = True
    _append(disk, b"def")
    disk.late = False
    _send_again(disk, b"abcd")  # all that the disk has kept of it
    assert disk.files[NAME].content == b"abcd"
    _append(disk, b"ef")
    with pytest.raises(Violation, match="after lineage 0 at 6"):
        _send_again(disk, b"abcd", stamp="20231114T221337Z")


def test_what_a_living_child_has_sent_is_not() -> None:
    disk, checker = _reader()
    checker.roll_back(0)
    _append(disk, b"def")
    with pytest.raises(Violation, match="after lineage 0 at 6"):
        _send_again(disk, b"abcd")


def _reader() -> tuple[RemoteDisk, Checker]:
    """After ``abc`` of a file that grows to ``abcdef`` was put in place."""
    disk, ledger = RemoteDisk(lambda: 1_700_000_000), Ledger()
    disk.folders.add("/in")
    source = ledger.add(Source("/home/a.csv", NAME, "auto"))
    source.begin(b"abcdef", 0)
    checker = Checker(ledger, disk, lambda: 1)
    _put(disk, b"abc")
    return disk, checker


def _put(disk: RemoteDisk, content: bytes) -> None:
    file = disk.open(TEMP, write=True, create=True, truncate=False, exclusive=True)
    disk.write(file, 0, content)
    disk.rename(TEMP, NAME, replace=True)


def _send_again(disk: RemoteDisk, content: bytes, stamp: str = "20231114T221336Z") -> None:
    disk.rename(NAME, f"{NAME}~{stamp}", replace=False)
    _put(disk, content)


def _append(disk: RemoteDisk, data: bytes) -> None:
    file = disk.files[NAME]
    disk.write(file, len(file.content), data)
