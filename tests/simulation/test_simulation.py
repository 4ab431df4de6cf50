"""A part of the simulation in the ordinary test run: known seeds, fresh seeds, planted bugs.

The whole of it is ``python -m tests.simulation`` (``--seeds N``, ``--plants``, ``--replay SEED``).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pysubtask.subtask.archive import Archive
from tests.simulation.__main__ import main
from tests.simulation.child import IdleChild
from tests.simulation.focus import FOCUSES, focus_of, seeds_with
from tests.simulation.history import make_history
from tests.simulation.plants import KNOWN, PLANTS, WORLDS
from tests.simulation.realms import REALMS, first_seed, mixed_seeds, realm_of
from tests.simulation.runner import catch_all, planted, run_history, run_many, run_seed
from tests.simulation.shrink import shrink, tell
from tests.simulation.sweep import STORIES
from tests.simulation.sweeping import sweep_part

ARCHIVING_FROM, LIMITED_FROM, CALLED_FROM = map(first_seed, ("archive", "limited", "calls"))
NEWER_REALMS = "unsteady folder options segments stuck budgets rotated".split()
ROOT = Path(__file__).resolve().parents[2]
KNOWN_SEEDS = range(600)
FOUND_SEEDS = [4034, 7397, 10043, 10111, 19003, 21168, 24844, 35297, 41241, 46191, 71209]
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
        *(range(first_seed(name), first_seed(name) + 30) for name in NEWER_REALMS),
        # what was written before a break was not synced after it
        [first_seed("folder") + 72],
        # a tail whose name was taken, by itself, moved the file's instead
        [first_seed("unsteady") + 14_100_444],
        # what a loss of power left at the destination only; and others of that day
        [14_300_042, 14_300_445, 2_014_341_578, 8_014_391_259, 14_014_304_650, 17_014_321_197],
        [5_014_324_615, 5_014_333_640, 6_014_402_205, 8_014_380_409, 8_014_391_136],
        [14_333_254, 14_333_638, 17_014_390_277, 18_014_350_058],
        [8_014_441_455, 2_014_441_973, 7_014_441_523, 14_442_370],
    ],
    ids=[
        "archive",
        "outbox",
        "calls",
        "found",
        *NEWER_REALMS,
        "unsynced",
        "tail",
        "kept",
        "late",
        "left",
        "doubt",
    ],
)
def test_histories_of_other_worlds(seeds: Sequence[int]) -> None:
    _complain(
        [
            f"seed {outcome.seed}: {outcome.kind}: {outcome.message}"
            for outcome in run_many(seeds, 1)
            if outcome.kind
        ]
    )


@pytest.mark.parametrize("story", STORIES)
def test_a_fault_at_every_hundredth_call(story: str) -> None:
    """All of them: ``python -m tests.simulation --sweep``."""
    swept = sweep_part(story, stride=97, first=list(STORIES).index(story))
    assert swept.tried > 10
    _complain(list(swept.broken))


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


def test_the_table_has_each_planted_bug() -> None:
    table = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = {name: f"| `{name}` | {plant.about} |" for name, plant in PLANTS.items()}
    assert [name for name, row in rows.items() if row not in table] == []


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


def test_a_failing_history_is_made_smaller() -> None:
    with planted("size-trusted-alone"):
        history = make_history(0)
        smaller, outcome = shrink(history, run_history, limit_secs=20)
        assert outcome.kind == run_seed(0).kind == "torn"
        assert len(smaller.events) < len(history.events) / 2
        assert len(tell(smaller)) == len(smaller.events)
        assert run_history(smaller).message == outcome.message, "and is as repeatable"
    assert not run_history(smaller).kind, "without the bug it is a history like any other"


def test_fresh_seeds_are_of_all_realms_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fresh-secs", "0.01", "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "fresh seeds from " in shown
    count = 2 * (len(REALMS) - 1)
    assert {realm_of(seed).name for seed in mixed_seeds(5, count)} == set(REALMS)


def test_the_command_says_how_to_replay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plant", "size-trusted-alone", "--seeds", "400", "--jobs", "1"]) == 1
    shown = capsys.readouterr().out
    assert "replay: python -m tests.simulation --replay " in shown
    assert "--plant size-trusted-alone" in shown
    seed = shown.split("--replay ")[1].split()[0]
    assert main(["--replay", seed, "-v", "--plant", "size-trusted-alone"]) == 1
    assert "VIOLATION" in capsys.readouterr().out
