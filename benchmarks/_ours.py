"""pysubtask as a contender: a master in this process, and what its child costs."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator, Sequence

import psutil

from benchmarks._place import Place
from pysubtask import TaskMaster

__all__ = ["cpu_secs", "delivered", "master_for", "rest", "running", "wait_connected"]

TIMEOUT_SECS = 120.0


def master_for(
    place: Place,
    watched: Sequence[object],
    remote: str,
    *,
    by_ssh: bool = False,
    **settings: object,
) -> TaskMaster:
    """A master whose destination is a folder of the place's server.

    Args:
        by_ssh: over the system's ``ssh`` (``ssh_command``) instead of paramiko.
    """
    if by_ssh:
        settings["ssh_command"] = place.ssh
    else:
        settings["key_file"] = place.server.key_file
        settings["host_key"] = place.server.fingerprint
    return TaskMaster(list(watched), to=place.url(remote), **settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def running(master: TaskMaster) -> Iterator[int]:
    """Start it; gives the child's process id once it is ready."""
    with master:
        until = time.monotonic() + TIMEOUT_SECS
        while not (pid := master.status().pid) or master.status().updated_at is None:
            if time.monotonic() > until:
                raise TimeoutError(str(master.status()))
            time.sleep(0.01)
        yield pid


def cpu_secs(pid: int) -> float:
    """Processor time so far of the child and of what it started (``ssh``)."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def delivered(master: TaskMaster) -> None:
    """Wait until all that was notified is delivered."""
    if not master.flush(timeout=TIMEOUT_SECS):
        raise TimeoutError(str(master.status()))


def wait_connected(master: TaskMaster, file: pathlib.Path) -> None:
    """Have a small file delivered, so that the connection stands."""
    file.write_bytes(b"x")
    master.notify(str(file))
    delivered(master)


def rest(master: TaskMaster) -> None:
    """Wait until the connection is closed after the dead time."""
    until = time.monotonic() + TIMEOUT_SECS
    while master.status().link != "resting":
        if time.monotonic() > until:
            raise TimeoutError(str(master.status()))
        time.sleep(0.02)
