"""200 files that grow 1 KiB ten times a second for a minute, over a link of 50 ms.

    python -m benchmarks --only stream

2,000 appends and notifies a second. All of it must be there within 2 s of the last append, and the
child may use a quarter of a core. growth="append", as for files that only grow.
"""

from __future__ import annotations

import os
import pathlib
import time

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._place import Place, place, wait_until
from benchmarks._report import Figure, Report

FILES = 200
PER_SEC = 10
SECS = 60.0
ROW = os.urandom(1024)


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    secs = 5.0 if options.quick else SECS
    for by_ssh in (False, True):
        with place(round_trip_secs=0.05, folder=options.folder) as here:
            behind, share, done = _stream(here, secs, by_ssh=by_ssh)
        who = "pysubtask, ssh_command" if by_ssh else "pysubtask"
        case = f"{FILES} files, {PER_SEC} × 1 KiB a second each, {secs:g} s, 50 ms"
        report.add(
            [
                Figure(
                    case,
                    f"{who}: all there after the end",
                    "s",
                    (behind,),
                    target="≤ 2 s",
                    met=behind <= 2,
                    note=f"the program made {100 * done:.0f} % of the appends it wanted to",
                ),
                Figure(
                    case,
                    f"{who}: the child's CPU",
                    "% of a core",
                    (100 * share,),
                    target="≤ 25 %",
                    met=share <= 0.25,
                ),
            ]
        )


def _stream(here: Place, secs: float, *, by_ssh: bool) -> tuple[float, float, float]:
    """Seconds until all is there, the child's share of a core, and of the appends how many could be
    made in time."""
    local, remote = here.new_local(), here.new_remote()
    names = [f"{number:03}.csv" for number in range(FILES)]
    watched = [{"file": str(local / name), "growth": "append"} for name in names]
    master = _ours.master_for(here, watched, remote.name, by_ssh=by_ssh)
    files = [(local / name).open("ab", buffering=0) for name in names]
    sizes = dict.fromkeys(names, 0)
    with _ours.running(master) as pid:
        before, began = _ours.cpu_secs(pid), time.perf_counter()
        turns = 0
        while (now := time.perf_counter() - began) < secs:
            turn_due = turns / PER_SEC
            if now < turn_due:
                time.sleep(turn_due - now)
            for index, file in enumerate(files):
                file.write(ROW)
                sizes[names[index]] += len(ROW)
                master.notify(index)
            turns += 1
        ended = time.perf_counter()
        there = wait_until(lambda: _all_there(remote, sizes), 120.0, 0.01)
        share = (_ours.cpu_secs(pid) - before) / (there - began)
        _ours.delivered(master)
    for file in files:
        file.close()
    for name in names:
        if (remote / name).read_bytes() != (local / name).read_bytes():
            raise RuntimeError(f"{name} is not what was written")
    return there - ended, share, turns / (secs * PER_SEC)


def _all_there(remote: pathlib.Path, sizes: dict[str, int]) -> bool:
    try:
        return all((remote / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:
        return False
