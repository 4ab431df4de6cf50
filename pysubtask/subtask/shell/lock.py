"""The lock of a state folder, and taking it over from a child that nobody needs any more.

One child at a time may use a state folder: two would deliver the same bytes twice and spoil the
journal. A child whose master died may still hold it, hung or at work. The next one

1. asks it to leave (``<state>/stop``) and waits 5 s;
2. then kills it, but only if ``<state>/holder.json`` names a process that is the very one that
   wrote it: same pid *and* same start time, in the same boot. A pid alone may have been given to
   somebody else's process long ago. On Linux it must have the lock file open as well.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pysubtask.errors import StateError
from pysubtask.signals import StateLayout, json_object
from pysubtask.systems.locks import HeldFile, file_lock
from pysubtask.systems.processes import process_start

if TYPE_CHECKING:
    import logging

    from pysubtask.seams.clock import Clock
    from pysubtask.seams.disk import Disk

__all__ = ["StateLock", "System"]

POLITE_SECS = 5.0
ROUNDS = 3
"""A holder may be replaced by another child while we wait; each one is asked first."""
_POLL_SECS = 0.05
_MAX_JSON_BYTES = 65_536

_NO_LOCKS = {
    code
    for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL", "ENOTTY")
    if (code := getattr(errno, name, None)) is not None
}
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


def _has_open(pid: int, path: str) -> bool:
    """Whether the process has the file open; True where the system can't tell."""
    if sys.platform != "linux":
        return True
    try:
        wanted = os.stat(path)
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{fd}")):
                    return True
            except OSError:
                continue  # closed by now
    except OSError:
        pass
    return False


def _kill(pid: int, start: str, lock_file: str) -> bool:
    """Kill the process ``pid`` if it is the one that started at ``start``; True if it was."""
    if pid <= 1 or pid == os.getpid():
        return False

    def is_holder() -> bool:
        return process_start(pid) == start and _has_open(pid, lock_file)

    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)  # holds the process, so that the check below stays true
        except ProcessLookupError:
            return False
        except OSError:
            fd = -1  # an older kernel, or a sandbox that denies it
        if fd >= 0:
            try:
                if not is_holder():
                    return False
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                return True
            except OSError:
                return False
            finally:
                os.close(fd)
    if not is_holder():
        return False
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows: TerminateProcess
    except OSError:
        return False
    return True


class System:
    """What the lock needs of the operating system; the simulator has one of its own."""

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    def start_of(self, pid: int) -> str | None:
        """See :func:`process_start`."""
        return process_start(pid)

    def kill(self, pid: int, start: str, lock_file: str) -> bool:
        """Kill the process if it is the one that started at ``start``; True if it was."""
        return _kill(pid, start, lock_file)

    def mutex(self, path: str) -> HeldFile:
        """The lock itself."""
        return file_lock(path)


class StateLock:
    """The right to use a state folder, held until :meth:`release` or the end of the process.

    Args:
        layout: the folder.
        token: names this child.
        program_pid: the program whose child this is; 0 if that does not matter.
    """

    def __init__(
        self,
        layout: StateLayout,
        *,
        token: str,
        disk: Disk,
        clock: Clock,
        log: logging.Logger,
        program_pid: int = 0,
        system: System | None = None,
    ) -> None:
        self._program_pid = program_pid
        self._layout = layout
        self._token = token
        self._disk = disk
        self._clock = clock
        self._log = log
        self._system = system or System()
        self._lock = self._system.mutex(layout.lock)

    def acquire(
        self,
        *,
        give_up: Callable[[], bool] = lambda: False,
        polite_secs: float = POLITE_SECS,
    ) -> bool:
        """Take the lock, from another holder if need be.

        Args:
            give_up: asked while waiting; True ends the wait.
            polite_secs: how long a holder may take to leave before it is killed.

        Returns:
            False if ``give_up`` said so.

        Raises:
            StateError: the folder can't be used, or its holder can't be moved.
        """
        trouble: OSError | None = None
        for attempt in range(ROUNDS):
            asked = False
            met = self._holder()
            until = self._clock.monotonic() + polite_secs
            while self._clock.monotonic() < until and self._holder() == met:
                try:
                    if self._lock.acquire():
                        self._settle_in()
                        return True
                    trouble = None
                except OSError as error:
                    self._refuse_if_hopeless(error)
                    trouble = error  # EIO, ESTALE …: a disk or mount that may come back
                if give_up():
                    self._take_back()
                    return False
                if trouble is None:
                    asked = self._ask_to_leave(asked, first=attempt == 0)
                self._clock.sleep(_POLL_SECS)
            if trouble is None and self._holder() == met:  # one that came meanwhile is asked first
                self._kill_holder()
        self._take_back()
        if trouble is not None:
            raise StateError(
                f"the lock can't be taken: {trouble.strerror or trouble}",
                operation="lock",
                path=self._layout.lock,
                retryable=True,
            )
        raise self._held()

    def release(self) -> None:
        """Let go of it and of ``holder.json``."""
        try:
            self._disk.remove(self._layout.holder)
        except OSError:
            pass
        try:
            self._lock.release()
        except OSError:
            pass  # the end of the process releases it

    def _read(self, path: str) -> dict[str, Any] | None:
        """A small JSON file of the state folder; None if it is missing, or none."""
        try:
            data = self._disk.read_whole(path, _MAX_JSON_BYTES)
        except OSError:
            return None
        return json_object(data)

    def _holder(self) -> object:
        """Who has put its name on the door."""
        holder = self._read(self._layout.holder) or {}
        return holder.get("pid"), holder.get("token")

    def _refuse_if_hopeless(self, error: OSError) -> None:
        hint = None
        if error.errno in _NO_LOCKS:
            hint = "its file system has no locks: set bak_to_folder to a folder on a local disk"
        elif error.errno in _UNUSABLE:
            hint = "the subtask's user must be able to write there; see bak_to_folder"
        elif error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            hint = "make room on the disk"
        if hint is not None:
            raise StateError(
                error.strerror or str(error),
                operation="lock",
                path=self._layout.lock,
                retryable=error.errno == errno.ENOSPC,
                hint=hint,
            ) from error

    def _settle_in(self) -> None:
        """Put our name on the door, and take down what was said to those before us."""
        request = self._read(self._layout.stop)
        ours = request is not None and (request.get("by"), request.get("token")) == (
            "master",
            self._token,
        )
        if not ours:
            try:
                self._disk.remove(self._layout.stop)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._log.warning("a stop file of the past can't be removed: %s", error)
        holder = {
            "pid": self._system.pid,
            "start": self._system.start_of(self._system.pid),
            "token": self._token,
            "since": self._clock.time(),
        }
        if self._program_pid:
            holder["program"] = self._program_pid
            holder["program_start"] = self._system.start_of(self._program_pid)
        try:
            self._disk.write_whole(self._layout.holder, json.dumps(holder).encode("ascii"))
        except OSError as error:
            self._log.warning("%s can't be written: %s", self._layout.holder, error)

    def _ask_to_leave(self, asked: bool, *, first: bool) -> bool:
        """Write the stop file; again if it vanished, as another newcomer removes it."""
        if asked and self._read(self._layout.stop) is not None:
            return True
        if not asked and first:
            holder = self._read(self._layout.holder) or {}
            self._log.info(
                "the state folder is in use by process %s; asking it to leave", holder.get("pid")
            )
        request = {
            "by": "takeover",
            "pid": self._system.pid,
            "token": self._token,
            "since": self._clock.time(),
        }
        try:
            self._disk.write_whole(self._layout.stop, json.dumps(request).encode("ascii"))
        except OSError as error:
            if not asked:
                self._log.warning("%s can't be written: %s", self._layout.stop, error)
        return True

    def _take_back(self) -> None:
        """Nobody is to leave for a newcomer that does not come."""
        if (self._read(self._layout.stop) or {}).get("token") == self._token:
            try:
                self._disk.remove(self._layout.stop)
            except OSError:
                pass

    def _kill_holder(self) -> None:
        holder = self._read(self._layout.holder) or {}
        pid, start = holder.get("pid"), holder.get("start")
        if not isinstance(pid, int) or not isinstance(start, str):
            self._log.warning("who holds the state folder is not known")
        elif self._system.kill(pid, start, self._layout.lock):
            self._log.warning("process %d did not leave the state folder: killed", pid)
        else:
            self._log.warning(
                "process %d is not (or no longer) the one that took the state folder; left alone",
                pid,
            )

    def _held(self) -> StateError:
        pid = (self._read(self._layout.holder) or {}).get("pid")
        return StateError(
            f"another process ({pid or 'unknown'}) uses it and does not leave",
            operation="lock",
            path=self._layout.lock,
            retryable=True,
            hint="end that process, or give each program its own bak_to_folder",
        )
