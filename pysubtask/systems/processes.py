"""Starting and ending other programs, and telling them apart, on every system.

What we start has a session of its own (on Windows: a process group, and no console window), so that
Ctrl-C in the program's terminal does not hit it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from pysubtask.systems import windows

if TYPE_CHECKING:
    import subprocess

__all__ = ["end", "own_group", "process_start"]


def own_group() -> dict[str, Any]:
    """Keywords for ``subprocess.Popen``."""
    if sys.platform == "win32":
        return {"creationflags": windows.CREATION_FLAGS}
    return {"start_new_session": True}


def end(process: subprocess.Popen[bytes], *, force: bool) -> None:
    """Ask a process that was started with :func:`own_group`, and whatever it started, to end; with
    ``force`` kill them. On Windows it is the process alone, and always by force: what it started
    learns by the end of its pipes.

    Another thread must not reap it meanwhile: its pid may be another's then.

    Raises:
        OSError: there is none any more, or it is not ours.
    """
    if sys.platform == "win32":
        process.kill()
    else:
        # it leads its group
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def process_start(pid: int) -> str | None:
    """Which process has this pid: a text that no other process ever has with the same pid.

    Linux: the boot's id and the start time in clock ticks since the boot (field 22 of
    ``/proc/<pid>/stat``, proc(5)), which a step of the wall clock does not change. Elsewhere: the
    start time as psutil tells it.

    Returns:
        None if there is no such process, or it can't be told.
    """
    if sys.platform == "linux":
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = file.read().strip()
            with open(f"/proc/{pid}/stat", "rb") as raw:
                fields = raw.read().rpartition(b")")[2].split()
            # after the command's name in brackets: the state is field 3, so field 22 is the 20th
            if fields[0] in (b"Z", b"X"):
                return None
            return f"{boot}:{int(fields[19])}"
        except (OSError, ValueError, IndexError):
            return None
    import psutil  # type: ignore[import-untyped, unused-ignore]  # only systems without /proc

    try:
        return f"{psutil.Process(pid).create_time():.3f}"
    except psutil.Error:
        return None
