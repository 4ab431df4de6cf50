"""Runs a program in a terminal of its own, types, and keeps what it prints with its time."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Key", "Recording", "record"]

_END_SECS = 30.0


@dataclass(frozen=True, slots=True)
class Key:
    """Something typed, so many seconds after the start."""

    at_secs: float
    text: str


@dataclass
class Recording:
    """What a program printed: pairs of seconds since its start, and text."""

    columns: int
    lines: int
    events: list[tuple[float, str]] = field(default_factory=list)
    exit_code: int = 0

    @property
    def secs(self) -> float:
        return self.events[-1][0] if self.events else 0.0

    def as_cast(self, title: str) -> str:
        """In asciinema's format, version 2 (https://docs.asciinema.org/manual/asciicast/v2/)."""
        head = {"version": 2, "width": self.columns, "height": self.lines, "title": title}
        rows = [json.dumps([round(at, 3), "o", text]) for at, text in self.events]
        return "\n".join([json.dumps(head), *rows, ""])


def record(
    command: Sequence[str],
    folder: pathlib.Path,
    *,
    keys: Sequence[Key] = (),
    columns: int = 100,
    lines: int = 24,
    limit_secs: float = 60.0,
    env: dict[str, str] | None = None,
) -> Recording:
    """Run ``command`` to its end; after ``limit_secs`` it is interrupted as by Ctrl-C."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    around = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        around.pop(name, None)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=around,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    found = Recording(columns, lines)
    began = time.monotonic()
    waiting = sorted(keys, key=lambda key: key.at_secs)
    rest = b""
    interrupted = False
    try:
        while True:
            now = time.monotonic() - began
            while waiting and waiting[0].at_secs <= now:
                os.write(ours, waiting.pop(0).text.encode())
            if now > limit_secs and not interrupted:
                interrupted = True
                os.killpg(process.pid, signal.SIGINT)
            if now > limit_secs + _END_SECS:
                raise TimeoutError(f"{command} does not end")
            if not select.select([ours], [], [], 0.02)[0]:
                continue
            try:
                part = os.read(ours, 65_536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not part:
                break
            text, rest = _whole(rest + part)
            if text:
                found.events.append((time.monotonic() - began, text))
        found.exit_code = process.wait(_END_SECS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        os.close(ours)
    return found


def _whole(data: bytes) -> tuple[str, bytes]:
    """What is whole characters, and the beginning of one that is not there yet."""
    for end in range(len(data), max(-1, len(data) - 4), -1):
        try:
            return data[:end].decode(), data[end:]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), b""
