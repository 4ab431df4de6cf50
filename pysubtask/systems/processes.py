"""Starting and ending other programs, on every system.

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

__all__ = ["end", "own_group"]


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
