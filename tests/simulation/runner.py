"""Many seeds, on several cores."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.pool import Pool
from threading import Event
from typing import TypeVar

from tests.simulation.child import Boot, Child, make_child
from tests.simulation.fetching_world import run_fetching
from tests.simulation.focus import seeds_with
from tests.simulation.history import make_history
from tests.simulation.outcome import Outcome
from tests.simulation.plants import PLANTS, WORLDS
from tests.simulation.realms import REALMS, is_fetching
from tests.simulation.script import History
from tests.simulation.sweep import STORIES, cases_of
from tests.simulation.world import World

__all__ = [
    "Catch",
    "catch",
    "catch_all",
    "planted",
    "run_history",
    "run_many",
    "run_seed",
    "workers",
]


_BLOCK = 25
"""So many histories go to a process at once."""

T = TypeVar("T")


def run_seed(
    seed: int,
    trace: Callable[[str], None] | None = None,
    child: Callable[[Boot], Child] = make_child,
) -> Outcome:
    """One history. Everything random in it comes from its seed."""
    if is_fetching(seed):
        return run_fetching(seed, trace)
    return run_history(make_history(seed), trace, child)


def run_history(
    history: History,
    trace: Callable[[str], None] | None = None,
    child: Callable[[Boot], Child] = make_child,
) -> Outcome:
    """One history, as its seed made it or changed since."""
    random.seed(history.seed)
    try:
        return World(history, child, trace).run()
    except Exception:  # the simulator itself is at fault: that, too, needs its seed
        return Outcome(history.seed, "simulator", traceback.format_exc())


def planted(name: str | None) -> AbstractContextManager[None]:
    """The named bug is in the code for as long as this is entered."""
    return nullcontext() if name is None else PLANTS[name].patch()


def _run_block(task: tuple[Sequence[int], str | None]) -> list[Outcome]:
    seeds, plant = task
    with planted(plant):
        return [run_seed(seed) for seed in seeds]


def _blocks(seeds: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(seeds)
    while block := list(islice(rest, _BLOCK)):
        yield block


def run_many(seeds: Iterable[int], jobs: int, plant: str | None = None) -> Iterator[Outcome]:
    """The outcomes of all seeds, as they come."""
    blocks = ((block, plant) for block in _blocks(seeds))
    if jobs <= 1:
        for block in blocks:
            yield from _run_block(block)
        return
    with workers(jobs) as pool:
        room = threading.Semaphore(2 * jobs)
        enough = threading.Event()
        try:
            for outcomes in pool.imap_unordered(_run_block, _by_and_by(blocks, room, enough)):
                room.release()
                yield from outcomes
        finally:
            enough.set()  # a pool that still waits for a block would wait for ever


def _by_and_by(blocks: Iterator[T], room: threading.Semaphore, enough: Event) -> Iterator[T]:
    """A pool asks for all that there is at once: here, it has to wait until there is room."""
    for block in blocks:
        while not room.acquire(timeout=0.1):
            if enough.is_set():
                return
        yield block


@contextmanager
def workers(jobs: int) -> Iterator[Pool]:
    """Processes that give the same history for a seed every time.

    Not forked: the parent may have threads. The child's code iterates over sets of texts, whose
    order follows from a hash that is another one in each process unless it is asked not to be.
    """
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


@dataclass(frozen=True, slots=True)
class Catch:
    """What became of a planted bug."""

    plant: str
    outcome: Outcome | None
    """The first history that shows it; None if none did."""
    tried: int
    """How many histories it took."""


def catch(plant: str, *, number: int, start: int = 0, first: int | None = None) -> Catch:
    """Run histories of the plant's world until one shows the bug and, without it, nothing.

    Args:
        number: so many at most, from the seed ``start`` on; of a story that is swept, all cases.
        first: a seed to be tried before them.
    """
    tried = 0
    candidates = [] if first is None else [first]
    world = WORLDS.get(plant, "")
    run: Callable[[int], Outcome] = run_seed
    if world.startswith("sweep:"):
        cases = [history for _, history in cases_of(STORIES[world.removeprefix("sweep:")])]
        seeds: Iterable[int] = range(start, len(cases))
        run = lambda number: run_history(cases[number])  # noqa: E731
    elif world in REALMS:
        seeds = range(REALMS[world].first + start, REALMS[world].first + start + number)
    else:
        seeds = seeds_with(world, start, number)
    for seed in chain(candidates, seeds):
        tried += 1
        with planted(plant):
            outcome = run(seed)
        outcome.seed = seed
        if outcome.kind and not run(seed).kind:
            return Catch(plant, outcome, tried)
    return Catch(plant, None, tried)


def catch_all(
    plants: Iterable[str], jobs: int, *, number: int, start: int = 0, known: dict[str, int]
) -> Iterator[Catch]:
    """:func:`catch` for each, in this order, one process for each bug at a time.

    ``known``: seeds that are tried first.
    """
    tasks = [(plant, number, start, known.get(plant)) for plant in plants]
    with workers(jobs) as pool:
        yield from pool.imap(_catch, tasks)


def _catch(task: tuple[str, int, int, int | None]) -> Catch:
    plant, number, start, first = task
    return catch(plant, number=number, start=start, first=first)
