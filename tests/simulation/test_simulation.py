"""A part of the simulation in the ordinary test run: known seeds, fresh seeds, planted bugs.

The whole of it is ``python -m tests.simulation`` (``--seeds N``, ``--plants``, ``--replay SEED``).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence

import pytest

from pysubtask.subtask.archive import Archive
from tests.simulation.__main__ import main
from tests.simulation.child import IdleChild
from tests.simulation.focus import FOCUSES, focus_of, seeds_with
from tests.simulation.history import make_history
from tests.simulation.plants import KNOWN, PLANTS, WORLDS
from tests.simulation.realms import REALMS, first_seed
from tests.simulation.runner import catch_all, planted, run_many, run_seed
from tests.simulation.sweep import STORIES

ARCHIVING_FROM, LIMITED_FROM, CALLED_FROM = map(first_seed, ("archive", "limited", "calls"))
KNOWN_SEEDS = range(600)
FOUND_SEEDS = [4_034, 7_397, 10_043, 10_111, 19_003, 21_168, 24_844, 41_241, 46_191, 71_209]
"""Each showed a mistake of ours, or of the simulation, that the first ones do not."""
FRESH_SECS = float(os.environ.get("PYSUBTASK_FRESH_SECS", "0"))
"""Seconds of fresh seeds; 0: only the known ones, so that a run says the same each time."""


def _complain(outcomes: list[str]) -> None:
    assert not outcomes, "\n".join(outcomes)


@pytest.mark.parametrize("first", KNOWN_SEEDS[::100])
def test_known_seeds(first: int) -> None:
    _complain(
        [
            f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"
            for outcome in run_many(range(first, first + 100), 1)
            if outcome.kind
        ]
    )


@pytest.mark.parametrize("seed", FOUND_SEEDS)
def test_seeds_that_found_something(seed: int) -> None:
    outcome = run_seed(seed)
    assert not outcome.kind, f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"


@pytest.mark.parametrize(
    "seeds",
    [
        range(ARCHIVING_FROM, ARCHIVING_FROM + 60),
        range(LIMITED_FROM, LIMITED_FROM + 60),
        range(CALLED_FROM, CALLED_FROM + 60),
        [CALLED_FROM + 2_529, CALLED_FROM + 3_255, CALLED_FROM + 4_943],  # read what was covered
    ],
    ids="archive outbox calls found".split(),
)
def test_histories_of_other_worlds(seeds: Sequence[int]) -> None:
    _complain(
        [
            f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"
            for outcome in run_many(seeds, 1)
            if outcome.kind
        ]
    )


def test_an_archive_that_does_not_wait_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "_is_owed", lambda self, place, path, st: False)
    outcomes = [run_seed(seed) for seed in range(ARCHIVING_FROM, ARCHIVING_FROM + 40)]
    assert "archived" in {outcome.kind for outcome in outcomes}


@pytest.mark.skipif(FRESH_SECS <= 0, reason="fresh seeds: set PYSUBTASK_FRESH_SECS")
def test_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    first = random.SystemRandom().randrange(1_000_000, 1_000_000_000)
    until = time.monotonic() + FRESH_SECS
    seed = first
    broken: list[str] = []
    while time.monotonic() < until and not broken:
        outcome = run_seed(seed)
        if outcome.kind:
            broken.append(f"seed {seed}: {outcome.kind}: {outcome.message}")
        seed += 1
    with capsys.disabled():
        print(f"\n{seed - first} fresh histories from seed {first}")
    _complain(broken)


def test_a_seed_gives_the_same_history_every_time() -> None:
    for seed in (3, 29, 54):
        stories: list[list[str]] = [[], []]
        for story in stories:
            run_seed(seed, story.append)
        assert stories[0] == stories[1]
        assert len(stories[0]) > 10
        assert make_history(seed) == make_history(seed)


def test_a_child_that_does_nothing_is_not_good_enough() -> None:
    outcomes = [run_seed(seed, child=IdleChild) for seed in range(20)]
    assert all(outcome.kind for outcome in outcomes)


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_each_planted_bug_still_fits_the_code(name: str) -> None:
    with planted(name):
        pass


@pytest.mark.timeout(400)  # 600 histories, where the known seed shows it no more
@pytest.mark.parametrize("name", sorted(PLANTS))
def test_every_planted_bug_is_caught(name: str) -> None:
    """By the seed that is known to show it, or by another one of its world."""
    (caught,) = catch_all([name], 1, number=600, known=KNOWN)
    assert caught.plant == name
    assert caught.outcome is not None


def test_every_bias_comes_up_among_ordinary_seeds() -> None:
    assert {focus_of(seed) for seed in KNOWN_SEEDS} == {"", *FOCUSES}
    for name in FOCUSES:
        assert {make_history(seed).focus for seed in seeds_with(name, 0, 5)} == {name}
    assert set(WORLDS) <= set(PLANTS)
    stories = {f"sweep:{name}" for name in STORIES}
    assert set(WORLDS.values()) <= {*FOCUSES, *REALMS, *stories}


def test_the_command_says_how_to_replay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plant", "size-trusted-alone", "--seeds", "400", "--jobs", "1"]) == 1
    shown = capsys.readouterr().out
    assert "replay: python -m tests.simulation --replay " in shown
    assert "--plant size-trusted-alone" in shown
    seed = shown.split("--replay ")[1].split()[0]
    assert main(["--replay", seed, "-v", "--plant", "size-trusted-alone"]) == 1
    assert "VIOLATION" in capsys.readouterr().out
