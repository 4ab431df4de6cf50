"""Fetching from a real sshd while its files change, the subtask is killed and the link is cut.

``python -m tests.campaign_pull --kills 300``. A reader of the inbox judges each file at each
change: it must show a beginning of a file that grows, or one whole version of one that is replaced.
In the end every file must be what the server has, and the program must have been told of it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

_WINDOW_BYTES = 2 << 20
"""What a kill or a cut may cost again: what was in flight, and what was added but not noted."""
_LINKS = ((None, 0.0), (None, 0.01), (2_000_000.0, 0.005))
_FINISH_SECS = 120.0


@dataclass
class Line:
    """One content as it comes to be."""

    grows: bool
    data: bytearray = field(default_factory=bytearray)

    def allows(self, content: bytes) -> bool:
        size = len(content)
        if self.grows:
            return self.data[:size] == content
        return size == len(self.data) and self.data == content


class Writer(threading.Thread):
    """The server's programs: two logs that grow and rotate, three files that are replaced."""

    def __init__(self, folder: pathlib.Path, rng: random.Random) -> None:
        super().__init__(name="writer", daemon=True)
        self._folder = folder
        self._rng = rng
        self._ended = threading.Event()
        self.lock = threading.Lock()
        self.lines: dict[str, list[Line]] = {}
        self.made_bytes = 0

    def run(self) -> None:
        while not self._ended.wait(self._rng.uniform(0.01, 0.25)):
            with self.lock:
                self._act()

    def _act(self) -> None:
        chance = self._rng.random()
        if chance < 0.70:
            self._append(self._rng.choice(["a.log", "b.log"]))
        elif chance < 0.73:
            name = self._rng.choice(["a.log", "b.log"])
            path = self._folder / name
            if path.exists():
                os.rename(path, self._folder / f"{name}.1")
                self.lines.setdefault(f"{name}.1", []).append(self.lines[name][-1])
        else:
            self._replace(self._rng.choice(["c.cfg", "d.dat", "e.bin"]))

    def _append(self, name: str) -> None:
        path = self._folder / name
        if not path.exists():
            self.lines.setdefault(name, []).append(Line(True))
        data = self._rng.randbytes(self._rng.choice([10, 800, 20_000]) + self._rng.randrange(90))
        self.lines[name][-1].data += data  # before it can be seen
        self.made_bytes += len(data)
        with path.open("ab") as file:
            file.write(data)

    def _replace(self, name: str) -> None:
        size = {"c.cfg": 300, "d.dat": 40_000, "e.bin": 3_000_000}[name]
        if name == "e.bin" and self._rng.random() < 0.8:
            return
        data = self._rng.randbytes(size + self._rng.randrange(500))
        self.lines.setdefault(name, []).append(Line(False, bytearray(data)))
        self.made_bytes += len(data)
        temporary = self._folder / ".new"
        temporary.write_bytes(data)
        os.rename(temporary, self._folder / name)

    def stop(self) -> None:
        self._ended.set()
        self.join()


class Reader(threading.Thread):
    """Looks at the inbox all the time."""

    def __init__(self, folder: pathlib.Path, writer: Writer) -> None:
        super().__init__(name="reader", daemon=True)
        self._folder = folder
        self._writer = writer
        self._ended = threading.Event()
        self._seen: dict[str, tuple[int, int, int]] = {}
        self.looks = 0
        self.torn: list[str] = []

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self.look()

    def look(self) -> None:
        for path in self._folder.iterdir() if self._folder.exists() else ():
            if path.name.startswith(".") or path.name.endswith(".arrived") or path.is_dir():
                continue
            try:
                with path.open("rb") as file:
                    st = os.fstat(file.fileno())
                    stamp = (st.st_ino, st.st_size, st.st_mtime_ns)
                    if self._seen.get(path.name) == stamp:
                        continue
                    content = file.read()
            except FileNotFoundError:
                continue
            self.looks += 1
            self._seen[path.name] = stamp
            name = path.name.partition("~conflict-")[0]
            with self._writer.lock:
                fits = any(line.allows(content) for line in self._writer.lines.get(name, ()))
            if not fits:
                self.torn.append(f"{path.name}: {len(content)} bytes that never were")

    def stop(self) -> None:
        self._ended.set()
        self.join()


@dataclass
class Report:
    """What it came to."""

    seed: int
    kills: int = 0
    cuts: int = 0
    made_bytes: int = 0
    received_bytes: int = 0
    looks: int = 0
    arrivals: int = 0
    secs: float = 0.0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def again_bytes(self) -> int:
        """What came beyond what there was: fetched twice, and what it takes to look."""
        return max(0, self.received_bytes - self.made_bytes)

    @property
    def clean(self) -> bool:
        bound = (self.kills + self.cuts + 1) * _WINDOW_BYTES
        return not (self.lost or self.torn or self.untold) and self.again_bytes <= bound

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: kills {self.kills}, cuts {self.cuts}, {self.secs:.0f} s, "
            f"{self.made_bytes:,} bytes made, {self.received_bytes:,} received, "
            f"{self.arrivals} arrivals, {self.looks:,} looks: "
            f"lost {len(self.lost)}, torn {len(self.torn)}, untold {len(self.untold)}"
        )


def run(kills: int, seed: int | None = None) -> Report:
    """One campaign."""
    seed = random.randrange(1 << 31) if seed is None else seed
    rng = random.Random(seed)
    report = Report(seed)
    began = time.monotonic()
    with (
        OpenSshServer() as server,
        TcpProxy(server.host, server.port) as link,
        tempfile.TemporaryDirectory() as name,
    ):
        inbox = pathlib.Path(name) / "inbox"
        remote_name, remote = server.new_folder()
        writer = Writer(remote, random.Random(seed + 1))
        reader = Reader(inbox, writer)
        url = f"sftp://{server.user}@{link.host}:{link.port}{remote_name}"
        master = TaskMaster(
            [
                {**source, "to": str(inbox), "interval_secs": 0.2}
                for source in (
                    {"pull": f"{url}/*.log*", "growth": "append"},
                    {"pull": f"{url}/[cde].*"},
                )
            ],
            key_file=server.key_file,
            host_key=server.fingerprint,
            bak_to_folder=str(pathlib.Path(name) / "state"),
            log_to_folder=str(pathlib.Path(name) / "logs"),
            pull_max_interval_secs=0.2,
            settle_secs=0.1,
            retry_short_wait_secs=0.1,
            retry_tries=1000,
        )
        told: dict[str, int] = {}
        writer.start()
        reader.start()
        master.start()
        try:
            while report.kills < kills:
                link.bytes_per_sec, link.delay_secs = rng.choice(_LINKS)
                time.sleep(rng.choice([0.3, 1.5, 4.0, 8.0]) * rng.random())
                for arrival in master.arrivals():
                    told[arrival.path] = arrival.size_bytes
                    report.arrivals += 1
                if rng.random() < 0.3:
                    link.cut()
                    report.cuts += 1
                else:
                    master.stop(forcekill=True)
                    master.start()
                    report.kills += 1
            writer.stop()
            link.bytes_per_sec, link.delay_secs = None, 0.0
            if not master.pull(_FINISH_SECS):
                report.lost.append(f"not all is here in time: {master.status()}")
            master.stop()
            for arrival in master.arrivals():
                told[arrival.path] = arrival.size_bytes
                report.arrivals += 1
            reader.stop()
            reader.look()
        finally:
            master.stop(forcekill=True)
        for path in remote.iterdir():
            here = inbox / path.name
            if not here.exists() or here.read_bytes() != path.read_bytes():
                size = here.stat().st_size if here.exists() else None
                report.lost.append(f"{path.name}: {path.stat().st_size} there, {size} here")
            elif told.get(str(here)) != path.stat().st_size:
                report.untold.append(f"{path.name}: told of {told.get(str(here))} bytes")
        report.lost += [str(p) for p in inbox.iterdir() if "~conflict-" in p.name]
        report.torn = reader.torn
        report.looks = reader.looks
        report.made_bytes = writer.made_bytes
        report.received_bytes = link.bytes_down
    report.secs = time.monotonic() - began
    return report


def main() -> int:
    """The exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign_pull", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, help="of an earlier campaign")
    given = parser.parse_args()
    report = run(given.kills, given.seed)
    for kind in ("lost", "torn", "untold"):
        for fault in getattr(report, kind)[:20]:
            print(f"{kind}: {fault}")
    print(report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
