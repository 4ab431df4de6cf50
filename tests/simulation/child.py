"""The one place where the simulator touches the child's own classes."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pysubtask.core.delta import DeltaRule
from pysubtask.core.space import Held, held
from pysubtask.handover import Handover
from pysubtask.settings import from_wire
from pysubtask.signals import StateLayout
from pysubtask.status import Status
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.transports.contract import Transport
from pysubtask.transports.ftp.appending import Quiet
from pysubtask.transports.sftp.client import SftpTransport
from pysubtask.urls import Destination
from pysubtask.watch import Watch
from tests.simulation.appe import AppeTransport
from tests.simulation.calls import CallsTransport
from tests.simulation.checker import Claim
from tests.simulation.clock import ChildClock, Killed
from tests.simulation.disk import SimDisk
from tests.simulation.folderos import SimFolderTransport
from tests.simulation.network import SimConnector
from tests.simulation.resends import CountingTransport, Resends
from tests.simulation.script import FileSpec

__all__ = ["Boot", "Child", "IdleChild", "RealChild", "make_child", "transport_over"]


_DELTA = DeltaRule(
    block_bytes=16, from_bytes=64, changed_from_bytes=32, range_costs_bytes=16, least_saved_bytes=16
)
"""The files here are small."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a new child process finds."""

    disk: SimDisk
    clock: ChildClock
    connector: SimConnector
    folder: str
    """Where the declared files lie."""
    watch_folder: str
    """The folder that is watched as a whole."""
    state_dir: str
    files: tuple[FileSpec, ...]
    settings: dict[str, Any]
    remote_dir: str
    boot_id: str
    """Changes with each loss of power, as ``/proc/sys/kernel/random/boot_id`` does."""
    pid: int
    wake: Callable[[], None]
    """The main loop should step soon."""
    log: Callable[[str], None] | None
    """Where the child's log goes, if anybody reads it."""
    resends: Resends
    """Where the bytes that it sends are counted."""
    precleanup: bool = False
    """Old files are archived."""
    blank_marks: tuple[int | None, ...] = ()
    """What the ``.notify`` of each declared file was like when the master was started."""
    on_beat: Callable[[bytes], None] = lambda text: None
    """Told of each heartbeat."""


class Child(Protocol):
    """One child process, driven from outside. Times are the child's monotonic seconds."""

    def start(self) -> None:
        """Called once, before anything else."""

    delivers: bool
    """The delivering thread is at work: what it waits for does not hold up :meth:`look`."""

    def step(self) -> float:
        """Do all that is due, looking and delivering; when to be called again."""

    def look(self) -> float:
        """Do what the main loop has to do; when to be called again."""

    def sync(self) -> float:
        """What a stop goes on with while it waits: the journal reaches the disk. The child's
        monotonic time of the next."""

    def hint(self, path: str, complete: bool, gone: bool) -> None:
        """A file-system event."""

    def is_served(self, path: str, mtime_ns: int) -> bool:
        """Whether the snapshot for this touch is taken."""

    def request_flush(self) -> Callable[[], bool]:
        """As ``flush()``: the result says whether all that was notified is delivered."""

    def stop(self, deadline: float) -> bool:
        """End gracefully; True if all was delivered."""

    def pending_bytes(self, besides: Collection[str] = ()) -> int:
        """What the journal owes, but for those local files."""

    def has_claim(self, path: str) -> bool:
        """Whether the journal says that something of a local file was sent, or is on its way."""

    def is_let_go(self, path: str) -> bool:
        """Whether the journal knows of nothing that was sent of a local file, or has to be."""

    def error_of(self, path: str) -> str:
        """Why a file is not delivered, in words."""

    def claims(self) -> Iterable[Claim]:
        """What the journal calls delivered."""

    def beat_waits(self) -> bool:
        """Whether a heartbeat is not delivered yet."""

    def relied_pieces(self) -> set[str]:
        """The outbox files that the journal relies on."""

    def status(self) -> Status:
        """What the program is told."""

    def is_connected(self) -> bool:
        """Whether there is a session with the server."""

    def owed(self) -> Held:
        """What is owed, added up from the journal."""

    def current_inode(self, path: str) -> int | None:
        """The inode number that the journal has of a local file."""

    def held_files(self) -> int:
        """How many watched files it holds open, to read on from them."""

    def client_id(self) -> str:
        """What all its temporary names begin with."""

    def bury(self) -> None:
        """It died: let what it left in memory go, without a word."""


class _LogLines(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(f"{record.levelname}: {record.getMessage()}")


def _logger(boot: Boot) -> logging.Logger:
    logger = logging.Logger("child", logging.CRITICAL + 1)
    logger.propagate = False
    if boot.log is not None:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(_LogLines(boot.log))
    return logger


def _watches(boot: Boot) -> list[Watch]:
    watches = []
    for spec in boot.files:
        if not spec.in_folder:
            watches.append(
                Watch(
                    path=f"{boot.folder}/{spec.name}",
                    is_dir=False,
                    declared=spec.name,
                    remote_name=spec.name,
                    burstmode=spec.burstmode,
                    growth=spec.growth,  # type: ignore[arg-type]
                    records="lines" if spec.lines else "bytes",
                )
            )
    if len(watches) < len(boot.files):
        folder = boot.watch_folder
        watches.append(Watch(path=folder, is_dir=True, declared=os.path.basename(folder)))
    return watches


def transport_over(
    connector: SimConnector,
    clock: ChildClock,
    wake: Callable[[], None],
    *,
    ack_timeout_secs: float,
    seed: int,
    quiet: Quiet | None = None,
    consumed: bool = False,
) -> Transport:
    """What the connector's server is spoken to with.

    Args:
        quiet, consumed: of clients that can only append.
    """
    kind = connector.network.server.kind
    if kind.calls == "folder":
        return SimFolderTransport(connector, wake, random.Random(seed))
    if kind.calls == "appe":
        assert quiet is not None
        rng = random.Random(f"appe {seed}")
        return AppeTransport(connector, wake, clock=clock, quiet=quiet, rng=rng, consumed=consumed)
    if kind.calls:
        return CallsTransport(connector, wake)
    return SftpTransport(connector, clock, wake=wake, ack_timeout_secs=ack_timeout_secs)


class RealChild:
    """The child's own classes; the thread that delivers is replaced by a turn of each step."""

    delivers = False

    def __init__(self, boot: Boot) -> None:
        settings = from_wire(boot.settings)
        handover = Handover(
            extension="ftp",
            settings=settings,
            watches=_watches(boot),
            destination=Destination(
                scheme="dropbox" if settings.segments else "sftp",
                host="server",
                port=22,
                path=boot.remote_dir,
                absolute=True,
            ),
            state_dir=boot.state_dir,
            log_dir=None,
            log_name="",
            work_dir=boot.folder,
            precleanup_old_files=boot.precleanup,
            blank_marks=list(boot.blank_marks),
            parent_pid=1,
            token="",
            sys_path=[],
            subtask=None,
        )
        context = Context(
            handover=handover,
            layout=StateLayout(boot.state_dir),
            disk=boot.disk,
            clock=boot.clock,
            log=_logger(boot),
            wake=boot.wake,
            status_changed=lambda: None,
        )
        self._boot = boot
        quiet = Quiet()
        self._subtask = TransferSubtask(
            context,
            make_transport=lambda: CountingTransport(
                transport_over(
                    boot.connector,
                    boot.clock,
                    boot.wake,
                    ack_timeout_secs=settings.reply_timeout_secs,
                    seed=boot.pid,
                    quiet=quiet,
                    consumed=boot.settings["on_remote_gone"] == "continue",
                ),
                boot.resends,
                self._find_upload,
                self._window_bytes,
            ),
            boot=boot.boot_id,
            rng=random.Random(boot.pid),
            delta=_DELTA,
            threaded=False,
        )

        beat = self._subtask.delivery.beat

        def told(name: str, text: bytes) -> None:
            boot.on_beat(text)
            beat(name, text)

        self._subtask.delivery.beat = told  # type: ignore[method-assign]

    def _find_upload(self, temp: str) -> tuple[str, int] | None:
        for entry in self._subtask.ledger.journal.entries():
            if entry.upload is not None and entry.upload.temp == temp:
                return entry.path, entry.upload.version
        return None

    def _window_bytes(self) -> int:
        engine = self._subtask.delivery._engine
        return 0 if engine is None else engine._window.limit_bytes

    def start(self) -> None:
        self._subtask.start()

    def step(self) -> float:
        subtask = self._subtask
        due = self.look()
        subtask.thread.retry_if_asked()
        self.delivers = True
        try:
            due = min(due, subtask.delivery.step())
        finally:
            self.delivers = False
        return min(due, self._boot.clock.monotonic() + 3600.0)

    def look(self) -> float:
        return self._subtask.step()

    def sync(self) -> float:
        due = self._subtask.sync_if_due()
        return self._boot.clock.monotonic() + 3600.0 if due is None else due

    def hint(self, path: str, complete: bool, gone: bool) -> None:
        self._subtask.hint(path, complete, gone)

    def is_served(self, path: str, mtime_ns: int) -> bool:
        return self._subtask.is_served(path, mtime_ns)

    def request_flush(self) -> Callable[[], bool]:
        return self._subtask.request_flush()

    def stop(self, deadline: float) -> bool:
        return self._subtask.stop(deadline)

    def pending_bytes(self, besides: Collection[str] = ()) -> int:
        owed = self._subtask.ledger.owed  # what is in doubt owes no bytes, but may soon
        return sum(size + 1 for path, size in owed.items() if path not in besides)

    def has_claim(self, path: str) -> bool:
        entry = self._subtask.ledger.get(path)
        return entry is not None and (entry.delivered is not None or entry.upload is not None)

    def is_let_go(self, path: str) -> bool:
        entry = self._subtask.ledger.get(path)
        return not self.has_claim(path) and (entry is None or not entry.versions)

    def error_of(self, path: str) -> str:
        found = self._subtask.file_status(path)
        return (found and found.last_error) or ""

    def claims(self) -> Iterable[Claim]:
        for entry in self._subtask.ledger.journal.entries():
            done = entry.delivered
            if done is not None:
                yield Claim(entry.path, done.size, done.base)

    def beat_waits(self) -> bool:
        return self._subtask.delivery.beat_waits

    def relied_pieces(self) -> set[str]:
        entries = self._subtask.ledger.journal.entries()
        return {f"{self._boot.state_dir}/outbox/{n}" for e in entries for n in e.outbox_names()}

    def status(self) -> Status:
        return self._subtask.status()

    def is_connected(self) -> bool:
        return self._subtask.delivery._engine is not None

    def owed(self) -> Held:
        return sum(map(held, self._subtask.ledger.journal.entries()), Held())

    def current_inode(self, path: str) -> int | None:
        entry = self._subtask.ledger.get(path)
        current = None if entry is None else entry.current
        return None if current is None else current.identity.ino

    def held_files(self) -> int:
        return len(self._subtask.sources._held)

    def client_id(self) -> str:
        return self._subtask.ledger.journal.client_id

    def bury(self) -> None:
        engine = self._subtask.delivery._engine
        for task in list(engine._tasks) if engine is not None else ():
            try:
                task.job.close()
            except Killed:
                pass  # it wanted to note something; the dead don't


make_child: Callable[[Boot], Child] = RealChild


class IdleChild:
    """Does nothing: to measure what a history costs by itself."""

    delivers = False

    def __init__(self, boot: Boot) -> None:
        self._boot = boot

    def start(self) -> None:
        pass

    def step(self) -> float:
        return self._boot.clock.monotonic() + 2.0

    def look(self) -> float:
        return self.step()

    def sync(self) -> float:
        return 1e6

    def hint(self, path: str, complete: bool, gone: bool) -> None:
        pass

    def is_served(self, path: str, mtime_ns: int) -> bool:
        return False

    def request_flush(self) -> Callable[[], bool]:
        return lambda: True

    def stop(self, deadline: float) -> bool:
        return True

    def pending_bytes(self, besides: Collection[str] = ()) -> int:
        return 0

    def has_claim(self, path: str) -> bool:
        return False

    def is_let_go(self, path: str) -> bool:
        return False

    def error_of(self, path: str) -> str:
        return ""

    def claims(self) -> Iterable[Claim]:
        return ()

    def beat_waits(self) -> bool:
        return False

    def relied_pieces(self) -> set[str]:
        return set()

    def status(self) -> Status:
        return Status()

    def is_connected(self) -> bool:
        return False

    def owed(self) -> Held:
        return Held()

    def current_inode(self, path: str) -> int | None:
        return None

    def held_files(self) -> int:
        return 0

    def client_id(self) -> str:
        return ""

    def bury(self) -> None:
        pass
