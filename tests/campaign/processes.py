"""The host program as a process, its subtask, and what becomes of subtasks whose master died."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil

__all__ = ["Host", "Orphans"]

_ROOT = pathlib.Path(__file__).parent.parent.parent
ORPHAN_LIMIT_SECS = 15.0


class Host:
    """One run of :mod:`tests.campaign.host`, or another ``module`` that takes the same argument.

    Made and waited for by one thread.
    """

    def __init__(
        self,
        given: dict[str, Any],
        log: pathlib.Path,
        environment: dict[str, str],
        module: str = "tests.campaign.host",
    ) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=_ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.decode().rstrip("\n"))
        self._said.put("")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def subtasks(self) -> list[psutil.Process]:
        """Its subtask; none while it is being started again."""
        try:
            return list(psutil.Process(self.pid).children())
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        self._process.kill()
        self.reap()

    def finish(self, timeout_secs: float) -> str:
        """Ask it to end properly; its last words."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"stop\n")
            self._process.stdin.flush()
        until = time.monotonic() + timeout_secs
        words = []
        while time.monotonic() < until:
            try:
                line = self._said.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                break
            if not line:
                break
            words.append(line)
        try:
            self._process.wait(max(1.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            return "did not end in time"
        self.reap()
        return "\n".join(word for word in words if word != "running")

    def reap(self) -> None:
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        self._log.close()


class Orphans:
    """Watches subtasks whose master was killed, in a thread, as a context manager."""

    def __init__(self) -> None:
        self._left: list[tuple[psutil.Process, float]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)
        self.late: list[str] = []
        """Those that were still there after 15 s."""
        self.longest_secs = 0.0

    def __enter__(self) -> Orphans:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._stop.set()
        self._thread.join(10)

    def add(self, processes: list[psutil.Process]) -> None:
        """Their master was killed just now."""
        now = time.monotonic()
        with self._lock:
            self._left += [(process, now) for process in processes]

    def wait(self) -> None:
        """Until they are gone, or were found to be late."""
        while self._left:
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            with self._lock:
                self._check()

    def _check(self) -> None:
        now = time.monotonic()
        still = []
        for process, since in self._left:
            if not _is_running(process):
                self.longest_secs = max(self.longest_secs, now - since)
            elif now - since > ORPHAN_LIMIT_SECS:
                self.late.append(f"process {process.pid}, {now - since:.0f} s after its master")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            else:
                still.append((process, since))
        self._left = still


def _is_running(process: psutil.Process) -> bool:
    # is_running() compares the start time; orphans that nobody reaps stay as zombies
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
