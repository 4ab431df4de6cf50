"""A fixed set of histories of fetching; those that found something; bugs that must be found."""

from __future__ import annotations

import pytest

from pysubtask.core import pull
from pysubtask.core.pull import SettleRule
from pysubtask.subtask.pull import puller
from pysubtask.subtask.pull.places import Places
from tests.simulation_pull.world import run_seed

FOUND = [21, 47, 59, 83, 115, 126, 145, 181, 283, 477, 594, 786, 2610, 4163, 4556, 6663, 6810]
"""Each showed a mistake when it was written; most take another course by now."""


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_histories(first: int) -> None:
    outcomes = [run_seed(seed) for seed in range(first, first + 20)]
    assert [f"seed {o.seed}: {o.message}" for o in outcomes if o.kind] == []


@pytest.mark.parametrize("seed", FOUND)
def test_histories_that_found_something(seed: int) -> None:
    outcome = run_seed(seed)
    assert not outcome.kind, outcome.message


def _caught(kinds: set[str], seeds: range) -> bool:
    return any(run_seed(seed).kind in kinds for seed in seeds)


def test_a_beginning_of_a_few_bytes_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_may_grow", lambda entry, growth: growth != "rewrite")
    assert _caught({"torn"}, range(35, 60))


def test_a_file_that_need_not_hold_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puller, "SettleRule", lambda *secs: SettleRule(0.0, 0.0))
    assert _caught({"torn", "lost"}, range(60))


def test_the_programs_own_file_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "_judge", lambda self, entry, st: "as_left")
    assert _caught({"torn", "lost", "crash"}, range(100))


def test_what_is_left_behind_is_believed_after_a_loss_of_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Places, "cut_temp", lambda self, temp, size: None)
    assert _caught({"torn", "lost"}, range(6650, 6680))
