"""A small version of ``python -m tests.endurance``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.endurance.vitals import Track, Vitals

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.usefixtures("openssh")  # where there is none, this is left out, too
def test_a_short_run_leaves_nothing_behind() -> None:
    """In a process of its own: in this one, other tests' threads and descriptors come and go."""
    command = [sys.executable, "-m", "tests.endurance", "--lives", "4", "--notifies", "20000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20,000 notifies" in done.stdout
    assert "4 starts and stops" in done.stdout


def test_what_grows_is_noticed() -> None:
    track = Track("master", 1000)
    for _ in range(40):
        track.note(Vitals(10, 3, 100_000))
    assert track.faults() == []
    for n in range(40):
        track.note(Vitals(10 + n, 3, 100_000 + 100 * n))
    assert len(track.faults()) == 2
