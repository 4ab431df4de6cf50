"""Every call once: short histories, run again and again with one thing going wrong at call N.

A history that draws its faults at random may never draw the one that matters. So each of these
short ones is first run in peace, and its calls (to the local disk, and the server's requests) are
counted. Then it is run once for each of them and each kind of fault: the call fails, the process
dies there, the power goes (and of what was not synced nothing, everything, only names, only data or
something survives), the program does to the file there whatever it may do to it, the connection
breaks before or after the request, it is refused, answered twice or late, or the server goes down
with what it had not synced. What must hold is what always must; see
:mod:`tests.simulation.checker`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tests.simulation.filesystem import SURVIVALS, FileSystemKind
from tests.simulation.machine import FAULTY, FILLING
from tests.simulation.program import ACTIONS
from tests.simulation.script import Config, Event, FileSpec, History
from tests.simulation.server import GO_EXTENSIONS, NO_REPLACE, ServerKind
from tests.simulation.world import World

__all__ = ["STORIES", "Story", "case_of", "cases_of", "count_calls"]

_MS = 1_000_000
_SEC = 1_000_000_000
_SEED = 7
_LAG_NS = 40 * _SEC

_SETTINGS: dict[str, Any] = dict(
    timer_interval_secs=2.0,
    retry_tries=2,
    retry_short_wait_secs=0.2,
    retry_long_wait_secs=2.0,
    dead_time_milli=180_000,
    sync_secs=0.5,
    settle_secs=0.5,
    reply_timeout_secs=5.0,
    keep_free_bytes=0,
    outbox_max_bytes=1 << 40,
    on_remote_gone="resend",
    on_first_contact="keep",
    burst_expire_milli=300,
    burst_start_trigger_milli=100,
)
_PLAIN = Config(
    file_system=FileSystemKind(tick_ns=4 * _MS, granularity_ns=4 * _MS),
    server_name="openssh",
    server=ServerKind(),
    latency_ns=_MS,
    jitter_ns=0,
    bytes_per_sec=0,
    call_ns=20_000,
    events=1.0,
    block_bytes=2_000,
    files=(FileSpec("a.csv", "append"),),
    settings=_SETTINGS,
    remote_dir="/in",
    remote_dir_exists=True,
    worst_share=0.0,
)


@dataclass(frozen=True, slots=True)
class Story:
    """A short history in which nothing goes wrong by itself."""

    about: str
    actions: tuple[str, ...]
    """What the program does, half a second apart; it notifies each time. ``restart``: it stops the
    child, and starts another."""
    config: Config = _PLAIN

    def history(self, *faults: Event) -> History:
        """The whole of it, with these things going wrong."""
        at_ns = [100 * _MS + 500 * _MS * n for n in range(len(self.actions))]
        events = [
            Event(at, name, n % len(self.config.files), 0.1 if name == "restart" else "notify")
            for n, (at, name) in enumerate(zip(at_ns, self.actions, strict=True))
        ]
        troubles = frozenset(fault.kind for fault in faults)
        return History(_SEED, self.config, (*faults, *events), troubles)


def _with(growth: str, server: ServerKind | None = None, **changes: Any) -> Config:
    files = (FileSpec("a.csv", growth),)
    return replace(_PLAIN, files=files, server=server or ServerKind(), **changes)


_UNORDERED = FileSystemKind(
    tick_ns=4 * _MS,
    granularity_ns=4 * _MS,
    ordered_names=False,
    zero_tails=True,
    zero_writes=True,
)
_GO = ServerKind(extensions=GO_EXTENSIONS, parallel=True, ordered_replies=True, service_ns=2 * _MS)
STORIES: dict[str, Story] = {
    "append": Story(
        "a file grows and is rotated", ("append", "append", "rotate", "append_open", "append_open")
    ),
    "edit": Story(
        "a file grows, is changed inside and cut",
        ("append", "append", "overwrite", "append", "truncate", "append"),
        _with("auto", file_system=_UNORDERED),
    ),
    "rewrite": Story(
        "new versions take the place of old ones on a server without atomic replace",
        ("append", "replace", "replace", "delete", "replace"),
        _with("rewrite", ServerKind(extensions=NO_REPLACE)),
    ),
    "parallel": Story(
        "big writes to a server with parallel workers",
        ("append", "append", "replace", "append"),
        _with("auto", _GO, block_bytes=150_000, block_share=1.0),
    ),
    "restarted": Story(
        "a file is replaced, and made anew, after a restart: nobody holds it open",
        ("append", "restart", "copy_longer", "restart", "recreate", "append"),
        _with("auto", file_system=replace(_UNORDERED, reuse_inodes=True)),
    ),
    "restarted, appended": Story(
        "the same, rotated, where the program promised to append only",
        ("append", "restart", "rotate", "restart", "recreate", "append"),
        _with("append", file_system=replace(_UNORDERED, reuse_inodes=True)),
    ),
    "copied": Story(
        "two files are copied into a watched folder",
        ("copy_in", "copy_in", "append", "replace"),
        replace(
            _PLAIN,
            files=(
                FileSpec("a.csv", "auto", in_folder=True),
                FileSpec("b.dat", "auto", in_folder=True),
            ),
            file_system=_UNORDERED,
        ),
    ),
    "found": Story(
        "a foreign file is under our name, and a new folder is to be made",
        ("append", "append", "recreate"),
        replace(_PLAIN, files=(FileSpec("a.csv", "auto", remote_start="foreign"),)),
    ),
    "ftp": Story(
        "the same to an FTP server: positioned writes, the swap in two steps",
        ("append", "append", "replace", "append", "rotate"),
        _with("auto", ServerKind(calls="ftp", extensions=NO_REPLACE)),
    ),
    "sessions": Story(
        "the same to Dropbox: whole files in one request, or in an upload session",
        ("append", "append", "replace", "append"),
        _with("auto", ServerKind(calls="sessions"), block_bytes=90_000, block_share=0.5),
    ),
    "rotated": Story(
        "a file is rotated twice, and what was delivered of it is kept under other names",
        ("append", "append", "rotate", "append", "rotate"),
        _with("append", settings={**_SETTINGS, "rotated_as": "{name}-{time}"}),
    ),
    "rotated ftp": Story(
        "the same on an FTP server, with the names that the rotation gives",
        ("append", "append", "rotate", "append", "rotate"),
        replace(
            _with("auto", ServerKind(calls="ftp", extensions=NO_REPLACE)),
            files=(FileSpec("a.csv", "auto", rotates="dated"),),
            settings={**_SETTINGS, "rotated_as": "{local}"},
        ),
    ),
}


def count_calls(story: Story) -> tuple[list[str], int]:
    """Run it in peace: the child's calls, in order, and how many requests the server executed.

    Raises:
        RuntimeError: it fails by itself.
    """
    world = World(story.history())
    world.call_log = []
    outcome = world.run()
    if outcome.kind:
        raise RuntimeError(f"{story.about}: {outcome.kind}: {outcome.message}")
    return world.call_log, world.server.executed


def cases_of(story: Story, stride: int = 1, first: int = 0) -> Iterator[tuple[str, History]]:
    """What goes wrong, in words, and the history with it; every ``stride``-th, from ``first``."""
    calls, requests = count_calls(story)
    number = -first
    for words, fault in _faults(calls, requests, story.config):
        if number % stride == 0 and number >= 0:
            yield words, story.history(fault)
        number += 1


def case_of(name: str) -> History:
    """The case that is called ``<story>:<number>``."""
    story, _, number = name.partition(":")
    found = next(islice(cases_of(STORIES[story]), int(number), None))
    return found[1]


def _faults(calls: list[str], requests: int, config: Config) -> Iterator[tuple[str, Event]]:
    for number, operation in enumerate(calls, 1):
        for event in _at_call(number, operation):
            words = f"{event.detail} {event.how}".strip()
            yield f"call {number} ({operation}): {event.kind} {words}", event
        for action in _acts(config):
            event = Event(0, action, 0, "notify", number, exact=True)
            yield f"call {number} ({operation}): the program does {action}", event
    for number in range(1, requests + 1):
        for kind, detail in _at_request(number, config):
            yield f"request {number}: {kind} {detail}", Event(0, kind, detail=detail)


def _at_call(number: int, operation: str) -> Iterator[Event]:
    def event(kind: str, detail: Any, how: str = "") -> Event:
        return Event(0, kind, 0, detail, number, exact=True, how=how)

    if operation in FAULTY:
        yield event("disk_fault", ("EIO", 1))
        yield event("disk_fault", ("EIO", 4))
    if operation == "append":
        yield event("disk_fault", ("EIO", 1, "half"))
        yield event("disk_fault", ("ENOSPC", 1, "half"))
    if operation in FILLING:
        yield event("disk_fault", ("ENOSPC", 1))
        yield event("disk_fault", ("ENOSPC", 4))
    yield event("kill", 0.1)
    for how in SURVIVALS:
        yield event("power", 0.1, how)


def _acts(config: Config) -> Iterator[str]:
    """What a program may do to such a file at any moment."""
    spec = config.files[0]
    yield from ACTIONS["folder" if spec.in_folder else spec.growth]
    if spec.growth == "auto" and not spec.in_folder:
        yield "copy_longer"


def _at_request(number: int, config: Config) -> Iterator[tuple[str, Any]]:
    yield "cut", ("before", number)
    yield "cut", ("after", number)
    yield "refusal", (number, 4)
    yield "refusal", (number, 3)
    yield "lag", (number, _LAG_NS)
    if not config.server.calls:
        yield "echo", (number, 0)
    if config.server.calls != "sessions":
        for how in ("nothing", "names", "data"):
            yield "server_loss", (how, _SEC, number)
