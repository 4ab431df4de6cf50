"""A link that dies after every 4 MB: how much is sent again.

    python -m benchmarks.cuts [--megabytes 100] [--server openssh|rclone]

A relay resets each connection when 4,000,000 payload bytes have gone up. Everything beyond the
file's own bytes counts: logins, SSH and SFTP overhead, and what is sent again.
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
from tests.servers.rclone import RcloneServer

CUT_AFTER_BYTES = 4_000_000
MOST_AGAIN_BYTES = 256 * 1024


def main() -> int:
    """Measure and print; 1 if the file is not exact or too much was sent again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--server", choices=("openssh", "rclone"))
    given = parser.parse_args()
    fine = True
    for name in [given.server] if given.server else ["openssh", "rclone"]:
        fine &= measure(OpenSshServer() if name == "openssh" else RcloneServer(), given.megabytes)
    return 0 if fine else 1


def measure(server: OpenSshServer | RcloneServer, megabytes: int) -> bool:
    """One transfer; prints a line, and gives whether it was as promised."""
    with (
        tempfile.TemporaryDirectory() as name,
        server,
        TcpProxy(server.host, server.port, cut_after_up=CUT_AFTER_BYTES) as link,
    ):
        data = pathlib.Path(name) / "big.dat"
        content = b"".join(os.urandom(1_000_000) for _ in range(megabytes))
        data.write_bytes(content)
        remote_name, remote = server.new_folder()
        master = TaskMaster(
            [str(data)],
            to=f"sftp://{server.user}@{link.host}:{link.port}{remote_name}",
            key_file=server.key_file,
            host_key=server.fingerprint,
        )
        began = time.monotonic()
        with master:
            master.notify(0)
            arrived = master.flush(timeout=600)
        took = time.monotonic() - began
        until = time.monotonic() + 10  # rclone puts files into its folder some time later
        target = remote / "big.dat"
        exact = False
        while arrived and not exact and time.monotonic() < until:
            exact = target.exists() and target.read_bytes() == content
            time.sleep(0.1)
        more = (link.bytes_up - len(content)) / max(1, link.cuts)
        print(
            f"{type(server).__name__}: {megabytes} MB, {link.cuts} cuts, {took:.1f} s, "
            f"{'exact' if exact else 'NOT EXACT'}, {more / 1024:.1f} KiB more per cut"
            f"{'' if more <= MOST_AGAIN_BYTES else ': TOO MUCH'}",
            file=sys.stdout,
        )
        return exact and more <= MOST_AGAIN_BYTES


if __name__ == "__main__":
    raise SystemExit(main())
