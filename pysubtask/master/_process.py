"""Keeps a subtask running: one daemon thread in the host, asleep until the child ends.

That thread alone starts, watches, asks and kills the child. ``start()`` and ``stop()`` say what is
wanted, by plain attributes, and wait by sleeping: a signal handler, which may run between any two
steps of the main thread, can call ``stop()`` while the main thread is inside ``start()`` or
``stop()``, and no lock is held that it would wait for. For the same reason the thread writes no log
during a stop: the program may have been interrupted while it held the lock of a log.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from pysubtask.errors import StartError
from pysubtask.holder import holder_pid, holder_token
from pysubtask.master._child import Child
from pysubtask.master._farewell import Farewell, sign_of_life
from pysubtask.master._pulse import Pulse
from pysubtask.master._waker import Waker
from pysubtask.settings import Secret, Settings
from pysubtask.signals import StateLayout, read_json

__all__ = ["Supervisor"]

EXIT_TAKEN_OVER = 3
FIRST_WAIT_SECS = 1.0
LONGEST_WAIT_SECS = 60.0
HEALTHY_AFTER_SECS = 60.0
IDLE_LOOK_SECS = 15.0
KILL_WAIT_SECS = 5.0
FIRST_PAUSE_SECS = 0.001
LONGEST_PAUSE_SECS = 0.02
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
        self._waker = Waker()
        self._first: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        """How the first start of a child ended."""
        self._unsaid: deque[tuple[Any, ...]] = deque()
        """Lines for the log that came up during a stop."""
        self._thread: threading.Thread | None = None
        self._running = False
        self._ended = False
        self._stopping = False
        self._kill_asked = False
        self._stop_until = 0.0
        """Monotonic time at which a child that is asked to leave is killed."""
        self._killed = False
        """By a stop."""
        self._last_life = False
        """A child was started for a stop, to deliver what the one before it has left."""
        self._child: Child | None = None
        self._born: int | None = None
        """The sign of life that was there before the child."""
        self._holder_before: object = None
        """Whose the state folder was before the child."""
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
        """Start the child and the thread that watches it. Once per supervisor. Nothing happens if
        a stop was asked for meanwhile.

        Raises:
            StartError: the system refuses to start it.
        """
        self._thread = threading.Thread(target=self._run, name="pysubtask-master", daemon=True)
        _all.add(self)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._ended = True
            raise StartError(str(error), operation="watch the subtask") from error
        except BaseException:  # Ctrl-C
            if not self._running:
                self._stopping = True  # should it begin after all
                self._ended = not self._running
            raise
        trouble = self._first.get()
        if trouble is not None:
            raise trouble

    @property
    def alive(self) -> bool:
        """Whether there is a child, or one will be started again."""
        return self._thread is not None and not self._ended

    def has_written_status(self) -> bool:
        """Whether ``status.json`` is the running child's, not one of those before it. (Told by the
        file, not by times: the clock of a small computer may be set back after the start.)"""
        return _identity(self._layout.status) != self._old_status

    def stop(self, forcekill: bool) -> bool:
        """End the child and wait for it. Idempotent; any thread, and any signal handler.

        Returns:
            Whether it left by itself; False if it was killed.
        """
        if forcekill:
            self._kill_asked = True
        elif not self._stopping:
            self._stop_until = time.monotonic() + self._limit_secs
        self._stopping = True
        self._waker.wake()
        if not self._running:
            return True  # the thread will see that it has nothing to do, if there is one
        child = self._child
        if sys.is_finalizing():  # the interpreter ends: its thread will never run again
            if child is not None:
                child.close_life_line()  # that is how the child learns of it
            return True
        if sys.platform == "win32" and child is not None and not self._wait_for_end():
            child.kill()  # its thread waits for it to read; a handle is never another process's
        if not self._wait_for_end():
            child = self._child
            # in an uninterruptible wait of the kernel (a dead disk): nobody can end it now
            self._log.error("process %s does not end even when killed", child and child.pid)
            if child is not None:
                child.close_life_line()
            return False
        self._say_the_rest()
        return not self._killed

    @property
    def _limit_secs(self) -> float:
        return self._settings.stop_timeout_secs + GRACE_SECS

    def _wait_for_end(self) -> bool:
        """Whether the thread is done within the time that a stop may take."""
        began = time.monotonic()
        pause = FIRST_PAUSE_SECS
        thread = self._thread
        while not self._ended or (thread is not None and thread.is_alive()):
            until = began if self._kill_asked else max(began, self._stop_until)
            if time.monotonic() >= until + KILL_WAIT_SECS:
                return self._ended
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECS, pause * 1.5)
        return True

    def disown(self) -> None:
        """In a forked worker: the child belongs to the process that forked."""
        if self._child is not None:
            self._child.disown()
        self._waker = Waker()
        self._stopping = self._running = self._ended = False
        self._thread = None
        self._child = None

    def _say_the_rest(self) -> None:
        while True:
            try:
                line = self._unsaid.popleft()
            except IndexError:
                return
            self._log.log(*line)

    # --- the thread

    def _say(self, level: int, text: str, *args: object) -> None:
        if self._stopping:
            self._unsaid.append((level, text, *args))
        else:
            self._log.log(level, text, *args)

    def _run(self) -> None:
        self._running = True  # before it looks whether it is to stop: stop() does it vice versa
        try:
            try:
                child = None if self._stopping else self._start_child()
            except BaseException as error:
                self._first.put(error)
                return
            self._first.put(None)
            self._keep(child)
        except Exception:
            self._stopping = True
            if self._child is not None:
                self._child.close_life_line()  # the child leaves: nobody would watch it
            self._log.exception("the thread that watches the subtask failed")
        finally:
            self.pid = None
            self._ended = True

    def _start_child(self) -> Child:
        token = os.urandom(8).hex()
        _make_file(self._layout.alive)
        self._born = sign_of_life(self._layout)
        self.started_at = time.time()
        self._old_status = _identity(self._layout.status)
        self._holder_before = holder_token(self._layout.state_dir)
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
        self._say(logging.INFO, "subtask started, process %d", child.pid)
        return child

    def _keep(self, child: Child | None) -> None:
        """Watch the child, and those that follow it."""
        wait = FIRST_WAIT_SECS
        while child is not None:
            why, farewell = self._watch(child)
            healthy = time.monotonic() - child.started >= HEALTHY_AFTER_SECS
            code = child.reap()
            self.pid = None
            self.gone_since = time.time()
            heard = farewell is not None and farewell.was_heard(code)
            if farewell is not None:
                farewell.take_back()
            if heard or self._kill_asked:
                self._say(logging.INFO, "subtask ended (%s)", _code_words(code))
                return
            if not self._goes_on(child, code, why):
                return
            wait = FIRST_WAIT_SECS if healthy else wait
            child, wait = self._start_again(child, wait)

    def _watch(self, child: Child) -> tuple[str | None, Farewell | None]:
        """Sleep until the child ends. Returns why it was killed by the watchdog, if it was, and
        how it was asked to leave, if it was."""
        watchdog = self._settings.watchdog_secs
        look = min(IDLE_LOOK_SECS, watchdog / 4) if watchdog else IDLE_LOOK_SECS
        fed = child.feed()
        pulse = Pulse(look, time.monotonic(), sign_of_life(self._layout))
        why: str | None = None
        farewell: Farewell | None = None
        while True:
            wait = look
            if watchdog and why is None:
                wait = min(look, max(0.01, pulse.moved + watchdog - time.monotonic()))
            wait = wait if fed else min(wait, 0.05)
            if self._stopping and not self._killed:
                if farewell is None and not self._kill_asked:
                    farewell = self._farewell(child)
                wait = min(wait, self._see_out(child, farewell))
            if child.ended(wait, self._waker):
                return why, farewell
            fed = fed or child.feed()
            child.trim_stderr()
            pulse.look(time.monotonic(), wait, sign_of_life(self._layout), time.time())
            if watchdog and why is None and pulse.looked - pulse.moved >= watchdog:
                why = f"it gave no sign of life for {watchdog:g} s"
                self._say(logging.ERROR, "process %d is stuck: %s; killed", child.pid, why)
                self._kill(child)

    def _farewell(self, child: Child) -> Farewell:
        return Farewell(self._layout, child, born=self._born, until=self._stop_until, say=self._say)

    def _see_out(self, child: Child, farewell: Farewell | None) -> float:
        """Go on with a stop. Gives how long to sleep at most."""
        if not self._kill_asked and time.monotonic() >= self._stop_until:
            self._kill_asked = True
            self._say(logging.WARNING, "the subtask did not stop in %g s: killed", self._limit_secs)
        if self._kill_asked or farewell is None:
            self._killed = True
            self._kill(child)
            return IDLE_LOOK_SECS
        return farewell.step()

    def _kill(self, child: Child) -> None:
        if not child.kill():
            self._say(logging.ERROR, "process %d can't be killed: permission denied", child.pid)
            child.close_life_line()  # it leaves by itself

    def _goes_on(self, child: Child, code: int, why: str | None) -> bool:
        """Note how the child ended; whether to start another."""
        if self._is_moved_by_another(child, code):
            return False
        if self._stopping and why is None and code in (0, -signal.SIGTERM):
            # the system asks all that belongs to a service to leave, not the program alone
            self._say(logging.INFO, "subtask ended (%s)", _code_words(code))
            return self._settings.restart
        words = child.last_words()
        from pysubtask.redaction import MASK, redactor  # late: most programs never need it

        pattern = redactor(secret.reveal() for secret in self._secrets)
        words = pattern.sub(MASK, words) if pattern is not None else words
        last_line = words.splitlines()[-1].strip() if words else ""
        if not last_line and why is None:
            left = read_json(self._layout.status) or {}
            if self.has_written_status():
                last_line = str(left.get("last_error") or "")
        reason = why or _REASONS.get(code, _code_words(code))
        self.last_error = f"the subtask ended: {reason}" + (f": {last_line}" if last_line else "")
        self._say(logging.ERROR, "subtask ended unasked (%s)", _code_words(code))
        if words:
            self._say(logging.ERROR, "its last words: %s", words)
        return self._settings.restart

    def _start_again(self, child: Child, wait: float) -> tuple[Child | None, float]:
        """After ``wait`` seconds, or longer if the system refuses; at once for a stop, which is to
        find everything delivered, but only once. The next wait beside it."""
        while True:
            self._sleep(wait)
            if self._is_moved_by_another(child):  # a newer program started meanwhile
                return None, wait
            if self._stopping:
                if self._kill_asked or self._last_life or time.monotonic() >= self._stop_until:
                    return None, wait
                self._last_life = True
            wait = min(LONGEST_WAIT_SECS, wait * 2)
            try:
                following = self._start_child()
            except StartError as error:
                self.last_error = str(error)
                self._say(logging.ERROR, "%s", error)
                continue
            self.restarts += 1
            return following, wait

    def _sleep(self, secs: float) -> None:
        """Until the next start is due, or a stop is asked for."""
        self.next_start = time.time() + secs
        until = time.monotonic() + secs
        while not self._stopping and (rest := until - time.monotonic()) > 0:
            self._waker.wait(rest)

    def _is_moved_by_another(self, child: Child, code: int | None = None) -> bool:
        """Whether a newer program's child has the state folder, or is about to; noted, too. It
        kills ours if that does not leave, as one that hangs or is busy may not. ``code``: with
        which ours has just ended."""
        if code != EXIT_TAKEN_OVER and not self._has_newcomer(child):
            return False
        self.taken_over = True
        self._say(logging.WARNING, "another program has taken over %s", self._layout.state_dir)
        return True

    def _has_newcomer(self, child: Child) -> bool:
        holder = holder_token(self._layout.state_dir)
        if holder == child.token:  # it held the folder, so no old request was left there
            request = read_json(self._layout.stop) or {}
            return request.get("by") == "takeover" and request.get("token") != child.token
        # Not by the exit code alone, which a program hides that reaps all its children (SIGCHLD
        # ignored). What was there before ours is left of somebody who was killed; so may be what
        # is there since.
        is_new = holder not in (None, self._holder_before)
        return is_new and holder_pid(self._layout.state_dir) is not None


def _make_file(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError:
        pass  # then there is no watchdog


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _code_words(code: int) -> str:
    if code < 0:
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
