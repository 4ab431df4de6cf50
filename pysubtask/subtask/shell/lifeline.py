"""The child's standard input: first the hand-over, then the sign that the master lives.

The master keeps the write end of the pipe open and never writes again. Its end means that the
master is gone, however it went. It does not come, though, when a forked worker of the host program
still holds a copy of the write end. So the parent process itself is watched as well:

* Linux: by a pidfd (pidfd_open(2), Linux 5.3), which becomes readable when the process ends: no
  wake-up before that, and the pid can't be mistaken for its next owner.
* other POSIX systems: the parent's pid is compared every 2 s; a child whose parent died is given
  another parent (getppid(2)).
* Windows: handles are inherited only when asked for (PEP 446), so the end of the pipe is enough.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["HardExit", "LifeLine", "take_stdin"]

HANDOVER_LIMIT_BYTES = 16 << 20
HANDOVER_LIMIT_SECS = 10.0
PARENT_CHECK_SECS = 2.0
_CHUNK_BYTES = 1 << 16


def take_stdin() -> int:
    """Move standard input to a descriptor of our own and put the null device in its place.

    Programs that the subtask starts inherit descriptor 0: without this they would share the life
    line, and one that reads its input would wait for ever. Closed output descriptors are filled as
    well, or the next file opened, a journal perhaps, would be somebody's standard error.

    Returns:
        The descriptor, or -1 if standard input is closed.
    """
    had_stdin = not _fill(0)
    _fill(1)
    _fill(2)
    if not had_stdin:
        return -1
    fd = os.dup(0)  # not inheritable (PEP 446)
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    except OSError:
        pass  # no null device: descriptor 0 stays what it was
    return fd


def _fill(fd: int) -> bool:
    """Open the null device as ``fd`` if that is closed; True if it was."""
    try:
        os.fstat(fd)
        return False
    except OSError:
        pass
    try:
        null = os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor: open(2)
        if null == fd:
            os.set_inheritable(fd, True)
        else:
            os.close(null)
    except OSError:
        pass
    return True


class LifeLine:
    """Reads the hand-over and then waits for the master's end, in one daemon thread.

    Args:
        fd: from :func:`take_stdin`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._line: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        self._watch = threading.Event()
        self._parent_pid = 0
        self._on_gone: Callable[[str], None] = lambda _: None
        self._limit_bytes = HANDOVER_LIMIT_BYTES
        self._thread = threading.Thread(target=self._run, name="lifeline", daemon=True)

    def read_handover(
        self,
        timeout_secs: float = HANDOVER_LIMIT_SECS,
        limit_bytes: int = HANDOVER_LIMIT_BYTES,
    ) -> bytes:
        """The first line of standard input.

        Raises:
            ValueError: none came in time, it is too long, or the input ended within it. The
                message never holds what was read: it may be a secret.
        """
        self._limit_bytes = limit_bytes
        self._thread.start()
        try:
            answer = self._line.get(timeout=timeout_secs)
        except queue.Empty:
            raise ValueError(
                f"no hand-over on the standard input within {timeout_secs:g} s"
            ) from None
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def watch(self, parent_pid: int, on_gone: Callable[[str], None]) -> None:
        """From now on call ``on_gone(why)`` once, from the thread, when the master is gone.

        Args:
            parent_pid: the master's process.
            on_gone: must not raise; the thread ends after it.
        """
        self._parent_pid = parent_pid
        self._on_gone = on_gone
        self._watch.set()

    def _run(self) -> None:
        if not self._read_line():
            return
        self._watch.wait()
        self._on_gone(self._wait_for_end())

    def _read_line(self) -> bool:
        parts: list[bytes] = []
        length = 0
        while True:
            chunk = self._read()
            if not chunk:
                self._line.put(
                    "the standard input ended within the hand-over"
                    if length
                    else "no hand-over on the standard input"
                )
                return False
            head, newline, _ = chunk.partition(b"\n")
            parts.append(head)
            length += len(head)
            if length > self._limit_bytes:
                self._line.put(f"the hand-over is longer than {self._limit_bytes} bytes")
                return False
            if newline:
                self._line.put(b"".join(parts))
                return True

    def _read(self) -> bytes:
        if self._fd < 0:
            return b""
        try:
            return os.read(self._fd, _CHUNK_BYTES)
        except OSError:
            return b""

    def _wait_for_end(self) -> str:
        if sys.platform == "win32":
            while self._read():
                pass
            return "its end of the life line is closed"
        return self._wait_posix()

    def _wait_posix(self) -> str:
        if sys.platform == "win32":
            raise NotImplementedError("its select can't wait for pipes")
        parent_now = os.getppid()
        pidfd = -1
        if hasattr(os, "pidfd_open"):
            try:
                pidfd = os.pidfd_open(self._parent_pid)
            except ProcessLookupError:
                return f"process {self._parent_pid} has ended"
            except OSError:
                pass  # an older kernel, or a sandbox that denies it
        if parent_now == self._parent_pid and os.getppid() != parent_now:
            return f"process {self._parent_pid} has ended"  # before the pidfd was had
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        if pidfd >= 0:
            poller.register(pidfd, select.POLLIN)
        timeout_milli = None if pidfd >= 0 else PARENT_CHECK_SECS * 1000
        while True:
            for fd, _ in poller.poll(timeout_milli):
                if fd == pidfd:
                    return f"process {self._parent_pid} has ended"
                if not self._read():
                    return "its end of the life line is closed"
            if pidfd < 0 and os.getppid() != parent_now:
                return f"process {parent_now} has ended"


class HardExit:
    """Ends the process at a time, whatever its main thread is doing: the last resort."""

    def __init__(self, leave: Callable[[int], None] = os._exit) -> None:
        self._leave = leave
        self._deadline: float | None = None
        self._lock = threading.Lock()

    def arm(self, secs: float, code: int) -> None:
        """End the process with ``code`` in ``secs`` seconds, unless an earlier end is set."""
        deadline = time.monotonic() + secs
        with self._lock:
            if self._deadline is not None and self._deadline <= deadline:
                return
            self._deadline = deadline
        threading.Thread(
            target=self._run, args=(deadline, code), name="hard-exit", daemon=True
        ).start()

    def _run(self, deadline: float, code: int) -> None:
        while (rest := deadline - time.monotonic()) > 0:
            time.sleep(rest)
        self._leave(code)
