"""One subtask process, seen from the host."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pysubtask.errors import StartError
from pysubtask.master._waker import Waker, identity
from pysubtask.secret import Secret
from pysubtask.systems import frozen, processes

__all__ = ["Child"]

_POLL_SECS = 0.25
_PLAIN = {"HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "USER", "USERNAME"}
"""Variables that hold no secret, though somebody's password may be his name."""
_REAPED = b"Pid:\t-1"


class Child:
    """A running subtask: its life line, its end. For one thread, which reaps it: a pid that
    another thread has reaped is anybody's.

    Args:
        command: the argument list.
        make_line: gives what it is told on its standard input. Called once the process is there,
            so that no error on the way has the line, and the secrets in it, at hand.
        token: its name.
        stderr: file that takes its standard error; None: it goes where the program's own goes.
        cwd: its current folder.
        secrets: variables with one of these as their value are kept from its environment.

    Raises:
        StartError: the system refuses to start it.
    """

    def __init__(
        self,
        command: list[str],
        make_line: Callable[[str], bytes],
        *,
        token: str,
        stderr: str | None,
        cwd: str,
        secrets: Sequence[Secret] = (),
    ) -> None:
        self.token = token
        self.started = time.monotonic()
        self.stderr = stderr
        self._popen = _spawn(command, stderr, cwd, secrets)
        self.pid = self._popen.pid
        self._rest = memoryview(make_line(token))
        self._pidfd = -1
        if sys.platform == "linux":
            try:
                self._pidfd = os.pidfd_open(self.pid)  # Linux 5.3
            except OSError:
                pass
        self._made = identity(self._pidfd), _process_of(self._pidfd)
        if sys.platform != "win32" and self._popen.stdin is not None:
            os.set_blocking(self._popen.stdin.fileno(), False)
            self.feed()

    def feed(self) -> bool:
        """Write what the pipe takes of the hand-over, without waiting (on Windows: waiting for the
        child to read). True if nothing is left to be written."""
        stdin = self._popen.stdin
        while self._rest and stdin is not None:
            try:
                self._rest = self._rest[os.write(stdin.fileno(), self._rest) :]
            except BlockingIOError:
                return False
            except (OSError, ValueError):  # it is gone: its end tells why
                self._rest = memoryview(b"")
        return True

    def ended(self, timeout_secs: float, waker: Waker) -> bool:
        """Sleep until the process ends or ``waker`` is called, at most so long. True if it has
        ended."""
        wake_fd = waker.fd
        if sys.platform != "win32" and wake_fd >= 0 and self._has_pidfd():
            poller = select.poll()
            for fd in (self._pidfd, wake_fd):
                poller.register(fd, select.POLLIN)
            ready = dict(poller.poll(timeout_secs * 1000))
            if wake_fd in ready:
                waker.noticed()
            if self._pidfd in ready:
                self._close_pidfd()
            return self._popen.poll() is not None
        until = time.monotonic() + timeout_secs
        while self._popen.poll() is None:
            rest = min(_POLL_SECS, until - time.monotonic())
            if rest <= 0 or waker.wait(rest):
                return self._popen.poll() is not None
        return True

    def reap(self) -> int:
        """Take its exit code (negative: killed by that signal) and close the life line."""
        code = self._popen.wait()
        self.close_life_line()
        self._close_pidfd()
        return code

    def hurry(self) -> None:
        """Ask it to leave by signal, where there are signals: quicker than the stop file alone."""
        if sys.platform != "win32" and self._popen.poll() is None:
            try:
                self._popen.terminate()
            except PermissionError:
                pass  # the program has become another user since: the stop file has to do

    def kill(self) -> bool:
        """Kill it and whatever it started. False if the system does not allow it: the program has
        become another user since."""
        if self._popen.poll() is None:
            try:
                processes.end(self._popen, force=True)
            except ProcessLookupError:
                pass
            except PermissionError:
                return False
        return True

    def close_life_line(self) -> None:
        """Let go of the life line: the child leaves by itself within ``orphan_secs``."""
        if self._popen.stdin is not None:
            try:
                self._popen.stdin.close()
            except OSError:
                pass

    def disown(self) -> None:
        """In a forked worker of the program: it is not our child, and the life line not ours."""
        self.close_life_line()
        self._close_pidfd()
        self._popen.returncode = 0  # or the Popen object would complain when it is collected

    def _has_pidfd(self) -> bool:
        """Forgets it when the program has closed whatever was open: its number may be another
        file's then."""
        inode, process = self._made
        if self._pidfd >= 0:
            now = process and _process_of(self._pidfd)
            if identity(self._pidfd) != inode or now not in (process, _REAPED, None):
                self._pidfd = -1
        return self._pidfd >= 0

    def _close_pidfd(self) -> None:
        if self._has_pidfd():
            with suppress(OSError):
                os.close(self._pidfd)
            self._pidfd = -1

    def last_words(self, limit_bytes: int = 4096) -> str:
        """The end of what it wrote to its standard error."""
        if self.stderr is None:
            return ""
        try:
            with open(self.stderr, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - limit_bytes))
                return file.read(limit_bytes).decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def trim_stderr(self, limit_bytes: int = 1 << 18) -> None:
        """Cut the standard error file when it is too long; it never fills the disk."""
        if self.stderr is not None:
            try:
                if os.path.getsize(self.stderr) > limit_bytes:
                    os.truncate(self.stderr, 0)
            except OSError:
                pass


def _process_of(pidfd: int) -> bytes | None:
    """Whose it is, as the system words it. (Before Linux 6.9, all pidfds have one inode, which
    is that of much else.) None if nobody says."""
    if pidfd < 0:
        return None
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    return next((line for line in lines if line.startswith(b"Pid:")), b"")


def _environment(command: list[str], secrets: Sequence[Secret] = ()) -> dict[str, str] | None:
    """The program's environment as a frozen program's child needs it, and without secrets: those
    of ``PYSUBTASK_*`` variables, the passwords of their URLs, and ``secrets`` wherever they stand
    (they reach the child by the pipe). None: as it is."""
    given: dict[str, str] = dict(os.environ)
    if frozen.is_frozen():
        itself = frozen.CHILD_FLAG in command[1:2]
        make = frozen.environment_for_itself if itself else frozen.environment_for_others
        given = make(os.environ)
    ours = [name for name in given if name.startswith("PYSUBTASK_")]
    hidden = {
        name
        for name, value in given.items()
        if name not in _PLAIN and name not in ours and _holds(value, secrets)
    }
    if ours:
        from pysubtask.layers import is_secret_variable, without_password

        hidden.update(name for name in ours if is_secret_variable(name))
        hidden.update(name for name in ours if Secret(given[name]) in secrets)
        given.update({name: without_password(given[name]) for name in ours})
    elif not hidden:
        return given if frozen.is_frozen() else None
    return {name: value for name, value in given.items() if name not in hidden}


def _holds(value: str, secrets: Sequence[Secret]) -> bool:
    """Whether it is one of the secrets, or a URL with one as its password."""
    if Secret(value) in secrets:
        return True
    if "://" not in value or "@" not in value:
        return False
    from urllib.parse import quote  # late: few environments hold a URL with a login

    texts = [secret.reveal() for secret in secrets if secret]
    return any(f":{way}@" in value for text in texts for way in (text, quote(text, safe="")))


def _spawn(
    command: list[str], stderr: str | None, cwd: str, secrets: Sequence[Secret] = ()
) -> subprocess.Popen[bytes]:
    error_fd: int | None = None
    if stderr is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        try:
            error_fd = os.open(stderr, flags, 0o600)
        except OSError:
            error_fd = None
    target: int | None = error_fd if error_fd is not None else subprocess.DEVNULL
    if stderr is None:
        target = None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=target,
            bufsize=0,
            close_fds=True,
            cwd=cwd if os.path.isdir(cwd) else None,
            env=_environment(command, secrets),
            **processes.own_group(),
        )
    except OSError as error:
        hint = None
        if isinstance(error, BlockingIOError):
            hint = "the system allows no more processes for this user: ulimit -u"
        raise StartError(
            error.strerror or str(error),
            operation="start the subtask",
            path=command[0],
            retryable=True,
            hint=hint,
        ) from error
    finally:
        if error_fd is not None:
            os.close(error_fd)
