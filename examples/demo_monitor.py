"""The monitor beside the demo: who is online, on a page of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

from pysubtask import SettingsError

__all__ = ["HEARTBEAT", "DemoMonitor"]

HEARTBEAT: dict[str, Any] = {"heartbeat_interval_secs": 2, "heartbeat_name": "demo"}
"""A beat every 2 s, each promising the next within 12 s: who takes the server down soon sees it."""


class DemoMonitor:
    """``pysubtask-monitor serve`` on loopback, on a port that the kernel picks.

    Args:
        drop: the folder that heartbeats land in; made if it is missing.
        base: where it keeps its history.

    Raises:
        SettingsError: the packages that it needs are not installed, or it did not start.
    """

    def __init__(self, drop: Path, base: Path) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
            raise SettingsError(
                "starlette and uvicorn are not installed",
                operation="start the monitor",
                hint="python -m pip install -e '.[demo,monitor]'",
            )
        drop.mkdir(parents=True, exist_ok=True)
        base.mkdir(parents=True, exist_ok=True)
        self._log = base / "monitor.log"
        command = [sys.executable, "-m", "pysubtask.monitor", "serve", str(drop)]
        command += ["--state", str(base), "--listen", "127.0.0.1:0"]
        command += ["--scan-secs", "0.5", "--grace-secs", "3", "--until-eof"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its end tells it that the demo is gone
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is the demo's
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends with the process, if that ends
        self.url = line.rpartition(" at ")[2].strip()
        if not self.url.startswith("http"):
            self.close()
            raise SettingsError(
                self._log.read_text("utf-8", "replace")[-500:], operation="start the monitor"
            )

    def show(self) -> None:
        """Open its page in the user's browser, if there is one."""
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(self.url)

    def close(self) -> None:
        """End it. Idempotent."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
