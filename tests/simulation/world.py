"""One history, run: the machine, the program, the wire, the server and the child between them."""

from __future__ import annotations

import errno

from pysubtask.subtask.shell.runner import TAKEOVER_SECS
from tests.simulation.checker import Violation
from tests.simulation.child import Child
from tests.simulation.clock import Killed
from tests.simulation.ledger import Source
from tests.simulation.machine import MS, SEC, STRANDED_NS, Machine
from tests.simulation.outcome import Outcome
from tests.simulation.script import Event
from tests.simulation.stage import FOLDER, STATE_DIR
from tests.simulation.told import untrue, untrue_at_rest
from tests.simulation.verdict import unmet

__all__ = ["World"]

_SOON_SECS = 900
_IN_TIME_SECS = 30
_HOUR_NS = 3600 * SEC
_MAX_STEPS = 60_000
_TOLD_EVERY = 16
"""So many steps lie between two checks of what the program is told: adding up takes time."""


class World(Machine):
    """A machine, and its history from the first event to the verdict."""

    # -- running ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the history to its end and judge it."""
        outcome = Outcome(self.history.seed, counts=self.counts)
        try:
            last_ns = self.history.events[-1].at_ns if self.history.events else 0
            self._run_until(last_ns + SEC)
            self._finish()
        except Violation as violation:
            outcome.kind, outcome.message = violation.args
            self.trace(f"VIOLATION {outcome.kind}: {outcome.message}")
        self.counts["calls"] = self._calls
        self.counts["sent"] = self.network.up_bytes
        self.counts["again"] = self.resends.again_bytes
        self.counts["cuts"] = self.troubles.cuts
        self._discard()
        return outcome

    def _discard(self) -> None:
        """The history is over: let the last child go."""
        self._alive = False
        if self.masters is not None:
            self.counts["takeovers"] = self.masters.takeovers
            self.masters.end_all()
        if self._child is not None:
            self._child.bury()
        if self._disk is not None:
            self._disk.forget()
        self._child = None

    def _run_until(self, end_ns: int) -> None:
        clock = self.clock
        while True:
            try:
                if self._child is None:
                    if self._start_at_ns is not None and clock.now_ns >= self._start_at_ns:
                        self._start()
                        continue
                    wanted_ns = end_ns + 1 if self._start_at_ns is None else self._start_at_ns
                else:
                    wanted_ns = clock.now_ns + 50_000 if self._woken else self._due_ns
                next_ns = clock.next_event_ns()
                if next_ns is not None and next_ns < wanted_ns:
                    wanted_ns = next_ns
                if wanted_ns > end_ns:
                    clock.advance_to(end_ns)
                    return
                clock.advance_to(wanted_ns)
                if self._child is not None and (self._woken or clock.now_ns >= self._due_ns):
                    self._step()
            except Killed:
                self._bury()
            except Violation:
                raise
            except Exception as error:  # whatever the child let escape
                self._escaped(error)

    def _step(self) -> None:
        assert self._child is not None
        self._woken = False
        self.counts["steps"] += 1
        if self.counts["steps"] > _MAX_STEPS:
            raise Violation("spin", "the child never comes to rest")
        began_ns = self.clock.now_ns
        due = self._child.step()
        self._turn_ns = max(self._turn_ns, began_ns)
        self._due_ns = max(self._process.clock.true_ns(due), self.clock.now_ns + 1_000)
        self._after_step()
        if self._stop_request is not None:
            self._stop_child(self._stop_request)

    def _after_step(self) -> None:
        child = self._child
        assert child is not None
        if self.config.stuck:
            self._ask_for_the_rest(since=0 if self._finishing else 1)
            self._woken = False
        self.checker.client_id = child.client_id()
        self._check_archived()
        self.checker.check_claims(child.claims())
        self.checker.slots.observe()
        self.checker.doubted.check()
        if self.counts["steps"] % _TOLD_EVERY == 0:
            self._check_told(child)
        again, excused = self.resends.again_bytes, self.resends.excused_bytes
        if again > excused and not self.config.small_outbox:
            raise Violation("resent", f"{again} bytes were sent again, {excused} are excused")
        spending = self.resends.spending
        if spending is not None and spending.broken:
            raise Violation("budget", spending.broken)
        if self.config.stuck and not self._finishing:
            for source in self.sources[1:]:
                self._check_in_time(source)
        asks, self._flush_asks = self._flush_asks, []
        for touches in asks:
            self.checker.released_ns = self.clock.now_ns
            self._flushes.append((child.request_flush(), touches))
        if self._waiting:
            for source, touch in list(self._waiting):
                if touch not in source.touches:
                    self._waiting.remove((source, touch))
                elif child.is_served(source.path, touch.mtime_ns):
                    self._waiting.remove((source, touch))
                    self.trace(f"served {source.path} {touch}")
                    source.served(touch, self.clock.now_ns)
                    if touch.plain and self.config.stuck and not self._finishing:
                        # asked at once, it may be answered for the one before: a second look comes
                        source.owed = [t for t in source.owed if t is not touch]
                        continue
                    self.checker.recheck(source)
                    self._goes_on(source)
        if self._flushes:
            self.checker.released_ns = self.clock.now_ns
            for flush in list(self._flushes):
                done, touches = flush
                if done():
                    self._flushes.remove(flush)
                    self.trace("flushed")
                    self.checker.check_delivered(touches, "flush")

    def _check_told(self, child: Child) -> None:
        if words := untrue(child, self.fs, f"{STATE_DIR}/outbox"):
            raise Violation("status", words)

    def _check_in_time(self, source: Source) -> None:
        """Nothing is wrong but with another file."""
        late_ns = self.clock.now_ns - _IN_TIME_SECS * SEC
        for touch in source.touches:
            if touch.at_ns < late_ns:
                raise Violation("held", f"{source.path!r}: {touch} is not served yet")
        for touch in source.owed:
            if touch.at_ns < late_ns and not source.was_shown(touch):
                raise Violation("held", f"{source.path!r}: {touch} is not delivered yet")

    def _goes_on(self, source: Source) -> None:
        """The program had waited for the snapshot: now it may do its worst."""
        worst = {"append": "rotate", "auto": "truncate", "rewrite": "replace"}[source.growth]
        share = self.config.worst_share
        if not self._finishing and not source.in_folder and self.rng.random() < share:
            near_call = self.rng.choice([0, 0, 1, 5])
            self._happen(Event(0, worst, self.sources.index(source), "notify", near_call))

    def _stop_child(self, event: Event) -> None:
        """A graceful stop, then another start."""
        assert self._child is not None
        self._stop_request = None
        touches = [(s, s.last_touch) for s in self.sources if s.last_touch is not None]
        self.counts["restarts"] += 1
        self.checker.released_ns = self.clock.now_ns + 11 * SEC
        taken_over = event.kind == "takeover"
        if self.masters is not None and taken_over:
            self.masters.takeovers += 1
        limit_secs = TAKEOVER_SECS if taken_over else 10.0
        done = self._child.stop(self._process.clock.monotonic() + limit_secs)
        self.trace(f"stopped: {done}")
        if (
            self.beats is not None
            and done
            and self.clock.now_ns > self.troubles.remote_full_until_ns + SEC
            and not self._child.beat_waits()
        ):
            self.beats.check_goodbye()
        if done:
            self.checker.check_delivered(touches, "stop")
        self._alive = False
        self._left_in_order = True
        self._start_at_ns = None
        if not taken_over:  # whose master starts no other
            self._start_at_ns = self.clock.now_ns + int(event.detail * SEC)
        self._bury()

    # -- what happens ----------------------------------------------------------------------------

    def _on_kill(self, event: Event, source: Source, operation: str) -> None:
        if self.masters is not None and self.rng.random() < 0.5 and self.masters.kill_one():
            return
        if self._alive:
            self.counts["kills"] += 1
            self._start_at_ns = self.clock.now_ns + int(event.detail * SEC)
            self._die(operation)

    def _on_second_master(self, event: Event, source: Source, operation: str) -> None:
        """Another master starts, with the same state folder."""
        if self.masters is not None and self._machine_up:
            self.masters.knock()

    def _on_power(self, event: Event, source: Source, operation: str) -> None:
        if not self._alive:
            return
        self.counts["power"] += 1
        self._power_lost = True
        self._survival = event.how
        self._machine_up = False
        delay_ns = int(event.detail * SEC) + MS
        self._start_at_ns = self.clock.now_ns + delay_ns
        self.clock.after(delay_ns - 1, self._boot_program)
        self._die(operation)

    def _boot_program(self) -> None:
        """The program runs again; a careful one notifies what it finds."""
        self._machine_up = True
        for source in self.sources:
            notify = self.program.notify_path(source.path)
            if not source.in_folder and not self.fs.exists(notify):
                self.fs.touch(notify, 0)
            if source.present and self.rng.random() < 0.7:
                self.program.notify(source)

    def _on_restart(self, event: Event, source: Source, operation: str) -> None:
        """The program stops the child gracefully and starts another."""
        if self._child is None or not self._alive:
            return
        self._stop_request = event
        self._woken = True

    def _on_disk_fault(self, event: Event, source: Source, operation: str) -> None:
        name, count, *half = event.detail
        self._fault = (getattr(errno, name), count)
        self._fault_takes_half = bool(half)

    def _on_flush(self, event: Event, source: Source, operation: str) -> None:
        if self._child is None or not self._alive:
            return
        touches = [(s, s.last_touch) for s in self.sources if s.last_touch is not None]
        self._flush_asks.append(touches)  # served by the main loop, between two steps
        self._woken = True

    # -- the end ---------------------------------------------------------------------------------

    def _finish(self) -> None:
        """No more faults: everything must arrive."""
        self.trace("no more faults")
        self._finishing = True
        self._armed.clear()
        self._next_armed = 1 << 62
        self._fault = (0, 0)
        self.troubles.end()
        if not self._machine_up:
            self._run_until((self._start_at_ns or self.clock.now_ns) + MS)
        for source in self.sources:
            if source.interfered or source.last_touch is None or self.rng.random() < 0.3:
                self.program.append(source)
                self.program.notify(source)
        soon_ns = self.clock.now_ns + _SOON_SECS * SEC
        end_ns = self.clock.now_ns + self.config.finish_secs * SEC
        end_ns += _HOUR_NS if self.troubles.may_hold_a_file else 0
        while True:
            self._run_until(self.clock.now_ns + (SEC if self.clock.now_ns < soon_ns else _HOUR_NS))
            self._ask_for_the_rest()
            missing = unmet(self.checker)
            if not missing and self._child is not None and not self._pending_bytes(self._child):
                if not self._free_a_name(self._child):
                    break
                missing = [("held", "a file waits for its name, and does not say so or get it")]
            if self.clock.now_ns > end_ns:
                raise Violation(*(missing or [("pending", "bytes are owed that are delivered")])[0])
        self._run_until(self.clock.now_ns + 3 * SEC)
        while missing := unmet(self.checker):
            # between two masters' children, there is none for a moment
            is_sending = self._child is None or self._child.pending_bytes() > 0
            is_late = missing[0][0] == "unserved"  # a second look comes 2 s after a coarse stamp
            if not (is_sending or is_late) or self.clock.now_ns > end_ns:
                raise Violation(*missing[0])
            self._run_until(self.clock.now_ns + SEC)  # a file that did not have its name before
            self._ask_for_the_rest()
        if self._archived:
            self._run_until(self.clock.now_ns + 2 * STRANDED_NS)  # one may be on its way back
        if self.beats is not None:
            self._run_until(self.clock.now_ns + 60 * SEC)  # one may just have failed
            self.beats.check_fresh()
        self._check_told_at_rest()
        until_ns = self.clock.now_ns + 60 * SEC
        while words := self._left_over() or self._held_open():
            if self.clock.now_ns > until_ns:
                raise Violation("leak", words)
            self._run_until(self.clock.now_ns + SEC)  # what goes waits for the journal's sync

    def _check_told_at_rest(self) -> None:
        """Nothing is complained of that is over, and what is there is told."""
        if next(self.checker.slots.waiting(), None) is not None:
            return  # a file that waits for its name says so
        shown: dict[str, int] = {}
        for source in self.sources:
            content = self.checker.content_of(source)
            touch = source.last_touch
            known = touch is not None and touch.present and touch.index == source.current.index
            plain = not (source.in_folder or source.interfered or self.checker.continued)
            if plain and known and source.present and content is not None:
                shown[source.path.removeprefix(f"{FOLDER}/")] = len(content)
        until_ns = self.clock.now_ns + 60 * SEC
        while self._child is not None:
            self._check_told(self._child)
            words = untrue_at_rest(self._child.status(), shown)
            if not words:
                return
            if self.clock.now_ns > until_ns:
                raise Violation("status", words)
            self._run_until(self.clock.now_ns + SEC)

    def _pending_bytes(self, child: Child) -> int:
        """What is owed of files that have their name."""
        return child.pending_bytes({source.path for _, source in self.checker.slots.waiting()})

    def _free_a_name(self, child: Child) -> bool:
        """Where a file waits for its name, and says so, the one that has it goes. True if one
        waits."""
        for slot, source in self.checker.slots.waiting():
            if slot.holder is None or not child.pending_bytes() or not source.present:
                continue
            says = "has that name at the destination" in child.error_of(source.path)
            if says and slot.holder.present:
                self.trace(f"{slot.holder.path} is in the way of {source.path}")
                self.program.delete(slot.holder)
            return True
        return False

    def _ask_for_the_rest(self, since: int = 0) -> None:
        """Whether the last touch of each is served (but for the files before the ``since``-th)."""
        known = {id(touch) for _, touch in self._waiting}
        for source in self.sources[since:]:
            for touch in source.touches[-1:]:
                if id(touch) not in known:
                    self._waiting.append((source, touch))
        self._woken = bool(self._waiting)
