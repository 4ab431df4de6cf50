"""From notify() to the bytes being visible on the server: a real sshd on loopback.

    python -m benchmarks.latency [--appends N] [--per-sec 10] [--growth auto] [--size 100]

Default settings. Each append is 100 bytes; it is visible when a stat of the server's file shows the
new size, which is looked at without a pause.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer

TIMEOUT_SECS = 20.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=300)
    parser.add_argument("--per-sec", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=100, help="bytes of one append")
    parser.add_argument("--growth", choices=("auto", "append"), help="one of them only")
    given = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{'notify() to visible, ms':<32}{'median':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for growth in [given.growth] if given.growth else ["auto", "append"]:
        took = measure(growth, given.appends, given.per_sec, given.size)
        cuts = [statistics.median(took), *(took[int(len(took) * part)] for part in (0.9, 0.99))]
        name = f"{given.per_sec:g} a second, {growth}"
        print(f"{name:<32}" + "".join(f"{cut:>8.1f}" for cut in [*cuts, took[-1]]))
    return 0


def measure(growth: str, appends: int, per_sec: float, size: int) -> list[float]:
    """Milliseconds, sorted."""
    took = []
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name, OpenSshServer() as server:
        data = pathlib.Path(name) / "a.csv"
        target = server.root / "in" / "a.csv"
        master = TaskMaster(
            [{"file": str(data), "growth": growth}],
            to=f"sftp://{server.user}@{server.host}:{server.port}{server.root}/in",
            key_file=server.key_file,
            host_key=server.fingerprint,
        )
        with master, data.open("ab", buffering=0) as file:
            file.write(b"first\n")
            master.notify(0)
            if not master.flush(timeout=TIMEOUT_SECS):
                raise TimeoutError(str(master.status()))
            for _ in range(appends):
                file.write(rng.randbytes(size))
                expected = os.fstat(file.fileno()).st_size
                began = time.perf_counter()
                master.notify(0)
                while os.stat(target).st_size < expected:
                    if time.perf_counter() - began > TIMEOUT_SECS:
                        raise TimeoutError(str(master.status()))
                now = time.perf_counter()
                took.append((now - began) * 1000)
                # not in step with anything
                time.sleep(max(0.0, rng.uniform(0.5, 1.5) / per_sec - (now - began)))
    return sorted(took)


if __name__ == "__main__":
    raise SystemExit(main())
