"""What the subtask costs a small machine: memory, processor, wake-ups, bytes written to its disk.

    python -m benchmarks.small [--secs 30] [--files 1000]

A real sshd on loopback. At rest: ``--files`` declared files, of which one was delivered. The
figures are the kernel's, of the subtask's process, with ``ssh_command`` together with its ``ssh``
(``subtask`` is the resident memory without that):
``/proc/PID/smaps_rollup`` (Rss, and Pss, which shares out what others have mapped too), and of all
threads the nanoseconds in ``schedstat`` and the voluntary context switches. Written:
``/proc/PID/io``'s ``write_bytes`` (what reached the page cache of a real disk), at ten appends of
64 KiB a second; journal, outbox, status and log included. A folder on tmpfs counts none:
give ``--folder``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import random
import sys
import tempfile
import time
from dataclasses import dataclass

import psutil

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer

TIMEOUT_SECS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the kernel has counted so far, for some processes together."""

    at: float
    cpu_secs: float
    wakeups: int
    written_bytes: int
    rss_bytes: int
    own_rss_bytes: int
    """Of the subtask alone."""
    pss_bytes: int


def sample(pid: int) -> Sample:
    """The subtask and what it started."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    cpu, wakeups, written, rss, own, pss = 0.0, 0, 0, 0, 0, 0
    for process in family:
        root = pathlib.Path("/proc", str(process.pid))
        for task in (root / "task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                cpu += int((task / "schedstat").read_text().split()[0]) / 1e9
                wakeups += _number(task / "status", "voluntary_ctxt_switches")
        written += _number(root / "io", "write_bytes")
        resident = 1024 * _number(root / "smaps_rollup", "Rss")
        rss += resident
        own = resident if process.pid == pid else own
        pss += 1024 * _number(root / "smaps_rollup", "Pss")
    return Sample(time.monotonic(), cpu, wakeups, written, rss, own, pss)


def _number(file: pathlib.Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"no {name} in {file}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--secs", type=float, default=30.0, help="length of each measurement")
    parser.add_argument("--files", type=int, default=1000, help="declared files at rest")
    parser.add_argument("--folder", help="where the data is, on a real disk")
    given = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    title = f"at rest, {given.files} files"
    print(f"{title:<28}{'Rss':>9}{'subtask':>9}{'Pss':>9}{'CPU':>9}{'wake-ups/s':>12}")
    with OpenSshServer() as server:
        ssh = (
            f"ssh -i {server.key_file} -o BatchMode=yes -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
        cases: list[tuple[str, dict[str, object]]] = [
            ("paramiko, connected", {}),
            ("paramiko, resting", {"dead_time_milli": 500}),
            ("ssh_command, connected", {"ssh_command": ssh}),
            ("ssh_command, resting", {"ssh_command": ssh, "dead_time_milli": 500}),
        ]
        for title, settings in cases:
            before, after = at_rest(server, given, settings)
            span = after.at - before.at
            print(
                f"{title:<28}{after.rss_bytes / 1e6:>6.1f} MB"
                f"{after.own_rss_bytes / 1e6:>6.1f} MB{after.pss_bytes / 1e6:>6.1f} MB"
                f"{100 * (after.cpu_secs - before.cpu_secs) / span:>8.2f}%"
                f"{(after.wakeups - before.wakeups) / span:>12.1f}"
            )
        print(f"\n{'10 × 64 KiB a second':<28}{'written per new byte':>22}{'CPU':>9}")
        for growth in ("append", "auto"):
            ratio, cpu = under_load(server, given, growth)
            print(f"growth={growth:<21}{ratio:>22.3f}{cpu:>8.1f}%")
    return 0


def _master(
    server: OpenSshServer, watched: list[object], settings: dict[str, object], name: str
) -> TaskMaster:
    options: dict[str, object] = {"key_file": server.key_file, "host_key": server.fingerprint}
    if "ssh_command" in settings:
        options = {}
    to = f"sftp://{server.user}@{server.host}:{server.port}{server.root}/{name}"
    return TaskMaster(watched, to=to, **options, **settings)  # type: ignore[arg-type]


def at_rest(
    server: OpenSshServer, given: argparse.Namespace, settings: dict[str, object]
) -> tuple[Sample, Sample]:
    """Two samples, so many seconds apart."""
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = pathlib.Path(name)
        files: list[object] = []
        for number in range(given.files):
            path = folder / f"{number:05}.csv"
            path.write_bytes(b"1\n")
            files.append(str(path))
        with _master(server, files, settings, folder.name) as master:
            _deliver(master)
            time.sleep(5)  # second looks, the journal's sync, the rest after dead_time_milli
            pid = master.status().pid
            assert pid is not None
            before = sample(pid)
            time.sleep(given.secs)
            return before, sample(pid)


def under_load(
    server: OpenSshServer, given: argparse.Namespace, growth: str
) -> tuple[float, float]:
    """Bytes written to the disk for each new byte; per cent of a core."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        path = pathlib.Path(name, "a.csv")
        path.write_bytes(b"1\n")
        watched: list[object] = [{"file": str(path), "growth": growth}]
        with _master(server, watched, {}, pathlib.Path(name).name) as master:
            _deliver(master)
            pid = master.status().pid
            assert pid is not None
            before, added = sample(pid), 0
            until = time.monotonic() + given.secs
            with path.open("ab", buffering=0) as file:
                while time.monotonic() < until:
                    added += file.write(rng.randbytes(65_536))
                    master.notify(0)
                    time.sleep(0.1)
            _deliver(master)
            after = sample(pid)
            cpu = 100 * (after.cpu_secs - before.cpu_secs) / (after.at - before.at)
            return (after.written_bytes - before.written_bytes) / added, cpu


def _deliver(master: TaskMaster) -> None:
    master.notify(0)
    if not master.flush(timeout=TIMEOUT_SECS):
        raise TimeoutError(str(master.status()))


if __name__ == "__main__":
    raise SystemExit(main())
