"""The subtask that everybody extends: notifies and timer in, hooks out."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pysubtask.core.burst import BurstRule, ByteRule, Rule
from pysubtask.core.model import Entry
from pysubtask.core.retry import RetryRule
from pysubtask.seams.disk import FileStat
from pysubtask.settings import Settings
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.boot import boot_id
from pysubtask.subtask.context import Context
from pysubtask.subtask.heartbeat import Heartbeat
from pysubtask.subtask.intake.facts import Outcome, Touch
from pysubtask.subtask.intake.intake import Intake
from pysubtask.subtask.intake.target import Target
from pysubtask.subtask.store.guard import StateGuard
from pysubtask.subtask.store.journal import Journal
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.outbox import Outbox

if TYPE_CHECKING:
    from pysubtask.subtask.archive import Archive

__all__ = ["BaseSubtask"]


class BaseSubtask:
    """Runs in the child process; extend it and override the hooks.

    The hooks are called one at a time, from one thread. A hook that raises is logged and, for
    :meth:`process_notify`, called again after a while: a notify is only done with when its hook
    has returned, whatever is killed meanwhile. So a hook may be called twice for one notify.

    ``self.context`` holds what the subtask was given (``handover.settings``, ``handover.watches``,
    ``log`` …).
    """

    holds_looks = True
    """A burst (``burstmode``) delays :meth:`process_notify` itself."""

    def __init__(self, context: Context) -> None:
        settings = context.handover.settings
        self.context = context
        self.log: logging.Logger = context.log
        self._settings = settings
        self.retry_rule = RetryRule(
            settings.retry_tries,
            settings.retry_short_wait_secs,
            settings.retry_long_wait_secs,
            settings.retry_growth,
            settings.retry_max_wait_secs,
        )
        outbox = Outbox(
            context.disk,
            context.layout.outbox,
            still_alive=self._still_alive,
            now=context.clock.monotonic,
        )
        journal = Journal(
            context.disk,
            context.clock,
            context.layout.journal,
            sync_secs=settings.sync_secs,
            boot_id=self.boot_id(),
            new_id=lambda: self.random_hex(4),
            before_sync=outbox.sync,
            log=context.log,
        )
        self.ledger = Ledger(journal, outbox)
        self.intake = Intake(
            context.disk,
            context.clock,
            self.ledger,
            context.handover.watches,
            context.layout,
            look=self.look,
            ready=self.ready,
            timer_interval_secs=settings.timer_interval_secs,
            settle_secs=settings.settle_secs,
            settle_max_secs=settings.settle_max_secs,
            burst_rule=_burst_rule(settings),
            retry_rule=self.retry_rule,
            log=context.log,
            hold_looks=self.holds_looks,
            own_names=self._is_own_file,
            still_alive=self._still_alive,
        )
        self.heartbeat = Heartbeat(context.handover, context.disk, context.clock, context.log)
        self.notes: list[str] = []
        """What ``status()`` says although nothing failed."""
        self._guard: StateGuard | None = None
        self.archive: Archive | None = None
        self._next_interval = 0.0
        self._declared = {w.path: w for w in context.handover.watches}
        self._folders = sorted(
            {context.layout.notify_dir, *(w.folder for w in context.handover.watches)}
        )

    # -- hooks -------------------------------------------------------------------------------

    def process_interval(self) -> None:
        """Called every ``timer_interval_secs``."""

    def process_notify(self, path: str) -> None:
        """Called when ``path`` (absolute) was notified."""

    def process_heartbeat(self, path: str) -> None:
        """Called when the heartbeat file ``path`` was written anew (every
        ``heartbeat_interval_secs``, and at a clean stop)."""

    def backlog(self) -> tuple[int, float | None, str | None]:
        """For the heartbeat: bytes that are owed, since when (Unix seconds), the last error."""
        return 0, None, next(iter(self.intake.errors().values()), None)

    # -- what the main loop calls ------------------------------------------------------------

    def start(self) -> None:
        """Open the journal and find what changed while nothing ran.

        Raises:
            StateError, OSError: the state folder can't be used.
        """
        self.ledger.open()
        journal = self.ledger.journal
        if journal.fresh:
            self.log.info(
                "there is no journal in %s: the first start, or it was deleted. What is at the "
                "destination is compared before anything is sent",
                self.context.layout.state_dir,
            )
        elif journal.damaged:
            self.notes.append(
                "the journal was damaged and has been rebuilt; what is at the destination is "
                "compared before anything is sent"
            )
        self._guard = StateGuard(self.context.disk, self.context.layout, journal, self.log)
        self.intake.start(
            self.context.clock.monotonic(), self.context.handover.blank_marks_by_path()
        )
        if self.context.handover.precleanup_old_files:
            self.archive = self._make_archive()

    def step(self) -> float:
        """Do what is due; gives the monotonic time of the next call."""
        now = self.context.clock.monotonic()
        due = self.intake.step(now)
        if now >= self._next_interval:
            self._next_interval = now + self._settings.timer_interval_secs
            if self._guard is not None:
                self._guard.check()
            self.process_interval()
        beat_at = self.heartbeat.due_at
        if beat_at is not None and now >= beat_at:
            self.beat()
            beat_at = self.heartbeat.due_at
        sync_due = self.sync_if_due()
        due = min(due, self._next_interval, math.inf if beat_at is None else beat_at)
        if self.archive is not None:
            due = min(due, self._tidy(self.archive, now))
        return due if sync_due is None else min(due, sync_due)

    def sync_if_due(self) -> float | None:
        """Bring the journal to the disk if it is time to; gives when it is, by monotonic time."""
        due = self.ledger.journal.sync_due()
        if due is not None and self.context.clock.monotonic() >= due:
            self.ledger.journal.sync()
            due = self.ledger.journal.sync_due()
        return due

    def beat(self, *, goodbye: bool = False) -> None:
        """Write the heartbeat file and have it delivered."""
        self.heartbeat.write(self.heartbeat.next_beat(*self.backlog()), goodbye=goodbye)
        self.process_heartbeat(self.heartbeat.path)

    def hint(self, path: str | None, complete: bool = False, gone: bool = False) -> None:
        """Something may have changed (any thread)."""
        if self.intake.hint(path, complete, gone):
            self.context.wake()

    def folders(self) -> list[str]:
        """Folders whose events are wanted."""
        return self._folders

    def request_flush(self) -> Callable[[], bool]:
        """Release bursts; the returned function says when every notify made before is served."""
        clock = self.context.clock
        self.intake.hint(None)
        self.intake.step(clock.monotonic())  # finds what nobody has told of yet
        self.intake.release_all(clock.monotonic())
        return self.intake.look_at_all(clock.monotonic())

    def request_pull(self) -> Callable[[], bool]:
        """Look at what is to be fetched; here, nothing is."""
        return lambda: True

    def is_served(self, path: str, mtime_ns: int) -> bool:
        """Whether the touch of ``path`` with that modified time has been served."""
        return self.intake.is_touch_served(path, mtime_ns)

    def status(self) -> Status:
        """How things are."""
        files = {
            w.declared: self._file_status(w.path) for w in self._declared.values() if not w.is_dir
        }
        errors = self.intake.errors()
        return Status(
            pid=os.getpid(),
            link="resting",
            last_error=next(iter(errors.values()), None),
            files=files,
            notes=tuple(self.notes),
            updated_at=self.context.clock.time(),
        )

    def file_status(self, path: str) -> FileStatus | None:
        """How things are with one file; None if it is not known."""
        if self.ledger.get(path) is None and path not in self._declared:
            return None
        return self._file_status(path)

    def stop(self, deadline: float) -> bool:
        """End gracefully: serve what was notified, close the journal."""
        clock = self.context.clock
        done = self.request_flush()
        while not done() and clock.monotonic() < deadline:
            self.intake.step(clock.monotonic())
            self.sync_if_due()
            self._still_alive()
            clock.sleep(0.01)
        finished = done()
        if self.heartbeat.due_at is not None:
            self.beat(goodbye=True)
            self.heartbeat.remove()
        self.intake.remove_served_touches()
        self.ledger.journal.close()
        return finished

    # -- inside ------------------------------------------------------------------------------

    def random_hex(self, size: int) -> str:
        """``size`` random bytes as hex digits."""
        return os.urandom(size).hex()

    def boot_id(self) -> str:
        """Names this boot of the machine."""
        return boot_id()

    def look(self, target: Target, touch: Touch | None, final: bool) -> Outcome:
        """A look is due: here, call the hook and note that the touch is served."""
        entry = self.ledger.get(target.path)
        if touch is None or (entry is not None and touch.stamp == entry.served):
            return Outcome("unchanged")
        try:
            self.process_notify(target.path)
        except Exception as error:
            self.log.exception("process_notify(%r) failed; it will be called again", target.path)
            return Outcome("failed", OSError(0, f"process_notify failed: {error}", target.path))
        self.ledger.update(
            target.path,
            lambda e: replace(e, served=touch.stamp, notified_at=touch.at),
            remote=os.path.basename(target.path),
        )
        self.context.status_changed()
        return Outcome("taken")

    def ready(self, path: str) -> None:
        """A look found something, and no burst holds it back."""

    def _still_alive(self) -> None:
        """Something takes long, and gets on: whoever watches this thread is to know."""
        if threading.current_thread() is threading.main_thread():
            self.context.still_alive()
        else:
            self.thread_gets_on()

    def thread_gets_on(self) -> None:
        """Something takes long on a thread beside the main one; here, there is none."""

    def declared_name(self, path: str) -> str:
        """The path as the program declared it (folder + ``/`` + name in a watched folder)."""
        watch = self._declared.get(path)
        if watch is not None:
            return watch.declared
        folder, name = os.path.split(path)
        watch = self._declared.get(folder)
        return path if watch is None else f"{watch.declared.rstrip('/')}/{name}"

    def group_and_name(self, path: str) -> tuple[str, str]:
        """For the log: a declared file is a group of its own, those in a watched folder are one."""
        name = self.declared_name(path)
        return (name if path in self._declared else os.path.dirname(name) or name), name

    def _file_status(self, path: str) -> FileStatus:
        entry = self.ledger.get(path)
        error = self.intake.error_of(path)
        if entry is None:
            return _NOT_SEEN if error is None else FileStatus(last_error=error)
        version, done = entry.current, entry.delivered
        shown = done is not None and version is not None and done.version == version.number
        return FileStatus(
            size_bytes=None if version is None else version.size,
            notified_at=entry.notified_at,
            delivered_bytes=done.size if done is not None and shown else 0,
            pending_bytes=entry.pending_bytes,
            sent_bytes=entry.upload.acked if entry.upload is not None else 0,
            last_error=error,
        )

    def _tidy(self, archive: Archive, now: float) -> float:
        """Nothing that goes wrong with old files may keep new ones waiting."""
        try:
            return archive.step(now)
        except Exception:
            self.log.exception("the archive failed; old files stay until the next start")
            self.archive = None
            return math.inf

    def _make_archive(self) -> Archive | None:
        settings = self._settings
        if settings.archive_to_folder is None or not self.context.handover.watches:
            return None
        from pysubtask.subtask.archive import Archive  # late: few starts tidy up

        return Archive(
            self.context.disk,
            self.context.clock,
            self.ledger,
            self.context.handover.watches,
            self.context.handover.state_dir,
            archive_to=settings.archive_to_folder,
            days=settings.archive_after_days_old,
            recheck_secs=settings.timer_interval_secs,
            is_delivered=self.is_delivered,
            is_settled=self.is_settled,
            is_own=self._is_own_log,
            moved=self.intake.retire,
            log=self.log,
            still_alive=self._still_alive,
        )

    def is_settled(self, path: str) -> bool:
        """Whether nothing is planned for a file; here, no notify of it waits."""
        return self.intake.is_settled(path, untold=True)

    def is_delivered(self, entry: Entry | None, st: FileStat) -> bool:
        """Whether a file may go to the archive; here, if its notifies were processed."""
        return True

    def _is_own_log(self, path: str) -> bool:
        """Whether it has the name of one of our logs, wherever it lies."""
        name = os.path.basename(path)
        masters = os.path.basename(self._settings.master_log_file_name or "")
        return (
            "_taskmaster.log" in name
            or "_subtask.log" in name
            or (masters != "" and name.startswith(masters))
            or (self.context.handover.log_name or "_subtask.log") in name
        )

    def _is_own_file(self, path: str) -> bool:
        handover = self.context.handover
        name = os.path.basename(path)  # it tells most of them apart
        if not ("_taskmaster.log" in name or name.startswith(handover.log_name)):
            return False
        return handover.log_dir is not None and os.path.dirname(path) == handover.log_dir


_NOT_SEEN = FileStatus()
"""Of many declared files: one for all of them."""


def _burst_rule(settings: Settings) -> Rule:
    if settings.burst_rule == "calls":
        return BurstRule(
            settings.burst_start_trigger_milli / 1000,
            settings.burst_start_trigger_count,
            settings.burst_expire_milli / 1000,
        )
    return ByteRule(settings.burst_full_bytes, settings.max_delay_secs)
