"""A seed becomes a world and a script: what the machine is like, what happens when.

Swarm testing (Groce et al., ISSTA '12): each seed leaves out some kinds of trouble altogether, so
that rare combinations of the others get room.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.simulation.filesystem import FileSystemKind
from tests.simulation.focus import FOCUSES, Focus, focus_of
from tests.simulation.program import ACTIONS
from tests.simulation.realms import Realm, realm_of
from tests.simulation.script import Config, Event, FileSpec, History
from tests.simulation.server import ALL_EXTENSIONS, GO_EXTENSIONS, NO_REPLACE, ServerKind

__all__ = ["make_history"]

MS = 1_000_000
SEC = 1_000_000_000

FILE_SYSTEMS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (3, "fine", dict(tick_ns=1, granularity_ns=1)),
    (4, "4ms", dict(tick_ns=4 * MS, granularity_ns=1)),
    (2, "1s", dict(tick_ns=SEC, granularity_ns=SEC)),
    (2, "2s", dict(tick_ns=2 * SEC, granularity_ns=2 * SEC, ctime_is_mtime=True)),
)
_NO_COPY = tuple(pair for pair in ALL_EXTENSIONS if pair[0] != b"copy-data")
SERVERS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (4, "openssh", dict()),
    (1, "openssh-slow", dict(service_ns=2 * MS)),
    (1, "openssh-old", dict(extensions=(*_NO_COPY[:4], (b"lsetstat@openssh.com", b"1")))),
    (1, "few-handles", dict(max_handles=4)),
    (1, "write-only", dict(readable=False)),
    (1, "rename-only", dict(extensions=NO_REPLACE)),
    (1, "plain", dict(extensions=(), parallel=True, service_ns=3 * MS)),
    (
        3,
        "go",
        dict(extensions=GO_EXTENSIONS, parallel=True, ordered_replies=True, service_ns=2 * MS),
    ),
    (
        3,
        "wild",
        dict(extensions=GO_EXTENSIONS, parallel=True, ordered_commands=False, service_ns=5 * MS),
    ),
)

TROUBLES = {
    "kill": 6,
    "power": 3,
    "cut": 6,
    "refuse": 3,
    "clock": 1,
    "disk_fault": 2,
    "disk_full": 1,
    "denied": 2,
    "remote_full": 1,
    "consumer": 2,
    "foreign": 1,
    "restart": 2,
    "flush": 2,
    "write_back": 1,
}
"""Kinds of trouble, and how often one is chosen among those that a history has."""


def _weighted(rng: random.Random, table: Any) -> Any:
    return rng.choices(table, weights=[row[0] for row in table])[0]


def make_history(seed: int) -> History:
    """The history of a seed: always the same one."""
    rng = random.Random(seed)
    troubles = {name for name in TROUBLES if rng.random() < 0.35}
    if rng.random() < 0.1:
        troubles = set()
    name = focus_of(seed)
    focus = FOCUSES[name] if name else Focus("")
    troubles |= set(focus.always)
    realm = realm_of(seed)
    config = _make_config(rng, troubles)
    if name:
        config = _bent(rng, config, focus)
    config = realm.change(rng, config, bool(name))
    troubles = (troubles | set(realm.troubles)) - realm.without
    events = _make_events(rng, config, troubles, focus, realm)
    without = realm.without
    if config.server.calls == "appe" and config.settings["on_remote_gone"] == "resend":
        without |= {"consumer"}  # APPE makes the file anew that was taken since SIZE was asked
    events = tuple(event for event in events if event.kind not in without)
    return History(seed, config, events, frozenset(troubles), name)


def _bent(rng: random.Random, config: Config, focus: Focus) -> Config:
    """The world as the focus wants it."""
    changes: dict[str, Any] = focus.draw(rng, focus.config)
    if focus.servers:
        name = rng.choice(focus.servers)
        made = next(settings for _, known, settings in SERVERS if known == name)
        changes.update(server_name=name, server=ServerKind(**made))
    if focus.growths:
        changes["files"] = tuple(_grown(spec, rng.choice(focus.growths)) for spec in config.files)
    changes["file_system"] = replace(config.file_system, **focus.draw(rng, focus.disk))
    changes["settings"] = {**config.settings, **focus.draw(rng, focus.settings)}
    return replace(config, **changes)


def _make_config(rng: random.Random, troubles: set[str]) -> Config:
    _, _, times = _weighted(rng, FILE_SYSTEMS)
    _, server_name, server = _weighted(rng, SERVERS)
    files = _make_files(rng)
    big = rng.random() < 0.03
    timer_secs = rng.choice([0.5, 2.0, 2.0, 5.0])
    settings = dict(
        timer_interval_secs=timer_secs,
        retry_tries=rng.choice([2, 5]),
        retry_short_wait_secs=rng.choice([0.2, 1.0, 3.0]),
        retry_long_wait_secs=rng.choice([2.0, 10.0, 30.0]),
        dead_time_milli=rng.choice([1_000, 10_000, 180_000]),
        sync_secs=rng.choice([0.5, 2.0, 5.0]),
        settle_secs=rng.choice([0.5, 1.0]),
        reply_timeout_secs=rng.choice([5.0, 30.0]),
        keep_free_bytes=0,
        outbox_max_bytes=1 << 40,
        on_remote_gone="continue" if "consumer" in troubles and rng.random() < 0.6 else "resend",
        on_first_contact=rng.choice(["keep", "keep", "keep", "replace"]),
        burst_expire_milli=rng.choice([300, 5000]),
        burst_start_trigger_milli=rng.choice([100, 1000]),
    )
    return Config(
        file_system=FileSystemKind(
            **times,
            reuse_inodes=rng.random() < 0.7,
            ordered_names=rng.random() < 0.6,
            zero_tails=rng.random() < 0.4,
        ),
        server_name=server_name,
        server=ServerKind(**server),
        latency_ns=rng.choice([50_000, MS, 20 * MS, 150 * MS]),
        jitter_ns=rng.choice([0, 0, MS, 30 * MS]),
        bytes_per_sec=rng.choice([0, 0, 4_000, 100_000]) if not big else 2_000_000,
        call_ns=rng.choice([2_000, 20_000, 300_000, 3 * MS]),
        events=rng.choice([1.0, 1.0, 1.0, 0.5, 0.0]),
        block_bytes=600_000 if big else rng.choice([2_000, 2_000, 40_000]),
        files=files,
        settings=settings,
        remote_dir=rng.choice(["/in", "/in", "/data/site 1"]),
        remote_dir_exists=rng.random() < 0.7,
    )


def _grown(spec: FileSpec, growth: str) -> FileSpec:
    if growth == "folder":
        return FileSpec(spec.name, "auto", in_folder=True)
    return spec if spec.in_folder else replace(spec, growth=growth)


_FILE_NAMES = ("a.csv", "b.dat", "\udcff\udc80.bin", "größe.csv", "c d.log")


def _make_files(rng: random.Random) -> tuple[FileSpec, ...]:
    files = []
    for name in rng.sample(_FILE_NAMES, rng.choice([1, 1, 2, 3])):
        start = rng.choice(["", "", "", "", "", "prefix", "same", "foreign"])
        if rng.random() < 0.2:
            files.append(FileSpec(name, "auto", in_folder=True, remote_start=""))
        else:
            growth = rng.choice(["append", "auto", "auto", "rewrite"])
            files.append(FileSpec(name, growth, rng.random() < 0.2, remote_start=start))
    return tuple(files)


def _gap(rng: random.Random) -> int:
    choice = rng.random()
    if choice < 0.35:
        return rng.randrange(0, 40 * MS)
    if choice < 0.8:
        return rng.randrange(40 * MS, 3 * SEC)
    return rng.randrange(3 * SEC, 8 * SEC if choice < 0.96 else 70 * SEC)


def _make_events(
    rng: random.Random, config: Config, troubles: set[str], focus: Focus, realm: Realm
) -> tuple[Event, ...]:
    events = []
    at_ns = 0
    chosen = sorted(troubles)
    usual = {**TROUBLES, **realm.troubles, **focus.weights}
    weights = [usual[name] for name in chosen]
    for _ in range(rng.randrange(6, 36)):
        at_ns += _gap(rng)
        near_call = rng.choice([0, 0, 1 + int(rng.expovariate(1 / 15))])
        if chosen and rng.random() < focus.trouble_share:
            kind = rng.choices(chosen, weights=weights)[0]
            events.append(_trouble(rng, at_ns, kind, config, near_call, focus))
            continue
        target = rng.randrange(len(config.files))
        action = _action(rng, config.files[target], focus)
        wait = rng.random()
        then = "notify" if wait < 0.55 else "wait" if wait < 0.7 else "plain" if wait < 0.8 else ""
        if focus.wait_share is not None and rng.random() < focus.wait_share:
            then = "wait"
        events.append(Event(at_ns, action, target, then, near_call))
        if then and focus.chase_share and rng.random() < focus.chase_share:
            # some 50 us after the touch its event has woken the child
            again = _action(rng, config.files[target], focus)
            chased = rng.choice(["", "notify", "notify", "plain"])
            call = rng.randrange(1, 10)
            events.append(Event(at_ns + MS // 20, again, target, chased, near_call + call))
        if then == "wait" and focus.strike_share and rng.random() < focus.strike_share:
            kind = rng.choice(focus.always)
            events.append(_trouble(rng, at_ns + MS // 20, kind, config, 0, focus))
    for kind in focus.last:
        events.append(_trouble(rng, at_ns + _gap(rng), kind, config, 0, focus))
    return tuple(events)


def _action(rng: random.Random, spec: FileSpec, focus: Focus) -> str:
    actions = ACTIONS["folder" if spec.in_folder else spec.growth]
    if spec.lines:
        actions = {**actions, "append_part": 8}
    if spec.rotates and not spec.in_folder and spec.growth != "rewrite":
        actions = {**actions, "rotate": 10}
    if focus.actions and not spec.in_folder:
        actions = {**actions, **focus.actions}
    return rng.choices(list(actions), weights=list(actions.values()))[0]


def _trouble(
    rng: random.Random, at_ns: int, kind: str, config: Config, near_call: int, focus: Focus
) -> Event:
    target = rng.randrange(len(config.files))
    detail: Any = None
    if kind in ("kill", "power"):
        near_call = 1 + int(rng.expovariate(1 / 25))
        detail = rng.choice([0.0, 0.1, 1.0, 4.0])  # seconds until the next start
    elif kind == "cut":
        # by time, or when the server executes its n-th request from now, before or after it acts
        how = rng.choice(["up", "down", "both", "mute", "before", "after", "after"])
        detail = (how, 1 + int(rng.expovariate(1 / focus.mean_request)))
    elif kind == "refuse":
        detail = (rng.choice(["refuse", "refuse", "silent", "login"]), rng.randrange(1, 20) * SEC)
    elif kind == "clock":
        detail = rng.choice([-3600.0, -2.0, -0.003, 0.5, 86_400.0])
    elif kind == "disk_fault":
        detail = (rng.choice(["ENOSPC", "EIO", "EIO"]), rng.randrange(1, 4))
        near_call = 1 + int(rng.expovariate(1 / 12))
    elif kind in ("disk_full", "remote_full", "denied"):
        detail = rng.randrange(1, 15) * SEC // 2
    elif kind == "foreign":
        detail = rng.choice(["replace", "append", "truncate", "remove", *focus.hands])
    elif kind == "restart":
        detail = rng.choice([0.0, 0.5, 5.0])
    elif kind == "jam":
        target, detail = 0, rng.choice(["denied", "folder", "unreadable", "restless"])
    elif kind == "other_master":
        detail = rng.random() < 0.7  # it starts again
    elif kind == "server_loss":
        detail = (rng.choice(["nothing", "some", "some", "names", "data"]), rng.randrange(16) * SEC)
    elif kind == "echo":  # of the n-th answer from now, and so much later
        detail = (1 + int(rng.expovariate(1 / 8)), rng.choice([0, 0, 5 * MS, SEC]))
    elif kind == "lag":
        detail = (
            1 + int(rng.expovariate(1 / 8)),
            rng.choice([200 * MS, 2 * SEC, 8 * SEC, 40 * SEC]),
        )
    return Event(at_ns, kind, target, detail, near_call)
