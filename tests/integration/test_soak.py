"""Some seconds of ``python -m tests.soak``."""

from __future__ import annotations

import pathlib

import pytest

from tests.endurance.vitals import Track, Vitals
from tests.soak.soak import Summary, run


@pytest.mark.timeout(200)
@pytest.mark.usefixtures("openssh")  # or else it is skipped
def test_some_seconds(tmp_path: pathlib.Path) -> None:
    summary = run(5.0, 4711, tmp_path, ftp=False)
    assert not summary.faults, (summary.faults, str(summary))
    for report in summary.reports.values():
        assert report.files > 8, str(summary)
        assert report.looks > 50, str(summary)
    assert summary.kills.total() >= 1, str(summary)
    assert all(len(track.seen) > 10 for track in summary.tracks), str(summary)
    assert "lost 0, torn 0, orphans 0" in str(summary)
    assert "not judged (too short)" in str(summary)


def test_a_long_soak_judges_growth() -> None:
    track = Track("subtask", 1000)
    for number in range(40):
        track.note(Vitals(10, 3, 1000 * number))
    long, short = Summary(1, secs=3600, tracks=[track]), Summary(1, secs=10, tracks=[track])
    assert len(long.growth) == 1
    assert "descriptors and memory NOT flat" in str(long)
    assert short.growth == []
