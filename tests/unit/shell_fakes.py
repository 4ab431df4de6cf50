"""A subtask, a clock and a disk that do what a test says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysubtask.handover import Handover
from pysubtask.seams.disk import RealDisk
from pysubtask.settings import Settings
from pysubtask.signals import StateLayout
from pysubtask.status import FileStatus, Status


class FakeClock:
    """Time passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_800_000_000.0

    def time(self) -> float:
        return self.wall + self.now

    def monotonic(self) -> float:
        return self.now

    def thread_secs(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs


class FailingDisk(RealDisk):
    """Fails to write with ``error`` while that is set."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.writes = 0

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        self.writes += 1
        if self.error is not None:
            raise self.error
        super().write_whole(path, data, sync=sync)


class FakeSubtask:
    """Records what it is asked to do."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[str] = []
        self.hints: list[tuple[str | None, bool]] = []
        self.watch: list[str] = []
        self.interval_secs = 60.0
        self.steps = 0
        self.failures: list[BaseException] = []
        self.on_step: Callable[[], None] = lambda: None
        self.delivered = False
        self.served: set[tuple[str, int]] = set()
        self.files: dict[str, FileStatus] = {}
        self.shown = Status(link="connected")
        self.stopped_until: float | None = None
        self.stop_error: Exception | None = None

    def start(self) -> None:
        self.calls.append("start")

    def step(self) -> float:
        self.steps += 1
        self.on_step()
        if self.failures:
            raise self.failures.pop(0)
        return self.clock.monotonic() + self.interval_secs

    def hint(self, path: str | None, complete: bool = False, gone: bool = False) -> None:
        self.hints.append((path, complete))

    def folders(self) -> list[str]:
        return self.watch

    def status(self) -> Status:
        return self.shown

    def file_status(self, path: str) -> FileStatus | None:
        return self.files.get(path)

    def request_flush(self) -> Callable[[], bool]:
        self.calls.append("flush")
        return lambda: self.delivered

    def is_served(self, path: str, mtime_ns: int) -> bool:
        return (path, mtime_ns) in self.served

    def stop(self, deadline: float) -> bool:
        self.calls.append("stop")
        self.stopped_until = deadline
        if self.stop_error is not None:
            raise self.stop_error
        return self.delivered


def make_handover(state_dir: Path, **changes: Any) -> Handover:
    """A hand-over that names ``state_dir``; settings by their names, the rest by its own."""
    names = set(Settings.__struct_fields__)
    settings = Settings(**{name: changes.pop(name) for name in list(changes) if name in names})
    fields: dict[str, Any] = {
        "extension": "base",
        "settings": settings,
        "watches": [],
        "destination": None,
        "state_dir": str(state_dir),
        "log_dir": None,
        "log_name": "base_subtask.log.txt",
        "work_dir": str(state_dir),
        "precleanup_old_files": False,
        "parent_pid": 1,
        "token": "ours",
        "sys_path": [],
        "subtask": None,
    }
    return Handover(**(fields | changes))


def make_state(tmp_path: Path) -> StateLayout:
    """An empty state folder."""
    layout = StateLayout(str(tmp_path / "state"))
    RealDisk().make_dirs(layout.requests)
    return layout


def quiet_log(name: str = "pysubtask.test") -> logging.Logger:
    return logging.getLogger(name)
