"""What the host program feels: notify() beside a bare os.utime, and a 1 kHz loop's jitter.

    python -m benchmarks --only host

The link fails all the time: connections to the server are reset as soon as they are made. Calls are
timed one by one, ours and ``os.utime`` by turns. The loop wakes up 1,000 times a second and appends
100 bytes to a file; what counts is how late it wakes up. With pysubtask it notifies each time, and
the subtask looks at the file and tries to connect beside it. Stretches with and without alternate.
"""

from __future__ import annotations

import gc
import os
import pathlib
import statistics
import time
from collections.abc import Callable

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._place import place
from benchmarks._report import Figure, Ratio, Report
from pysubtask import TaskMaster
from tests.servers.proxy import TcpProxy

PERIOD_SECS = 0.001
STRETCH_SECS = 5.0
BATCH = 500


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    with (
        place(folder=options.folder) as here,
        TcpProxy(here.server.host, here.server.port) as link,
    ):
        data = here.new_local() / "a.csv"
        data.write_bytes(b"first\n")
        master = TaskMaster(
            [str(data)],
            to=f"sftp://{here.server.user}@{link.host}:{link.port}{here.server.root}",
            key_file=here.server.key_file,
            host_key=here.server.fingerprint,
            retry_short_wait_secs=0.5,
            retry_long_wait_secs=0.5,
        )
        with _ours.running(master):
            link.refuse()
            _calls(master, here.new_local() / "bare", 2_000 if options.quick else 50_000, report)
            secs = 1.0 if options.quick else STRETCH_SECS
            _loops(master, data, secs, options.rounds or 6, report)
            if link.connections == 0:
                report.note("the subtask never tried to connect: the link was not seen to fail")
            master.stop(forcekill=True)  # nothing can be delivered


def _calls(master: TaskMaster, bare: pathlib.Path, calls: int, report: Report) -> None:
    bare.touch()
    name = str(bare)

    def touch() -> object:
        now = time.time_ns()
        os.utime(name, ns=(now, now))
        return now

    took: dict[str, list[float]] = {"notify()": [], "os.utime": []}
    gc.collect()
    for _ in range(-(-calls // BATCH)):
        _time(lambda: master.notify(0), took["notify()"])
        _time(touch, took["os.utime"])
    for who, values in took.items():
        values.sort()
        report.add(
            [
                Figure(
                    "one call, the link failing",
                    who,
                    "µs",
                    tuple(values),
                    shown=tuple(
                        (f"p{100 * part:g}" if part > 0.5 else "median", _cut(values, part))
                        for part in (0.5, 0.99, 0.999)
                    ),
                )
            ]
        )


def _time(call: Callable[[], object], took: list[float]) -> None:
    for _ in range(BATCH):
        began = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - began) / 1000)
        time.sleep(0)
    time.sleep(0.05)


def _cut(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))]


def _loops(
    master: TaskMaster, data: pathlib.Path, secs: float, rounds: int, report: Report
) -> None:
    late: dict[str, list[list[float]]] = {"without": [], "with pysubtask": []}
    for number in range(rounds + 1):
        for who, call in (("without", None), ("with pysubtask", lambda: master.notify(0))):
            values = _loop(data, call, secs)
            if number:  # the first stretches warm up
                late[who].append(values)
            time.sleep(0.5)
    ratios = {
        part: tuple(
            _cut(mine, part) / _cut(bare, part)
            for mine, bare in zip(late["with pysubtask"], late["without"], strict=True)
        )
        for part in (0.5, 0.99, 0.999)
    }
    for who, stretches in late.items():
        values = sorted(value for stretch in stretches for value in stretch)
        mine = who != "without"
        report.add(
            [
                Figure(
                    "how late a 1 kHz loop wakes up, the link failing",
                    who,
                    "µs",
                    tuple(values),
                    ratios=(Ratio("without (p99)", ratios[0.99]),) if mine else (),
                    target="p99 within 25 % of without" if mine else "",
                    met=statistics.median(ratios[0.99]) <= 1.25 if mine else None,
                    shown=(
                        ("median", _cut(values, 0.5)),
                        ("p99", _cut(values, 0.99)),
                        ("p99.9", _cut(values, 0.999)),
                    ),
                )
            ]
        )


def _loop(data: pathlib.Path, call: Callable[[], object] | None, secs: float) -> list[float]:
    """How late each turn was, in µs, sorted."""
    late = []
    row = b"x" * 99 + b"\n"
    gc.collect()
    with data.open("ab", buffering=0) as file:
        began = time.perf_counter()
        for turn in range(1, int(secs / PERIOD_SECS)):
            due = began + turn * PERIOD_SECS
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            late.append((time.perf_counter() - due) * 1e6)
            file.write(row)
            if call is not None:
                call()
            if time.perf_counter() - due > 10 * PERIOD_SECS:
                began += time.perf_counter() - due  # far behind: it does not try to catch up
    return sorted(late)
