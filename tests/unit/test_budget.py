"""Budgets: no day sees more than its limit, and a restart forgets nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.core.budget import DAY_SECS, Limits, day_bucket, rate_bucket
from pysubtask.errors import RemoteDenied
from pysubtask.subtask.delivery.allowance import Allowance, BudgetSpent
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock, disk_full, fail_with, nothing
from tests.unit.core_local import Local
from tests.unit.core_remote import Remote, make_remote, numbered


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


# -- buckets -------------------------------------------------------------------------------------


@given(
    st.integers(1, 500),
    st.lists(st.floats(0, DAY_SECS / 3), min_size=1, max_size=200),
)
def test_no_24_hours_see_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    """Whoever asks whenever they like, as often as they like."""
    now = 1000.0
    bucket = day_bucket(limit, now)
    taken: list[float] = []
    for pause in pauses:
        now += pause
        for _ in range(limit):
            if bucket.ready_at(1, now) > now:
                break
            bucket = bucket.taken(1, now)
            taken.append(now)
    for first in taken:
        assert sum(first <= at < first + DAY_SECS - 1 for at in taken) <= max(limit, 1)


@given(st.integers(1, 1000), st.integers(1, 50))
def test_it_is_ready_when_it_says(limit: int, count: int) -> None:
    bucket = day_bucket(limit, 0.0, level=-3.0)
    at = bucket.ready_at(count, 0.0)
    assert at > 0
    assert bucket.filled(at).ready_at(count, at) <= at
    assert bucket.ready_at(count, at / 2) > at / 2


def test_a_clock_that_is_set_back_fills_nothing_and_takes_nothing() -> None:
    bucket = day_bucket(100, 5000.0, level=0.0)
    assert bucket.filled(1000.0).level == 0.0
    assert bucket.filled(1000.0).filled(1000.0 + DAY_SECS).level == 10.0


def test_a_rate() -> None:
    bucket = rate_bucket(1000, 0.0)
    sent, now = 0, 0.0
    while now < 10:
        now = bucket.ready_at(400, now)
        bucket = bucket.taken(400, now)
        sent += 400
    assert 9_000 <= sent <= 11_000


# -- deliveries ----------------------------------------------------------------------------------


def write(local: Local, remote: Remote, data: bytes) -> None:
    local.write(data, "ab")
    local.clock.now -= 10
    local.take("append")
    remote.step()


def test_deliveries_are_spread_over_the_day(local: Local) -> None:
    remote = make_remote(local, limits=Limits(transactions_per_day=100))
    delivered = []
    hours = 48
    for _ in range(hours * 60):  # a line a minute
        write(local, remote, b"line\n")
        done = local.entry.delivered
        delivered.append(0 if done is None else done.size)
        local.clock.advance(60)
    steps = sum(a != b for a, b in itertools.pairwise(delivered))
    assert 150 <= steps <= 200
    last_day = delivered[24 * 60 :]
    longest = max(sum(1 for size in last_day if size == value) for value in set(last_day))
    assert longest <= 20, "minutes that data waited: 96 at once would have left hours"
    assert remote.server.read_file("a.csv") is not None


def test_bytes_of_a_day(local: Local) -> None:
    """A file larger than a day's budget arrives over days; a break costs nothing."""
    remote = make_remote(local, limits=Limits(bytes_per_day=1_000_000))
    local.write(numbered(2_500_000))
    local.take()
    began = local.clock.now
    days: dict[int, int] = {}
    while not remote.is_settled():
        due = remote.step()
        days[int((local.clock.now - began) // DAY_SECS)] = remote.server.written_bytes
        local.clock.now = max(local.clock.now + 1, min(due, local.clock.now + DAY_SECS))
    assert remote.server.read_file("a.csv") == numbered(2_500_000)
    assert remote.server.written_bytes == 2_500_000
    assert 2.4 * DAY_SECS <= local.clock.now - began <= 4 * DAY_SECS
    assert days[0] <= 1_000_000


def test_what_is_said(local: Local) -> None:
    remote = make_remote(local, limits=Limits(transactions_per_day=1))
    write(local, remote, b"one\n")
    assert remote.server.read_file("a.csv") == b"one\n"
    write(local, remote, b"two\n")
    assert remote.server.read_file("a.csv") == b"one\n"
    (words,) = remote.delivery.errors.values()
    assert "the budget of 1 deliveries a day is spent; more at" in words
    assert remote.delivery.link.link == "connected", "that is no conflict"
    local.clock.advance(DAY_SECS)
    remote.settle()
    assert remote.server.read_file("a.csv") == b"one\ntwo\n"
    assert remote.delivery.errors == {}


def test_a_spent_budget_costs_no_looks(local: Local, tmp_path: Path) -> None:
    remote = make_remote(local, limits=Limits(transactions_per_day=1))
    write(local, remote, b"one\n")
    before = len(remote.server.requests)
    for number in range(20):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(b"1\n")
        local.snapshots.take(str(path), path.name, "append", None)
        remote.delivery.offer(str(path))
    for _ in range(5):
        remote.step()
    assert remote.server.requests[before:] == []
    assert len(remote.delivery.errors) == 20
    local.clock.advance(DAY_SECS)
    remote.step()
    assert len(remote.server.requests) > before


def test_a_refused_name_is_not_tried_beyond_the_budget(local: Local) -> None:
    """All of it has arrived, and each try costs a look (history 8000901750 of the simulator)."""
    remote = make_remote(local, limits=Limits(bytes_per_day=50_000))

    def refuse(operation: str, path: str) -> None:
        if operation == "rename":
            raise RemoteDenied("permission denied", operation=operation, path=path)

    remote.server.fault_before = refuse
    local.write(numbered(6_000))
    local.take("rewrite")
    for _ in range(600):
        remote.step()
        local.clock.advance(1)
    begun = len(remote.server.requests)
    assert 0 < begun < 12
    (words,) = remote.delivery.errors.values()
    assert "bytes a day is spent" in words
    remote.server.fault_before = nothing
    local.clock.advance(DAY_SECS / 10)
    remote.settle()
    assert remote.server.read_file("a.csv") == numbered(6_000)


@pytest.mark.parametrize("growth", ["append", "auto"])
def test_a_small_budget_is_not_spent_on_looking(local: Local, growth: str) -> None:
    """The connection rests between two tries; each time the end of the remote file is read back,
    which takes more than may gather (history 8000000005 of the simulator)."""
    remote = make_remote(local, "parallel", limits=Limits(bytes_per_day=50_000))
    whole = numbered(40_000)
    for end in (20_000, 30_000, 40_000):
        local.write(whole[:end])
        local.take(growth)
        began = local.clock.now
        while not remote.is_settled():
            due = remote.step()
            remote.delivery.close()
            local.clock.now = max(local.clock.now + 1, min(due, local.clock.now + DAY_SECS))
            assert local.clock.now - began < 4 * DAY_SECS, remote.delivery.errors
    assert remote.server.read_file("a.csv") == whole


def test_a_look_counts_though_the_file_grows_meanwhile(local: Local) -> None:
    remote = make_remote(local, limits=Limits(bytes_per_day=20_000))

    def grow(operation: str, path: str) -> None:
        if (operation, path) == ("stat", "a.csv"):
            local.write(b"a line\n", "ab")
            local.take("append")
            local.clock.now -= 10

    remote.server.fault_after = grow
    local.write(numbered(30_000))
    local.take("append")
    began = local.clock.now
    while local.clock.now - began < 3 * DAY_SECS:
        due = remote.step()
        local.clock.now = max(local.clock.now + 1, min(due, local.clock.now + 3600))
    appended = remote.server.requests.count(("write", "a.csv"))
    looks = remote.server.requests.count(("stat", "a.csv")) - appended
    assert appended > 20
    assert looks < 2 * appended, "hardly any were in vain"


def test_an_upload_goes_on_although_reading_back_takes_all(local: Local) -> None:
    remote = make_remote(local, "parallel", limits=Limits(bytes_per_day=50_000))
    local.write(numbered(150_000))
    local.take()
    began = local.clock.now
    while not remote.is_settled():
        due = remote.step()
        remote.delivery.close()
        local.clock.now = max(local.clock.now + 1, min(due, local.clock.now + DAY_SECS))
        assert local.clock.now - began < 12 * DAY_SECS, remote.delivery.errors
    assert remote.server.read_file("a.csv") == numbered(150_000)


def test_small_files_go_first(local: Local, tmp_path: Path) -> None:
    remote = make_remote(local, limits=Limits(bytes_per_day=2_000_000))
    sizes = {"big.dat": 150_000, "small.dat": 500, "middle.dat": 20_000}
    for name, size in sizes.items():
        path = tmp_path / name
        path.write_bytes(numbered(size))
        local.snapshots.take(str(path), name, "append", None)
        remote.delivery.offer(str(path))
    remote.delivery._max_jobs = 1
    order = []

    def note(operation: str, path: str) -> None:
        if operation == "rename":
            order.append(path)

    remote.server.fault_after = note
    for _ in range(20):
        remote.delivery.step()
    assert len(order) == 3


def test_a_heartbeat_always_goes(local: Local) -> None:
    remote = make_remote(local, limits=Limits(bytes_per_day=1024, transactions_per_day=1))
    write(local, remote, b"x" * 5000)
    write(local, remote, b"x" * 5000)
    remote.delivery.beat("edge.heartbeat", b"60\n{}\n")
    remote.delivery.step()
    assert remote.server.read_file("edge.heartbeat") == b"60\n{}\n"


def test_a_rate_paces_what_is_sent(local: Local) -> None:
    remote = make_remote(local, limits=Limits(bytes_per_sec=10_000))
    local.write(numbered(100_000))
    local.take()
    began = local.clock.now
    remote.settle()
    assert 9 <= local.clock.now - began <= 13
    assert remote.server.read_file("a.csv") == numbered(100_000)


# -- what survives -------------------------------------------------------------------------------


def make_allowance(folder: Path, disk: HookedDisk, clock: ManualClock, limit: int) -> Allowance:
    limits = Limits(transactions_per_day=limit)
    made = Allowance(disk, clock, limits, str(folder / "budget.json"), LOG)
    made.open()
    return made


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    disk, clock = HookedDisk(), ManualClock()
    allowance = make_allowance(tmp_path, disk, clock, 20)
    allowance.admit()
    allowance.began()
    allowance.began()
    with pytest.raises(BudgetSpent):
        allowance.admit()
    allowance.save()
    again = make_allowance(tmp_path, disk, clock, 20)
    with pytest.raises(BudgetSpent) as caught:
        again.admit()
    clock.advance(caught.value.until - clock.time())
    again.admit()


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"[]", b'{"transactions": 1}', b'{"transactions": [1, "x"]}']
)
def test_a_file_that_is_damaged_is_a_day_that_is_fresh(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "budget.json").write_bytes(junk)
    make_allowance(tmp_path, HookedDisk(), ManualClock(), 20).admit()


def test_a_full_disk_keeps_nobody_from_sending(tmp_path: Path) -> None:
    disk, clock = HookedDisk(), ManualClock()
    allowance = make_allowance(tmp_path, disk, clock, 20)
    allowance.began()
    disk.before = fail_with(disk_full, "write_whole")
    allowance.save(now=True)
    disk.before = nothing
    allowance.save(now=True)
    assert (tmp_path / "budget.json").exists()


def test_it_is_not_written_for_each_delivery(tmp_path: Path) -> None:
    disk, clock = HookedDisk(), ManualClock()
    written: list[str] = []
    disk.before = lambda operation, path: written.append(operation)
    allowance = make_allowance(tmp_path, disk, clock, 1000)
    for _ in range(100):
        allowance.began()
        allowance.save()
        clock.advance(0.1)
    assert len(written) <= 3
