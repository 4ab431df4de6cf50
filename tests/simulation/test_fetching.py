"""A fixed set of histories of fetching."""

from __future__ import annotations

import pytest

from tests.simulation.realms import first_seed
from tests.simulation.runner import run_seed

FETCHING_FROM = first_seed("fetching")


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_histories(first: int) -> None:
    outcomes = [run_seed(FETCHING_FROM + seed) for seed in range(first, first + 20)]
    assert [f"seed {o.seed}: {o.kind}: {o.message}" for o in outcomes if o.kind] == []
