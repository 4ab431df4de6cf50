"""How long start() takes, and how long until the child is ready and until it has delivered.

    python -m benchmarks --only start

Ready is when the child has read its journal, watches its folders and says so in ``status()``. The
first delivery is of a file that was notified before ``start()``. Beside it stands a bare
interpreter that imports nothing: what Python itself takes to start here and now.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._place import Place, place, wait_until
from benchmarks._report import Figure, Report

CASES = (
    ("start()", 30.0),
    ("child ready", 350.0),
    ("child ready, its CPU time", None),
    ("first delivery", None),
    ("first delivery, ssh_command", None),
    ("a bare interpreter", None),
)


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    found: dict[str, list[float]] = {name: [] for name, _ in CASES}
    rounds = options.rounds or (2 if options.quick else 15)
    with place(folder=options.folder) as here:
        for number in range(rounds + 1):
            took = _start(here, by_ssh=False)
            took["first delivery, ssh_command"] = _start(here, by_ssh=True)["first delivery"]
            began = time.perf_counter()
            subprocess.run([sys.executable, "-P", "-c", "pass"], check=True)
            took["a bare interpreter"] = (time.perf_counter() - began) * 1000
            if number:
                for name, milli in took.items():
                    found[name].append(milli)
    for name, most in CASES:
        figure = Figure(
            "from start() on",
            name,
            "ms",
            tuple(found[name]),
            target=f"≤ {most:g} ms" if most else "",
            met=sorted(found[name])[rounds // 2] <= most if most else None,
        )
        report.add([figure])


def _start(here: Place, *, by_ssh: bool) -> dict[str, float]:
    """In milliseconds."""
    local, remote = here.new_local(), here.new_remote()
    data = local / "a.csv"
    data.write_bytes(b"1,2,3\n")
    master = _ours.master_for(here, [str(data)], remote.name, by_ssh=by_ssh)
    master.notify(0)
    began = time.perf_counter()
    master.start()
    started = time.perf_counter()
    try:
        ready = wait_until(lambda: master.status().updated_at is not None, 60, 0.001)
        pid = master.status().pid
        busy = _ours.cpu_secs(pid) if pid is not None else float("nan")
        there = wait_until((remote / data.name).exists, 60, 0.001)
    finally:
        master.stop(forcekill=True)
    ends = {"start()": started, "child ready": ready, "first delivery": there}
    took = {name: (end - began) * 1000 for name, end in ends.items()}
    return {**took, "child ready, its CPU time": busy * 1000}
