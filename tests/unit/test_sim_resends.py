"""The simulator's account of bytes that are sent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.errors import RemoteError
from pysubtask.transports.contract import Copy, Request, Result, Write
from tests.simulation.remote import RemoteDisk
from tests.simulation.resends import CountingTransport, Resends

WINDOW = 256 * 1024
COMPARED = 128 * 1024
TEMP = "/.pysubtask-0123456789abcdef"


def server() -> tuple[RemoteDisk, Resends]:
    disk = RemoteDisk(lambda: 1_700_000_000)
    account = Resends(disk, readable=True)
    disk.observers.append(account)
    return disk, account


def write(
    disk: RemoteDisk,
    account: Resends,
    name: str,
    offset: int,
    data: bytes,
    upload: tuple[str, int] | None = None,
) -> None:
    account.sent(Write(name, offset, data, create=True), upload)
    file = disk.open(name, write=True, create=upload is not None, truncate=False, exclusive=False)
    disk.write(file, offset, data)


def test_bytes_behind_the_last_ones_are_new() -> None:
    disk, account = server()
    write(disk, account, TEMP, 0, b"abc", ("/a", 1))
    write(disk, account, TEMP, 3, b"def", ("/a", 1))
    assert account.again_bytes == 0


def test_bytes_at_a_place_that_was_written_to_count() -> None:
    disk, account = server()
    write(disk, account, TEMP, 0, b"abcdef", ("/a", 1))
    write(disk, account, TEMP, 4, b"efgh", ("/a", 1))
    assert account.again_bytes == 2
    write(disk, account, TEMP, 8, b"i", ("/a", 1))
    assert account.again_bytes == 2


def test_a_version_begun_anew_counts_with_all_that_had_arrived() -> None:
    disk, account = server()
    write(disk, account, TEMP, 0, b"abcdef", ("/a", 1))
    write(disk, account, TEMP + "2", 0, b"abcdef", ("/a", 2))
    assert account.again_bytes == 0  # another version
    disk.remove(TEMP)
    write(disk, account, TEMP + "3", 0, b"abcdef", ("/a", 1))
    assert account.again_bytes == 6


def test_a_version_that_was_put_in_place_may_be_sent_once_more() -> None:
    disk, account = server()
    write(disk, account, TEMP, 0, b"abcdef", ("/a", 1))
    disk.rename(TEMP, "/a", replace=True)
    disk.another_hand = True
    disk.remove("/a")
    disk.another_hand = False
    write(disk, account, TEMP + "2", 0, b"abcdef", ("/a", 1))
    assert account.again_bytes == 0


@pytest.mark.parametrize("spoilt", ["/a", "/b"])
def test_what_was_copied_from_a_file_that_another_hand_changed_is_sent_anew(spoilt: str) -> None:
    disk, account = server()
    disk.put("/a", b"old")
    disk.put("/b", b"old")
    account.copied(Copy("/a", 0, 3, TEMP, 0))
    write(disk, account, TEMP, 0, b"abc", ("/a", 1))
    disk.another_hand = True
    disk.write(disk.files[spoilt], 3, b"theirs")
    disk.another_hand = False
    write(disk, account, TEMP, 3, b"def", ("/a", 1))  # it goes on until it is looked at
    write(disk, account, TEMP + "2", 0, b"abcdef", ("/a", 1))
    assert account.again_bytes == (0 if spoilt == "/a" else 6)


def test_a_file_that_is_ours_again_excuses_nothing() -> None:
    disk, account = server()
    disk.another_hand = True
    disk.put("/a", b"theirs")
    disk.another_hand = False
    disk.put("/a", b"old")
    account.copied(Copy("/a", 0, 3, TEMP, 0))
    write(disk, account, TEMP, 0, b"abcdef", ("/a", 1))
    write(disk, account, TEMP + "2", 0, b"abcdef", ("/a", 1))
    assert account.again_bytes == 6


def test_nothing_counts_where_another_hand_was_or_the_power_failed() -> None:
    disk, account = server()
    write(disk, account, TEMP, 0, b"abcdef", ("/a", 1))
    disk.rename(TEMP, "/a", replace=True)
    write(disk, account, "/a", 6, b"ghi")
    disk.another_hand = True
    disk.truncate(disk.files["/a"], 7)
    disk.another_hand = False
    write(disk, account, "/a", 7, b"hi")
    assert account.again_bytes == 0
    account.lost_power()
    write(disk, account, "/a", 7, b"hi")
    assert account.again_bytes == 0
    write(disk, account, "/a", 7, b"hi")
    assert account.again_bytes == 2


class Inner:
    """A transport that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Result]] = []
        self.submitted: list[Request] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(True, True, True)

    def connect(self) -> None:
        pass

    def submit(self, ticket: int, request: Request) -> None:
        self.submitted.append(request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        answers, self.answers = self.answers, []
        yield from answers

    def close(self) -> None:
        pass


def counted(account: Resends, window: int = 0) -> tuple[CountingTransport, Inner]:
    inner = Inner()
    transport = CountingTransport(inner, account, lambda name: ("/a", 1), lambda: window)
    transport.connect()
    return transport, inner


def test_an_idle_connection_that_ends_excuses_nothing() -> None:
    _, account = server()
    transport, inner = counted(account)
    transport.submit(1, Write(TEMP, 0, b"a", create=True))
    inner.answers.append((1, None))
    assert list(transport.collect()) == [(1, None)]
    transport.close()
    assert account.excused_bytes == 0
    assert len(inner.submitted) == 1


def test_what_was_in_flight_is_excused_once() -> None:
    _, account = server()
    transport, _ = counted(account, window=3 * WINDOW)
    transport.submit(1, Write(TEMP, 0, b"a", create=True))
    transport.close()
    transport.close()
    assert account.excused_bytes == 3 * WINDOW + COMPARED


def test_a_refused_write_excuses_a_window() -> None:
    _, account = server()
    transport, inner = counted(account)
    transport.submit(1, Write(TEMP, 0, b"a", create=True))
    inner.answers.append((1, RemoteError("the disk is full", operation="write")))
    assert len(list(transport.collect())) == 1
    assert account.excused_bytes == WINDOW + COMPARED


def test_a_death_excuses_more_where_nobody_can_look() -> None:
    disk, account = server()
    account.broke(died=True)
    assert account.excused_bytes == WINDOW + COMPARED
    blind = Resends(disk, readable=False)
    blind.broke(died=True)
    assert blind.excused_bytes == WINDOW + (1 << 20)
