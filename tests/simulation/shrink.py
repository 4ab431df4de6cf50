"""A failing history made smaller: fewer events, fewer files, a plainer world, still failing.

Whatever is left out is tried again without it; what does not fail in the same way then is put back.
The random numbers that the world itself draws come from the seed as before, so that a small story
is as repeatable as the long one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.simulation.outcome import Outcome
from tests.simulation.program import ACTIONS
from tests.simulation.script import Config, Event, History
from tests.simulation.server import ALL_EXTENSIONS, ServerKind

__all__ = ["shrink", "tell"]

_MS = 1_000_000
_SEC = 1_000_000_000
_ACTIONS = {name for actions in ACTIONS.values() for name in actions} | {
    "append_part",
    "copy_longer",
    "edit",
}
_PLAIN_WORLD: dict[str, Any] = dict(
    jitter_ns=0,
    latency_ns=_MS,
    bytes_per_sec=0,
    events=1.0,
    call_ns=20_000,
    block_share=0.0,
    worst_share=0.0,
    block_bytes=2_000,
    remote_dir_exists=True,
    remote_dir="/in",
)
_PLAIN_SETTINGS: dict[str, Any] = dict(
    timer_interval_secs=2.0,
    retry_tries=5,
    retry_short_wait_secs=1.0,
    retry_long_wait_secs=2.0,
    dead_time_milli=180_000,
    sync_secs=5.0,
    settle_secs=1.0,
    reply_timeout_secs=30.0,
    on_remote_gone="resend",
    on_first_contact="keep",
    burst_expire_milli=300,
    burst_start_trigger_milli=100,
)


def shrink(
    history: History, run: Callable[[History], Outcome], limit_secs: float = 30.0
) -> tuple[History, Outcome]:
    """The smallest history that was found, and how it fails.

    Args:
        run: runs one. The first one must fail.
        limit_secs: when to be content with what there is.
    """
    until = time.monotonic() + limit_secs
    best, outcome = history, run(history)
    if not outcome.kind:
        return history, outcome
    while True:
        before = best
        for candidates in (_without_events, _without_files, _plainer, _simpler_events):
            again = True
            while again:
                again = False
                for candidate in candidates(best):
                    if time.monotonic() > until:
                        return best, outcome
                    tried = run(candidate)
                    if tried.kind == outcome.kind:
                        best, outcome, again = candidate, tried, True
                        break
        if best == before:
            return best, outcome


def tell(history: History) -> list[str]:
    """The events of a history, line by line."""
    lines = []
    for event in history.events:
        name = history.config.files[event.target].name
        what = f"{event.kind} {name!r}" if event.kind in _ACTIONS else event.kind
        detail = "" if event.detail in (None, "") else f" {event.detail}"
        near = f", at the child's call {event.near_call} from then" if event.near_call else ""
        lines.append(f"{event.at_ns / 1e9:11.6f} {what}{detail}{near}")
    return lines


def _without_events(history: History) -> Iterator[History]:
    """Half of them, a quarter, … one at a time (ddmin: Zeller and Hildebrandt, TSE 2002)."""
    events = history.events
    size = len(events)
    while size:
        for start in range(0, len(events), size):
            kept = events[:start] + events[start + size :]
            if kept:
                yield replace(history, events=kept)
        size = size // 2


def _without_files(history: History) -> Iterator[History]:
    files = history.config.files
    for gone in range(len(files)) if len(files) > 1 else ():
        events = []
        for event in history.events:
            if event.target == gone and event.kind in _ACTIONS:
                continue
            target = event.target - (event.target > gone) if event.target != gone else 0
            events.append(replace(event, target=target))
        if events:
            config = replace(history.config, files=files[:gone] + files[gone + 1 :])
            yield replace(history, config=config, events=tuple(events))


def _plainer(history: History) -> Iterator[History]:
    config = history.config
    for changed in _plainer_worlds(config):
        if changed != config:
            yield replace(history, config=changed)


def _plainer_worlds(config: Config) -> Iterator[Config]:
    plain_disk: dict[str, Any] = dict(
        zero_tails=False, zero_writes=False, reuse_inodes=False, ordered_names=True
    )
    for name, value in plain_disk.items():
        yield replace(config, file_system=replace(config.file_system, **{name: value}))
    fine: dict[str, Any] = dict(tick_ns=1, granularity_ns=1, ctime_is_mtime=False)
    yield replace(config, file_system=replace(config.file_system, **fine))
    if not config.server.calls and config.server.extensions != ALL_EXTENSIONS:
        yield replace(config, server_name="openssh", server=ServerKind())
    for name, value in _PLAIN_WORLD.items():
        yield replace(config, **{name: value})
    for name, value in _PLAIN_SETTINGS.items():
        if name in config.settings:
            yield replace(config, settings={**config.settings, name: value})
    for index, spec in enumerate(config.files):
        for plain in (replace(spec, burstmode=False), replace(spec, remote_start="")):
            files = (*config.files[:index], plain, *config.files[index + 1 :])
            yield replace(config, files=files)


def _simpler_events(history: History) -> Iterator[History]:
    events = history.events
    for index, event in enumerate(events):
        for simpler in _simpler(event):
            if simpler != event:
                yield replace(history, events=(*events[:index], simpler, *events[index + 1 :]))
    for index in range(1, len(events)):  # less time between two
        gap_ns = events[index].at_ns - events[index - 1].at_ns
        if gap_ns > 2 * _SEC:
            sooner = tuple(replace(e, at_ns=e.at_ns - gap_ns + _SEC) for e in events[index:])
            yield replace(history, events=events[:index] + sooner)


def _simpler(event: Event) -> Iterator[Event]:
    if event.near_call:
        yield replace(event, near_call=0)
    if event.kind in _ACTIONS:
        if event.kind != "append":
            yield replace(event, kind="append")
        if event.detail in ("wait", "plain"):
            yield replace(event, detail="notify")
