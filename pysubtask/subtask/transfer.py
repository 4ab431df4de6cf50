"""The subtask that delivers files: intake on the main thread, delivery on a thread of its own."""

from __future__ import annotations

import math
import os
import posixpath
import random
from collections.abc import Callable

from pysubtask.core.budget import Limits
from pysubtask.core.capabilities import Capabilities
from pysubtask.core.delta import DeltaRule
from pysubtask.core.flow import Window
from pysubtask.core.model import Entry, Version
from pysubtask.core.plan import Policy
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import FileStat
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.context import Context
from pysubtask.subtask.delivery.account import Account
from pysubtask.subtask.delivery.allowance import Allowance
from pysubtask.subtask.delivery.courier import Courier
from pysubtask.subtask.delivery.delivery import Delivery
from pysubtask.subtask.delivery.lines import LineHold
from pysubtask.subtask.delivery.names import Names, follow_watches
from pysubtask.subtask.delivery.session import Hooks, Session
from pysubtask.subtask.intake.checkup import Checkup
from pysubtask.subtask.intake.facts import Outcome, Touch
from pysubtask.subtask.intake.keeper import Keeper
from pysubtask.subtask.intake.snapshot import Snapshots
from pysubtask.subtask.intake.target import Target
from pysubtask.subtask.pull.pulls import Pulls
from pysubtask.subtask.recovery import doubt_deliveries, mend_outbox
from pysubtask.subtask.report import Report
from pysubtask.subtask.stepping import LifeClock, StepThread, Turns, stuck_after_secs
from pysubtask.subtask.store.signatures import Signatures
from pysubtask.subtask.store.sources import Sources
from pysubtask.subtask.store.space import Space
from pysubtask.subtask.subtask import BaseSubtask
from pysubtask.subtask.waker import Waker
from pysubtask.transports import Transport, transport_factory
from pysubtask.transports.notes import Notes
from pysubtask.watch import Watch, remote_path

__all__ = ["TransferSubtask"]


class TransferSubtask(BaseSubtask):
    """Snapshots what is notified and delivers it to the destination.

    Args:
        context: from :func:`pysubtask.subtask.shell.main.run`.
        make_transport: instead of the one that the destination's scheme names.
        boot: instead of the machine's own boot id.
        rng: for temporary names and jitter; the system's by default.
        delta: other limits for what changed inside a file (tests).
        threaded: False where somebody else calls ``delivery.step()`` (the simulator).
    """

    holds_looks = False

    def __init__(
        self,
        context: Context,
        *,
        make_transport: Callable[[], Transport] | None = None,
        boot: str | None = None,
        rng: random.Random | None = None,
        delta: DeltaRule | None = None,
        threaded: bool = True,
    ) -> None:
        self._boot = boot
        self._rng = rng or random.SystemRandom()
        super().__init__(context)
        self._life = LifeClock(context.clock)
        settings = context.handover.settings
        destination = context.handover.destination
        if destination is None and not context.handover.sources:
            raise ValueError("a transfer needs a destination or a source")
        waker = Waker()
        self._root = destination.path if destination is not None else ""
        self._started_at = math.inf
        self.space = Space(
            context.disk,
            context.layout.state_dir,
            self.ledger.outbox,
            outbox_max_bytes=settings.outbox_max_bytes,
            keep_free_bytes=settings.keep_free_bytes,
            log=context.log,
            changed=context.status_changed,
        )
        self.ledger.outbox.has_room = self.space.has_room
        self.sources = Sources(
            context.disk,
            is_watched=self.intake.is_watched,
            is_watched_folder=self.intake.is_watched_folder,
            is_needed=self.ledger.is_in_file,
            now=context.clock.time,
            still_alive=self._still_alive,
        )
        self.signatures = Signatures(context.disk, context.layout.signatures, delta or DeltaRule())
        self.snapshots = Snapshots(
            context.disk,
            context.clock,
            self.ledger,
            self.sources,
            verify_up_to_bytes=settings.verify_up_to_bytes,
            log=context.log,
        )
        self.keeper = Keeper(
            context.clock,
            self.ledger,
            self.sources,
            self.snapshots.rescue,
            self.space,
            log=context.log,
            changed=context.status_changed,
            look=self.intake.hint_look,
        )
        self._any_lines = any(w.records == "lines" for w in context.handover.watches)
        self.lines = LineHold(context.clock, settings.line_wait_secs, self._has_lines)
        self.checkup = Checkup(
            context.disk,
            context.clock,
            self.ledger,
            read_signature=self.signatures.peek,
            changed=self._edited,
            log=context.log,
        )
        limits = Limits(
            settings.max_bytes_per_day,
            settings.max_transactions_per_day,
            settings.max_rate_bytes_per_sec,
        )
        self.allowance = Allowance(
            context.disk, context.clock, limits, context.layout.budget, context.log
        )
        self.account = Account(context.clock, self.ledger, context.log, self.group_and_name)
        life = self._life
        self._turns = Turns()
        self.names = Names(
            context.disk,
            context.clock,
            self.ledger,
            watch_of=self.intake.watch_of,
            declared_name=self.declared_name,
            let_go=self.signatures.drop,
        )
        self.delivery = Delivery(
            context.clock,
            self.ledger,
            make_transport=make_transport or self._transports(life, waker),
            make_courier=self._make_courier,
            retry_rule=self.retry_rule,
            dead_time_secs=settings.dead_time_milli / 1000,
            ack_timeout_secs=settings.reply_timeout_secs,
            jitter=settings.retry_jitter,
            rng=self._rng,
            log=context.log,
            destination=str(destination),
            status_changed=context.status_changed,
            allowance=self.allowance,
            account=self.account,
            taken=self.names.taken,
        )
        self.thread = StepThread(
            "delivery",
            life,
            self.delivery,
            waker,
            stuck_after_secs=stuck_after_secs(settings),
            turns=self._turns,
            crashed=context.wake,
            log=context.log,
            threaded=threaded,
        )
        self.pulls = Pulls(
            context,
            boot=self.boot_id(),
            rng=self._rng,
            threaded=threaded,
        )
        self.report = Report(
            self.ledger,
            self.intake,
            self.delivery,
            self.space,
            destination=str(destination) if destination is not None else None,
            declared=self._declared.keys(),
            declared_name=self.declared_name,
            pulls=self.pulls.status,
        )

    def _transports(self, clock: Clock, waker: Waker) -> Callable[[], Transport]:
        destination = self.context.handover.destination
        if destination is None:
            return _nowhere
        return transport_factory(
            destination,
            self._settings,
            clock,
            waker.wake,
            lambda: self.ledger.journal.client_id,
            Notes(self.context.disk, self.context.layout.destination),
        )

    # -- what the main loop calls ------------------------------------------------------------

    def start(self) -> None:
        super().start()
        self.space.open()
        journal = self.ledger.journal
        self._started_at = self.context.clock.time()
        self.allowance.open()
        believed = not (journal.unclean_boot or journal.fresh)
        self.signatures.open(journal.entries() if believed else [])
        self.snapshots.suspects.open()
        journal.note_suspects(left=self.snapshots.suspects.are_left(self.intake.is_watched))
        if journal.unclean_boot:
            mend_outbox(self.ledger, self.context.clock, self.snapshots.rescue)
            doubt_deliveries(self.ledger, self._settings.sync_secs, self.ready)
        for path in follow_watches(self.context.disk, self.ledger, self.intake.watch_of):
            self.log.info("%s has another name at the destination now", self.declared_name(path))
            self.ready(path)
        if self.context.handover.precleanup_old_files:
            self._sweep()
        if self.context.handover.destination is not None:
            self.thread.start()
        self.pulls.start()

    def _sweep(self) -> None:
        if not self.context.handover.watches:
            return
        days = self._settings.archive_after_days_old
        try:
            residuals = self.intake.sweep(self.context.clock.monotonic(), days)
        except OSError as error:
            self.log.warning("look for residual files: %s", error)
            return
        for path in residuals:
            self.log.info("residual file: %s", path)

    def step(self) -> float:
        self.thread.check()
        self.pulls.check()
        due = super().step()
        self._claim_turns(due)
        if self.report.look_for_silence():
            self.context.status_changed()
        waited, next_line = self.lines.due()
        for path in waited:
            self.ready(path)
        now = self.context.clock.monotonic()
        may_be_silent = self.delivery.is_engaged and self.ledger.owed
        look = now + self.delivery.silent_secs / 2 if may_be_silent else math.inf
        return min(due, next_line, look, self.checkup.step(now))

    def process_interval(self) -> None:
        """Copy what the link has owed for a minute, so that rotation can't lose it."""
        self.account.tick()
        self.keeper.interval()

    def thread_gets_on(self) -> None:
        """Reading takes long on the delivering thread, of which asking for the time tells."""
        self._life.monotonic()

    def process_heartbeat(self, path: str) -> None:
        """Deliver it, before anything else that waits."""
        if self.context.handover.destination is None:
            return
        self.delivery.beat(self.heartbeat.name, self.heartbeat.text)
        self.thread.wake()

    def backlog(self) -> tuple[int, float | None, str | None]:
        self.heartbeat.note = self.space.full
        size, oldest, error = self.report.backlog()
        return size, oldest, error or super().backlog()[2]

    def request_flush(self) -> Callable[[], bool]:
        served = super().request_flush()
        goals: dict[str, tuple[int, int]] | None = None
        self._wake_delivery(retry=True)

        def done() -> bool:
            nonlocal goals
            if goals is None:
                if not served():
                    return False
                goals = {}
                for path in list(self.ledger.owed):
                    entry = self.ledger.get(path)
                    if entry is not None and entry.current is not None:
                        goals[path] = self._aim_at(path, entry.current)
            while goals:  # one after the other: this is asked very often
                path = next(iter(goals))
                if path in self.ledger.unverified:
                    return False  # what the journal calls delivered may not be there any more
                entry = self.ledger.get(path)
                shown = entry.delivered if entry is not None else None
                if entry is not None and shown is not None and shown.version > goals[path][0]:
                    newer = entry.version(shown.version)
                    if newer is not None and shown.size < newer.size:
                        goals[path] = self._aim_at(path, newer)  # a part of it was there before
                gone = entry is None or not entry.versions  # a new look comes, if there is a file
                if (gone and not self.intake.must_look(path)) or (
                    shown is not None and (shown.version, shown.size) >= goals[path]
                ):
                    del goals[path]
                else:
                    break
            return not goals

        return done

    def _aim_at(self, path: str, version: Version) -> tuple[int, int]:
        """A flush waits for so much of that version."""
        goal = (version.number, version.size)
        self.lines.release(path, *goal)
        self.ready(path)
        return goal

    def request_pull(self) -> Callable[[], bool]:
        """Look at all sources; the returned function says whether what they had is here."""
        return self.pulls.ask()

    def is_served(self, path: str, mtime_ns: int) -> bool:
        """Whether the snapshot for that touch is taken, and safe from a truncation that follows."""
        if not super().is_served(path, mtime_ns):
            return False
        return self.keeper.secure_all(path)

    def status(self) -> Status:
        """How things are, all declared files and up to 1,000 others that are pending or failed."""
        return self.report.status(super().status(), self._file_status)

    def stop(self, deadline: float) -> bool:
        """Snapshot what was notified, deliver until the deadline, close everything."""
        clock, known = self.context.clock, self.thread.crash
        self.pulls.leave()
        done = self.request_flush()
        while not done() and clock.monotonic() < deadline and self.thread.crash is None:
            self._claim_turns(self.intake.step(clock.monotonic()))
            self.sync_if_due()
            if not self.thread.threaded:
                self.delivery.step()
            self._still_alive()
            clock.sleep(0.01)
        self._claim_turns(math.inf)
        finished = done()
        self._say_goodbye(deadline)
        self.intake.remove_served_touches()
        self.thread.stop(known)
        self.checkup.close()
        self.account.tick(everything=True)
        self.sources.close()
        suspects_left = self.snapshots.suspects.are_left(self.intake.is_watched)
        self.ledger.journal.note_suspects(left=suspects_left)
        self.ledger.journal.close()
        self.pulls.stop()
        return finished

    def _claim_turns(self, due: float) -> None:
        """``due``: when the next look is; one that is due now is a backlog."""
        self._turns.claim(backlog=due <= self.context.clock.monotonic())

    def _say_goodbye(self, deadline: float) -> None:
        """The last heartbeat says 0; it is waited for if there is a connection to carry it."""
        if self.heartbeat.due_at is None:
            return
        self.beat(goodbye=True)
        clock = self.context.clock
        while (
            self.delivery.beat_waits
            and self.delivery.link.link != "retrying"
            and self.thread.crash is None
            and clock.monotonic() < deadline
        ):
            if not self.thread.threaded:
                self.delivery.step()
            self._still_alive()
            clock.sleep(0.01)
        self.heartbeat.remove()

    # -- inside ------------------------------------------------------------------------------

    def random_hex(self, size: int) -> str:
        return self._rng.randbytes(size).hex()

    def boot_id(self) -> str:
        return self._boot if self._boot is not None else super().boot_id()

    def look(self, target: Target, touch: Touch | None, final: bool) -> Outcome:
        """Take the snapshot."""
        remote = self.intake.remote_path(target.path) or os.path.basename(target.path)
        watch = target.watch
        outcome = self.snapshots.take(
            target.path,
            remote,
            watch.growth,
            touch,
            final=final,
            rotated_as="" if watch.is_dir else self._rotated_as(watch),
        )
        if outcome.result in ("taken", "failed") or self.intake.error_of(target.path) is not None:
            self.context.status_changed()
        if outcome.result in ("taken", "unchanged"):
            self.checkup.note(target.path)
        return outcome

    def _rotated_as(self, watch: Watch) -> str:
        given = watch.rotated_as
        return (self._settings.rotated_as or "") if given is None else given

    def ready(self, path: str) -> None:
        if path in self.ledger.owed:
            self.delivery.offer(path)
            self.thread.wake()

    def _file_status(self, path: str) -> FileStatus:
        return self.report.file_status(super()._file_status(path), path)

    def is_settled(self, path: str) -> bool:
        return self.intake.is_settled(path)

    def is_delivered(self, entry: Entry | None, st: FileStat) -> bool:
        from pysubtask.subtask.archive import is_shown  # it is the archive that asks

        return is_shown(entry, st)

    def _make_courier(self, can: Capabilities, window: Window) -> Courier:
        settings = self._settings
        hooks = Hooks(
            is_held=self.intake.held_by_burst,
            look_again=self._look_again,
            delivered=self._delivered,
            token_hex=lambda: self.ledger.journal.client_id + self.random_hex(4),
            is_segmented=lambda path: can.segments and self._is_segmented(path),
            progress=self.context.status_changed,
            gives_way=self.delivery.gives_way,
            folders=self._remote_folders,
        )
        return Courier(
            Session(
                self.ledger,
                self.sources,
                self.context.clock,
                can,
                Policy(
                    settings.on_remote_gone,
                    settings.on_first_contact,
                    self.ledger.journal.unclean_boot,
                    self._started_at,
                ),
                hooks,
                self.log,
                self._root,
                settings.verify_up_to_bytes,
                window,
                self.signatures,
                self.lines,
                self.allowance,
                names=self.names,
            )
        )

    def _remote_folders(self) -> set[str]:
        return {posixpath.dirname(remote_path(w, w.path)) for w in self.context.handover.watches}

    def _is_segmented(self, path: str) -> bool:
        if not self._settings.segments:
            return False
        watch = self.intake.watch_of(path)  # by the delivering thread
        return watch is not None and watch.growth == "append"

    def _delivered(self, path: str, size: int, how: str) -> None:
        self.account.moved(path, size)
        self.context.status_changed()

    def _has_lines(self, path: str) -> bool:
        if not self._any_lines:
            return False
        watch = self.intake.watch_of(path)
        return watch is not None and watch.records == "lines"

    def _edited(self, path: str) -> None:
        self.snapshots.edited.add(path)
        self.intake.hint_look(path)
        self.context.wake()

    def _look_again(self, path: str) -> None:
        self.intake.hint_look(path)
        self.context.wake()

    def _wake_delivery(self, *, retry: bool = False) -> None:
        for path in list(self.ledger.owed):
            self.delivery.offer(path)
        self.thread.wake(retry=retry)


def _nowhere() -> Transport:
    raise RuntimeError("nothing is delivered from here")
