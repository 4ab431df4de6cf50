"""Keeps a subtask running: one daemon thread in the host, asleep until the child ends."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from pysubtask.errors import StartError
from pysubtask.master._child import Child
from pysubtask.master._pulse import Pulse
from pysubtask.settings import Secret, Settings
from pysubtask.signals import StateLayout, read_json, write_json

__all__ = ["Supervisor"]

EXIT_TAKEN_OVER = 3
FIRST_WAIT_SECS = 1.0
LONGEST_WAIT_SECS = 60.0
HEALTHY_AFTER_SECS = 60.0
IDLE_LOOK_SECS = 15.0
KILL_WAIT_SECS = 5.0
STARTING_LOOK_SECS = 0.02
GRACE_SECS = 1.0
"""Beyond ``stop_timeout_secs``: the time for the child's own last steps after it gave up
delivering."""

_REASONS = {
    1: "it crashed",
    4: "it could not read its settings",
    5: "it can't use its state folder",
}
_all: weakref.WeakSet[Supervisor] = weakref.WeakSet()


class Supervisor:
    """One subtask that is started, watched, started again, and stopped.

    Args:
        command: argument list of the child.
        make_line: gives the hand-over for a child with this token.
        layout: the state folder, which exists.
        settings: restart, watchdog_secs, stop_timeout_secs, log_to_console.
        log: the master's log.
        cwd: current folder of the child.
        secrets: what may not reach the log with the child's last words.
    """

    def __init__(
        self,
        *,
        command: list[str],
        make_line: Callable[[str], bytes],
        layout: StateLayout,
        settings: Settings,
        log: logging.Logger,
        cwd: str,
        secrets: tuple[Secret, ...] = (),
    ) -> None:
        self._command = command
        self._make_line = make_line
        self._layout = layout
        self._settings = settings
        self._log = log
        self._cwd = cwd
        self._secrets = secrets
        self._state_lock = threading.Lock()
        self._stop_lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._child: Child | None = None
        self._thread: threading.Thread | None = None
        self.pid: int | None = None
        """The running child's; None when there is none."""
        self._old_status: tuple[int, int] | None = None
        self.started_at = 0.0
        """Unix time of the running child's start."""
        self.restarts = 0
        self.taken_over = False
        self.next_start: float | None = None
        """Unix time of the next start, while waiting for it."""
        self.last_error: str | None = None
        """Why the last child ended, if it should not have."""
        self.gone_since: float | None = None

    def start(self) -> None:
        """Start the child and the thread that watches it. Once per supervisor.

        Raises:
            StartError: the system refuses to start it.
        """
        child = self._start_child()
        thread = threading.Thread(
            target=self._run, args=(child,), name="pysubtask-master", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            child.kill()
            child.reap()
            self.pid = None
            raise StartError(str(error), operation="watch the subtask") from error
        self._thread = thread
        _all.add(self)

    @property
    def alive(self) -> bool:
        """Whether there is a child, or one will be started again."""
        return self._thread is not None and not self._ended.is_set()

    def has_written_status(self) -> bool:
        """Whether ``status.json`` is the running child's, not one of those before it. (Told by the
        file, not by times: the clock of a small computer may be set back after the start.)"""
        return _identity(self._layout.status) != self._old_status

    def stop(self, forcekill: bool) -> bool:
        """End the child and wait for it. Idempotent; any thread.

        Returns:
            Whether it left by itself; False if it was killed.
        """
        with self._stop_lock:
            with self._state_lock:
                self._stopping.set()
                child = self._child
            if self._thread is None:
                return True
            graceful = True
            if not self._ended.is_set() and child is not None:
                if not forcekill:
                    limit = self._settings.stop_timeout_secs + GRACE_SECS
                    graceful = self._stop_gracefully(child, limit)
                    if not graceful:
                        self._log.warning("the subtask did not stop in %g s: killed", limit)
                if forcekill or not graceful:
                    graceful = False
                    child.kill()
            if not self._ended.wait(KILL_WAIT_SECS) and child is not None:
                # in an uninterruptible wait of the kernel (a dead disk): nobody can end it now
                self._log.error("process %d does not end even when killed", child.pid)
                child.close_life_line()
                return False
            self._thread.join(KILL_WAIT_SECS)
            self._remove_stop_file()
            return graceful

    def disown(self) -> None:
        """In a forked worker: the child belongs to the process that forked."""
        if self._child is not None:
            self._child.disown()
        self._state_lock = threading.Lock()
        self._stop_lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = None
        self._child = None

    def _start_child(self) -> Child:
        token = os.urandom(8).hex()
        _make_file(self._layout.alive)
        with self._state_lock:
            if self._stopping.is_set():
                raise StartError("the master is stopping", operation="start the subtask")
            self.started_at = time.time()
            self._old_status = _identity(self._layout.status)
            child = Child(
                self._command,
                self._make_line,
                token=token,
                stderr=None if self._settings.log_to_console else self._layout.stderr,
                cwd=self._cwd,
                secrets=self._secrets,
            )
            self._child = child
            self.pid = child.pid
            self.next_start = None
            self.gone_since = None
        self._log.info("subtask started, process %d", child.pid)
        return child

    def _run(self, child: Child) -> None:
        try:
            current: Child | None = child
            wait = FIRST_WAIT_SECS
            while current is not None:
                why = self._watch(current)
                healthy = time.monotonic() - current.started >= HEALTHY_AFTER_SECS
                code = current.reap()
                self.pid = None
                self.gone_since = time.time()
                if not self._goes_on(current, code, why):
                    return
                wait = FIRST_WAIT_SECS if healthy else wait
                current, wait = self._start_again(wait)
        except Exception:
            self._log.exception("the thread that watches the subtask failed")
            with self._state_lock:
                self._stopping.set()
                if self._child is not None:
                    self._child.close_life_line()  # the child leaves: nobody would watch it
        finally:
            self.pid = None
            self._ended.set()

    def _watch(self, child: Child) -> str | None:
        """Sleep until the child ends. Returns why it was killed, if it was killed from here."""
        watchdog = self._settings.watchdog_secs
        look = min(IDLE_LOOK_SECS, watchdog / 4) if watchdog else IDLE_LOOK_SECS
        fed = child.feed()
        pulse = Pulse(look, time.monotonic(), _stamp(self._layout.alive))
        why: str | None = None
        while True:
            wait = look
            if watchdog and why is None:
                wait = min(look, max(0.01, pulse.moved + watchdog - time.monotonic()))
            wait = wait if fed else min(wait, 0.05)
            if child.ended(wait):
                return why
            fed = fed or child.feed()
            child.trim_stderr()
            pulse.look(time.monotonic(), wait, _stamp(self._layout.alive), time.time())
            if watchdog and why is None and pulse.looked - pulse.moved >= watchdog:
                why = f"it gave no sign of life for {watchdog:g} s"
                self._log.error("process %d is stuck: %s; killed", child.pid, why)
                child.kill()

    def _goes_on(self, child: Child, code: int, why: str | None) -> bool:
        """Note how the child ended; whether to start another."""
        if self._stopping.is_set():
            self._log.info("subtask ended (%s)", _code_words(code))
            return False
        if code == EXIT_TAKEN_OVER or (code == 0 and self._other_holder(child)):
            self.taken_over = True
            self._log.warning("another program has taken over %s", self._layout.state_dir)
            return False
        words = child.last_words()
        for secret in self._secrets:
            words = words.replace(secret.reveal(), "•••")
        last_line = words.splitlines()[-1].strip() if words else ""
        if not last_line and why is None:
            left = read_json(self._layout.status) or {}
            if self.has_written_status():
                last_line = str(left.get("last_error") or "")
        reason = why or _REASONS.get(code, _code_words(code))
        self.last_error = f"the subtask ended: {reason}" + (f": {last_line}" if last_line else "")
        self._log.error("subtask ended unasked (%s)", _code_words(code))
        if words:
            self._log.error("its last words: %s", words)
        return self._settings.restart

    def _start_again(self, wait: float) -> tuple[Child | None, float]:
        """After ``wait`` seconds, or longer if the system refuses. The next wait beside it."""
        while True:
            self.next_start = time.time() + wait
            if self._stopping.wait(wait):
                return None, wait
            wait = min(LONGEST_WAIT_SECS, wait * 2)
            try:
                child = self._start_child()
            except StartError as error:
                if self._stopping.is_set():
                    return None, wait
                self.last_error = str(error)
                self._log.error("%s", error)
                continue
            self.restarts += 1
            return child, wait

    def _other_holder(self, child: Child) -> bool:
        # a program that reaps all its children (SIGCHLD ignored) hides the true exit code
        holder = read_json(self._layout.holder)
        return holder is not None and holder.get("token") not in (None, child.token)

    def _stop_gracefully(self, child: Child, limit_secs: float) -> bool:
        """Ask the child to leave; True if it left within the limit."""
        until = time.monotonic() + limit_secs
        request = {"by": "master", "pid": os.getpid(), "token": child.token}
        try:
            write_json(self._layout.stop, request)
        except OSError as error:
            self._log.warning("%s can't be written: %s", self._layout.stop, error)
        # A signal would kill a child that is still starting, and with it the delivery of what was
        # just notified. Once it holds the lock it has its handlers, and the signal is quicker than
        # the file.
        while not self._holds_lock(child):
            if time.monotonic() >= until:
                return False
            if self._ended.wait(STARTING_LOOK_SECS):
                return True
        child.hurry()
        return self._ended.wait(max(0.0, until - time.monotonic()))

    def _holds_lock(self, child: Child) -> bool:
        holder = read_json(self._layout.holder)
        return holder is not None and holder.get("token") == child.token

    def _remove_stop_file(self) -> None:
        request = read_json(self._layout.stop)
        child = self._child
        if request is not None and child is not None and request.get("token") == child.token:
            try:
                os.unlink(self._layout.stop)
            except OSError:
                pass


def _make_file(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError:
        pass  # then there is no watchdog


def _stamp(path: str) -> int | None:
    """When the child gave its last sign of life; None if it has no way to give one."""
    try:
        if not os.access(path, os.W_OK):  # a file system that became read-only
            return None
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _code_words(code: int) -> str:
    if code < 0:
        import signal

        try:
            name = signal.Signals(-code).name
        except ValueError:
            return f"killed by signal {-code}"
        if name == "SIGKILL":
            name += " (by somebody, or by the system for want of memory)"
        return f"killed by {name}"
    return f"exit code {code}"


def _after_fork() -> None:
    for supervisor in list(_all):
        supervisor.disown()
    _all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
