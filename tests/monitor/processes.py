"""A real ``pysubtask-monitor serve`` on loopback, on a port that the kernel picks."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

START_SECS = 30.0


class Serving:
    """The process; a context manager that always reaps it."""

    prefix: tuple[str, ...] = ()
    """What starts it, if something has to be set before."""

    def __init__(self, source: str, state: pathlib.Path, *options: str, **env: str) -> None:
        self.log = state.parent / f"{state.name}.log"
        command = [
            *self.prefix, sys.executable, "-m", "pysubtask.monitor", "serve", source,
            "--state", str(state),
            "--listen", "127.0.0.1:0", "--scan-secs", "0.2", *options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **env},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"at (https?)://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            self.__exit__()
            raise RuntimeError(f"it did not start: {line}{self.log.read_text()}")
        self.port = int(found[2])
        self.url = f"{found[1]}://127.0.0.1:{self.port}"

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def clients(self) -> dict[str, Any]:
        """The API's clients by name."""
        status, body = self.get("/api/v1/clients")
        assert status == 200, body
        return {one["name"]: one for one in json.loads(body)["clients"]}

    def wait(self, until: Callable[[dict[str, Any]], bool], secs: float = 20.0) -> dict[str, Any]:
        """Wait until the clients are as wished."""
        limit = time.monotonic() + secs
        while True:
            found = self.clients()
            if until(found):
                return found
            if time.monotonic() > limit:
                raise AssertionError(f"not in {secs} s: {found}\n{self.log.read_text()}")
            time.sleep(0.05)
