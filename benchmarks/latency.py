"""From notify() to the bytes being visible on the server: a real sshd on loopback.

    python -m benchmarks latency [--appends N] [--per-sec 10] [--growth auto] [--size 100]
    python -m benchmarks --only latency

Default settings. Each append is 100 bytes; it is visible when a stat of the server's file shows
the new size, which is looked at every 0.2 ms. Beside it: lsyncd (its quickest settings: no delay,
one ssh connection that stays open) and a script of watchdog and paramiko that sends the file
whenever it is closed after writing, over one connection. All see the same appends, one contender
after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._place import Place, place
from benchmarks._report import Figure, Report

TIMEOUT_SECS = 20.0
PAUSE_SECS = 0.0002


@dataclass(frozen=True, slots=True)
class Load:
    """What the program does: so many appends of ``size`` bytes, so many a second."""

    appends: int = 300
    per_sec: float = 10.0
    size: int = 100


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=300)
    parser.add_argument("--per-sec", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=100, help="bytes of one append")
    parser.add_argument("--growth", choices=("auto", "append"), help="one of them only")
    given = parser.parse_args()
    load = Load(given.appends, given.per_sec, given.size)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{'notify() to visible, ms':<32}{'median':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for growth in [given.growth] if given.growth else ["auto", "append"]:
        with place() as here, _pysubtask(here, growth) as (data, target, notify):
            took = measure(load, data, target, notify)
        cuts = [statistics.median(took), *(took[int(len(took) * part)] for part in (0.9, 0.99))]
        name = f"{given.per_sec:g} a second, {growth}"
        print(f"{name:<32}" + "".join(f"{cut:>8.1f}" for cut in [*cuts, took[-1]]))
    return 0


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    load = Load(30 if options.quick else 300)
    contenders: list[tuple[str, Callable[[Place], contextlib.AbstractContextManager[_Set]]]] = [
        ("pysubtask", lambda here: _pysubtask(here, "auto")),
        ("pysubtask, growth=append", lambda here: _pysubtask(here, "append")),
    ]
    if not options.without_peers:
        if shutil.which("lsyncd") and shutil.which("rsync"):
            contenders.append(("lsyncd", _lsyncd))
        else:
            report.note("lsyncd is missing: apt-get install lsyncd rsync")
        contenders.append(("watchdog + paramiko", _script))
    found: dict[str, list[float]] = {name: [] for name, _ in contenders}
    for _ in range(options.rounds or 2):
        for name, contender in contenders:
            with place(folder=options.folder) as here, contender(here) as (data, target, notify):
                found[name] += measure(load, data, target, notify)
    for name, took in found.items():
        report.add([_figure(name, sorted(took), load)])


def _figure(name: str, took: list[float], load: Load) -> Figure:
    cuts = [("median", statistics.median(took))]
    cuts += [(f"p{100 * part:g}", took[int(len(took) * part)]) for part in (0.9, 0.99)]
    judged = name == "pysubtask"
    return Figure(
        f"notify() to visible, {load.per_sec:g} appends a second, loopback",
        name,
        "ms",
        tuple(took),
        target="median ≤ 10 ms, p99 ≤ 60 ms" if judged else "",
        met=(cuts[0][1] <= 10 and cuts[2][1] <= 60) if judged else None,
        shown=(*cuts, ("max", took[-1])),
    )


def measure(
    load: Load, data: pathlib.Path, target: pathlib.Path, notify: Callable[[], object]
) -> list[float]:
    """Milliseconds, sorted."""
    took = []
    rng = random.Random(1)
    for _ in range(load.appends):
        with data.open("ab", buffering=0) as file:
            file.write(rng.randbytes(load.size))
            expected = os.fstat(file.fileno()).st_size
        began = time.perf_counter()
        notify()
        while not target.exists() or os.stat(target).st_size < expected:
            if time.perf_counter() - began > TIMEOUT_SECS:
                raise TimeoutError(f"{expected} bytes are not visible")
            time.sleep(PAUSE_SECS)
        secs = time.perf_counter() - began
        took.append(secs * 1000)
        # not in step with anything
        time.sleep(max(0.0, rng.uniform(0.5, 1.5) / load.per_sec - secs))
    return sorted(took)


# -- who sends -----------------------------------------------------------------------------------

_Set = tuple[pathlib.Path, pathlib.Path, Callable[[], object]]
"""The local file, the server's file, and what says that there is something new."""


def _files(here: Place) -> tuple[pathlib.Path, pathlib.Path]:
    data = here.new_local() / "a.csv"
    data.write_bytes(b"first\n")
    return data, here.new_remote() / "a.csv"


@contextlib.contextmanager
def _pysubtask(here: Place, growth: str) -> Iterator[_Set]:
    data, target = _files(here)
    watched = [{"file": str(data), "growth": growth}]
    master = _ours.master_for(here, watched, target.parent.name)
    with _ours.running(master):
        master.notify(0)
        _ours.delivered(master)
        yield data, target, lambda: master.notify(0)


@contextlib.contextmanager
def _lsyncd(here: Place) -> Iterator[_Set]:
    data, target = _files(here)
    control = here.new_local()
    ssh = f"{here.ssh} -o ControlMaster=auto -o ControlPath={control}/s -o ControlPersist=60"
    config = here.new_local() / "lsyncd.conf"
    where = f"{here.server.user}@{here.host}:{target.parent}"
    config.write_text(
        f"""settings {{ nodaemon = true, inotifyMode = "CloseWrite", maxDelays = 1 }}
sync {{ default.rsync, source = "{data.parent}", target = "{where}", delay = 0,
  rsync = {{ rsh = "{ssh}", inplace = true, whole_file = true }} }}
"""
    )
    yield from _beside(["lsyncd", str(config)], data, target)


@contextlib.contextmanager
def _script(here: Place) -> Iterator[_Set]:
    data, target = _files(here)
    script = pathlib.Path(__file__).with_name("_watch_and_put.py")
    where = [here.host, str(here.port), here.server.user, here.server.key_file]
    command = [sys.executable, str(script), *where, str(data.parent), str(target.parent)]
    yield from _beside(command, data, target)


def _beside(command: list[str], data: pathlib.Path, target: pathlib.Path) -> Iterator[_Set]:
    """Run a program that watches the folder, from the first file that it has sent on."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + TIMEOUT_SECS
        while not target.exists():
            if time.monotonic() > until:
                raise TimeoutError(f"{command[0]} has sent nothing")
            time.sleep(0.2)
            with data.open("ab"):
                pass  # closed after writing: for those that send only what they saw happen
        time.sleep(1)
        yield data, target, lambda: None
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    raise SystemExit(main())
