"""Makes a state that is worth keeping: a subtask is killed with work of every kind in hand.

Delivered are some files, with signatures. Owed are: more of a file that grows, an edit inside a
large one, a new version of a rewritten one, a rotated log whose last rows are in the outbox only, a
half-done upload, an unfinished line, a new picture in a watched folder. The destination is away.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from unittest import mock

from pysubtask import TaskMaster
from tests.upgrades.cases import Case, Place, rows, watch_list
from tests.upgrades.kept import pack

__all__ = ["make"]

_SECS = 30.0


def make(case: Case, target: pathlib.Path) -> None:
    """Run the program of ``case`` to its sudden end and keep what it left.

    Raises:
        RuntimeError: it did not come to the point.
    """
    with tempfile.TemporaryDirectory(prefix="pysubtask-state-") as name:
        home = pathlib.Path(name).resolve()
        (home / "data" / "out").mkdir(parents=True)
        with case.run(home) as place, mock.patch.dict(os.environ, place.environment):
            _work(home / "data", place)
            there = place.folder
            if not there.exists():
                there = there.with_name("away")
            shutil.copytree(there, home / "remote")
        shutil.rmtree(home / "data" / "logs")
        pack(home, place.base, target)


def _work(data: pathlib.Path, place: Place) -> None:
    for name in ("grow.csv", "auto.csv", "rotated.log", "lines.log", "ünïcode [1].csv"):
        (data / name).write_bytes(rows(name, 0, 100))
    (data / "whole.json").write_bytes(b'{"version": 1}\n')
    (data / "image.bin").write_bytes(rows("image", 0, 32_000))
    (data / "out" / "one.jpg").write_bytes(rows("one", 0, 50))
    settings = {
        **place.settings,
        "retry_short_wait_secs": 0.2,
        "retry_long_wait_secs": 0.5,
        "restart": False,
    }
    master = TaskMaster(watch_list(data), to=place.to, **settings)
    master.start()
    try:
        master.notify_all_files()
        if not master.flush(timeout=_SECS):
            raise RuntimeError(f"not delivered: {master.status()}")
        _until(lambda: (place.folder / "pictures" / "one.jpg").exists())
        _upload_half(master, data / "large.bin", place)
        place.go_away()
        _owe(master, data)
        pid = master.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    finally:
        master.stop(forcekill=True)


def _upload_half(master: TaskMaster, path: pathlib.Path, place: Place) -> None:
    """A large file is on its way when the destination goes away."""
    path.write_bytes(rows("large", 0, 20_000))
    if place.link is None:
        return
    place.link.bytes_per_sec = 200_000.0
    before = place.link.bytes_up
    master.notify(path)
    _until(lambda: place.link is not None and place.link.bytes_up - before > 200_000)


def _owe(master: TaskMaster, data: pathlib.Path) -> None:
    def snapshot(name: str) -> None:
        if not master.notify(data / name, wait_secs=_SECS):
            raise RuntimeError(f"no snapshot of {name}")

    with (data / "grow.csv").open("ab") as file:
        file.write(rows("grow.csv", 100, 200))
    snapshot("grow.csv")
    with (data / "auto.csv").open("ab") as file:
        file.write(rows("auto.csv", 100, 130))
    snapshot("auto.csv")
    for number in (2, 3):
        new = data / ".whole.new"
        new.write_bytes(b'{"version": %d}\n' % number)
        new.replace(data / "whole.json")
        snapshot("whole.json")
    with (data / "rotated.log").open("ab") as file:
        file.write(rows("rotated.log", 100, 160))
    snapshot("rotated.log")
    (data / "rotated.log").rename(data / "rotated.log.1")
    (data / "rotated.log").write_bytes(rows("rotated again", 0, 20))
    snapshot("rotated.log")
    (data / "rotated.log.1").unlink()  # from here on its last rows are in the outbox only
    with (data / "image.bin").open("r+b") as file:
        file.seek(100_000)
        file.write(b"an edit inside")
    snapshot("image.bin")
    with (data / "lines.log").open("ab") as file:
        file.write(b"a last line that has not")
    snapshot("lines.log")
    (data / "out" / "two.jpg").write_bytes(rows("two", 0, 70))
    snapshot("large.bin")
    _until(lambda: "two.jpg" in str(master.status()))


def _until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + _SECS
    while not look():
        if time.monotonic() > end:
            raise RuntimeError("it did not come to the point")
        time.sleep(0.005)
