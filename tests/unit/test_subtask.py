"""The subtask that everybody extends: its hooks are called for every notify, whatever happens."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from pysubtask.signals import StateLayout, notify_path, touch
from pysubtask.subtask.archive import Archive
from pysubtask.subtask.context import Context
from pysubtask.subtask.subtask import BaseSubtask
from pysubtask.watch import Watch
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock
from tests.unit.shell_fakes import make_handover

INTERVAL_SECS = 5.0


class Noting(BaseSubtask):
    """Notes what its hooks are called with; the next calls raise as often as they are told to."""

    calls: list[tuple[float, str]]
    intervals: list[float]
    failures = 0

    def process_interval(self) -> None:
        self.intervals.append(self.context.clock.monotonic())

    def process_notify(self, path: str) -> None:
        self.calls.append((self.context.clock.monotonic(), os.path.basename(path)))
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a mistake of the user's")


class Bench:
    """A child that runs such a subtask over a real folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.disk = HookedDisk()
        self.settings = settings
        self.calls: list[tuple[float, str]] = []
        self.intervals: list[float] = []
        self.wakes: list[float] = []
        (folder / "out").mkdir(exist_ok=True)
        self.open()

    def open(self) -> None:
        """As a new process does."""
        watches = [
            Watch(path=self.path("a.csv"), is_dir=False, declared="./a.csv", remote_name="a.csv"),
            Watch(path=self.path("out"), is_dir=True, declared="out/"),
        ]
        layout = StateLayout(str(self.folder / "state"))
        os.makedirs(layout.notify_dir, exist_ok=True)
        handover = make_handover(
            self.folder / "state",
            watches=watches,
            log_dir=self.path("out"),
            timer_interval_secs=INTERVAL_SECS,
            **self.settings,
        )
        self.subtask = Noting(
            Context(
                handover=handover,
                layout=layout,
                disk=self.disk,
                clock=self.clock,
                log=LOG,
                wake=lambda: self.wakes.append(self.clock.now),
                status_changed=lambda: None,
            )
        )
        self.subtask.calls = self.calls
        self.subtask.intervals = self.intervals
        self.subtask.start()

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def notify(self, name: str = "a.csv") -> int:
        ns = touch(notify_path(self.path(name)), 0)
        self.subtask.hint(notify_path(self.path(name)))
        return ns

    def run(self, secs: float) -> None:
        until = self.clock.now + secs
        while (due := max(self.subtask.step(), self.clock.now)) <= until:
            self.clock.now = due
        self.clock.now = until


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(1)
    return bench


def test_a_notify_is_processed_once(bench: Bench) -> None:
    ns = bench.notify()
    assert bench.wakes == [bench.clock.now]
    assert not bench.subtask.is_served(bench.path("a.csv"), ns)
    bench.run(60)
    assert [name for _, name in bench.calls] == ["a.csv"]
    assert bench.subtask.is_served(bench.path("a.csv"), ns)
    bench.open()
    bench.run(60)
    assert len(bench.calls) == 1


def test_a_hook_that_raises_is_called_again_and_its_notify_stays_owed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.subtask.failures = 2
    ns = bench.notify()
    began = bench.clock.now
    bench.run(2)
    assert not bench.subtask.is_served(bench.path("a.csv"), ns)
    status = bench.subtask.file_status(bench.path("a.csv"))
    assert status is not None
    assert "a mistake of the user's" in str(status.last_error)
    assert "process_notify failed" in str(bench.subtask.status().last_error)
    bench.run(60)
    assert [at - began for at, _ in bench.calls] == [0, 3, 9]
    assert bench.subtask.is_served(bench.path("a.csv"), ns)
    assert bench.subtask.status().last_error is None
    assert any(record.exc_info for record in caplog.records)


def test_a_notify_whose_hook_did_not_return_is_processed_by_the_next_process(
    bench: Bench,
) -> None:
    bench.subtask.failures = 1
    bench.notify()
    bench.run(1)
    bench.open()
    bench.run(1)
    assert len(bench.calls) == 2


def test_the_interval_hook(bench: Bench) -> None:
    bench.intervals.clear()
    bench.run(10 * INTERVAL_SECS)
    assert len(bench.intervals) == 10
    assert {b - a for a, b in zip(bench.intervals, bench.intervals[1:], strict=False)} == {
        INTERVAL_SECS
    }


def test_the_journal_is_synced_in_time(bench: Bench) -> None:
    bench.run(10)
    synced: list[float] = []
    bench.disk.before = lambda operation, path: (
        synced.append(bench.clock.now) if operation == "sync" else None
    )
    began = bench.clock.now
    bench.notify()
    bench.run(20)
    assert synced
    assert synced[0] <= began + 5.0 + 0.1


def test_files_are_named_as_they_were_declared(bench: Bench) -> None:
    bench.notify()
    bench.run(1)
    assert list(bench.subtask.status().files) == ["./a.csv"]
    assert bench.subtask.declared_name(bench.path("a.csv")) == "./a.csv"
    assert bench.subtask.declared_name(bench.path("out/x")) == "out/x"
    assert bench.subtask.declared_name("/elsewhere/x") == "/elsewhere/x"
    assert bench.subtask.file_status(bench.path("out/x")) is None
    status = bench.subtask.file_status(bench.path("a.csv"))
    assert status is not None
    assert status.notified_at == pytest.approx(bench.clock.time(), abs=5)


def test_its_own_logs_are_no_data(bench: Bench) -> None:
    for name in ("base_subtask.log.txt", "base_subtask.log.txt.1", "ftp_taskmaster.log.txt"):
        bench.notify(f"out/{name}")
    bench.notify("out/data.log.txt")
    bench.run(30)
    assert [name for _, name in bench.calls] == ["data.log.txt"]


def test_folders_whose_events_are_wanted(bench: Bench) -> None:
    assert bench.subtask.folders() == sorted(
        [str(bench.folder), bench.path("out"), bench.path("state/notify")]
    )


# -- old files ---------------------------------------------------------------------------------


def _old(bench: Bench, name: str) -> Path:
    path = bench.folder / name
    path.write_bytes(b"old")
    at = bench.clock.time() - 10 * 86_400
    os.utime(path, (at, at))
    return path


def test_old_files_move_when_it_was_asked_for(tmp_path: Path) -> None:
    plain = Bench(tmp_path)
    names = ["notes.txt", "out/picture.jpg", "a.csv", "out/base_subtask.log.txt.1"]
    files = [_old(plain, name) for name in names]
    plain.run(60)
    assert all(path.exists() for path in files)
    asked = Bench(tmp_path, precleanup_old_files=True, master_log_file_name="mine.txt")
    files.append(_old(asked, "out/mine.txt.2"))
    asked.run(60)
    assert [path.exists() for path in files] == [False, False, True, True, True]
    assert len(list((tmp_path / "archive").rglob("notes.txt"))) == 1
    assert len(list((tmp_path / "out/archive").rglob("picture.jpg"))) == 1


def test_a_mistake_of_the_archive_hurts_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Archive, now: float) -> float:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Archive, "step", fail)
    bench = Bench(tmp_path, precleanup_old_files=True)
    bench.run(1)
    bench.notify()
    bench.run(60)
    assert [name for _, name in bench.calls] == ["a.csv"]
    assert [r.getMessage() for r in caplog.records if r.exc_info] == [
        "the archive failed; old files stay until the next start"
    ]


# -- the end -----------------------------------------------------------------------------------


def test_a_stop_serves_what_was_notified(bench: Bench) -> None:
    touch(notify_path(bench.path("a.csv")), 0)
    assert bench.subtask.stop(bench.clock.now + 10)
    assert [name for _, name in bench.calls] == ["a.csv"]


@pytest.mark.parametrize("before_secs", [0.0, 1.0], ids=["within a tick", "long after"])
def test_a_stop_removes_the_touch_that_was_served(bench: Bench, before_secs: float) -> None:
    bench.notify()
    bench.run(before_secs)
    assert bench.subtask.stop(bench.clock.now + 10)
    assert not os.path.exists(notify_path(bench.path("a.csv")))


def test_a_stop_whose_hook_fails_ends_in_time_and_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger=LOG.name)
    bench.subtask.failures = 10_000
    bench.notify()
    assert not bench.subtask.stop(bench.clock.now + 10)
    assert bench.clock.now <= 1001 + 10.1
    assert os.path.exists(notify_path(bench.path("a.csv")))
    bench.open()
    bench.run(1)
    assert bench.subtask.file_status(bench.path("a.csv"))
    assert bench.calls[-1][0] == bench.clock.now - 1


def test_a_stop_does_not_hammer_a_hook_that_fails(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger=LOG.name)
    bench.subtask.failures = 10_000
    bench.notify()
    bench.subtask.stop(bench.clock.now + 10)
    assert 1 <= len(bench.calls) <= 20
