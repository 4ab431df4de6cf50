"""The files that wait for their turn, and those that wait on purpose: in order, and cheap."""

from __future__ import annotations

import logging
import math

import pytest

from pysubtask.core.retry import RetryRule
from pysubtask.errors import RemoteDenied, RemoteFull
from pysubtask.subtask.delivery.queue import Queue
from pysubtask.subtask.delivery.waiting import HeldFiles
from tests.unit.core_fakes import ManualClock


class Sizes(dict[str, int]):
    """Counts how often it is asked."""

    asked = 0

    def __call__(self, path: str) -> int:
        self.asked += 1
        return self[path]


def drain(queue: Queue, *, smallest: bool) -> list[str]:
    return [queue.take(smallest=smallest) for _ in range(len(queue))]


def test_the_first_goes_first_or_the_smallest() -> None:
    sizes = Sizes(a=3, b=1, c=2, d=1)
    queue = Queue(sizes)
    for path in "abcdab":
        queue.add(path)
    assert drain(queue, smallest=False) == ["a", "b", "c", "d"]
    for path in "abcd":
        queue.add(path)
    assert queue.take(smallest=True) == "b"
    sizes["d"] = 9
    queue.add("b")
    assert drain(queue, smallest=True) == ["b", "c", "a", "d"]
    assert not queue


def test_one_that_was_taken_out_of_turn_is_not_given_again() -> None:
    queue = Queue(Sizes(a=3, b=1, c=2))
    for path in "abc":
        queue.add(path)
    assert queue.take(smallest=True) == "b"
    assert queue.take(smallest=False) == "a"
    assert drain(queue, smallest=True) == ["c"]


def test_the_smallest_of_many_is_found_without_asking_all_each_time() -> None:
    count = 20_000
    sizes = Sizes({str(n): n * 7919 % count for n in range(count)})
    queue = Queue(sizes)
    for path in sizes:
        queue.add(path)
    assert [sizes[path] for path in drain(queue, smallest=True)] == sorted(sizes.values())
    assert sizes.asked <= 3 * count


@pytest.fixture
def held() -> HeldFiles:
    return HeldFiles(ManualClock(), RetryRule(), logging.getLogger("pysubtask.test"))


def test_held_files_come_due_once_each_in_the_order_of_their_times(held: HeldFiles) -> None:
    held.hold("full", RemoteFull("no space"))  # 3 s, then 6 s
    held.hold("full", RemoteFull("no space"))
    held.hold("denied", RemoteDenied("no"))
    held.hold("gone", RemoteDenied("no"))
    first, last = held.get("denied"), held.get("full")
    assert first is not None
    assert last is not None
    assert held.next_due() == first.until < last.until
    assert held.let_go("gone")
    assert list(held.take_due(first.until - 0.1)) == []
    assert list(held.take_due(first.until)) == ["denied"]
    assert held.next_due() == last.until
    assert list(held.take_due(math.inf)) == ["full"], "not by the time of its first failure, too"
    assert held.next_due() == math.inf
    assert held.get("denied") is not None, "held until it is let go"


def test_all_come_due_where_somebody_asks(held: HeldFiles) -> None:
    for path in ("c", "a", "b"):
        held.hold(path, RemoteDenied("no"))
    held.retry_now()
    assert list(held.take_due(0.0)) == ["c", "a", "b"]
