"""A destination in memory, a reader that watches it, and the real delivery to it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from pysubtask.core.budget import Limits
from pysubtask.core.capabilities import Capabilities
from pysubtask.core.checksum import DROPBOX, hasher
from pysubtask.core.delta import DeltaRule
from pysubtask.core.flow import Window
from pysubtask.core.plan import Policy
from pysubtask.core.retry import RetryRule
from pysubtask.errors import LinkLost, RemoteNotFound
from pysubtask.subtask.delivery.allowance import Allowance
from pysubtask.subtask.delivery.courier import Courier
from pysubtask.subtask.delivery.delivery import Delivery
from pysubtask.subtask.delivery.lines import LineHold
from pysubtask.subtask.delivery.names import Names
from pysubtask.subtask.delivery.session import Hooks, Session
from pysubtask.subtask.store.signatures import Signatures
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.transports.contract import Begun, RemoteStat, Transport
from pysubtask.watch import Watch
from tests.unit.core_fakes import LOG, BeforeCall, nothing
from tests.unit.core_local import Local

TEMP_PREFIX = ".pysubtask-"
SEQUENTIAL = Capabilities(positioned_write=True, sequential=True, atomic_replace=True)
PARALLEL = Capabilities(positioned_write=True, sequential=False, atomic_replace=True)
RENAME_ONLY = Capabilities(positioned_write=True, sequential=True, atomic_replace=False)
SESSIONS = Capabilities(
    positioned_write=False,
    sequential=True,
    atomic_replace=True,
    max_put_bytes=1 << 20,
    upload_tokens=True,
    checksum=DROPBOX,
)
SERVERS = {
    "sequential": SEQUENTIAL,
    "parallel": PARALLEL,
    "rename-only": RENAME_ONLY,
    "sessions": SESSIONS,
}
KINDS = pytest.mark.parametrize("kind", list(SERVERS))
POSITIONED = pytest.mark.parametrize("kind", [k for k in SERVERS if k != "sessions"])
BIG = 300_000


def numbered(size: int, seed: int = 0) -> bytes:
    """Bytes that are nowhere like themselves, so that a shift shows."""
    return b"".join(b"%07d\n" % (n + seed * 1_000_000) for n in range(size // 8 + 1))[:size]


def make_remote(local: Local, kind: str = "sequential", **changes: object) -> Remote:
    """A server of that kind and the delivery to it."""
    return Remote(local, WatchedServer(SERVERS[kind]), **changes)  # type: ignore[arg-type]


class WatchedServer(MemoryServer):
    """A destination in memory whose reader looks after every request.

    ``seen`` holds each content that ``name`` had, in order, without repetitions; None where there
    was no file.
    """

    def __init__(
        self,
        capabilities: Capabilities | None = None,
        name: str = "a.csv",
        *,
        folds_names: bool = False,
    ) -> None:
        super().__init__(capabilities, folds_names=folds_names)
        self.name = name
        self.seen: list[bytes | None] = [None]
        self.requests: list[tuple[str, str]] = []
        self.written_bytes = 0
        self.synced: list[str] = []
        """Files that were brought to the disk: open, and finished with ``sync``."""
        self.uploads: dict[str, bytearray] = {}
        """Begun and not in place yet, by token."""
        self.fault_before: BeforeCall = nothing
        self.fault_after: BeforeCall = nothing
        self.before = self._before
        self.after = self._after

    def _look(self) -> None:
        content = self.read_file(self.name)
        if content != self.seen[-1]:
            self.seen.append(content)

    def _before(self, operation: str, path: str) -> None:
        self._look()
        self.requests.append((operation, path))
        self.fault_before(operation, path)

    def _after(self, operation: str, path: str) -> None:
        self._look()
        self.fault_after(operation, path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder, as another hand would."""
        self._folders.discard(path)

    def move_away(self, path: str) -> Callable[[], bytes]:
        """Move a file to where no client looks; gives what reads it there.

        It is the same file: a handle that is open still writes to it.
        """
        file = self._files.pop(path)
        self._look()
        return lambda: bytes(file.data)

    def reach(self, path: str) -> Callable[[int, bytes], None]:
        """What writes to the file that is there now, wherever it will be, as a late request."""
        file = self._files[path]

        def write(offset: int, data: bytes) -> None:
            file.data[offset : offset + len(data)] = data
            self._look()

        return write

    def temps(self) -> list[str]:
        """Our temporary names that are there."""
        return [n for n in self.names() if n.rpartition("/")[2].startswith(TEMP_PREFIX)]


class WatchedTransport(MemoryTransport):
    """Counts the data that arrive. With ``upload_tokens`` it has the manners of Dropbox: a file is
    replaced as a whole, by a put or by an upload that nobody sees before it is in place."""

    def __init__(self, server: WatchedServer) -> None:
        super().__init__(server)
        self._watched = server
        self._begun: dict[str, str] = {}

    def _make_folders(self, path: str) -> None:
        if "/" in path:
            self._watched.make_folder(path.rpartition("/")[0])

    def stat(self, path: str) -> RemoteStat:
        return self._with_digest(path, super().stat(path))

    def list(self, path: str) -> dict[str, RemoteStat]:
        found = super().list(path)
        return {name: self._with_digest(f"{path}/{name}", st) for name, st in found.items()}

    def _with_digest(self, path: str, told: RemoteStat) -> RemoteStat:
        content = self._watched.read_file(path)
        if content is None or not self.capabilities.checksum:
            return told
        digest = hasher(self.capabilities.checksum)
        digest.update(content)
        return replace(told, digest=digest.hexdigest())

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        if not self.capabilities.upload_tokens:
            super().write(path, offset, data, create=create)
            self._watched.written_bytes += len(data)
            return
        self._arrive("write", path)
        upload = self._watched.uploads.get(self._begun[path])
        if upload is None:
            raise RemoteNotFound("the upload is lost", operation="write", path=path)
        assert offset == len(upload)
        upload += data
        self._watched.written_bytes += len(data)
        self._watched.after("write", path)

    def finish(self, path: str, *, sync: bool) -> None:
        is_open = path in self._handles
        super().finish(path, sync=sync)
        if sync and is_open:
            self._watched.synced.append(path)

    def put(self, path: str, data: bytes, *, modified: float | None, quiet: bool) -> RemoteStat:
        self._arrive("put", path)
        self._make_folders(path)
        self._watched.put_file(path, data)
        self._watched.written_bytes += len(data)
        self._watched.after("put", path)
        return self.stat(path)

    def begin(self, path: str, token: str, size: int, *, modified: float | None) -> Begun:
        self._arrive("begin", path)
        if not token:
            token = f"token {len(self._watched.requests)}"
            self._watched.uploads[token] = bytearray()
        if token not in self._watched.uploads:
            raise RemoteNotFound("the upload is in place, or lost", operation="begin", path=path)
        self._begun[path] = token
        self._watched.after("begin", path)
        return Begun(token, len(self._watched.uploads[token]))

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        if path not in self._begun:
            super().rename(path, target, replace=replace)
            return
        self._arrive("rename", path)
        upload = self._watched.uploads.pop(self._begun.pop(path), None)
        if upload is None:
            raise RemoteNotFound("the upload is lost", operation="rename", path=path)
        self._make_folders(target)
        self._watched.put_file(target, bytes(upload))
        self._watched.after("rename", path)


class Cut:
    """A hook that breaks the connection at the ``n``-th request (from 1), once."""

    def __init__(self, n: int) -> None:
        self._left = n
        self.done = False

    def __call__(self, operation: str, path: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.done = True
            raise LinkLost("cut by the test", operation=operation, path=path)


@dataclass
class Remote:
    """Delivery of what a :class:`Local` owes to a server."""

    local: Local
    server: WatchedServer
    policy: Policy = field(default_factory=Policy)
    root: str = ""
    dead_time_secs: float = 30.0
    retry_rule: RetryRule = field(default_factory=RetryRule)
    make_transport: Callable[[], Transport] | None = None
    held: set[str] = field(default_factory=set)
    segmented: bool = False
    looked_again: list[str] = field(default_factory=list)
    delivery: Delivery = field(init=False)
    has_lines: bool = False
    limits: Limits = field(default_factory=Limits)
    delta: DeltaRule = field(default_factory=DeltaRule)
    connections: int = 0
    watches: list[Watch] | None = None
    """None: everything is watched."""
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """As a new process does."""
        folder = str(self.local.folder / "state" / "signatures")
        self.signatures = Signatures(self.local.disk, folder, self.delta)
        self.lines = LineHold(self.local.clock, 5.0, lambda path: self.has_lines)
        budget = str(self.local.folder / "state" / "budget.json")
        self.allowance = Allowance(self.local.disk, self.local.clock, self.limits, budget, LOG)
        self.allowance.open()
        self.signatures.open(self.local.ledger.journal.entries())
        self.names = Names(
            self.local.disk,
            self.local.clock,
            self.local.ledger,
            watch_of=self.watch_of,
            declared_name=os.path.basename,
            let_go=self.signatures.drop,
        )
        self.delivery = Delivery(
            self.local.clock,
            self.local.ledger,
            make_transport=self._transport,
            make_courier=self._courier,
            retry_rule=self.retry_rule,
            dead_time_secs=self.dead_time_secs,
            ack_timeout_secs=60.0,
            log=LOG,
            destination="memory",
            allowance=self.allowance,
            taken=self.names.taken,
        )

    def watch_of(self, path: str) -> Watch | None:
        """The watch of that file."""
        if self.watches is None:
            return Watch(path=path, is_dir=False, declared=os.path.basename(path))
        return next((w for w in self.watches if w.path in (path, os.path.dirname(path))), None)

    def _transport(self) -> Transport:
        self.connections += 1
        if self.make_transport is not None:
            return self.make_transport()
        return WatchedTransport(self.server)

    def _courier(self, can: Capabilities, window: Window) -> Courier:
        local = self.local
        hooks = Hooks(
            is_held=lambda path: path in self.held,
            folders=lambda: {watch.remote_dir for watch in self.watches or ()},
            look_again=self.looked_again.append,
            delivered=lambda path, size, how: None,
            token_hex=lambda: f"c0ffee00{self._random.getrandbits(32):08x}",
            is_segmented=lambda path: self.segmented,
            gives_way=lambda path: self.delivery.gives_way(path),
        )
        return Courier(
            Session(
                local.ledger,
                local.sources,
                local.clock,
                can,
                self.policy,
                hooks,
                LOG,
                self.root,
                local.verify_up_to_bytes,
                window,
                self.signatures,
                self.lines,
                self.allowance,
                self.names,
            )
        )

    def step(self, path: str | None = None) -> float:
        """Offer the file and do what can be done now."""
        self.delivery.offer(path or self.local.path)
        return self.delivery.step()

    def settle(self, limit_secs: float = 600.0, path: str | None = None) -> None:
        """Step, waiting as long as asked each time, until nothing is owed."""
        clock = self.local.clock
        until = clock.now + limit_secs
        due = self.step(path)
        while not self.is_settled(path):
            assert clock.now < until, f"not delivered in {limit_secs} s: {self.delivery.link}"
            clock.now = max(clock.now, min(due, until))
            due = self.step(path)

    def is_settled(self, path: str | None = None) -> bool:
        """Nothing is owed, begun or lying about."""
        entry = self.local.ledger.get(path or self.local.path)
        assert entry is not None
        return entry.next_owed is None and entry.upload is None and not entry.litter

    def restart(self) -> None:
        """Kill the process and start another."""
        self.local.open()
        self.open()
