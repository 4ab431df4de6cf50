"""What changes of a large file cost on the link, beside the peers, in one run.

    python -m benchmarks bytes [--appends 1000] [--peer-appends 10]

A relay between each client and the same real sshd counts TCP payload, up and down: SSH packets,
commands, checks and acknowledgements included; for the peers also their handshake, since each of
their runs connects anew. pysubtask finds the change by itself: from the touch to the
acknowledgement, over the connection that it has. rsync needs its own program on the server.

Each client starts from a 100 MB file of random bytes (the CSV: 50 MB of sensor rows) that the
server has already, and that it has sent itself.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from pysubtask import SettingsError, TaskMaster
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

TIMEOUT_SECS = 300.0
BIG_BYTES = 100_000_000
CSV_BYTES = 50_000_000
BLOCKS = 3
BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Place:
    """Where a benchmark happens."""

    folder: pathlib.Path
    server: OpenSshServer
    link: TcpProxy

    @property
    def ssh(self) -> str:
        known = self.folder / "known_hosts"
        return (
            f"ssh -p {self.link.port} -i {self.server.key_file} -o IdentitiesOnly=yes "
            f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={known} -o LogLevel=ERROR "
            "-c aes128-gcm@openssh.com"
        )


Change = Callable[[pathlib.Path], None]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--peer-appends", type=int, default=10)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{'':<46}{'up':>14}{'down':>14}{'secs':>8}   up / changed bytes")
    with (
        tempfile.TemporaryDirectory() as name,
        OpenSshServer() as server,
        TcpProxy(server.host, server.port) as link,
    ):
        place = Place(pathlib.Path(name), server, link)
        for peer, flags in PEERS.items():
            if shutil.which(peer.split()[0]) is None:
                print(f"{peer}: not installed")
            elif flags:
                print(f"{peer}: {flags}")
        appends(place, options.appends, options.peer_appends)
        changes(place)
        rows(place)
    return 0


# -- what is done to the file --------------------------------------------------------------------


def appends(place: Place, ours: int, theirs: int) -> None:
    """1 KiB at a time behind a large file."""
    with Pysubtask(place, BIG_BYTES, growth="append") as run:
        cost = measure(place, ours, append, run)
        show(f"1 KiB appended: pysubtask (mean of {ours})", cost, 1024)
    for peer in ("rsync --append", "rsync", "lftp", "rclone"):
        with Peer(place, peer, BIG_BYTES) as run:
            if run.is_there:
                count = theirs if peer != "rclone" else min(theirs, 2)
                cost = measure(place, count, append, run)
                show(f"1 KiB appended: {peer} (mean of {count})", cost, 1024)


def changes(place: Place) -> None:
    """Inside and in front of a large file."""
    cases: list[tuple[str, Change, int]] = [
        (f"{BLOCKS} blocks of 4 KiB changed", change_blocks, BLOCKS * BLOCK_BYTES),
        ("1 KiB inserted at the front", insert, 1024),
    ]
    for words, change, changed in cases:
        with Pysubtask(place, BIG_BYTES, growth="rewrite") as run:
            show(
                f"{words}: pysubtask",
                measure(place, 1, change, run),
                changed,
            )
        for peer in ("rsync", "lftp", "rclone"):
            with Peer(place, peer, BIG_BYTES) as other:
                if other.is_there:
                    cost = measure(place, 1, change, other)
                    show(f"{words}: {peer}", cost, changed)


def rows(place: Place) -> None:
    """A new file of text, whole."""
    for label, more in (("pysubtask", {}), ("pysubtask, compress=True", {"compress": True})):
        try:
            with Pysubtask(place, 0, growth="auto", **more) as run:
                cost = measure(place, 1, write_rows, run)
                show(f"50 MB of sensor rows: {label}", cost, CSV_BYTES)
        except SettingsError:
            print(f"50 MB of sensor rows: {label}: not in this version")
    for peer in ("rsync -z", "rclone"):
        with Peer(place, peer, 0) as other:
            if other.is_there:
                cost = measure(place, 1, write_rows, other)
                show(f"50 MB of sensor rows: {peer}", cost, CSV_BYTES)


def append(path: pathlib.Path) -> None:
    with path.open("ab") as file:
        file.write(os.urandom(1024))


def change_blocks(path: pathlib.Path) -> None:
    rng = random.Random(1)
    with path.open("r+b") as file:
        for _ in range(BLOCKS):
            file.seek(rng.randrange(BIG_BYTES - BLOCK_BYTES))
            file.write(os.urandom(BLOCK_BYTES))


def insert(path: pathlib.Path) -> None:
    new = path.with_suffix(".new")
    with path.open("rb") as old, new.open("wb") as file:
        file.write(os.urandom(1024))
        shutil.copyfileobj(old, file, 1 << 20)
    new.replace(path)


def write_rows(path: pathlib.Path) -> None:
    rng = random.Random(1)
    size = second = 0
    with path.open("w") as file:
        while size < CSV_BYTES:
            second += 1
            size += file.write(
                f"2026-11-26T{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z,"
                f"{20 + rng.gauss(0, 1):.3f},{1013 + rng.gauss(0, 5):.2f},{rng.random():.4f}\n"
            )


# -- who sends it --------------------------------------------------------------------------------


class Pysubtask:
    """A master with one file that the server has."""

    def __init__(self, place: Place, size: int, **settings: object) -> None:
        self._place = place
        self._folder = pathlib.Path(tempfile.mkdtemp(dir=place.folder))
        self.path = self._folder / f"{self._folder.name}.dat"
        fill(self.path, size)
        growth = settings.pop("growth")
        self.master = TaskMaster(
            [{"file": str(self.path), "growth": growth}],
            to=f"sftp://{place.server.user}@{place.link.host}:{place.link.port}{place.server.root}",
            key_file=place.server.key_file,
            host_key=place.server.fingerprint,
            **settings,
        )

    def __enter__(self) -> Pysubtask:
        self.master.start()
        if self.path.stat().st_size:
            self.send()
        return self

    def send(self) -> None:
        self.master.notify(0)
        if not self.master.flush(timeout=TIMEOUT_SECS):
            raise TimeoutError(str(self.master.status()))
        target = self._place.server.root / self.path.name
        if target.stat().st_size != self.path.stat().st_size:
            raise RuntimeError("flush() said that it is there")

    def __exit__(self, *_: object) -> None:
        self.master.stop()
        target = self._place.server.root / self.path.name
        if target.read_bytes() != self.path.read_bytes():
            raise RuntimeError("what arrived is not what was sent")
        target.unlink()
        shutil.rmtree(self._folder)


PEERS = {
    "rsync": "-I --no-whole-file",
    "rsync --append": "",
    "rsync -z": "-I -z",
    "rclone": "copyto --ignore-times --sftp-concurrency 64",
    "lftp": "put -c (append) or put (change)",
}


class Peer:
    """Another program with one file that the server has."""

    def __init__(self, place: Place, name: str, size: int) -> None:
        self._place = place
        self._name = name
        self._folder = pathlib.Path(tempfile.mkdtemp(dir=place.folder))
        self.path = self._folder / f"{self._folder.name}.dat"
        self._target = place.server.root / self.path.name
        self.is_there = shutil.which(name.split()[0]) is not None
        self._known = size
        fill(self.path, size)
        if size:
            shutil.copyfile(self.path, self._target)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._target.unlink(missing_ok=True)
        shutil.rmtree(self._folder)

    def send(self) -> None:
        place, server = self._place, self._place.server
        where = f"{server.user}@{place.link.host}"
        grew = self.path.stat().st_size > self._known and self._known
        if self._name.startswith("rsync"):
            flags = {
                "rsync": ["-I", "--no-whole-file"],
                "rsync --append": ["--append"],
                "rsync -z": ["-I", "-z"],
            }[self._name]
            command = ["rsync", *flags, "-e", place.ssh, str(self.path), f"{where}:{self._target}"]
        elif self._name == "lftp":
            verb = "put -c" if grew and not self._changed_inside() else "put"
            script = (
                f"set sftp:connect-program '{place.ssh} -a -x'; set sftp:auto-confirm yes; "
                f"open sftp://{server.user}:@{place.link.host}; "
                f"{verb} {self.path} -o {self._target}"
            )
            command = ["lftp", "-c", script]
        else:
            remote = (
                f":sftp,host={place.link.host},port={place.link.port},user={server.user},"
                f"key_file={server.key_file}:{self._target}"
            )
            command = ["rclone", "copyto", "--ignore-times", "--config", os.devnull]
            command += ["--sftp-concurrency", "64", str(self.path), remote]
        subprocess.run(command, check=True, timeout=TIMEOUT_SECS, capture_output=True)
        if self._target.read_bytes() != self.path.read_bytes():
            raise RuntimeError(f"{self._name} left something else there")
        self._known = self.path.stat().st_size

    def _changed_inside(self) -> bool:
        with self.path.open("rb") as ours, self._target.open("rb") as theirs:
            return ours.read(4096) != theirs.read(4096)


def fill(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // 1_000_000):
            file.write(os.urandom(1_000_000))


# -- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Means of one send."""

    up: float
    down: float
    secs: float


def measure(place: Place, count: int, change: Change, run: Pysubtask | Peer) -> Cost:
    """What ``count`` changes cost, each sent before the next."""
    place.link.reset_counters()
    secs = 0.0
    for _ in range(count):
        change(run.path)
        began = time.perf_counter()
        run.send()
        secs += time.perf_counter() - began
    return Cost(place.link.bytes_up / count, place.link.bytes_down / count, secs / count)


def show(words: str, cost: Cost, changed: int) -> None:
    print(
        f"{words:<46}{cost.up:>14,.0f}{cost.down:>14,.0f}{cost.secs:>8.3f}"
        f"{cost.up / changed:>12.2f}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
