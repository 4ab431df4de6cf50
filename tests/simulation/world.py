"""One history, run: the machine, the program, the wire, the server and the child between them."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pysubtask.errors import PysubtaskError
from tests.simulation.checker import Violation
from tests.simulation.child import Boot, Child
from tests.simulation.clock import ChildClock, Killed
from tests.simulation.disk import SimDisk
from tests.simulation.filesystem import Inode
from tests.simulation.history import Event, History
from tests.simulation.ledger import Source, Touch
from tests.simulation.network import SimConnector
from tests.simulation.stage import FOLDER, STATE_DIR, WATCH_FOLDER, Stage

__all__ = ["Outcome", "World"]

_SEC = 1_000_000_000
_MS = 1_000_000
_FINISH_SECS = 900
_MAX_STEPS = 60_000
_FAULTY = frozenset({"append", "create", "sync", "rename", "read", "open", "remove", "sync_dir"})
_FILLING = frozenset({"append", "create", "mkdir"})


@dataclass(slots=True)
class Outcome:
    """What became of one history."""

    seed: int
    kind: str = ""
    """``""`` if all promises held; else ``torn``, ``lost``, ``crash`` …"""
    message: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class World(Stage):
    """The stage, and the child on it."""

    def __init__(
        self,
        history: History,
        make_child: Callable[[Boot], Child],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(history, trace)
        self._make_child = make_child
        self.counts = dict.fromkeys(
            ("kills", "cuts", "power", "crashes", "starts", "steps", "calls", "sent", "restarts"), 0
        )
        self._boots = 0
        self._boot_ns = 0
        self._child: Child | None = None
        self._disk: SimDisk | None = None
        self._connector: SimConnector | None = None
        self._alive = False
        self._power_lost = False
        self._machine_up = True
        self._start_at_ns: int | None = 0
        self._pid = 100
        self._due_ns = 0
        self._woken = False
        self._calls = 0
        self._armed: list[tuple[int, Event]] = []
        self._next_armed = 1 << 62
        self._fault = (0, 0)
        self._last_fault_ns = -(1 << 62)
        self._waiting: list[tuple[Source, Touch]] = []
        self._stop_request: Event | None = None
        self._finishing = False
        self._rolled_back = False
        self._process = _Process(self, 0)
        self._flush_asks: list[list[tuple[Source, Touch]]] = []
        self._flushes: list[tuple[Callable[[], bool], list[tuple[Source, Touch]]]] = []
        self.fs.on_change = self._file_event
        for event in history.events:
            self.clock.at(event.at_ns, partial(self._happen, event))

    # -- running ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the history to its end and judge it."""
        outcome = Outcome(self.history.seed, counts=self.counts)
        try:
            last_ns = self.history.events[-1].at_ns if self.history.events else 0
            self._run_until(last_ns + _SEC)
            self._finish()
        except Violation as violation:
            outcome.kind, outcome.message = violation.args
            self.trace(f"VIOLATION {outcome.kind}: {outcome.message}")
        self.counts["calls"] = self._calls
        self.counts["sent"] = self.network.up_bytes
        self.counts["cuts"] = self.troubles.cuts
        self._discard()
        return outcome

    def _discard(self) -> None:
        """The history is over: let the last child go."""
        self._alive = False
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
                    wanted_ns = end_ns if self._start_at_ns is None else self._start_at_ns
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
        due = self._child.step()
        self._due_ns = max(self._process.clock.true_ns(due), self.clock.now_ns + 1_000)
        self._after_step()
        if self._stop_request is not None:
            self._stop_child(self._stop_request)

    def _after_step(self) -> None:
        child = self._child
        assert child is not None
        self.checker.check_claims(child.claims())
        asks, self._flush_asks = self._flush_asks, []
        for touches in asks:
            self._flushes.append((child.request_flush(), touches))
        if self._waiting:
            for source, touch in list(self._waiting):
                if touch not in source.touches:
                    self._waiting.remove((source, touch))
                elif child.is_served(source.path, touch.mtime_ns):
                    self._waiting.remove((source, touch))
                    self.trace(f"served {source.path} {touch}")
                    source.served(touch, self.clock.now_ns)
                    self.checker.recheck(source)
                    self._goes_on(source)
        if self._flushes:
            for flush in list(self._flushes):
                done, touches = flush
                if done():
                    self._flushes.remove(flush)
                    self.trace("flushed")
                    self.checker.check_delivered(touches, "flush")

    def _goes_on(self, source: Source) -> None:
        """The program had waited for the snapshot: now it may do its worst."""
        worst = {"append": "rotate", "auto": "truncate", "rewrite": "replace"}[source.growth]
        if not self._finishing and not source.in_folder and self.rng.random() < 0.5:
            near_call = self.rng.choice([0, 0, 1, 5])
            self._happen(Event(0, worst, self.sources.index(source), "notify", near_call))

    def _stop_child(self, event: Event) -> None:
        """A graceful stop, then another start."""
        assert self._child is not None
        self._stop_request = None
        touches = [(s, s.last_touch) for s in self.sources if s.last_touch is not None]
        self.counts["restarts"] += 1
        done = self._child.stop(self._process.clock.monotonic() + 10.0)
        self.trace(f"stopped: {done}")
        if done:
            self.checker.check_delivered(touches, "stop")
        self._alive = False
        self._start_at_ns = self.clock.now_ns + int(event.detail * _SEC)
        self._bury()

    # -- the child's life ------------------------------------------------------------------------

    def _start(self) -> None:
        config = self.config
        self._pid += 1
        self.counts["starts"] += 1
        process = _Process(self, self._boot_ns)
        self._alive = True
        self._process = process
        self._disk = SimDisk(self.fs, process.before_call, pid=self._pid)
        self._connector = SimConnector(self.network, process.before_call)
        self._start_at_ns = None
        self._waiting = [(s, t) for s in self.sources for t in s.touches[-1:]]
        self.trace(f"start child {self._pid}")
        if not self.fs.exists(STATE_DIR):
            self.fs.make_dirs(STATE_DIR)  # the master's doing
        boot = Boot(
            disk=self._disk,
            clock=process.clock,
            connector=self._connector,
            folder=FOLDER,
            watch_folder=WATCH_FOLDER,
            state_dir=STATE_DIR,
            files=config.files,
            settings=config.settings,
            remote_dir=config.remote_dir,
            boot_id=f"boot-{self._boots}",
            pid=self._pid,
            wake=process.wake,
            log=self._log_child if self._write_trace is not None else None,
        )
        self._child = self._make_child(boot)
        self._due_ns = self.clock.now_ns
        self._child.start()
        failed = max(self._last_fault_ns, self.troubles.disk_full_until_ns) > 0
        rolled_back = self._rolled_back or failed  # a record may not have been written
        self.checker.check_claims(self._child.claims(), rolled_back=rolled_back)
        self._rolled_back = False

    def _log_child(self, text: str) -> None:
        self.trace(f"    child: {text}")

    def before_call(self, operation: str, path: str) -> None:
        """A call of the living child: time passes, others act, things go wrong."""
        self._calls += 1
        clock = self.clock
        target_ns = clock.now_ns + self.config.call_ns
        next_ns = clock.next_event_ns()
        if next_ns is not None and next_ns <= target_ns and not clock.in_event:
            clock.advance_to(target_ns)
        else:
            clock.now_ns = target_ns
        if self._calls >= self._next_armed:
            self._fire(operation)
        number, left = self._fault
        if left and operation in (_FILLING if number == errno.ENOSPC else _FAULTY):
            self._fault = (number, left - 1)
            self._last_fault_ns = clock.now_ns
            self.trace(f"fault {errno.errorcode[number]} in {operation} {path}")
            raise OSError(number, "injected", path)

    def _fire(self, operation: str) -> None:
        due = [event for call, event in self._armed if call <= self._calls]
        self._armed = [(call, event) for call, event in self._armed if call > self._calls]
        self._next_armed = min((call for call, _ in self._armed), default=1 << 62)
        for event in due:
            self._perform(event, operation)

    def _happen(self, event: Event) -> None:
        """An event is due: now, or at one of the child's next calls."""
        if not event.near_call or not self._alive:
            self._perform(event, "")
            return
        self._armed.append((self._calls + event.near_call, event))
        self._next_armed = min(self._next_armed, self._calls + event.near_call)
        self.clock.after(3 * _SEC, lambda: self._catch_up(event))

    def _catch_up(self, event: Event) -> None:
        if any(armed is event for _, armed in self._armed):
            self._armed = [pair for pair in self._armed if pair[1] is not event]
            self._perform(event, "")

    def _die(self, operation: str) -> None:
        if not self._alive:
            return
        self._alive = False
        if operation in ("append", "send") and self.rng.random() < 0.5:
            raise Killed(self.rng.random())
        raise Killed

    def _bury(self) -> None:
        if self._alive or self._disk is None or self._connector is None:
            return
        if self._child is not None:
            self._child.bury()
        self._child = None
        self._flushes.clear()
        self._flush_asks.clear()
        self._waiting.clear()
        self._stop_request = None
        if self._power_lost:
            self._power_lost = False
            self._lose_power()
        else:
            self._disk.abandon()
            self._connector.abandon()
        self._disk = self._connector = None

    def _lose_power(self) -> None:
        assert self._disk is not None
        self._disk.forget()
        self._rolled_back = True
        link = self.network.current
        if link is not None:
            link.mute(self.rng)
            link.ended = True
            link.wake = lambda: None
        self.fs.crash(self.rng)
        self.program.lose_power()
        sync_secs = self.config.settings["sync_secs"] + 1.0
        self.ledger.after_crash(self._read_local, self.clock.now_ns, sync_secs)
        recent_ns = self.clock.now_ns - int(sync_secs * _SEC)
        self.checker.roll_back(recent_ns)
        births = self.checker.temp_births_ns
        self.checker.forgiven_temps |= {t for t, born in births.items() if born > recent_ns}
        self._boots += 1
        self._boot_ns = self.clock.now_ns
        for source in self.sources:
            left = len(source.current.content) if source.present else "nothing"
            self.trace(f"left of {source.path}: {left}")

    def _read_local(self, path: str) -> bytes | None:
        if not self.fs.exists(path):
            return None
        node = self.fs.node(path)
        return bytes(node.data) if isinstance(node, Inode) else None

    def _escaped(self, error: Exception) -> None:
        story = "".join(traceback.format_exception(error))
        self.trace(f"escaped: {story}")
        last_ns = max(self._last_fault_ns, self.troubles.disk_full_until_ns)
        recent = self.clock.now_ns - last_ns < 10 * _SEC
        if not (recent and isinstance(error, OSError | PysubtaskError)):
            raise Violation("crash", story)
        self.counts["crashes"] += 1
        self._alive = False
        self._start_at_ns = self.clock.now_ns + _SEC
        self._bury()

    def _file_event(self, change: str, path: str) -> None:
        if self._child is None or not self._alive:
            return
        folder = path.rpartition("/")[0]
        if folder not in (FOLDER, WATCH_FOLDER):
            return
        if self.config.events < 1.0 and self.rng.random() >= self.config.events:
            return
        self._child.hint(path, change in ("moved_to", "close_write"))

    # -- what happens ----------------------------------------------------------------------------

    def _perform(self, event: Event, operation: str) -> None:
        source = self.sources[event.target]
        own = getattr(self, f"_on_{event.kind}", None)
        trouble = getattr(self.troubles, event.kind, None)
        if own is not None or trouble is not None:
            self.trace(f"{event.kind} {event.detail}")
        if own is not None:
            own(event, source, operation)
            return
        if trouble is not None:
            trouble(event, source)
            return
        if not self._machine_up:
            return
        getattr(self.program, event.kind)(source)
        if event.detail in ("notify", "plain", "wait"):
            touch = self.program.notify(source, plain=event.detail == "plain")
            if event.detail == "wait" and self._alive:
                self._waiting.append((source, touch))
                self._woken = True

    def _on_kill(self, event: Event, source: Source, operation: str) -> None:
        if self._alive:
            self.counts["kills"] += 1
            self._start_at_ns = self.clock.now_ns + int(event.detail * _SEC)
            self._die(operation)

    def _on_power(self, event: Event, source: Source, operation: str) -> None:
        if not self._alive:
            return
        self.counts["power"] += 1
        self._power_lost = True
        self._machine_up = False
        delay_ns = int(event.detail * _SEC) + _MS
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
        name, count = event.detail
        self._fault = (getattr(errno, name), count)

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
            self._run_until((self._start_at_ns or self.clock.now_ns) + _MS)
        for source in self.sources:
            if source.interfered or source.last_touch is None or self.rng.random() < 0.3:
                self.program.append(source)
                self.program.notify(source)
        end_ns = self.clock.now_ns + _FINISH_SECS * _SEC
        while True:
            self._run_until(self.clock.now_ns + _SEC)
            self._ask_for_the_rest()
            unmet = self.checker.unmet()
            if not unmet and self._child is not None and not self._child.pending_bytes():
                break
            if self.clock.now_ns > end_ns:
                raise Violation(*(unmet or [("pending", "bytes are owed that are delivered")])[0])
        self._run_until(self.clock.now_ns + 3 * _SEC)
        unmet = self.checker.unmet()
        if unmet:
            raise Violation(*unmet[0])

    def _ask_for_the_rest(self) -> None:
        known = {id(touch) for _, touch in self._waiting}
        for source in self.sources:
            for touch in source.touches[-1:]:
                if id(touch) not in known:
                    self._waiting.append((source, touch))
        self._woken = bool(self._waiting)


class _Process:
    """The seams of one child process: after its death they give nothing any more."""

    def __init__(self, world: World, boot_ns: int) -> None:
        self._world = world
        self.clock = ChildClock(world.clock, boot_ns, self.before_call)

    def before_call(self, operation: str, path: str) -> None:
        world = self._world
        if world._process is not self or not world._alive:
            raise Killed
        world.before_call(operation, path)

    def wake(self) -> None:
        if self._world._process is self:
            self._world._woken = True
