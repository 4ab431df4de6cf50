"""The master: what a program holds in its hands."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import msgspec

from pysubtask.errors import PysubtaskError, SettingsError
from pysubtask.master._ask import BurstRelease, Question
from pysubtask.master._conveniences import Conveniences
from pysubtask.master._declare import only_fetches, sources_of, understand
from pysubtask.master._notify import Notifier, Touch, Which
from pysubtask.master._others import note_start, others_running, refuse_shared
from pysubtask.master._status import (
    declared_name,
    status_of_subtask,
    with_state_folder,
    with_supervisor,
)
from pysubtask.signals import StateLayout
from pysubtask.status import FileStatus, Status
from pysubtask.watch import Entry

if TYPE_CHECKING:
    import logging

    from pysubtask.master._launch import Launch
    from pysubtask.master._process import Supervisor
    from pysubtask.settings import Settings
    from pysubtask.urls import Destination

__all__ = ["TaskMaster"]


STATUS_QUESTION_SECS = 2.0


class TaskMaster(Conveniences):
    """Declares files, keeps a subtask running that delivers them, and tells it what is new.

    ::

        with TaskMaster(["logs/test1.csv"], to="sftp://edge@collector.example/incoming") as master:
            ...                              # append to the file as always
            master.notify("logs/test1.csv")

    ``TaskMaster(…)`` makes the master of the extension that the destination needs
    (:class:`pysubtask.ftp.FTPTaskMaster` …).

    Args:
        watch: paths, or dicts with ``file`` or ``dir`` and options (:mod:`pysubtask.watch`).
        config: object or dict with sections ``base``, ``burst_mode``, ``ftp`` …
        to: destination URL (:mod:`pysubtask.urls`).
        subtask: a subtask of your own, ``"package.module"`` or ``"package.module:Class"``.
        settings: any setting (:class:`pysubtask.settings.Settings`), in either spelling.

    Raises:
        SettingsError: a mistake in any of them, at once and in words.
    """

    extension: ClassVar[str] = ""
    """Names the extension: its section of a configuration, its logs, its state folder."""
    module: ClassVar[str] = ""
    """The module whose ``main()`` runs the subtask."""

    def __new__(cls, watch: Any = None, config: Any = None, **given: Any) -> Self:
        if cls is not TaskMaster:
            return super().__new__(cls)
        from pysubtask.master._choose import choose

        chosen: Any = object.__new__(choose(watch, config, given))
        made: Self = chosen
        return made

    def __init__(
        self,
        watch: Entry | Iterable[Entry],
        config: Any = None,
        *,
        to: str | os.PathLike[str] | None = None,
        subtask: str | type | None = None,
        **settings: Any,
    ) -> None:
        self._work_dir = os.getcwd()
        entries = understand(watch, self._work_dir)
        self._watches, self._home = entries.watches, entries.home
        self._settings, self._destination = (
            self._configure_without(config, settings)
            if only_fetches(entries, to, settings)
            else self._configure(config, to, settings)
        )
        self._sources = sources_of(
            entries,
            config,
            settings,
            self._destination,
            cwd=self._work_dir,
            extension=self.extension,
        )
        self._subtask = self._user_subtask(subtask)
        wanted = os.path.join(self._home, os.path.expanduser(self._settings.bak_to_folder))
        self._wanted_state = os.path.normpath(wanted)
        self._launch: Launch | None = None
        self._layout = StateLayout(self._wanted_state)
        self._notifier = Notifier(self._watches, lambda: self._layout, self._work_dir)
        self._supervisor: Supervisor | None = None
        self._log: logging.Logger | None = None
        self._bursts = BurstRelease()
        self._life_lock = threading.RLock()  # a signal handler may interrupt who holds it
        self._stops = 0
        self._owner = os.getpid()

    # --- what an extension defines

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        """The settings and the destination. Extensions override it."""
        from pysubtask.config import build

        return build(self.extension, config, None, settings), None

    def _configure_without(
        self, config: Any, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        """The settings where nothing is delivered."""
        from pysubtask.config import build

        return build(self.extension, config, None, settings), None

    def _user_subtask(self, subtask: str | type | None) -> str | None:
        """``module:Class`` of the subtask that ``main()`` is to run; None if it knows."""
        if subtask is not None:
            raise SettingsError(
                f"{type(self).__name__} has a subtask of its own",
                operation="setting",
                path="subtask",
                hint="a subtask of your own belongs to BaseTaskMaster",
            )
        return None

    # --- life

    def start(self, precleanup_old_files: bool = False) -> None:
        """Start the subtask; returns within milliseconds. Nothing happens if it runs.

        The subtask first delivers what it still owes from earlier runs, then serves touches and
        watched folders.

        Args:
            precleanup_old_files: also send the declared files at once, and residual files: those
                beside the first watch that share an extension with a declared file and are not
                older than ``archive_after_days_old``. Then archive: older files beside the first
                watch, and in watched folders, move to ``archive_to_folder`` once nothing of them
                is owed; declared files never.

        Raises:
            StartError, StateError, SettingsError: there is no way to start it.
        """
        with self._owned():
            if self._supervisor is not None and self._supervisor.alive:
                return
            stops = self._stops
            # late, as are the log and the supervisor: an import must not pay for what start() needs
            from pysubtask.master._command import child_command
            from pysubtask.master._launch import Launch
            from pysubtask.master._state import place_state, refuse_to_sweep

            if precleanup_old_files:
                folders = {watch.path for watch in self._watches if watch.is_dir}
                refuse_to_sweep({self._home, *folders})
            command = child_command(self.module, self._settings.python, self._work_dir)
            place = place_state(self._wanted_state)
            others = others_running(self)
            refuse_shared(self, place.folder, others)
            self._layout = StateLayout(place.folder)
            self._launch = Launch(
                extension=self.extension,
                settings=self._settings,
                watches=self._watches,
                sources=self._sources,
                destination=self._destination,
                layout=self._layout,
                place=place,
                home=self._home,
                work_dir=self._work_dir,
                subtask=self._subtask,
            ).beside(other._launch for other in others if other._launch is not None)
            self._close_log()
            self._log = self._launch.open_log(type(self).__name__)
            self._supervisor = self._launch.new_supervisor(
                command,
                self._log,
                precleanup_old_files=precleanup_old_files,
                blank_marks=self._notifier.make_blanks(),
            )
            note_start(self)
            if self._stops != stops:
                self._supervisor = None  # a signal handler that ran meanwhile stopped us
                return
            try:
                self._supervisor.start()
            except PysubtaskError:
                self._supervisor = None
                self._close_log()
                raise

    def stop(self, forcekill: bool = False) -> None:
        """Stop the subtask and wait for its end. Nothing happens if there is none. A signal handler
        may call it, too, whatever it interrupts.

        Args:
            forcekill: kill it at once. Otherwise it delivers what was notified, for at most
                ``stop_timeout_secs``, says goodbye and leaves; then it is killed.
        """
        if os.getpid() != self._owner:
            return  # a forked worker: the subtask belongs to the program that forked
        self._stops += 1
        with self._life_lock:
            supervisor = self._supervisor
            if supervisor is None:
                return
            self._info("stopping the subtask" + (" by force" if forcekill else ""))
            graceful = supervisor.stop(forcekill)
            if self._supervisor is not supervisor:
                return  # a signal handler that ran meanwhile started another
            self._bursts.forget(self._layout)
            self._info("STOP!" if graceful else "STOP! (the subtask was killed)")
            self._close_log()

    def reset(self, precleanup_old_files: bool = False) -> None:
        """Stop the subtask and start it again."""
        with self._owned():
            self.stop()
            self.start(precleanup_old_files)

    def __enter__(self) -> Self:
        self.start(precleanup_old_files=False)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(forcekill=False)

    # --- notify

    def notify(self, which: Which, wait_secs: float = 0) -> bool:
        """Say that a file has new data. Any thread, at any time; a few local file-system calls.

        Args:
            which: its path, or its index in the watch list. A folder stands for all files in it.
            wait_secs: wait at most so long for the snapshot, after which the file may be
                truncated or overwritten: nothing of what it held before the call is lost then.

        Returns:
            True when the touch is on disk, and the snapshot taken if that was waited for. False
            if not: the disk refuses, or the snapshot was not taken in time. It is tried again by
            the next call; :meth:`status` says why.

        Raises:
            NotWatchedError: nobody declared the file.
        """
        if self._notifier.is_folder(which) if not isinstance(which, str) else False:
            return self._notify_folder(which, wait_secs)
        try:
            touch = self._notifier.touch(which)
        except PysubtaskError:
            if not self._notifier.is_folder(which):
                raise
            return self._notify_folder(which, wait_secs)
        if touch is None:
            return False
        return wait_secs <= 0 or self._wait_for_snapshots([touch], wait_secs)

    def notify_file_by_index(self, index: int, wait_secs: float = 0) -> bool:
        """:meth:`notify` by the index in the watch list."""
        return self.notify(index, wait_secs)

    def notify_all_files(self) -> bool:
        """Touch every declared file, and release what bursts hold back.

        Files in watched folders are found without it.

        Returns:
            True when all touches are on disk.
        """
        touches = [self._notifier.touch(path) for path in self._notifier.files]
        self._release_bursts()
        return all(touch is not None for touch in touches)

    def check_pending_notifications(self) -> bool:
        """Release what a burst holds back, now. Never needed: bursts end by themselves.

        Returns:
            Whether there are bytes that are known and not yet delivered.
        """
        self._notifier.retry_failed()
        self._release_bursts()
        return self.status().pending_bytes > 0

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything notified before the call is at the destination.

        Args:
            timeout: seconds to wait at most.

        Returns:
            True if it is there, under its final name and acknowledged; False if not in time, or
            if no subtask runs, or if another program has taken over and delivers something else.
        """
        deadline = time.monotonic() + timeout
        touched = self._notifier.retry_failed()
        if self._hopeless():
            return False
        with Question(self._layout, self._ask("flush")) as question:
            answer = question.wait(deadline, self._hopeless)
        return touched and answer is not None and answer.get("ok") is True

    # --- status

    @overload
    def status(self, path: None = None) -> Status: ...

    @overload
    def status(self, path: Which) -> FileStatus: ...

    def status(self, path: Which | None = None) -> Status | FileStatus:
        """How things are. Never raises for troubles of the subtask, the link or the disk.

        Args:
            path: one file, by path or index; also one in a watched folder.

        Raises:
            NotWatchedError: nobody declared ``path``.
        """
        whole = self._read_status()
        return whole if path is None else self._file_status(path, whole)

    def __repr__(self) -> str:
        to = f" to {self._destination}" if self._destination is not None else ""
        return f"<{type(self).__name__} of {len(self._watches)} watches{to}>"

    # --- inner parts

    def _owned(self) -> threading.RLock:
        """The lock of start and stop. A forked worker that starts a subtask becomes its owner; its
        copy of the parent's lock may have been held when it was forked."""
        if os.getpid() != self._owner:
            self._owner = os.getpid()
            self._life_lock = threading.RLock()
            self._supervisor = None
            self._log = None
        return self._life_lock

    def _hopeless(self) -> bool:
        """Whether nobody can answer a question: this process had a subtask and has none now."""
        supervisor = self._supervisor
        if os.getpid() != self._owner:
            return False  # the parent's subtask answers
        return supervisor is None or not (supervisor.alive or supervisor.taken_over)

    def _notify_folder(self, which: Which, wait_secs: float) -> bool:
        touches = [self._notifier.touch(path) for path in self._notifier.paths(which)]
        done = [touch for touch in touches if touch is not None]
        if len(done) < len(touches):
            return False
        return wait_secs <= 0 or self._wait_for_snapshots(done, wait_secs)

    def _wait_for_snapshots(self, touches: list[Touch], wait_secs: float) -> bool:
        deadline = time.monotonic() + wait_secs
        for path, mtime_ns in touches:
            question = self._ask("snapshot", path=path, mtime_ns=mtime_ns)
            with Question(self._layout, question) as asked:
                answer = asked.wait(deadline, self._hopeless)
            if answer is None or answer.get("ok") is not True:
                return False
        return True

    def _release_bursts(self) -> None:
        if not self._hopeless():
            self._bursts.ask(self._layout)

    def _read_status(self) -> Status:
        status = status_of_subtask(self._layout)
        if status.destination is None and self._destination is not None:
            status = msgspec.structs.replace(status, destination=str(self._destination))
        if os.getpid() == self._owner:
            status = with_state_folder(with_supervisor(status, self._supervisor), self._layout)
        return msgspec.structs.replace(
            status,
            notify_failures=self._notifier.failures,
            last_notify_error=self._notifier.last_error,
        )

    def _file_status(self, which: Which, whole: Status) -> FileStatus:
        path = self._notifier.resolve(which)[1]
        known = whole.files.get(declared_name(self._watches, path))
        if known is not None:
            return known
        if not self._hopeless():
            with Question(self._layout, self._ask("status", path=path)) as question:
                deadline = time.monotonic() + STATUS_QUESTION_SECS
                answer = question.wait(deadline, self._hopeless)
            try:
                if answer is not None and answer.get("file") is not None:
                    return msgspec.convert(answer["file"], FileStatus)
            except msgspec.ValidationError:
                pass
        try:
            return FileStatus(size_bytes=os.stat(path).st_size)
        except (OSError, ValueError):
            return FileStatus()

    def _info(self, text: str) -> None:
        log = self._log
        if log is not None:
            log.info("%s", text)

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None and not sys.is_finalizing():  # then nothing can be imported any more
            from pysubtask.master._log import close_log

            close_log(log)
