"""The start and the end of a child process.

An extension's ``main()`` calls :func:`run` with a function that makes its subtask. Exit codes:

====  =====================================================================================
0     stopped: by the master, by a signal, or because the master is gone
1     crashed; the traceback is in the log
3     another child took over the state folder; the master must not start this one again
4     no hand-over, a damaged one, or settings that can't be right
5     the state folder can't be used
====  =====================================================================================
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from pysubtask.errors import SettingsError, StateError
from pysubtask.handover import Handover
from pysubtask.seams.clock import RealClock
from pysubtask.seams.disk import RealDisk
from pysubtask.signals import StateLayout, read_json
from pysubtask.status import Status, printable
from pysubtask.subtask.context import Context, Subtask
from pysubtask.subtask.shell.events import open_events
from pysubtask.subtask.shell.halfwritten import sweep_half_written
from pysubtask.subtask.shell.lifeline import HardExit, LifeLine, take_stdin
from pysubtask.subtask.shell.lock import StateLock
from pysubtask.subtask.shell.logs import (
    LOGGER_NAME,
    LineFormatter,
    close_logs,
    open_logs,
    secrets_of,
)
from pysubtask.subtask.shell.runner import (
    EXIT_CRASH,
    EXIT_STOPPED,
    EXIT_TAKEN_OVER,
    HARD_EXIT_MARGIN_SECS,
    Runner,
    StopFlag,
)
from pysubtask.subtask.shell.statusfile import SignOfLife, StatusFile
from pysubtask.subtask.waker import Waker

__all__ = [
    "EXIT_BAD_HANDOVER",
    "EXIT_CRASH",
    "EXIT_STATE",
    "EXIT_STOPPED",
    "EXIT_TAKEN_OVER",
    "merge_sys_path",
    "run",
]

EXIT_BAD_HANDOVER = 4
EXIT_STATE = 5
_LEAVE_SECS = 5.0
"""Time for threads and exit handlers once :func:`run` is done."""


def run(make_subtask: Callable[[Context], Subtask]) -> int:
    """Be a child process: from the hand-over on standard input to the exit code.

    Args:
        make_subtask: called once, when the lock is held and the logs are open.

    Returns:
        The exit code, for ``sys.exit``. Five seconds later the process is ended, whatever
        threads the subtask left behind.
    """
    waker = Waker()
    stops = StopFlag(waker.wake)
    _install_signals(stops)
    line = LifeLine(take_stdin())
    try:
        handover = Handover.from_line(line.read_handover())
    except ValueError as error:
        _complain(str(error))
        return EXIT_BAD_HANDOVER
    except Exception as error:  # its text may hold what was read
        _complain(f"damaged hand-over ({type(error).__name__})")
        return EXIT_BAD_HANDOVER
    sys.path[:] = merge_sys_path(sys.path, handover.sys_path, handover.work_dir)
    child = _Child(handover, line, waker, stops)
    code = child.run(make_subtask)
    child.hard_exit.arm(_LEAVE_SECS, code)
    return code


class _Child:
    """One child process, once it knows what it is to do."""

    def __init__(self, handover: Handover, line: LifeLine, waker: Waker, stops: StopFlag) -> None:
        settings = handover.settings
        self._handover = handover
        self._line = line
        self._waker = waker
        self._stops = stops
        self._formatter = _open_logs(handover)
        self._log = logging.getLogger(LOGGER_NAME)
        self._disk = RealDisk()
        self._clock = RealClock()
        self._layout = StateLayout(handover.state_dir)
        self.hard_exit = HardExit()
        self._lock = StateLock(
            self._layout,
            token=handover.token,
            disk=self._disk,
            clock=self._clock,
            log=self._log,
            program_pid=handover.parent_pid,
        )
        self._sign_of_life = SignOfLife(
            self._layout.alive, settings.watchdog_secs / 4, clock=self._clock, log=self._log
        )
        self._subtask: Subtask | None = None
        self._status_file = StatusFile(
            self._layout.status,
            self._make_status,
            disk=self._disk,
            clock=self._clock,
            log=self._log,
        )
        self._last_error: str | None = None

    def run(self, make_subtask: Callable[[Context], Subtask]) -> int:
        """Returns the exit code; everything that goes wrong is in the log."""
        try:
            self._line.watch(self._handover.parent_pid, self._master_gone)
            self._make_folders()
            if not self._lock.acquire(give_up=self._has_to_stop):
                return EXIT_STOPPED
            try:
                sweep_half_written(self._disk, self._layout, now=self._clock.time())
                return self._run_locked(make_subtask)
            except BaseException as error:
                self._show(error)
                raise
            finally:
                self._lock.release()
        except (StateError, SettingsError) as error:
            self._log.error("%s", error)
            self._last_words(str(error))
            return EXIT_STATE if isinstance(error, StateError) else EXIT_BAD_HANDOVER
        except SystemExit as error:
            self._log.error("the subtask called sys.exit(%r)", error.code)
            self._last_words(f"the subtask called sys.exit({error.code!r})")
            return EXIT_CRASH
        except BaseException as error:
            self._log.critical("crashed", exc_info=True)
            self._last_words(f"{type(error).__name__}: {error}")
            return EXIT_CRASH
        finally:
            close_logs()

    def _run_locked(self, make_subtask: Callable[[Context], Subtask]) -> int:
        context = Context(
            handover=self._handover,
            layout=self._layout,
            disk=self._disk,
            clock=self._clock,
            log=self._log,
            wake=self._waker.wake,
            status_changed=self._status_changed,
            still_alive=self._sign_of_life.touch_if_due,
        )
        subtask = make_subtask(context)
        _spare_the_collector()
        self._subtask = subtask
        self._formatter.label = _label(self._handover.extension, type(subtask).__name__)
        described = self._handover.settings.subtask_description
        self._log.info("START!%s", f" {described}" if described else "")
        runner = Runner(
            context,
            subtask,
            stops=self._stops,
            waker=self._waker,
            status_file=self._status_file,
            sign_of_life=self._sign_of_life,
            open_events=lambda hint: open_events(hint, self._log),
            hard_exit=self.hard_exit,
        )
        return runner.run()

    def _make_folders(self) -> None:
        for folder in (self._layout.state_dir, self._layout.requests):
            try:
                self._disk.make_dirs(folder)
            except OSError as error:
                raise StateError(
                    error.strerror or str(error),
                    operation="make the folder",
                    path=folder,
                    hint="the subtask's user must be able to write there; see bak_to_folder",
                ) from error

    def _has_to_stop(self) -> bool:
        """Asked while we wait for the lock, when there is no runner yet."""
        if self._stops.by is None:
            request = read_json(self._layout.stop) or {}
            if (request.get("by"), request.get("token")) == ("master", self._handover.token):
                self._stops.set("master")
        return self._stops.by is not None

    def _status_changed(self) -> None:
        if self._status_file.changed():
            self._waker.wake()

    def _make_status(self) -> Status:
        if self._last_error is not None or self._subtask is None:
            return Status(last_error=self._last_error)
        return self._subtask.status()

    def _show(self, error: BaseException) -> None:
        """Leave the cause of the end in ``status.json``, where the master looks."""
        known = isinstance(error, StateError | SettingsError)
        said = str(error) if known else f"{type(error).__name__}: {error}"
        self._last_error = self._formatter.redact(said)
        self._status_file.changed()
        self._status_file.write()

    def _last_words(self, text: str) -> None:
        """On the standard error the master finds them, wherever the log went."""
        if not self._handover.settings.log_to_console:
            _complain(printable(self._formatter.redact(text)))

    def _master_gone(self, why: str) -> None:
        """On the life line's thread: the main thread may be stuck, the process must end."""
        secs = self._handover.settings.orphan_secs + HARD_EXIT_MARGIN_SECS
        self._stops.set("orphan", why)
        self.hard_exit.arm(secs, EXIT_STOPPED)


def _label(extension: str, kind: str) -> str:
    return f"{extension}.{kind}.{os.getpid()}"


def _open_logs(handover: Handover) -> LineFormatter:
    settings = handover.settings
    path = os.path.join(handover.log_dir, handover.log_name) if handover.log_dir else None
    formatter = open_logs(
        _label(handover.extension, "subtask"),
        path=path,
        level=settings.log_level,
        max_bytes=settings.log_max_bytes,
        backup_count=settings.log_backup_count,
        to_console=settings.log_to_console,
        secrets=secrets_of(handover),
    )
    threading.excepthook = _log_thread_error
    return formatter


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "?"
        logging.getLogger(LOGGER_NAME).error(
            "thread %s crashed",
            name,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )


def _install_signals(stops: StopFlag) -> None:
    """Ctrl-C and a closed terminal hit the whole group: the master decides what they mean for us,
    the life line tells us. SIGTERM asks for a graceful stop."""

    def stop(signum: int, frame: FrameType | None) -> None:
        stops.set("signal", signal.Signals(signum).name)

    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    for name in ("SIGTERM", "SIGBREAK"):  # SIGBREAK: Windows' CTRL_BREAK_EVENT
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    if sys.platform != "win32":  # masks are inherited, through exec too: sigprocmask(2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _spare_the_collector() -> None:
    """What is loaded by now stays; and what a file needs is freed by its count of references, so
    that looking for cycles after each few hundred objects finds nothing. (10,000 small files: a
    tenth less processor time.)"""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _complain(text: str) -> None:
    """Before there is a log."""
    if sys.stderr is not None:
        try:
            print(f"pysubtask: {text}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass


def merge_sys_path(own: list[str], master: list[str], work_dir: str) -> list[str]:
    """The module search path of the child: our own, then what the program has beyond that.

    In this order, so that a ``queue.py`` or ``bcrypt.py`` beside the program never takes the place
    of a module that pysubtask itself needs, while the program's own modules are found.

    Args:
        own: ``sys.path`` of this process.
        master: ``sys.path`` of the program; an empty entry stands for its current folder.
        work_dir: the program's current folder.
    """
    return list(dict.fromkeys([*own, *(entry or work_dir for entry in master)]))
