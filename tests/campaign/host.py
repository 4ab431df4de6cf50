"""The host program of the campaign: a program as users write them, which may be killed at any time.

It keeps files of each kind, remembers nothing but what lies in its folder, and begins with a plain
``start()``. A subtask that is gone is started again. A line on its standard input ends it properly:
it flushes, stops, and says on its standard output whether everything was delivered.

Files, below one folder:

* ``stream-append.dat``, ``stream-auto.dat``: grow for ever.
* ``rotated-append.log``, ``rotated-auto.log``: grow, and are renamed away to
  ``<name>.<generation>.asked`` or ``….casual``: *asked* after ``notify(wait_secs=…)`` said that the
  snapshot is taken, so that all of it has to arrive; *casual* without asking.
* ``whole-rewrite.json``, ``whole-auto.cfg``: a new version is written beside it and renamed.
* ``out/``: a watched folder; ``image-*`` are renamed in, ``slow-*`` are written bit by bit and not
  notified, ``day-*`` grow and are notified.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from pysubtask import TaskMaster
from tests.campaign.content import Contents

__all__ = ["ROTATED", "STREAMS", "WHOLE", "HostProgram", "main", "watch_list"]

STREAMS = {"stream-append.dat": "append", "stream-auto.dat": "auto"}
ROTATED = {"rotated-append.log": "append", "rotated-auto.log": "auto"}
WHOLE = {"whole-rewrite.json": "rewrite", "whole-auto.cfg": "auto"}
_SUBTASK_GONE_SECS = 1.5
_FINAL_FLUSH_SECS = 120.0
_SLOW_BYTES = 30_000
_KEPT_BYTES = 2 << 20


def watch_list(folder: pathlib.Path) -> list[dict[str, Any]]:
    """What the host program declares."""
    files = {**STREAMS, **ROTATED, **WHOLE}
    declared: list[dict[str, Any]] = [
        {"file": str(folder / name), "growth": growth} for name, growth in files.items()
    ]
    return [*declared, {"dir": str(folder / "out"), "remote_dir": "out"}]


class HostProgram:
    """One run of it.

    Args:
        folder: where its files lie.
        seed: of the campaign's contents.
        run: number of this run: runs differ in what they do.
    """

    waits: tuple[float, ...] = (0, 0, 0.002, 0.01, 0.05)
    """Seconds between two things that it does: one of these."""

    def __init__(
        self, folder: pathlib.Path, seed: int, run: int, to: str, settings: dict[str, Any]
    ) -> None:
        self._folder = folder
        self._contents = Contents(seed, _KEPT_BYTES)
        self._rng = random.Random(f"{seed} run {run}")
        restart = self._rng.random() < 0.25
        self.master = TaskMaster(
            watch_list(folder),
            to=to,
            restart=restart,
            bak_to_folder=str(folder / "state"),
            log_to_folder=str(folder / "logs"),
            **settings,
        )
        self.last_status = ""
        self._gone_since: float | None = None
        self._restarts = restart
        self._stop = threading.Event()
        self._slow: tuple[str, int] | None = None

    def run(self) -> bool:
        """Work until somebody says stop; whether everything was delivered then."""
        self.master.start()
        threading.Thread(target=self._wait_for_stop, daemon=True).start()
        print("running", flush=True)
        work = (
            [self._append_to_stream] * 12
            + [self._append_to_rotated] * 8
            + [self._rewrite] * 6
            + [self._put_image] * 2
            + [self._write_slowly] * 3
            + [self._append_to_day] * 4
        )
        while not self._stop.is_set():
            self._rng.choice(work)()
            self._keep_subtask()
            self._stop.wait(self._rng.choice(self.waits))
        while self._slow is not None:
            self._write_slowly()
        self.master.notify_all_files()
        self.master.notify(str(self._folder / "out"))  # all files in it
        until = time.monotonic() + _FINAL_FLUSH_SECS
        flushed = False
        while not flushed and time.monotonic() < until:
            self._keep_subtask(at_once=True)  # the last kill may have hit just now
            flushed = self.master.flush(timeout=until - time.monotonic())
            if not flushed:
                time.sleep(0.05)
        self.last_status = str(self.master.status())
        self.master.stop(forcekill=False)
        return flushed

    def _wait_for_stop(self) -> None:
        sys.stdin.readline()
        self._stop.set()

    def _keep_subtask(self, *, at_once: bool = False) -> None:
        if self.master.status().pid is not None:
            self._gone_since = None
            return
        self._gone_since = self._gone_since or time.monotonic()
        patience = _SUBTASK_GONE_SECS if self._restarts and not at_once else 0.0
        if time.monotonic() - self._gone_since >= patience:
            self.master.stop()
            self.master.start()
            self._gone_since = None

    # --- what it does

    def _append_to_stream(self) -> None:
        name = self._rng.choice(list(STREAMS))
        much = 262_144 if self._rng.random() < 0.02 else 2_000
        self._append(self._folder / name, name, 0, self._rng.randrange(1, much))
        self.master.notify(str(self._folder / name))

    def _append_to_rotated(self) -> None:
        name = self._rng.choice(list(ROTATED))
        path = self._folder / name
        number = 1 + max(self._rotations(name), default=0)
        self._append(path, name, number, self._rng.randrange(1, 4_000))
        self.master.notify(str(path))
        if path.stat().st_size < 20_000 or self._rng.random() < 0.8:
            return
        how = "casual"
        if self._rng.random() < 0.7:
            if not self.master.notify(str(path), wait_secs=2.0):
                return
            how = "asked"
        path.rename(path.with_name(f"{name}.{number:08d}.{how}"))

    def _rotations(self, name: str) -> Iterator[int]:
        pattern = re.compile(re.escape(name) + r"\.([0-9]{8})\.(asked|casual)")
        for found in os.listdir(self._folder):
            match = pattern.fullmatch(found)
            if match is not None:
                yield int(match[1])

    def _rewrite(self) -> None:
        path = self._folder / self._rng.choice(list(WHOLE))
        self._next_version(path)
        self.master.notify(str(path))

    def _next_version(self, path: pathlib.Path) -> None:
        number, name = 0, path.name
        with contextlib.suppress(FileNotFoundError):
            seen = self._contents.judge(name, path.read_bytes())
            assert seen.wrong is None, f"the local file: {seen.wrong}"
            number = 0 if seen.number is None else seen.number + 1
        self._replace(path, self._contents.version(name, number))

    def _put_image(self) -> None:
        name = f"image-{self._rng.randrange(10**9):09d}.bin"
        self._replace(self._folder / "out" / name, self._contents.version(name, 0))

    def _write_slowly(self) -> None:
        if self._slow is None:
            self._slow = f"slow-{self._rng.randrange(10**9):09d}.bin", _SLOW_BYTES
        name, left = self._slow
        size = min(left, self._rng.randrange(1, 9_000))
        self._append(self._folder / "out" / name, name, 0, size)
        self._slow = (name, left - size) if left > size else None

    def _append_to_day(self) -> None:
        name = f"day-{self._rng.randrange(5)}.csv"
        path = self._folder / "out" / name
        self._append(path, name, 0, self._rng.randrange(1, 2_000))
        self.master.notify(str(path))

    def _append(self, path: pathlib.Path, name: str, number: int, size: int) -> None:
        with path.open("ab", buffering=0) as file:
            begin = file.tell()
            file.write(self._contents.stream(name, number, begin, begin + size))

    def _replace(self, path: pathlib.Path, data: bytes) -> None:
        # hidden names in a watched folder are nobody's data
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)


def main(kind: type[HostProgram] = HostProgram) -> int:
    """Run it as the one argument (JSON) says."""
    given = json.loads(sys.argv[1])
    folder = pathlib.Path(given["folder"])
    (folder / "out").mkdir(parents=True, exist_ok=True)
    program = kind(folder, given["seed"], given["run"], given["to"], given["settings"])
    flushed = program.run()
    print("flushed" if flushed else f"not flushed: {program.last_status}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
