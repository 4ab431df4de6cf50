"""Two masters on one state folder: their children take it over from each other, by the real lock.

The lock (:mod:`pysubtask.subtask.shell.lock`) waits and polls: each newcomer runs in a thread of
its own, but only while everything else stands still, so that a seed stays one history. What the
holder's main loop does about ``<state>/stop`` is played here: it looks twice a second, and leaves
within its limits; one in ten hangs.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING, Any

from pysubtask.signals import StateLayout, json_object
from pysubtask.subtask.shell.lock import StateLock, System
from pysubtask.subtask.shell.runner import TAKEOVER_MARGIN_SECS, TAKEOVER_SECS
from pysubtask.systems.locks import HeldFile
from tests.simulation.checker import Violation
from tests.simulation.clock import Killed
from tests.simulation.disk import SimDisk
from tests.simulation.script import Event
from tests.simulation.stage import STATE_DIR

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

__all__ = ["Masters"]

_SEC = 1_000_000_000
_LOOK_NS = _SEC // 2
_QUIET = logging.Logger("lock", logging.CRITICAL + 1)


class _Mutex:
    """The operating system's lock: it ends with its process."""

    def __init__(self, masters: Masters, pid: int) -> None:
        self._masters = masters
        self._pid = pid

    def acquire(self) -> bool:
        if self._masters.locked_by not in (None, self._pid):
            return False
        self._masters.locked_by = self._pid
        return True

    def release(self) -> None:
        if self._masters.locked_by == self._pid:
            self._masters.locked_by = None


class _System(System):
    def __init__(self, masters: Masters, pid: int) -> None:
        self._masters = masters
        self._pid = pid

    @property
    def pid(self) -> int:
        return self._pid

    def start_of(self, pid: int) -> str | None:
        return self._masters.start_of(pid)

    def kill(self, pid: int, start: str, lock_file: str) -> bool:
        if self._masters.start_of(pid) != start or pid != self._masters.locked_by:
            return False
        self._masters.kill_wanted = True
        return True

    def mutex(self, path: str) -> HeldFile:
        return _Mutex(self._masters, self._pid)


class _Newcomer:
    """A child that waits for the state folder."""

    def __init__(self, masters: Masters, pid: int) -> None:
        self.pid = pid
        self.done = False
        self.got = False
        self.dead = False
        self.met = masters.holder
        """Who had the folder when it came."""
        self.leaves = False
        """It was asked to."""
        self.hangs = masters.rng.random() < 0.1
        """It does nothing about it."""
        self._masters = masters
        self._clock = masters.world.clock
        disk: Any = SimDisk(masters.world.fs, lambda operation, path: None, pid=pid)
        clock: Any = self
        self.token = f"token {pid}"
        self.lock = StateLock(
            StateLayout(STATE_DIR),
            token=self.token,
            disk=disk,
            clock=clock,
            log=_QUIET,
            system=_System(masters, pid),
        )
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self.got = not self.dead and self.lock.acquire()
        except Killed:
            pass
        except Exception:  # who holds it does not leave: its master tries again
            self.got = False
        self.done = True
        self._back.release()

    def turn(self) -> None:
        """Let it run until it sleeps, or is done."""
        if not self.done:
            self._go.release()
            self._back.acquire()

    # as a clock

    def monotonic(self) -> float:
        return self._clock.now_ns / _SEC

    def thread_secs(self) -> float:
        return self.monotonic()

    def time(self) -> float:
        return self._clock.wall_ns() / _SEC

    def sleep(self, secs: float) -> None:
        self._clock.after(int(secs * _SEC), lambda: self._masters.turn_of(self))
        self._back.release()
        self._go.acquire()
        if self.dead:
            raise Killed


class Masters:
    """Who wants the state folder, and who has it."""

    def __init__(self, world: Machine) -> None:
        self.world = world
        self.rng = random.Random(f"masters {world.history.seed}")
        self.locked_by: int | None = None
        self.kill_wanted = False
        self.admitted: _Newcomer | None = None
        """It has the lock, and is about to start."""
        self.holder: _Newcomer | None = None
        self.takeovers = 0
        self._waiting: list[_Newcomer] = []
        self._pid = 1000

    def start_of(self, pid: int) -> str | None:
        """Which process has that number, if one has."""
        alive = pid == self.locked_by or any(n.pid == pid for n in self._waiting)
        return f"boot {self.world.boots}: {pid}" if alive else None

    def knock(self) -> None:
        """A child starts: it needs the lock first."""
        self._pid += 1
        newcomer = _Newcomer(self, self._pid)
        self._waiting.append(newcomer)
        self.turn_of(newcomer)
        if newcomer in self._waiting:
            self.world.trace(f"child {newcomer.pid} waits for the state folder")
            self.world.clock.after(_LOOK_NS, self._look)

    def turn_of(self, newcomer: _Newcomer) -> None:
        """Its sleep is over."""
        if newcomer not in self._waiting:
            return
        newcomer.turn()
        if newcomer.done:
            self._waiting.remove(newcomer)
            if newcomer.got:
                self.admitted = newcomer
                self.world.admit()
            elif newcomer.met is not None and newcomer.met is self.holder:
                raise Violation("held", f"child {newcomer.met.pid} neither leaves nor is ended")
            else:
                self.world.clock.after(_SEC, self.knock)
        if self.kill_wanted:
            self.kill_wanted = False
            self.world.trace(f"child {self.locked_by} does not leave: killed")
            self.world.clock.after(_SEC, self.knock)  # its master starts another
            self.world.end_holder()

    def _look(self) -> None:
        """The holder's main loop looks for the stop file."""
        if self._waiting:
            self.world.clock.after(_LOOK_NS, self._look)
        fs, stop = self.world.fs, f"{STATE_DIR}/stop"
        if self.holder is None or not fs.exists(stop):
            return
        asked = json_object(fs.read(stop)) or {}  # the power may have left it empty
        if asked.get("by") != "takeover" or asked["token"] == self.holder.token:
            return
        if self.holder.hangs:
            return
        self.world.ask_to_leave(Event(0, "takeover"))
        if not self.holder.leaves:
            self.holder.leaves = True
            holder = self.holder
            limit_ns = int((TAKEOVER_SECS + TAKEOVER_MARGIN_SECS) * _SEC)
            self.world.clock.after(limit_ns, lambda: self._exit_hard(holder))

    def _exit_hard(self, holder: _Newcomer) -> None:
        """Whatever its main thread does, a child that was asked to leave ends by then."""
        if self.holder is holder:
            self.world.trace(f"child {holder.pid} ends at once")
            self.world.end_holder()

    def kill_one(self) -> bool:
        """A newcomer dies while it waits; its master starts another. False: none waits."""
        if not self._waiting:
            return False
        newcomer = self._waiting.pop()
        newcomer.dead = True
        newcomer.turn()
        self.world.clock.after(_SEC, self.knock)
        return True

    def begin(self) -> None:
        """The child that was admitted starts."""
        self.holder, self.admitted = self.admitted, None
        self.world.clock.after(_LOOK_NS, self._look)

    def ended(self, *, in_order: bool) -> None:
        """The holder has ended: its lock is free."""
        if self.holder is not None and in_order:
            self.holder.lock.release()
        self.holder = self.locked_by = None

    def end_all(self) -> None:
        """The machine goes down, or the history is over."""
        for newcomer in self._waiting:
            newcomer.dead = True
            newcomer.turn()
        self._waiting.clear()
        self.holder = self.admitted = self.locked_by = None
