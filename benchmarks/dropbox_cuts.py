"""A big file to Dropbox over a link that dies again and again, while the child is killed twice.

    python -m benchmarks.dropbox_cuts [--megabytes 1000] [--cut-megabytes 20]

The official SDK in the child, an emulated Dropbox over TLS, a relay between them that resets each
connection when so many payload bytes have gone up. Counted are all of them: the file's own bytes,
HTTP and TLS around them, logins, and what is sent again. The child's memory is the greatest
resident set that the kernel noted of any of the three children (``VmHWM``, proc_pid_status(5)).
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import pathlib
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from pysubtask import TaskMaster
from tests.servers.dropbox import DropboxServer
from tests.servers.proxy import TcpProxy

MOST_TIMES = 1.06
MOST_MEMORY_BYTES = 100_000_000
KILLS = 2


@dataclass(frozen=True)
class Measured:
    """What one transfer took."""

    exact: bool
    sent_times: float
    memory_bytes: int
    cuts: int
    kills: int
    took_secs: float

    @property
    def fine(self) -> bool:
        return (
            self.exact
            and self.kills == KILLS
            and self.sent_times <= MOST_TIMES
            and self.memory_bytes < MOST_MEMORY_BYTES
        )


def main() -> int:
    """Measure and print; 1 if the file is not exact, or too much was sent or used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--cut-megabytes", type=float, default=20.0)
    given = parser.parse_args()
    found = measure(given.megabytes * 1_000_000, int(given.cut_megabytes * 1e6))
    print(
        f"dropbox: {given.megabytes} MB, {found.cuts} cuts, {found.kills} kills, "
        f"{found.took_secs:.0f} s, {'exact' if found.exact else 'NOT EXACT'}, "
        f"sent {found.sent_times:.4f} times its size, "
        f"child {found.memory_bytes / 1e6:.0f} MB at most{'' if found.fine else ': TOO MUCH'}"
    )
    return 0 if found.fine else 1


def measure(size: int, cut_after_bytes: int, limit_secs: float = 3600.0) -> Measured:
    """One transfer."""
    with (
        tempfile.TemporaryDirectory() as name,
        DropboxServer() as server,
        TcpProxy(server.host, server.port, cut_after_up=cut_after_bytes) as link,
        _environment(server.environment(link)),
    ):
        source = pathlib.Path(name) / "big.dat"
        _write(source, size)
        remote_name, remote = server.new_folder()
        master = TaskMaster(
            [{"file": str(source), "growth": "append"}],
            to=f"dropbox://{remote_name}",
            dropbox_refresh_token=server.refresh_token,
            dropbox_app_key=server.app_key,
            ca_file=server.ca_file,
        )
        began = time.monotonic()
        kills = 0
        master.start()
        try:
            with _Memory(master) as memory:
                master.notify(0)
                while kills < KILLS and time.monotonic() < began + limit_secs:
                    if server.body_bytes > size * (kills + 1) / (KILLS + 1):
                        pid = master.status().pid
                        if pid is not None:
                            psutil.Process(pid).kill()
                            kills += 1
                    time.sleep(0.005)
                arrived = master.flush(timeout=limit_secs)
            took = time.monotonic() - began
        finally:
            master.stop(forcekill=True)
        exact = arrived and filecmp.cmp(source, remote / "big.dat", shallow=False)
        return Measured(exact, link.bytes_up / size, memory.peak, link.cuts, kills, took)


def _write(path: pathlib.Path, size: int) -> None:
    noise = random.Random(1).randbytes(1_000_003)
    with path.open("wb") as file:
        while (at := file.tell()) < size:
            file.write(noise[: min(len(noise), size - at)])


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Memory:
    """Watches the child's memory."""

    def __init__(self, master: TaskMaster) -> None:
        self._master = master
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak = 0

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            pid = self._master.status().pid
            if pid is None:
                continue
            with contextlib.suppress(OSError):
                told = pathlib.Path(f"/proc/{pid}/status").read_text()
                found = re.search(r"^VmHWM:\s+(\d+) kB", told, re.MULTILINE)
                self.peak = max(self.peak, int(found[1]) * 1024 if found else 0)


if __name__ == "__main__":
    raise SystemExit(main())
