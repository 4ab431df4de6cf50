"""Child processes of the tests: found, started, waited for, always reaped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

__all__ = ["Child", "ServerMissing", "find_program", "free_port"]


class ServerMissing(Exception):
    """A server program that this machine does not have; the text says its name."""


def find_program(name: str, *more_folders: str) -> str:
    """The path of a program: beside this Python, in ``PATH``, or in the given folders.

    Raises:
        ServerMissing: it is nowhere.
    """
    folders = [str(Path(sys.executable).parent), *os.get_exec_path(), *more_folders]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise ServerMissing(name)
    return found


def free_port() -> int:
    """A TCP port of the loopback that the kernel has just picked."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _dying_with_us() -> list[str]:
    """On Linux, what makes a server end with the tests, even where they are killed."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv is not None else []


class Child:
    """A server process with its own group; its output goes to a file."""

    def __init__(
        self, command: Sequence[str], log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_dying_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for_port(self, port: int, timeout_secs: float = 10.0, host: str = "127.0.0.1") -> None:
        """Wait until somebody listens.

        Raises:
            RuntimeError: the process ended or the time is over; with the end of its output.
        """
        deadline = time.monotonic() + timeout_secs
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((host, port), 0.5):
                if self._listens(port):  # not somebody who was given the port meanwhile
                    return
            if not self.running:
                break
            time.sleep(0.02)
        raise RuntimeError(f"no server on port {port}:\n{self.output()[-2000:]}")

    def _listens(self, port: int) -> bool:
        try:
            process = psutil.Process(self.pid)
            family = [process, *process.children(recursive=True)]
            return any(
                found.status == psutil.CONN_LISTEN and found.laddr.port == port
                for member in family
                for found in member.net_connections("tcp")
            )
        except psutil.NoSuchProcess:
            return False

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and all that it has started in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """End it and what it has started; returns when it is reaped."""
        if self.running:
            self.signal_all(signal.SIGCONT)
            self.signal_all(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
        self.signal_all(signal.SIGKILL)
        self._process.wait(5)
