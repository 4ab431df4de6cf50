"""What the number of files and their size cost: 10 to 100,000 files, 1 MB to 1 GB.

    python -m benchmarks --only scale

The files lie in folders of up to 10,000 that are watched, all delivered before (to a folder: the
costs looked at here are not the link's). Then the subtask is started again while one of them has
changed: until that is delivered, each path in the journal was compared. At rest: processor time and
memory. Then files are changed one at a time, without notify(), until the change is visible; and
notify() itself is timed in the program. The other half: a file with growth="append" that is mostly
a hole, from notify(…, wait_secs) to its snapshot. The first one copies all that is owed, since a
program that waits may truncate next; so the sizes end where the outbox has room for it.
"""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._place import Place, place, wait_until
from benchmarks._report import Figure, Report
from pysubtask import TaskMaster

COUNTS = (10, 100, 1_000, 10_000, 100_000)
SIZES_BYTES = (10**6, 10**7, 10**8, 10**9)
FILES_PER_FOLDER = 10_000
REST_SECS = 20.0
CHANGES = 15
CALLS = 5_000
TIMEOUT_SECS = 1500.0

_WANTED = {"start": 5.0, "at rest, CPU": 1.0, "memory": 200.0, "a changed file": 100.0}


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    counts = COUNTS[:3] if options.quick else COUNTS
    with place(folder=options.folder) as here:
        for count in counts:
            for name, unit, values in _many(here, count, 2.0 if options.quick else REST_SECS):
                report.add([_figure(name, unit, values, count, count == COUNTS[-1])])
        for size in SIZES_BYTES[:2] if options.quick else SIZES_BYTES:
            values = _one(here, size)
            report.add([_figure("notify() to its snapshot, append", "ms", values, size, False)])


def _figure(name: str, unit: str, values: list[float], x: int, judged: bool) -> Figure:
    most = _WANTED.get(name) if judged else None
    what = "bytes" if "append" in name else "files"
    return Figure(
        f"{x:,} {what}",
        name,
        unit,
        tuple(values),
        target=f"≤ {most:g} {unit}" if most else "",
        met=statistics.median(values) <= most if most else None,
        x=float(x),
    )


# -- many files ----------------------------------------------------------------------------------


def _many(here: Place, count: int, rest_secs: float) -> Iterator[tuple[str, str, list[float]]]:
    folders = _folders(here, count)
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    target = here.new_local()
    state = here.new_local()

    def master() -> TaskMaster:
        watched: list[Any] = [{"dir": str(folder)} for folder in folders]
        return TaskMaster(
            watched,
            to=f"file://{target}",
            bak_to_folder=str(state),
            stop_timeout_secs=60.0,
        )

    with _ours.running(master()):
        began = time.perf_counter()
        last = files[-1]
        wait_until(lambda: sum(1 for _ in target.iterdir()) >= count, TIMEOUT_SECS, 0.25)
        yield "delivered for the first time", "s", [time.perf_counter() - began]
        wait_until((target / last.name).exists, TIMEOUT_SECS)
        time.sleep(3.0)  # second looks, the journal's sync
    files[count // 2].write_bytes(b"changed while nothing ran\n")
    again = master()
    began = time.perf_counter()
    again.start()
    try:
        yield "start", "s", [_until_same(files[count // 2], target) - began]
        yield from _at_rest(again, rest_secs)
        yield "a changed file", "ms", _changes(files, target)
        yield "notify()", "µs", _calls(again, files)
    finally:
        again.stop()


def _folders(here: Place, count: int) -> list[pathlib.Path]:
    base = here.new_local()
    folders = []
    for number in range(count):
        if number % FILES_PER_FOLDER == 0:
            folders.append(base / f"{number:06}")
            folders[-1].mkdir()
        (folders[-1] / f"{number:06}.csv").write_bytes(b"1\n")
    return folders


def _until_same(file: pathlib.Path, target: pathlib.Path) -> float:
    wanted, there = file.read_bytes(), target / file.name

    def same() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return there.read_bytes() == wanted
        return False

    return wait_until(same, 300.0)


def _at_rest(master: TaskMaster, secs: float) -> Iterator[tuple[str, str, list[float]]]:
    time.sleep(secs / 2)
    pid = master.status().pid
    assert pid is not None
    before, began = _ours.cpu_secs(pid), time.perf_counter()
    time.sleep(secs)
    share = (_ours.cpu_secs(pid) - before) / (time.perf_counter() - began)
    yield "at rest, CPU", "% of a core", [100 * share]
    yield "memory", "MB", [psutil.Process(pid).memory_info().rss / 1e6]


def _changes(files: list[pathlib.Path], target: pathlib.Path) -> list[float]:
    took = []
    for number in range(CHANGES):
        file = files[number * 7919 % len(files)]
        file.write_bytes(b"changed %d\n" % number)
        began = time.perf_counter()
        took.append((_until_same(file, target) - began) * 1000)
        time.sleep(0.3)
    return took


def _calls(master: TaskMaster, files: list[pathlib.Path]) -> list[float]:
    paths = [str(files[number * 7919 % len(files)]) for number in range(10)]
    for path in paths:
        master.notify(path)
    time.sleep(1)
    took = []
    for number in range(CALLS):
        path = paths[number % len(paths)]
        began = time.perf_counter_ns()
        master.notify(path)
        took.append((time.perf_counter_ns() - began) / 1000)
        if number % 100 == 0:
            time.sleep(0.01)
    return took


# -- one large file ------------------------------------------------------------------------------


def _one(here: Place, size: int) -> list[float]:
    """Milliseconds from notify() to the snapshot; the destination is a server that is not there."""
    data = here.new_local() / "a.bin"
    with data.open("wb") as file:
        file.truncate(size)
    took = []
    watched = [{"file": str(data), "growth": "append"}]
    master = TaskMaster(watched, to="sftp://edge@127.0.0.1:9/in", retry_short_wait_secs=60)
    with _ours.running(master), data.open("ab", buffering=0) as file:
        if not master.notify(0, wait_secs=60):
            raise TimeoutError(str(master.status()))
        for _ in range(CHANGES):
            time.sleep(0.2)
            file.write(b"x" * 1024)
            began = time.perf_counter()
            if not master.notify(0, wait_secs=60):
                raise TimeoutError(str(master.status()))
            took.append((time.perf_counter() - began) * 1000)
        master.stop(forcekill=True)
    return took
