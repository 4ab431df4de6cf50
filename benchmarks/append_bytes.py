"""What an append costs on the wire: TCP payload up, against the bytes appended.

    python -m benchmarks.append_bytes [--appends 50]

A relay between the subtask and a real sshd counts payload bytes: SSH packets, path check and
acknowledgements included, TCP/IP headers not. One open connection; each append is waited for.
The 100 MB file is uploaded at first; of the sparse 1 GB file the server has a copy already.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

TIMEOUT_SECS = 120.0
SIZES = (1, 100, 1024, 8192, 65_536)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=50)
    appends: int = parser.parse_args().appends
    print(f"Python {sys.version.split()[0]}, {sys.platform}; mean of {appends} appends each")
    columns = "".join(f"{f'{size:,} B':>14}" for size in SIZES)
    print(f"{'payload up (× the bytes appended)':<40}{columns}")
    for file_bytes, growth in (
        (100_000_000, "append"),
        (1_000_000_000, "append"),
        (100_000_000, "auto"),
        (1_000_000, "auto"),
    ):
        costs = measure(file_bytes, growth, appends)
        row = "".join(
            f"{f'{cost:,.0f} ({cost / size:.2f})':>14}"
            for size, cost in zip(SIZES, costs, strict=True)
        )
        print(f"{f'{file_bytes // 1_000_000:,} MB, growth={growth!r}':<40}{row}")
    return 0


def measure(file_bytes: int, growth: str, appends: int) -> list[float]:
    """Payload bytes up per append, for each of :data:`SIZES`."""
    with (
        tempfile.TemporaryDirectory() as name,
        OpenSshServer() as server,
        TcpProxy(server.host, server.port) as link,
    ):
        data = pathlib.Path(name) / "big.dat"
        target = server.root / "big.dat"
        if file_bytes <= 100_000_000:
            with data.open("wb") as file:
                for _ in range(file_bytes // 1_000_000):
                    file.write(os.urandom(1_000_000))
        else:
            for path in (data, target):
                path.touch()
                os.truncate(path, file_bytes)
        master = TaskMaster(
            [{"file": str(data), "growth": growth}],
            to=f"sftp://{server.user}@{link.host}:{link.port}{server.root}",
            key_file=server.key_file,
            host_key=server.fingerprint,
        )
        with master:
            append(master, data, target, 1)
            costs = []
            for size in SIZES:
                link.reset_counters()
                for _ in range(appends):
                    append(master, data, target, size)
                costs.append(link.bytes_up / appends)
            if link.connections != 1:
                raise RuntimeError("the connection did not stay")
        return costs


def append(master: TaskMaster, data: pathlib.Path, target: pathlib.Path, size: int) -> None:
    """Append and wait for the acknowledgement."""
    with data.open("ab") as file:
        file.write(os.urandom(size))
    master.notify(0)
    if not master.flush(timeout=TIMEOUT_SECS):
        raise TimeoutError(str(master.status()))
    if target.stat().st_size != data.stat().st_size:
        raise RuntimeError("flush() said that it is there")


if __name__ == "__main__":
    raise SystemExit(main())
