"""The command ``python -m tests.simulation --sweep``: each short history, each call, each fault."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.runner import planted, run_history, workers
from tests.simulation.sweep import STORIES, cases_of, count_calls

__all__ = ["Swept", "sweep", "sweep_part"]

_PARTS = 8


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of some of a story's cases."""

    story: str
    tried: int
    broken: tuple[str, ...]
    """What went wrong, and which promise was broken by it."""


def sweep_part(story: str, stride: int = 1, first: int = 0, plant: str | None = None) -> Swept:
    """Run every ``stride``-th case of a story, from ``first`` on."""
    tried = 0
    broken = []
    with planted(plant):
        for words, history in cases_of(STORIES[story], stride, first):
            tried += 1
            outcome = run_history(history)
            if outcome.kind:
                broken.append(f"{story}: {words}: {outcome.kind}: {outcome.message.strip()}")
    return Swept(story, tried, tuple(broken))


def _part(task: tuple[str, int, int, str | None]) -> Swept:
    return sweep_part(*task)


def sweep(jobs: int, stride: int = 1, plant: str | None = None) -> int:
    """All stories, on several cores; exit code 1 if a promise was broken."""
    began = time.monotonic()
    tried = dict.fromkeys(STORIES, 0)
    broken: list[str] = []
    with workers(jobs) as pool:
        for part in pool.imap_unordered(_part, _tasks(stride, plant)):
            tried[part.story] += part.tried
            broken.extend(part.broken)
            for line in part.broken:
                print(line.encode("utf-8", "backslashreplace").decode(), flush=True)
    for name, story in STORIES.items():
        calls, requests = count_calls(story)
        print(
            f"{name:<10} {len(calls):>4} calls, {requests:>3} requests, "
            f"{tried[name]:>5} histories: {story.about}"
        )
    secs = time.monotonic() - began
    total = sum(tried.values())
    print(f"\n{total} histories with one fault each in {secs:.0f} s: {len(broken)} failed")
    return 1 if broken else 0


def _tasks(stride: int, plant: str | None) -> Iterator[tuple[str, int, int, str | None]]:
    for part in range(_PARTS):
        for name in STORIES:
            yield name, stride * _PARTS, stride * part, plant
