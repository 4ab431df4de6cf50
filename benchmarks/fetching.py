"""Fetching: a large file over a link that dies every 20 MB, and the tail of a large file.

    python -m benchmarks fetching [--megabytes 1000]

Everything that the link carries down counts: logins, SSH and SFTP overhead, listings, and what is
fetched again. Exact in the end, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import time

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

_CUT_AFTER_BYTES = 20_000_000
_MOST_RATIO = 1.02
_TAIL_OF_BYTES = 100_000_000
_TAIL_BYTES = 5_000
_MOST_TAIL_BYTES = 16_384
_PATIENCE_SECS = 1200.0


def main() -> int:
    """Measure and print; 1 if a file is not exact or costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, OpenSshServer() as server:
        folder = pathlib.Path(name)
        fine = cuts(server, folder / "cuts", given.megabytes * 1_000_000)
        return 0 if tail(server, folder / "tail") and fine else 1


def _master(server: OpenSshServer, link: TcpProxy, folder: pathlib.Path, name: str) -> TaskMaster:
    return TaskMaster(
        [
            {
                "pull": f"sftp://{server.user}@{link.host}:{link.port}{name}/",
                "to": str(folder / "inbox"),
                "interval_secs": 3600,  # looks only when it is asked to
            }
        ],
        key_file=server.key_file,
        host_key=server.fingerprint,
        bak_to_folder=str(folder / "state"),
        log_to_folder=str(folder / "logs"),
        keepalive_secs=0,
    )


def _write(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        while size:
            size -= file.write(os.urandom(min(size, 1 << 20)))


def _same(first: pathlib.Path, second: pathlib.Path) -> bool:
    with first.open("rb") as a, second.open("rb") as b:
        while True:
            one, two = a.read(1 << 20), b.read(1 << 20)
            if one != two or not one:
                return one == two


def cuts(server: OpenSshServer, folder: pathlib.Path, size: int) -> bool:
    """A file over a link that is cut every 20 MB."""
    with TcpProxy(server.host, server.port, cut_after_down=_CUT_AFTER_BYTES) as link:
        name, remote = server.new_folder()
        _write(remote / "big.bin", size)
        began = time.monotonic()
        with _master(server, link, folder, name) as master:
            arrived = master.pull(_PATIENCE_SECS)
        took = time.monotonic() - began
        exact = arrived and _same(remote / "big.bin", folder / "inbox" / "big.bin")
        ratio = link.bytes_down / size
        print(
            f"{size / 1e6:,.0f} MB, cut every {_CUT_AFTER_BYTES / 1e6:.0f} MB: {link.cuts} cuts, "
            f"{link.bytes_down:,} bytes received, {ratio:.4f} of its size, {took:.0f} s, "
            f"{'exact' if exact else 'NOT EXACT'}",
            flush=True,
        )
    return exact and ratio <= _MOST_RATIO


def tail(server: OpenSshServer, folder: pathlib.Path) -> bool:
    """5 KB more at the end of 100 MB, the connection being there."""
    with TcpProxy(server.host, server.port) as link:
        name, remote = server.new_folder()
        _write(remote / "big.bin", _TAIL_OF_BYTES)
        with _master(server, link, folder, name) as master:
            arrived = master.pull(_PATIENCE_SECS)
            time.sleep(1)
            before = link.bytes_down
            with (remote / "big.bin").open("ab") as file:
                file.write(os.urandom(_TAIL_BYTES))
            arrived = master.pull(_PATIENCE_SECS) and arrived
            cost = link.bytes_down - before
        exact = arrived and _same(remote / "big.bin", folder / "inbox" / "big.bin")
        print(
            f"a tail of {_TAIL_BYTES:,} bytes of {_TAIL_OF_BYTES / 1e6:.0f} MB: {cost:,} bytes "
            f"received, {'exact' if exact else 'NOT EXACT'}"
        )
    return exact and cost <= _MOST_TAIL_BYTES


if __name__ == "__main__":
    sys.exit(main())
