"""What pysubtask costs the program: notify(), the import, start().

    python -m benchmarks.notify [--calls N]

notify() is measured in every state that the world behind it may be in: nothing started, the
subtask running, stopped (SIGSTOP), killed; a bare ``os.utime`` stands beside it. The link is dead
throughout (a port that nobody answers).
"""

from __future__ import annotations

import argparse
import gc
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from pysubtask import TaskMaster

IMPORTS = ("pass", "import pysubtask", "from pysubtask.ftp import FTPTaskMaster")
_MEASURE = """
import time
def resident_kib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
before, began, busy = resident_kib(), time.perf_counter(), time.process_time()
{statement}
print((time.perf_counter() - began) * 1000, (time.process_time() - busy) * 1000,
      resident_kib() - before)
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls per line")
    calls: int = parser.parse_args().calls
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    if sys.platform == "linux":
        _imports()
    with tempfile.TemporaryDirectory() as folder:
        _notifies(pathlib.Path(folder), calls)
        _starts(pathlib.Path(folder))
    return 0


def _imports() -> None:
    print(f"\n{'import (median of 15)':<46}{'ms':>8}{'ms CPU':>8}{'MiB':>8}")
    for statement in IMPORTS:
        rows = []
        for _ in range(15):
            code = _MEASURE.format(statement=statement)
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            rows.append([float(word) for word in done.stdout.split()])
        wall, cpu, memory = (statistics.median(row[part] for row in rows) for part in range(3))
        print(f"{statement:<46}{wall:>8.1f}{cpu:>8.1f}{memory / 1024:>8.1f}")


def _notifies(folder: pathlib.Path, calls: int) -> None:
    print(f"\n{'notify(), µs':<46}{'median':>8}{'p99':>8}{'p99.9':>8}{'max':>9}")
    data = folder / "a.csv"
    data.write_text("x\n")
    bare = str(folder / "bare")
    pathlib.Path(bare).touch()

    def touch() -> object:
        now = time.time_ns()
        os.utime(bare, ns=(now, now))
        return now

    _line("os.utime alone", touch, calls)
    master = TaskMaster([data, {"dir": folder / "out"}], to="sftp://edge@127.0.0.1:9/in")
    (folder / "out").mkdir()
    _line("before start()", lambda: master.notify(0), calls)
    master.start()
    try:
        time.sleep(1.0)
        _line("running, by index", lambda: master.notify(0), calls)
        path = str(data)
        _line("running, by path", lambda: master.notify(path), calls)
        new = str(folder / "out" / "1.jpg")
        _line("running, a file in a watched folder", lambda: master.notify(new), calls)
        if hasattr(signal, "SIGSTOP"):
            pid = master.status().pid or 0
            os.kill(pid, signal.SIGSTOP)
            _line("subtask stopped (SIGSTOP)", lambda: master.notify(0), calls)
    finally:
        master.stop(forcekill=True)
    _line("subtask killed", lambda: master.notify(0), calls)


def _line(name: str, call: Callable[[], object], calls: int) -> None:
    for _ in range(100):
        call()
    gc.collect()
    took = []
    for _ in range(calls):
        began = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - began)
        time.sleep(0)
    took.sort()
    cuts = [took[int(len(took) * part)] / 1000 for part in (0.5, 0.99, 0.999)]
    print(f"{name:<46}" + "".join(f"{cut:>8.1f}" for cut in cuts) + f"{took[-1] / 1000:>9.1f}")


def _starts(folder: pathlib.Path) -> None:
    took_start, took_stop = [], []
    for _ in range(9):
        master = TaskMaster([folder / "a.csv"], to="sftp://edge@127.0.0.1:9/in")
        began = time.perf_counter()
        master.start()
        started = time.perf_counter()
        master.stop(forcekill=True)
        took_start.append((started - began) * 1000)
        took_stop.append((time.perf_counter() - started) * 1000)
    print(f"\n{'ms':<46}{'first':>8}{'median':>8}{'max':>8}")
    for name, took in (("start()", took_start), ("stop(forcekill=True)", took_stop)):
        print(f"{name:<46}{took[0]:>8.1f}{statistics.median(took):>8.1f}{max(took):>8.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
