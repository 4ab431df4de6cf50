"""Edits that samples do not show are found later; finding them takes a hundredth of the time."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from pysubtask.core.delta import DeltaRule
from pysubtask.core.flow import Window
from pysubtask.errors import LinkLost
from pysubtask.subtask.intake.checkup import Checkup
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock, fail_with, nothing
from tests.unit.core_local import Local
from tests.unit.core_remote import Remote, make_remote
from tests.unit.test_delta import BIG

RULE = DeltaRule(from_bytes=4096)
SLICE_SECS = 0.25
MOST_SLICES = 50
BETWEEN_SAMPLES = 9000
"""Samples are 4 KiB at 17 places of BIG's 2 MiB."""


class Bench:
    """A file of 2 MiB that was delivered, and its check-up."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.local = Local(folder, self.clock, HookedDisk(), verify_up_to_bytes=65_536)
        self.remote: Remote = make_remote(self.local, delta=RULE)
        self.changed: list[str] = []
        self.checkup = Checkup(
            self.local.disk,
            self.clock,
            self.local.ledger,
            read_signature=self.remote.signatures.peek,
            changed=self.changed.append,
            log=LOG,
        )
        self.local.write(BIG)
        self.look()
        self.remote.settle()

    def look(self) -> str:
        outcome = self.local.take()
        self.checkup.note(self.local.path)
        return outcome.result

    def edit(self, at: int = BETWEEN_SAMPLES) -> None:
        with open(self.local.path, "r+b") as file:
            file.seek(at)
            file.write(b"edited")

    def run(self) -> int:
        """Until it rests; how many slices that took."""
        slices = 0
        while (due := self.checkup.step(self.clock.now)) != math.inf:
            self.clock.now = max(self.clock.now, due)
            slices += 1
            assert slices < MOST_SLICES
        return slices


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_edit_before_the_first_delivery_ended(
    bench: Bench, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is what was there before; there was nothing yet to compare with."""
    local, remote = bench.local, bench.remote
    os.unlink(local.path)
    local.write(BIG[::-1])

    def cut(operation: str, path: str) -> None:
        if operation == "write" and remote.server.written_bytes > written + 1_500_000:
            raise LinkLost("cut")

    assert bench.look() == "taken"
    if when == "during":
        small = property(lambda window: 65_536)  # or all of it is on its way by then
        monkeypatch.setattr(Window, "limit_bytes", small)
        written = remote.server.written_bytes
        remote.server.fault_before = cut
        remote.step()
        assert local.entry.upload is not None
        remote.server.fault_before = nothing
    bench.edit(BETWEEN_SAMPLES if when == "before" else len(BIG) - 70_000)
    assert bench.look() == "unchanged"
    bench.run()
    assert not bench.changed
    remote.settle()
    assert remote.server.read_file("a.csv") == BIG[::-1]
    bench.run()
    assert bench.changed == [local.path]


def test_an_edit_between_the_samples(bench: Bench) -> None:
    bench.edit()
    assert bench.look() == "unchanged"
    bench.run()
    assert bench.changed == [bench.local.path]
    bench.local.snapshots.edited.add(bench.local.path)
    assert bench.look() == "taken"
    assert not bench.local.snapshots.edited
    bench.remote.settle()
    assert bench.remote.server.read_file("a.csv") == Path(bench.local.path).read_bytes()
    assert bench.remote.server.seen == [None, BIG, Path(bench.local.path).read_bytes()]
    bench.run()
    assert len(bench.changed) == 1


def test_a_file_that_is_what_was_sent(bench: Bench) -> None:
    os.utime(bench.local.path)
    bench.look()
    assert bench.run() >= 1
    assert bench.changed == []
    bench.look()
    assert bench.run() == 0, "only if its time has moved"


def test_a_file_that_grew_is_no_edited_one(bench: Bench) -> None:
    bench.local.write(b"more" * 5000, "ab")
    assert bench.look() == "taken"
    bench.run()
    assert bench.changed == []


def test_blocks_that_are_bigger_than_a_slice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a file of 512 GiB: the same slice would be read for ever, and nothing else checked."""
    monkeypatch.setattr("pysubtask.subtask.intake.checkup._SLICE_BYTES", 100)
    os.utime(bench.local.path)
    bench.look()
    monkeypatch.setattr("tests.unit.test_checkup.MOST_SLICES", 10_000)
    assert bench.run() > 1
    assert bench.changed == []
    bench.edit()
    bench.look()
    bench.run()
    assert bench.changed == [bench.local.path]


def test_it_takes_a_hundredth_of_the_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pysubtask.subtask.intake.checkup._SLICE_BYTES", 300_000)
    os.utime(bench.local.path)
    bench.look()
    worked = 0.0

    def slow(operation: str, path: str) -> None:
        nonlocal worked
        if path == bench.local.path:
            worked += SLICE_SECS
            bench.clock.now += SLICE_SECS

    bench.local.disk.before = slow
    began = bench.clock.now
    assert bench.run() >= len(BIG) // 300_000
    bench.local.disk.before = nothing
    assert worked > 0
    assert bench.clock.now - began >= 99 * worked


@pytest.mark.parametrize("what", ["replaced", "deleted", "another version", "unreadable"])
def test_what_happens_to_the_file_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It shows in the next look, and is nothing to find here."""
    monkeypatch.setattr("pysubtask.subtask.intake.checkup._SLICE_BYTES", 300_000)
    os.utime(bench.local.path)
    bench.look()
    bench.checkup.step(bench.clock.now)
    if what == "replaced":
        Path(bench.local.path + ".new").write_bytes(BIG[::-1])
        os.replace(bench.local.path + ".new", bench.local.path)
    elif what == "deleted":
        os.unlink(bench.local.path)
    elif what == "another version":
        bench.local.write(BIG[::-1])
        bench.local.take()
    else:
        bench.local.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "open_read")
    bench.run()
    assert bench.changed == []
    bench.local.disk.before = nothing
    bench.checkup.close()
    assert not [h for h in bench.local.disk.open_handles if h._path == bench.local.path] or (
        bench.local.sources.is_held(bench.local.path, bench.local.current.number)
    )


def test_a_small_file_is_compared_as_a_whole_anyway(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.local.write(BIG[:1000])
    bench.look()
    bench.remote.settle()
    os.utime(bench.local.path)
    bench.look()
    assert bench.run() == 0
