"""notify() while everything behind it is in trouble, beside a bare os.utime in the same run.

    python -m benchmarks.conditions [--calls N]

A real sshd behind a relay. The link is frozen (a black hole: nothing passes, nobody is told), the
subtask is stopped (SIGSTOP), the server is gone (its port is closed); each with data that were
notified and could not leave. Every call is timed alone, in µs; calls are 1 ms apart on average, so
that the subtask, where it can, works on them at the same time.
"""

from __future__ import annotations

import argparse
import gc
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

BATCH = 200


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000, help="calls per line")
    calls: int = parser.parse_args().calls
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{'µs':<44}{'median':>8}{'p99':>8}{'p99.9':>8}{'max':>9}")
    with (
        tempfile.TemporaryDirectory() as name,
        OpenSshServer() as server,
        TcpProxy(server.host, server.port) as link,
    ):
        measure(pathlib.Path(name), server, link, calls)
    return 0


def measure(folder: pathlib.Path, server: OpenSshServer, link: TcpProxy, calls: int) -> None:
    data, bare = folder / "a.csv", str(folder / "bare")
    data.write_text("first\n")
    pathlib.Path(bare).touch()

    def touch() -> object:
        now = time.time_ns()
        os.utime(bare, ns=(now, now))
        return now

    master = TaskMaster(
        [data],
        to=f"sftp://{server.user}@{link.host}:{link.port}{server.root}",
        key_file=server.key_file,
        host_key=server.fingerprint,
        reply_timeout_secs=5.0,
    )
    master.start()
    try:
        master.notify(0)
        if not master.flush(timeout=30):
            raise TimeoutError(str(master.status()))

        def add(name: str, call: Callable[[], object]) -> None:
            time_calls(name, call, calls, data)

        add("os.utime alone", touch)
        add("notify(), connected", lambda: master.notify(0))
        link.freeze()
        add("notify(), the link is frozen", lambda: master.notify(0))
        link.thaw()
        pid = master.status().pid or 0
        os.kill(pid, signal.SIGSTOP)
        try:
            add("notify(), the subtask is stopped (SIGSTOP)", lambda: master.notify(0))
        finally:
            os.kill(pid, signal.SIGCONT)
        server.stop()
        link.cut()
        link.refuse()
        add("notify(), the server is gone", lambda: master.notify(0))
        add("os.utime alone, the server is gone", touch)
        master.stop(forcekill=True)
        add("notify(), the subtask was killed", lambda: master.notify(0))
        add("os.utime alone, nothing runs", touch)
    finally:
        master.stop(forcekill=True)


def time_calls(name: str, call: Callable[[], object], calls: int, data: pathlib.Path) -> None:
    """Time each call, print the distribution. The file grows between the calls."""
    gc.collect()
    took = []
    with data.open("ab", buffering=0) as file:
        for number in range(calls):
            file.write(b"x" * 100)
            began = time.perf_counter_ns()
            call()
            took.append(time.perf_counter_ns() - began)
            if number % BATCH == 0:
                time.sleep(BATCH / 1000)
            else:
                time.sleep(0)
    took.sort()
    cuts = [took[int(len(took) * part)] / 1000 for part in (0.5, 0.99, 0.999)]
    print(f"{name:<44}" + "".join(f"{cut:>8.1f}" for cut in cuts) + f"{took[-1] / 1000:>9.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
