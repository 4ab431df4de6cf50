"""The machine in use: one child process after another on it, what happens to them, how they die."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from functools import partial

from pysubtask.errors import PysubtaskError
from tests.simulation.checker import Violation
from tests.simulation.child import Boot, Child, make_child
from tests.simulation.clock import ChildClock, Killed
from tests.simulation.disk import HALF, SimDisk
from tests.simulation.filesystem import Inode
from tests.simulation.ledger import Lineage, Source, Touch
from tests.simulation.masters import Masters
from tests.simulation.network import SimConnector
from tests.simulation.script import Event, History
from tests.simulation.stage import FOLDER, STATE_DIR, WATCH_FOLDER, Stage

__all__ = ["FAULTY", "FILLING", "MS", "SEC", "Machine"]

SEC = 1_000_000_000
MS = 1_000_000
FAULTY = frozenset({"append", "create", "sync", "rename", "read", "open", "remove", "sync_dir"})
FILLING = frozenset({"append", "create", "mkdir"})

STRANDED_NS = 30 * SEC
"""So long after the disk refused the last time, a file that should not have gone to the archive may
still be there."""
_FORGIVEN_NS = 1 << 62
"""Known to be gone, and forgiven for good."""


class Machine(Stage):
    """The stage, and the child on it."""

    def __init__(
        self,
        history: History,
        make_child: Callable[[Boot], Child] = make_child,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(history, trace)
        self._make_child = make_child
        self.counts = dict.fromkeys(
            (
                "kills",
                "cuts",
                "power",
                "crashes",
                "starts",
                "steps",
                "calls",
                "sent",
                "restarts",
                "archived",
            ),
            0,
        )
        self.call_log: list[str] | None = None
        """Every call of the child to its disk and its wire, if anybody wants to know."""
        self._boots = 0
        self._boot_ns = 0
        self._child: Child | None = None
        self._disk: SimDisk | None = None
        self._connector: SimConnector | None = None
        self._alive = False
        self._power_lost = False
        self._survival = ""
        self._machine_up = True
        self._start_at_ns: int | None = 0
        self._pid = 100
        self._due_ns = 0
        self._woken = False
        self._calls = 0
        self._armed: list[tuple[int, Event]] = []
        self._next_armed = 1 << 62
        self._fault = (0, 0)
        self._fault_takes_half = False
        """An append that fails has written half of it."""
        self._last_fault_ns = -(1 << 62)
        self._waiting: list[tuple[Source, Touch]] = []
        self._archived: list[tuple[Source, str]] = []
        """What the child has moved to the archive in this step."""
        self._stop_request: Event | None = None
        self._left_in_order = False
        self._master_starts = True
        """With the next child; otherwise it only replaces one that died."""
        self._blank_marks: tuple[int | None, ...] = ()
        self._finishing = False
        self._rolled_back = False
        self._unsynced_since_ns: int | None = None
        """A child died then, and the next one has not brought to the disk yet what it wrote."""
        self._turn_ns = 0
        """When the last turn of the main loop that came to its end began: this is one thread, and
        while the delivering one waits, it may be kept from bringing data to the disk."""
        self._refused_syncs_ns: list[int] = []
        """When the disk failed in what brings data to it."""
        self._unseen: list[Lineage] = []
        """Contents that a power loss may have left without a sign that they are new."""
        self._births_ns: dict[str, int] = {}
        """When files of the outbox were made."""
        self._forgotten_ns = _FORGIVEN_NS
        """A loss of power may have taken what was made since then, if it was the last end."""
        self._noted: dict[str, int] = {}
        """What the last child had noted as delivered, by path."""
        self._process = _Process(self, 0)
        self.masters = Masters(self) if history.config.masters else None
        self._flush_asks: list[list[tuple[Source, Touch]]] = []
        self._flushes: list[tuple[Callable[[], bool], list[tuple[Source, Touch]]]] = []
        self.fs.on_change = self._file_event
        self.troubles.disturb = self.program.disturb
        self.troubles.take_away = self.program.delete
        for event in history.events:
            self.clock.at(event.at_ns, partial(self._happen, event))

    # -- the child's life ------------------------------------------------------------------------

    @property
    def boots(self) -> int:
        """How often the machine has gone down."""
        return self._boots

    def admit(self) -> None:
        """A child has the lock of the state folder, and starts."""
        if self._alive or self._child is not None:
            raise Violation("two", "two children use one state folder")
        self._start_at_ns = self.clock.now_ns

    def ask_to_leave(self, event: Event) -> None:
        """Another child wants the state folder."""
        if self._alive and self._child is not None:
            self._stop_request = event
            self._woken = True

    def end_holder(self) -> None:
        """Another child kills this one."""
        self._die("")

    def _start(self) -> None:
        config = self.config
        if self.masters is not None:
            if self.masters.admitted is None:
                self._start_at_ns = None
                if not self.fs.exists(STATE_DIR):
                    self.fs.make_dirs(STATE_DIR)
                self.masters.knock()
                return
            self.masters.begin()
        self._pid += 1
        self.counts["starts"] += 1
        process = _Process(self, self._boot_ns)
        self._alive = True
        self._process = process
        self._disk = SimDisk(self.fs, process.before_call, pid=self._pid)
        self._disk.on_rename = self._renamed
        self._connector = SimConnector(self.network, process.before_call, self._pause)
        self._start_at_ns = None
        self._waiting = [(s, t) for s in self.sources for t in s.touches[-1:]]
        self.trace(f"start child {self._pid}")
        if not self.fs.exists(STATE_DIR):
            self.fs.make_dirs(STATE_DIR)  # the master's doing
        if self._master_starts:
            self._master_starts = False
            declared = (source for source in self.sources if not source.in_folder)
            self._blank_marks = tuple(map(self.program.make_blank, declared))
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
            resends=self.resends,
            precleanup=config.archives,
            blank_marks=self._blank_marks,
            on_beat=self._said,
        )
        self._child = self._make_child(boot)
        if self.beats is not None:
            self.beats.began(self._pid)
        self._due_ns = self.clock.now_ns
        self._turn_ns = self.clock.now_ns
        self._child.start()
        # Only now does it know what the last one has noted.
        self.checker.slots.has_claim = self._child.has_claim
        self.checker.slots.is_let_go = self._child.is_let_go
        self._unsynced_since_ns = None
        failed = max(self._last_fault_ns, self.troubles.disk_full_until_ns) > 0
        rolled_back = self._rolled_back or failed  # a record may not have been written
        if failed:
            self.checker.may_forget = True
            self.checker.rotated.records_refused()
        self.checker.check_claims(self._child.claims(), rolled_back=rolled_back)
        self._check_remembered(self._child, rolled_back)
        self.checker.slots.observe(rolled_back=rolled_back)
        self._rolled_back = False
        self._check_outbox(self._child)

    def _check_remembered(self, child: Child, rolled_back: bool) -> None:
        """What a process that was killed had noted as delivered is known to the next."""
        noted, self._noted = self._noted, {}
        known = {claim.path: claim for claim in child.claims()}
        for path, size in noted.items() if not rolled_back else ():
            if path not in known or known[path].size < size:
                raise Violation("forgotten", f"{path!r} was noted up to {size}: {known.get(path)}")

    def _check_outbox(self, child: Child) -> None:
        """What the journal relies on is there: nothing goes before the record that lets go of it
        is on the disk, nor is relied on before it is there itself."""
        for path in sorted(child.relied_pieces()):
            if self.fs.exists(path):
                continue
            born_ns = self._births_ns.get(path, 0)
            if born_ns < self._forgotten_ns and born_ns != _FORGIVEN_NS:
                secs = (self.clock.now_ns - born_ns) / SEC
                raise Violation(
                    "unbacked", f"the journal relies on {path}, made {secs:.1f} s ago and gone"
                )
            self._births_ns[path] = _FORGIVEN_NS
        self._forgotten_ns = _FORGIVEN_NS

    def _left_over(self) -> str:
        """A copy that nobody needs: with others, it would fill the disk some day."""
        if self._child is None:
            return ""
        needed = self._child.relied_pieces()
        folder = f"{STATE_DIR}/outbox"
        paths = [f"{folder}/{name}" for name in self.fs.directory(folder).entries]
        left = next((path for path in paths if path not in needed), "")
        return left and f"{left} is left, and the journal knows nothing of it"

    def _held_open(self) -> str:
        """At rest the journal is open, and what the child knows that it holds. What is deleted goes
        on taking room; but while another file has its name, the next look is the last that can read
        it."""
        if self._child is None:
            return ""
        held = 0
        for path, inode in self._disk.open_files():
            is_ours = path.startswith(f"{STATE_DIR}/")
            if is_ours and not path.endswith("/journal"):
                return f"{path} is held open"
            is_current = self._child.current_inode(path) == inode.number and not is_ours
            if not inode.links and not (is_current and self.fs.exists(path)):
                return f"{path} is held open, and deleted"
            held += 1
        known = 1 + self._child.held_files()
        return f"{held} files are held open, {known} of them known" if held > known else ""

    def _log_child(self, text: str) -> None:
        self.trace(f"    child: {text}")

    def before_call(self, operation: str, path: str) -> None:
        """A call of the living child: time passes, others act, things go wrong."""
        self._calls += 1
        if self.call_log is not None:
            self.call_log.append(operation)
        clock = self.clock
        target_ns = clock.now_ns + self.config.call_ns
        events = clock.events
        if events and events[0][0] <= target_ns and not clock.in_event:
            clock.advance_to(target_ns)
        else:
            clock.now_ns = target_ns
        if self._calls >= self._next_armed:
            self._fire(operation)
        if operation == "stat" and path in self.ledger.by_path:
            self.checker.slots.looked(path, self.fs.exists(path))
        number, left = self._fault
        if left and operation in (FILLING if number == errno.ENOSPC else FAULTY):
            self._fault = (number, left - 1)
            self._last_fault_ns = clock.now_ns
            if operation in ("sync", "sync_dir", "create"):
                self._refused_syncs_ns.append(clock.now_ns)
            self.resends.broke(died=True)  # a job may end for it, with what it had on its way
            self.trace(f"fault {errno.errorcode[number]} in {operation} {path}")
            words = HALF if self._fault_takes_half else "injected"
            raise OSError(number, words, path)

    def _pause(self, duration_ns: int) -> None:
        """The delivering thread waits for the network: the main loop looks on meanwhile."""
        clock, child = self.clock, self._child
        end_ns = clock.now_ns + duration_ns
        due_ns = clock.now_ns
        while child is not None:
            wanted_ns = min(due_ns, end_ns)
            next_ns = clock.next_event_ns()
            if next_ns is not None and next_ns < wanted_ns:
                clock.advance_to(next_ns)
                if self._woken:
                    self._woken = False
                    due_ns = clock.now_ns + 50_000
                continue
            clock.advance_to(wanted_ns)
            if wanted_ns >= end_ns:
                break
            began_ns = clock.now_ns
            due = child.look() if child.delivers else child.sync()
            self._turn_ns = began_ns
            due_ns = max(self._process.clock.true_ns(due), clock.now_ns + MS)
            self._woken = False
        clock.advance_to(end_ns)
        self._woken = child is not None

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
        if not event.exact:
            self.clock.after(3 * SEC, lambda: self._catch_up(event))

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
            self._noted = {claim.path: claim.size for claim in self._child.claims()}
            self._child.bury()
        self._child = None
        self._flushes.clear()
        self._flush_asks.clear()
        self._waiting.clear()
        self._archived.clear()
        self._stop_request = None
        if self.masters is not None:
            self.masters.ended(in_order=self._left_in_order)
        self._master_starts = self._left_in_order or self._power_lost
        self._left_in_order = False
        self.resends.broke(died=True)
        if self.resends.spending is not None:
            self.resends.spending.process_died(with_its_machine=self._power_lost)
        if self._power_lost:
            self._power_lost = False
            self._lose_power()
            self._unsynced_since_ns = None
        else:
            if self._unsynced_since_ns is None:
                self._unsynced_since_ns = self.clock.now_ns
            self._disk.abandon()
            self._connector.abandon()
        self._disk = self._connector = None

    def _lose_power(self) -> None:
        assert self._disk is not None
        if self.masters is not None:
            self.masters.end_all()
        self._disk.forget()
        self._rolled_back = True
        link = self.network.current
        if link is not None:
            link.mute(self.rng)
            link.session.orphaned = True
            link.ended = True
            link.wake = lambda: None
        for dead in self.network.links:  # what a child that was killed had left to its system
            if dead is not link:
                dead.up.cut(self.rng)
                dead.session.orphaned = True
        before = {n: self._read_local(n) for s in self.sources for n in self.ledger.names_of(s)}
        self.checker.doubted.power_fails()
        self.fs.crash(self.rng, self._survival)
        self.resends.lost_power()
        self.server.cache.clear()
        if self.config.server_name == "disk":  # the destination lies on this machine
            self.checker.remember()
            self.server.go_down()
            self.remote.lose(self.rng, self._survival or "some")
        self.program.lose_power()
        last_ns = min(self.clock.now_ns, self._turn_ns)
        if self._unsynced_since_ns is not None:
            last_ns = self._unsynced_since_ns  # nobody was there to bring it to the disk
        window_ns = int((self.config.settings["sync_secs"] + 1.0) * SEC)
        for refused_ns in reversed(self._refused_syncs_ns):
            if refused_ns >= last_ns - window_ns:  # the disk would not take it then
                last_ns = min(last_ns, refused_ns)
        recent_ns = last_ns - window_ns
        for path, born_ns in self._births_ns.items():
            if born_ns >= recent_ns and not self.fs.exists(path):
                self._births_ns[path] = _FORGIVEN_NS  # a record of then may come back as well
        self._forgotten_ns = min(self._forgotten_ns, recent_ns)
        self.ledger.after_crash(self._read_local, before, recent_ns)
        # What was written inside a file may have survived, and its new times not.
        there = [s.current for s in self.sources if s.present]
        self._unseen += [x for x in there if x.shown < len(x.content)]
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
        recent = self.clock.now_ns - self._last_disk_trouble_ns() < 10 * SEC
        if not (recent and isinstance(error, OSError | PysubtaskError)):
            raise Violation("crash", story)
        self.counts["crashes"] += 1
        self._alive = False
        self._start_at_ns = self.clock.now_ns + SEC
        self._bury()

    def _said(self, text: bytes) -> None:
        if self.beats is not None:
            self.beats.said(text, self.sources)

    def _renamed(self, path: str, target: str) -> None:
        """The child renamed a local file: to the archive, or back."""
        source = self.ledger.by_path.get(path)
        if source is not None and "/archive/" in target:
            source.present = False
            source.rewritten = True
            self.program.forget(source)
            self._archived.append((source, target))
            self.counts["archived"] += 1
        if "/archive/" in path:
            self._archived = [pair for pair in self._archived if pair[1] != path]
            back = self.ledger.by_path.get(target)
            if back is not None:  # under the name that it had
                back.present = True
            else:  # the program has made another one of that name meanwhile
                folder = path.rpartition("/archive/")[0]
                for source in self.sources:
                    if source.path.rpartition("/")[0] == folder:
                        place = source.remote.rpartition("/")[0]
                        self.checker.moved_back.add(f"{place}/{target.rpartition('/')[2]}")

    def _check_archived(self) -> None:
        """What was moved away has been delivered."""
        archived, self._archived = self._archived, []
        for source, target in archived:
            if not source.in_folder:
                raise Violation("archived", f"{source.path!r} was declared and is {target!r} now")
            content = self.fs.read(target)
            if source.interfered or source.untold:
                continue
            if any(x.content == content for x in self._unseen):
                continue
            if not any(
                x.shown >= len(content) and x.holds(content, in_place=True) for x in source.lineages
            ):
                if self.clock.now_ns < self._last_disk_trouble_ns() + STRANDED_NS:
                    self._archived.append((source, target))  # it goes back when the disk lets it
                    continue
                raise Violation("archived", f"{target!r} was moved before all of it was delivered")

    def _last_disk_trouble_ns(self) -> int:
        return max(self._last_fault_ns, self.troubles.disk_full_until_ns)

    def _file_event(self, change: str, path: str) -> None:
        if change == "create" and path.endswith(".piece"):
            self._births_ns[path] = self.clock.now_ns
        if self._child is None or not self._alive:
            return
        folder = path.rpartition("/")[0]
        if folder not in (FOLDER, WATCH_FOLDER):
            return
        if self.config.events < 1.0 and self.rng.random() >= self.config.events:
            return
        complete, gone = ("moved_to", "close_write"), ("moved_from", "delete")
        self._child.hint(path, change in complete, change in gone)

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


class _Process:
    """The seams of one child process: after its death they give nothing any more."""

    def __init__(self, world: Machine, boot_ns: int) -> None:
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
