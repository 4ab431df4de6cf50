"""What a destination says that it can do, or can't."""

from __future__ import annotations

import os

import pytest

from pysubtask.core.checksum import hasher
from pysubtask.core.costs import costs_of, missing
from pysubtask.errors import RemoteError, RemoteNotFound, RemoteUnsupported
from pysubtask.transports.contract import Copy, Finish, RemoteSpace, RemoteStat, Space, Stat, Write
from tests.contract.cases import Driver, Harness, write_whole


def test_copy_on_the_server(driver: Driver, harness: Harness) -> None:
    data = os.urandom(300_000)
    harness.put("old", data)
    old, new = harness.path("old"), harness.path("new")
    if not driver.transport.capabilities.server_copy:
        with pytest.raises(RemoteUnsupported):
            driver.ask(Copy(old, 0, 10, new, 0, create=True))
        return
    driver.ask(Write(new, 0, b"", create=True))
    results = driver.do(
        Copy(old, 100, 200_000, new, 50),
        Copy(old, 0, 50, new, 0),
        Copy(old, 0, 0, new, 9),
    )
    assert results == [None, None, None]
    driver.ask(Write(new, 10, b"patch"))
    driver.ask(Finish(new))
    expected = bytearray(data[:50] + data[100:200_100])
    expected[10:15] = b"patch"
    assert harness.peek("new") == bytes(expected)
    assert harness.peek("old") == data


def test_copy_to_a_target_that_is_not_there(driver: Driver, harness: Harness) -> None:
    """Unless it may be made: what is copied to the middle of a new file would follow a hole."""
    if not driver.transport.capabilities.server_copy:
        pytest.skip("the destination can't copy")
    harness.put("old", b"0123456789")
    old, new = harness.path("old"), harness.path("new")
    with pytest.raises(RemoteNotFound):
        driver.ask(Copy(old, 5, 5, new, 5))
    driver.ask(Copy(old, 5, 5, new, 0, create=True))
    driver.ask(Finish(new))
    assert harness.peek("new") == b"56789"


def test_copy_of_nothing(driver: Driver, harness: Harness) -> None:
    with pytest.raises(RemoteError):
        driver.ask(Copy(harness.path("nothing"), 0, 10, harness.path("new"), 0, create=True))


def test_a_digest_is_of_the_whole_file(driver: Driver, harness: Harness) -> None:
    kind = driver.transport.capabilities.checksum
    data = os.urandom(5_000_000)
    harness.put("file", data)
    told = driver.ask(Stat(harness.path("file")))
    assert isinstance(told, RemoteStat)
    if not kind:
        assert told.digest is None
        return
    ours = hasher(kind)
    for at in range(0, len(data), 777_777):
        ours.update(data[at : at + 777_777])
    assert told.digest == ours.hexdigest()


def test_what_it_lacks_is_told_with_its_cost(driver: Driver) -> None:
    """In ``status().notes`` and the log: in words of its own, or in those of the table."""
    can = driver.transport.capabilities
    lacks = {ability.name: ability for ability in missing(can)}
    in_own_words = can.told & set(lacks)
    assert can.limits or not in_own_words
    notes = "; ".join((*can.limits, *costs_of(can)))
    for name, ability in lacks.items():
        assert name in can.told or ability.cost in notes
    assert all(": " in limit for limit in can.limits)  # what is lacking: what that costs


def test_free_space_is_told_or_not(driver: Driver, harness: Harness) -> None:
    write_whole(driver, harness.path("x"), b"1")
    folder = harness.path("x").rpartition("/")[0] or "."
    try:
        found = driver.ask(Space(folder))
    except RemoteUnsupported:
        return  # who does not know says so, and the connection is good
    finally:
        assert isinstance(driver.ask(Stat(harness.path("x"))), RemoteStat)
    assert isinstance(found, RemoteSpace)
    assert found.free_bytes >= 0
    assert found.free_files is None or found.free_files >= 0
