"""The types that a program sees. Checked by mypy (``python -m mypy``), not run."""

from __future__ import annotations

import logging
import pathlib
from typing import BinaryIO, TextIO, assert_type

from pysubtask import FileStatus, Status, TaskMaster
from pysubtask.arrivals import Arrival
from pysubtask.events import (
    Delivered,
    Event,
    FileFailed,
    FileRecovered,
    LinkChanged,
    Pending,
    Progress,
    Restarted,
    SourceChanged,
    TakenOver,
)
from pysubtask.follow import Follower
from pysubtask.ftp import FTPTaskMaster
from pysubtask.logging import NotifyingHandler
from pysubtask.pull import Pull
from pysubtask.watch import Entry, Watch

watched: list[Entry] = [
    "logs/a.csv",
    {"file": "logs/b.csv", "burstmode": True},
    pathlib.Path("logs/c.csv"),
]
master = TaskMaster(watched, to="sftp://edge@collector.example/incoming", dead_time_milli=500)

assert_type(master, TaskMaster)
assert_type(FTPTaskMaster("logs/a.csv", host="collector.example"), FTPTaskMaster)
assert_type(TaskMaster.from_toml("service.toml"), TaskMaster)
assert_type(TaskMaster.from_toml(pathlib.Path("service.toml"), "collector"), TaskMaster)

with master as entered:
    assert_type(entered, TaskMaster)

assert_type(master.notify("logs/a.csv"), bool)
assert_type(master.notify(0, wait_secs=5), bool)
assert_type(master.notify(b"logs/a.csv"), bool)
assert_type(master.notify_all_files(), bool)
assert_type(master.flush(timeout=30), bool)
assert_type(master.status(), Status)
assert_type(master.status("logs/a.csv"), FileStatus)
assert_type(master.status(0), FileStatus)
assert_type(master.status().files, dict[str, FileStatus])
assert_type(master.declared_files, list[str])
assert_type(master.watches, list[Watch])
assert_type(master.state_dir, str)
assert_type(master.sources, list[Pull])
assert_type(master.pull(timeout=30), bool)
assert_type(list(master.arrivals(wait_secs=0)), list[Arrival])

assert_type(master.open("logs/a.csv"), TextIO)
assert_type(master.open("logs/a.csv", "w", newline=""), TextIO)
assert_type(master.open(pathlib.Path("logs/a.csv"), "ab"), BinaryIO)
master.open("logs/a.csv", "r")  # type: ignore[call-overload]
master.open("logs/a.csv", "ab", encoding="utf-8")  # type: ignore[call-overload]
master.notify()  # type: ignore[call-arg]
master.notify(1.5)  # type: ignore[arg-type]


async def wait() -> None:
    """For asyncio."""
    assert_type(await master.flushed(timeout=30), bool)


def tell(event: Event) -> str:
    """Every event is one of these: a new one makes this function fail the check."""
    match event:
        case LinkChanged(link, error, _, next_try):
            assert_type(error, str | None)
            assert_type(next_try, float | None)
            return link
        case SourceChanged(source, link, error):
            return f"{source} {link} {error}"
        case Pending(path, pending_bytes):
            return f"{path} {pending_bytes}"
        case Progress(path, sent_bytes, size_bytes):
            return f"{path} {sent_bytes}/{size_bytes}"
        case Delivered(path, size_bytes):
            return f"{path} {size_bytes}"
        case FileFailed(path, error):
            return f"{path} {error}"
        case FileRecovered(path):
            return path
        case Restarted(restarts):
            return str(restarts)
        case TakenOver():
            return ""


assert_type([tell(event) for event in master.events()], list[str])

handler: logging.Handler = NotifyingHandler(master, "logs/a.csv", max_bytes=1 << 20)
with Follower(master, secs=0.5) as follower:
    assert_type(follower.look(), int)
