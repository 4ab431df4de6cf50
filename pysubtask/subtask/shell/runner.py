"""The child's main loop.

One round: is there a reason to stop? new questions of the master? ``step()`` of the subtask;
answers; ``status.json`` and the sign of life if due. Then it sleeps until the next of these is due
or somebody wakes it: a hint from the events thread, the life line, a signal, the subtask's own
threads. At rest it wakes with the timer (``timer_interval_secs``) and for nothing else.

Mistakes in a subtask's own code do not end the child at once: a ``step()`` that raises is logged
and tried again after 1 s, 2 s, 4 s … 30 s. After :data:`MAX_FAILURES` failures in a row the child
gives up with exit code 1, so that its master starts a fresh one; not so for a full or read-only
disk, which a fresh one could not help. It gives up at the second failure if that is the very same
exception object: a subtask whose thread crashed raises what it kept, and trying again is no use.
Two errors end it at once: a :class:`~pysubtask.errors.StateError` (the state folder is lost, and
nothing can be recorded) and a :class:`~pysubtask.errors.SettingsError`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Literal, TypeAlias

from pysubtask.errors import SettingsError, StateError
from pysubtask.signals import read_json
from pysubtask.subtask.context import Context, Subtask
from pysubtask.subtask.shell.events import Events, Hint
from pysubtask.subtask.shell.lifeline import HardExit
from pysubtask.subtask.shell.requests import Requests
from pysubtask.subtask.shell.statusfile import SignOfLife, StatusFile
from pysubtask.subtask.waker import Waker

__all__ = ["EXIT_CRASH", "EXIT_STOPPED", "EXIT_TAKEN_OVER", "Runner", "StopBy", "StopFlag"]

EXIT_STOPPED = 0
EXIT_CRASH = 1
EXIT_TAKEN_OVER = 3

StopBy: TypeAlias = Literal["master", "takeover", "signal", "orphan"]

MAX_FAILURES = 8
BACKOFF_MAX_SECS = 30.0
TAKEOVER_SECS = 3.0
"""What a child that is asked to make room may still use; after 5 s it is killed."""
MASTER_MARGIN_SECS = 0.5
"""The master kills soon after ``stop_timeout_secs``; delivering ends by so much earlier."""
TAKEOVER_MARGIN_SECS = 1.0
"""So much later it ends in any case, before it is killed: the master of a child that was killed
would start another, which would take the folder back, and so on."""
HARD_EXIT_MARGIN_SECS = 2.5
"""After the time for a graceful stop, the process is ended whatever its main thread does."""
_POLL_BLIND_SECS = (0.25, 2.0)
_POLL_SEEING_SECS = (2.0, 30.0)
"""Least and most seconds between two looks for questions, without and with events."""

_DISK_FULL = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}

_WHO = {
    "master": "the master asks for it",
    "takeover": "another subtask takes over the state folder",
    "signal": "a signal asks for it",
    "orphan": "the master is gone",
}


class StopFlag:
    """Whether to stop, and who said so first. May be set from any thread and signal handler."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.by: StopBy | None = None
        self.why = ""

    def set(self, by: StopBy, why: str = "") -> None:
        """Ask for a stop and wake the main loop."""
        if self.by is None:
            self.why = why
            self.by = by
        self._wake()


class Runner:
    """Runs one subtask until there is a reason to stop.

    Args:
        context: as the subtask has it.
        subtask: not started yet.
        stops: set from outside, and here when the stop file says so.
        waker: the one behind ``context.wake``.
        status_file: the one behind ``context.status_changed``.
        open_events: makes the source of file-system events.
        hard_exit: armed when the stop begins.
    """

    def __init__(
        self,
        context: Context,
        subtask: Subtask,
        *,
        stops: StopFlag,
        waker: Waker,
        status_file: StatusFile,
        sign_of_life: SignOfLife,
        open_events: Callable[[Hint], Events],
        hard_exit: HardExit,
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._log = context.log
        self._layout = context.layout
        self._settings = context.handover.settings
        self._subtask = subtask
        self._stops = stops
        self._waker = waker
        self._status_file = status_file
        self._sign_of_life = sign_of_life
        self._open_events = open_events
        self._hard_exit = hard_exit
        self._requests = Requests(
            context.layout,
            subtask,
            disk=context.disk,
            clock=context.clock,
            log=context.log,
            purpose=context.handover.purpose,
            before_answer=self._write_status_now,
        )
        self._events: Events | None = None
        self._watched: set[str] = set()
        self._look_now = True
        self._poll_at = float("-inf")
        self._step_at = float("-inf")
        self._failures = 0
        self._last_failure: Exception | None = None
        self._woken = False
        self._stopping = False
        self._state_prefix = self._layout.state_dir + os.sep
        self._ask_prefix = self._layout.requests + os.sep

    def run(self) -> int:
        """Returns the exit code.

        Raises:
            StateError, SettingsError: see above.
            Exception: what the subtask raised when it started, or once too often.
        """
        self._sign_of_life.touch()  # the master may send signals from here on
        self._events = self._open_events(self.on_hint)
        try:
            self._watch_folders(early=True)
            self._start()
            while not self._has_to_stop():
                self._round()
                self._sleep()
            return self._stop()
        finally:
            self._events.close()

    def _start(self) -> None:
        try:
            self._subtask.start()
        except OSError as error:
            if not str(error.filename).startswith(self._layout.state_dir):
                raise
            raise StateError(
                error.strerror or str(error), operation="open", path=str(error.filename)
            ) from error

    # --- from other threads

    def on_hint(self, path: str | None, complete: bool = False, gone: bool = False) -> None:
        """What the events thread calls."""
        if path is None:
            self._look_now = True
            self._waker.wake()
            self._subtask.hint(None)
        elif path == self._layout.state_dir:
            pass
        elif not path.startswith(self._state_prefix):
            self._pass_on(path, complete, gone)
        elif path == self._layout.stop or (
            path.startswith(self._ask_prefix) and path.endswith(".ask")
        ):
            self._look_now = True
            self._waker.wake()
            if self._stopping:
                self._hurry()
        elif os.path.dirname(path) in self._watched - {
            self._layout.state_dir,
            self._layout.requests,
        }:
            self._pass_on(path, complete, gone)  # a folder in the state folder that it asked for

    def _pass_on(self, path: str, complete: bool, gone: bool) -> None:
        if self._subtask.hint(path, complete, gone):
            self._waker.wake()

    def _hurry(self) -> None:
        """A newcomer waits while we still deliver: leave soon, before it kills us."""
        if self._asked_by_file() == "takeover":
            self._hard_exit.arm(TAKEOVER_SECS, EXIT_TAKEN_OVER)

    # --- one round

    def _round(self) -> None:
        now = self._clock.monotonic()
        if now >= self._poll_at:
            low, high = _POLL_SEEING_SECS if self._sees() else _POLL_BLIND_SECS
            self._poll_at = now + min(high, max(low, self._settings.timer_interval_secs))
            self._look_now = True
            self._watch_folders()
            self._status_file.check()
        if self._look_now:
            self._look_now = False  # first: a hint that comes from here on is for the next round
            if self._requests.look():
                self._look_now = True
            if self._requests:
                self._requests.answer()
                self._woken = True  # a flush releases what was held back
        self._step()
        if self._requests:
            self._requests.answer()
        self._write_status()
        self._sign_of_life.touch_if_due()

    def _step(self) -> None:
        woken, self._woken = self._woken, False
        if self._clock.monotonic() < self._step_at and (self._failures or not woken):
            return  # not due; backing off, it is not brought forward either
        try:
            self._step_at = self._subtask.step()
        except (StateError, SettingsError):
            raise
        except Exception as error:
            self._failures += 1
            patient = isinstance(error, OSError) and error.errno in _DISK_FULL
            hopeless = error is self._last_failure or self._failures >= MAX_FAILURES
            if hopeless and not patient:
                raise
            self._last_failure = error
            wait_secs = min(BACKOFF_MAX_SECS, 2.0 ** min(self._failures - 1, 10))
            self._step_at = self._clock.monotonic() + wait_secs
            self._log.exception("a step failed; next try in %g s", wait_secs)
        else:
            if self._failures:
                self._log.info("steps work again")
            self._failures = 0
            self._last_failure = None

    def _write_status(self) -> None:
        try:
            self._status_file.write_if_due()
        except Exception:
            self._log.exception("the subtask could not say how it is")

    def _write_status_now(self) -> None:
        try:
            self._status_file.write()
        except Exception:
            self._log.exception("the subtask could not say how it is")

    def _sleep(self) -> None:
        due = min(self._step_at, self._poll_at, self._status_file.due(), self._sign_of_life.due())
        if self._look_now or self._stops.by is not None:
            due = self._clock.monotonic()
        if self._waker.wait(due - self._clock.monotonic()):
            self._woken = True

    # --- events

    def _sees(self) -> bool:
        return self._events is not None and self._events.alive

    def _watch_folders(self, *, early: bool = False) -> None:
        """Watch what the subtask wants, and watch again what was missing or was replaced."""
        assert self._events is not None
        wanted = {self._layout.state_dir, self._layout.requests}
        if not early:
            try:
                wanted.update(self._subtask.folders())
            except Exception:
                self._log.exception("the subtask could not name its folders")
                return
        for folder in self._watched - wanted:
            self._events.unwatch(folder)
        watched = {folder for folder in wanted if self._events.watch(folder)}
        fresh = watched - self._watched - {self._layout.state_dir, self._layout.requests}
        self._watched = watched
        if fresh:
            self._hint_all()  # what changed before the watch stood was not heard

    def _hint_all(self) -> None:
        try:
            self._subtask.hint(None)
            self._waker.wake()
        except Exception:
            self._log.exception("a hint was not understood")

    # --- the end

    def _asked_by_file(self) -> Literal["master", "takeover"] | None:
        """Who asks us to leave through the stop file. What is meant for another child: nobody."""
        request = read_json(self._layout.stop, 1 << 16)
        if request is None:
            return None
        ours = request.get("token") == self._context.handover.token
        if request.get("by") == "takeover":
            return None if ours else "takeover"
        return "master" if request.get("by") == "master" and ours else None

    def _has_to_stop(self) -> bool:
        if self._look_now or self._stops.by == "signal" or self._clock.monotonic() >= self._poll_at:
            by = self._asked_by_file()
            if by is not None and self._stops.by in (None, "signal"):
                self._stops.by = by  # the file says more than the signal that hurries it
        return self._stops.by is not None

    def _budget_secs(self, by: StopBy) -> float:
        timeout_secs = self._settings.stop_timeout_secs
        if by == "takeover":
            return TAKEOVER_SECS
        if by == "orphan":
            return self._settings.orphan_secs
        if by == "signal":
            return timeout_secs
        return max(timeout_secs / 2, timeout_secs - MASTER_MARGIN_SECS)

    def _stop(self) -> int:
        by = self._stops.by
        if by == "signal":  # the file may have come since
            by = self._asked_by_file() or by
        assert by is not None
        self._stopping = True
        code = EXIT_TAKEN_OVER if by == "takeover" else EXIT_STOPPED
        budget_secs = self._budget_secs(by)
        margin_secs = TAKEOVER_MARGIN_SECS if by == "takeover" else HARD_EXIT_MARGIN_SECS
        self._hard_exit.arm(budget_secs + margin_secs, code)
        why = f": {self._stops.why}" if self._stops.why else ""
        self._log.info("stopping, %s%s", _WHO[by], why)
        self._requests.look()
        self._requests.answer()
        try:
            all_delivered = self._subtask.stop(self._clock.monotonic() + budget_secs)
        except Exception:
            self._log.exception("the graceful stop failed; the journal keeps what is left")
            code = code or EXIT_CRASH
        else:
            rest = "" if all_delivered else " (the rest is kept for the next start)"
            self._log.info("STOP!%s", rest)
        self._requests.answer()
        self._status_file.changed()
        self._write_status_last()
        # A request that came after a signal stays: it tells the master that it was not heard, and
        # that what was notified last may be left.
        if by == "master" and self._asked_by_file() == "master":
            try:
                self._context.disk.remove(self._layout.stop)
            except OSError:
                pass  # the next child knows by the token that it is not meant
        return code

    def _write_status_last(self) -> None:
        try:
            self._status_file.write()
        except Exception:
            self._log.exception("the subtask could not say how it is")
