"""Which library tells us best that a file was touched? ``python -m benchmarks.watchers``

Measured in a process of its own for each candidate, in a folder on the disk of ``--folder``:

* latency: from ``os.utime`` on a ``.notify`` (in another process) to the call of our function,
* rest: wake-ups (voluntary context switches of all threads) a second while nothing happens,
* appends: CPU time while a program appends 1,000 times a second to a file that it keeps open,
* memory: what the candidate adds to a bare interpreter.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = Callable[[str], None]

REST_SECS = 5.0
APPEND_SECS = 5.0
APPENDS_PER_SEC = 1000
TOUCHES = 200

TOUCHER = """
import os, sys, time
path = sys.argv[1]
for line in sys.stdin:
    before = time.monotonic_ns()
    os.utime(path)
    print(before, flush=True)
"""

APPENDER = """
import sys, time
path, secs, rate = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
began = time.monotonic()
count = 0
with open(path, "ab", buffering=0) as file:
    while (passed := time.monotonic() - began) < secs:
        while count < passed * rate:
            file.write(b"x" * 100)
            count += 1
        time.sleep(0.0005)
print(count)
"""


def start_ours(folder: str, told: Told) -> None:
    from pysubtask.subtask.shell.events import open_events

    def hint(path: str | None, complete: bool = False) -> None:
        if path is not None:
            told(path)

    events = open_events(hint, logging.getLogger("benchmark"))
    assert events.watch(folder)
    _keep.append(events)


def start_watchdog(folder: str, told: Told) -> None:
    from pysubtask.subtask.shell.events import WatchdogEvents

    def hint(path: str | None, complete: bool = False) -> None:
        if path is not None:
            told(path)

    events = WatchdogEvents(hint, logging.getLogger("benchmark"))
    assert events.watch(folder)
    _keep.append(events)


def start_watchfiles(folder: str, told: Told) -> None:
    """With its defaults."""
    _watchfiles(folder, told, step_milli=50, debounce_milli=1600)


def start_watchfiles_quick(folder: str, told: Told) -> None:
    """With the smallest step that it takes."""
    _watchfiles(folder, told, step_milli=1, debounce_milli=2)


def _watchfiles(folder: str, told: Told, *, step_milli: int, debounce_milli: int) -> None:
    from watchfiles import watch

    def run() -> None:
        for changes in watch(
            folder,
            step=step_milli,
            debounce=debounce_milli,
            recursive=False,
            rust_timeout=60_000,
            yield_on_timeout=True,
            watch_filter=None,
        ):
            for _, path in changes:
                told(path)

    threading.Thread(target=run, daemon=True).start()


_keep: list[Any] = []
CANDIDATES = {
    "inotify_simple": start_ours,
    "watchdog": start_watchdog,
    "watchfiles": start_watchfiles,
    "watchfiles 1 ms": start_watchfiles_quick,
}


def _switches() -> int:
    count = 0
    for task in Path("/proc/self/task").iterdir():
        text = (task / "status").read_text()
        count += int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


def _rss_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def measure(candidate: str, folder: str) -> str:
    """The figures of one candidate, as a row of the table."""
    heard = threading.Event()
    when = [0]

    def told(path: str) -> None:
        if path.endswith(".notify") and not heard.is_set():
            when[0] = time.monotonic_ns()
            heard.set()

    notify = os.path.join(folder, "data.csv.notify")
    Path(notify).touch()
    before_kib = _rss_kib()
    CANDIDATES[candidate](folder, told)
    time.sleep(1.0)
    added_mib = (_rss_kib() - before_kib) / 1024
    switches = _switches()
    time.sleep(REST_SECS)
    wakeups = max(0, _switches() - switches - 1) / REST_SECS  # our own sleep is one

    latencies: list[float] = []
    lost = 0
    with subprocess.Popen(
        [sys.executable, "-c", TOUCHER, notify],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as toucher:
        assert toucher.stdin is not None
        assert toucher.stdout is not None
        for _ in range(TOUCHES):
            heard.clear()
            toucher.stdin.write("\n")
            toucher.stdin.flush()
            touched = int(toucher.stdout.readline())
            if heard.wait(2.0):
                latencies.append((when[0] - touched) / 1e6)
            else:
                lost += 1
            time.sleep(0.02)
        toucher.stdin.close()

    data = os.path.join(folder, "data.csv")
    Path(data).touch()
    time.sleep(0.5)
    cpu = time.process_time()
    command = [sys.executable, "-c", APPENDER, data, str(APPEND_SECS), str(APPENDS_PER_SEC)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    cpu_percent = (time.process_time() - cpu) / APPEND_SECS * 100
    rate = int(done.stdout) / APPEND_SECS
    latencies.sort()
    return (
        f"{candidate:<16}{statistics.median(latencies):>10.2f}"
        f"{latencies[int(len(latencies) * 0.99)]:>10.2f}{lost:>6}{wakeups:>12.1f}"
        f"{cpu_percent:>12.2f}{rate:>11.0f}{added_mib:>10.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", help="measure below this folder (default: the temporary one)")
    parser.add_argument("--one", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("the figures come from /proc: Linux only", file=sys.stderr)
        return 2
    if options.one:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            row = measure(options.one, folder)
        print(row, flush=True)
        os._exit(0)  # watchfiles' thread does not end by itself
    print(
        f"{'':<16}{'median':>10}{'p99':>10}{'lost':>6}{'wake-ups':>12}{'CPU %':>12}"
        f"{'appends':>11}{'MiB':>10}\n"
        f"{'':<16}{'ms':>10}{'ms':>10}{'':>6}{'/s at rest':>12}{'appending':>12}"
        f"{'/s':>11}{'added':>10}"
    )
    for candidate in CANDIDATES:
        command = [sys.executable, "-m", "benchmarks.watchers", "--one", candidate]
        command += ["--folder", options.folder] if options.folder else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            print(done.stdout, end="", flush=True)
        else:
            reason = (done.stderr.strip().splitlines() or ["?"])[-1]
            print(f"{candidate:<16}  not measured: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
