"""Fetching on a simulated disk from a server in memory: a test kills, cuts the power, and looks."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable

from pysubtask.config import build
from pysubtask.core.pull import Growth, Pulled, pulled_from_json, pulled_to_json
from pysubtask.errors import LinkLost
from pysubtask.pull import Pull
from pysubtask.subtask.pull.news import News
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.pull.puller import Puller
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from pysubtask.transports.memory import MemoryServer, MemoryTransport
from pysubtask.urls import Destination
from tests.simulation.clock import ChildClock, SimClock
from tests.simulation.disk import SimDisk
from tests.simulation.filesystem import FileSystemKind, SimFileSystem
from tests.simulation.nodes import Inode
from tests.unit.core_fakes import BeforeCall, nothing

__all__ = ["INBOX", "SEC", "FetchBench"]

INBOX, STATE = "/home/inbox", "/home/state"
SEC = 1_000_000_000
_CODEC: Codec[Pulled] = Codec(Pulled, pulled_to_json, pulled_from_json)
_KIND = FileSystemKind(tick_ns=4_000_000, ordered_names=False, zero_tails=True, zero_writes=True)


class FetchBench:
    """A machine with one source. ``hook`` is called before each call to the disk."""

    def __init__(self, *, deletes: bool = False, growth: Growth = "auto") -> None:
        self.clock = SimClock()
        self.fs = SimFileSystem(self.clock, _KIND)
        for folder in ("/home", STATE, INBOX):
            self.fs.make_dirs(folder)
        self.fs.write_back()
        self.server = MemoryServer(now=lambda: float(self.clock.wall_ns() // SEC))
        self.server.make_folder("out")
        self.deletes, self.growth = deletes, growth
        self.hook: BeforeCall = nothing
        self._rng = random.Random(1)
        self._starts = self._boots = self._boot_ns = 0

    def _before_call(self, operation: str, path: str) -> None:
        if not self.clock.in_event:
            self.clock.advance(1000)
        self.hook(operation, path)

    def start(self) -> None:
        """A process begins."""
        self._starts += 1
        self.disk = SimDisk(self.fs, self._before_call, pid=self._starts)
        clock = ChildClock(self.clock, self._boot_ns, nothing)
        log = logging.Logger("test", logging.DEBUG)
        log.addHandler(logging.NullHandler())
        self.places = Places(self.disk, clock, INBOX)
        self.journal: RecordLog[Pulled] = RecordLog(
            self.disk,
            clock,
            f"{STATE}/journal",
            codec=_CODEC,
            sync_secs=2.0,
            boot_id=str(self._boots),
            new_id=lambda: self._rng.randbytes(4).hex(),
            before_sync=self.places.sync_if_changed,
            log=log,
        )
        self.places.sync_if_changed()
        self.journal.open()
        pull = Pull(
            source=Destination(scheme="sftp", host="x", path="out", absolute=False),
            pattern="*",
            to=INBOX,
            declared="inbox",
            growth=self.growth,
            delete_remote=self.deletes,
        )
        self.puller = Puller(
            pull,
            build("ftp", None, None, {"pull_interval_secs": 2.0}),
            clock,
            self.journal,
            self.places,
            News(self.disk, clock, f"{STATE}/arrivals", log),
            make_transport=lambda: MemoryTransport(self.server),
            token_hex=lambda: self.journal.client_id + self._rng.randbytes(4).hex(),
            rng=self._rng,
            log=log,
            status_changed=lambda: None,
        )
        self.puller.start()

    def run(self, secs: float, until: Callable[[], bool] = lambda: False) -> None:
        """What the process does in that time, or until something is so."""
        end_ns = self.clock.now_ns + int(secs * SEC)
        while self.clock.now_ns < end_ns:
            due = self.puller.step()
            if until():
                return
            due_ns = self._boot_ns + int(min(due, 1e8) * SEC) + 1000
            self.clock.advance_to(max(self.clock.now_ns + 1000, min(due_ns, end_ns)))

    def stop(self) -> None:
        """The process ends in order."""
        settled = self.puller.is_settled
        self.puller.close()
        self.journal.close(clean=settled)
        self.disk.abandon()

    def kill(self) -> None:
        """It does not."""
        self.disk.abandon()

    def lose_power(self, *, data: bool = True) -> None:
        """Nothing survives that was not synced.

        Args:
            data: False: names, sizes and times did survive, and zeros stand for the bytes.
        """
        if not data:
            self.fs.directory(INBOX).sync()
            for node in self.fs.directory(INBOX).entries.values():
                if isinstance(node, Inode) and node.pending:
                    known = node.durable[0]
                    lost = bytes(len(node.data) - len(known))
                    node.durable = (known + lost, node.mtime_ns, node.ctime_ns)
        self.disk.forget()
        self.fs.crash(random.Random(3), "nothing")
        self._boots += 1
        self._boot_ns = self.clock.now_ns
        for folder in (STATE, INBOX):
            self.fs.make_dirs(folder)

    # -- looking -----------------------------------------------------------------------------

    def here(self) -> dict[str, bytes]:
        """The files that a program sees."""
        entries = self.fs.directory(INBOX).entries.items()
        return {
            name: bytes(node.data)
            for name, node in entries
            if isinstance(node, Inode) and not name.startswith(".") and ".arrived" not in name
        }

    def entry(self, name: str) -> Pulled:
        """What the journal knows of a file."""
        found = self.journal.get(f"{INBOX}/{name}")
        assert found is not None
        return found

    def news(self) -> list[tuple[str, str, int, int]]:
        """What the program is told and takes: name, kind, first new byte, size."""
        folder, found = f"{STATE}/arrivals", []
        if not self.fs.exists(folder):
            return []
        for entry in list(self.fs.directory(folder).entries):
            if entry.endswith(".json"):
                told = json.loads(self.fs.read(f"{folder}/{entry}"))
                name = told["path"].rpartition("/")[2]
                found.append((name, told["kind"], told["start_bytes"], told["size_bytes"]))
                self.fs.remove(f"{folder}/{entry}")
        return sorted(found)

    # -- what others do at the server ----------------------------------------------------------

    def grow(self, name: str, data: bytes) -> None:
        """A remote file gains bytes, a while later."""
        whole = (self.server.read_file(f"out/{name}") or b"") + data
        self.clock.advance(60 * SEC)
        self.server.put_file(f"out/{name}", whole)

    def rotate(self, name: str, new: bytes) -> None:
        """A remote file is ``.1`` from now on, its time as it was, and another one has its name."""
        self.server.move_file(f"out/{name}", f"out/{name}.1")
        self.server.put_file(f"out/{name}", new)

    def cut_at(self, operation: str, number: int) -> None:
        """The server goes down at the ``number``-th of these requests."""
        left = number

        def before(called: str, path: str) -> None:
            nonlocal left
            left -= called == operation
            if left <= 0:
                self.server.up = False
                raise LinkLost("cut by the test", operation=called, path=path)

        self.server.before = before
