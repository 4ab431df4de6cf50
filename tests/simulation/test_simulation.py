"""A part of the simulation in the ordinary test run: known seeds, fresh seeds, planted bugs.

The whole of it is ``python -m tests.simulation`` (``--seeds N``, ``--plants``, ``--replay SEED``).
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.simulation.__main__ import main
from tests.simulation.child import IdleChild
from tests.simulation.history import ARCHIVING_FROM, LIMITED_FROM, make_history
from tests.simulation.plants import PLANTS
from tests.simulation.runner import planted, run_many, run_seed

KNOWN = range(600)
FRESH_SECS = float(os.environ.get("PYSUBTASK_FRESH_SECS", "0"))
"""Seconds of fresh seeds; 0: only the known ones, so that a run says the same each time."""
QUICKLY_FOUND = (
    "early-acknowledgement",
    "flush-at-once",
    "size-trusted-alone",
    "temp-name-reused",
)


def _complain(outcomes: list[str]) -> None:
    assert not outcomes, "\n".join(outcomes)


def test_known_seeds() -> None:
    _complain(
        [
            f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"
            for outcome in run_many(KNOWN, 2)
            if outcome.kind
        ]
    )


@pytest.mark.parametrize("first", [ARCHIVING_FROM, LIMITED_FROM])
def test_histories_with_an_archive_and_with_a_small_outbox(first: int) -> None:
    _complain(
        [
            f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"
            for outcome in run_many(range(first, first + 60), 1)
            if outcome.kind
        ]
    )


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


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_planted_bugs_are_found(name: str) -> None:
    for seed in range(3_000):
        with planted(name):
            outcome = run_seed(seed)
        if outcome.kind and not run_seed(seed).kind:
            return
    pytest.fail(f"{name} was not found")


def test_the_command_says_how_to_replay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plant", "size-trusted-alone", "--seeds", "400", "--jobs", "1"]) == 1
    shown = capsys.readouterr().out
    assert "replay: python -m tests.simulation --replay " in shown
    assert "--plant size-trusted-alone" in shown
    seed = shown.split("--replay ")[1].split()[0]
    assert main(["--replay", seed, "-v", "--plant", "size-trusted-alone"]) == 1
    assert "VIOLATION" in capsys.readouterr().out
