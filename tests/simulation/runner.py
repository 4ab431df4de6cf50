"""Many seeds, on several cores."""

from __future__ import annotations

import multiprocessing
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

from tests.simulation.child import Boot, Child, make_child
from tests.simulation.history import make_history
from tests.simulation.plants import PLANTS
from tests.simulation.world import Outcome, World

__all__ = ["planted", "run_many", "run_seed"]


def run_seed(
    seed: int,
    trace: Callable[[str], None] | None = None,
    child: Callable[[Boot], Child] = make_child,
) -> Outcome:
    """One history. Everything random in it comes from its seed."""
    random.seed(seed)
    try:
        return World(make_history(seed), child, trace).run()
    except Exception:  # the simulator itself is at fault: that, too, needs its seed
        return Outcome(seed, "simulator", traceback.format_exc())


def planted(name: str | None) -> AbstractContextManager[None]:
    """The named bug is in the code for as long as this is entered."""
    return nullcontext() if name is None else PLANTS[name].patch()


def _run_block(task: tuple[range, str | None]) -> list[Outcome]:
    seeds, plant = task
    with planted(plant):
        return [run_seed(seed) for seed in seeds]


def run_many(seeds: range, jobs: int, plant: str | None = None) -> Iterator[Outcome]:
    """The outcomes of all seeds, as they come."""
    blocks = [(seeds[at : at + 50], plant) for at in range(0, len(seeds), 50)]
    if jobs <= 1:
        for block in blocks:
            yield from _run_block(block)
        return
    # not fork: the parent may have threads
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs) as pool:
        results: Iterable[list[Outcome]] = pool.imap_unordered(_run_block, blocks)
        for outcomes in results:
            yield from outcomes
