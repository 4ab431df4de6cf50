"""A small version of ``python -m tests.endurance``."""

from __future__ import annotations

import pathlib

from tests.endurance.endurance import lives, notifies
from tests.endurance.vitals import Track, Vitals
from tests.servers.openssh import OpenSshServer


def test_a_few_lives_leave_nothing_behind(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    report = lives(openssh, tmp_path, 4)
    # threads that other tests in this process began may end, or show, only now
    faults = [fault for fault in report.faults if not fault.startswith("master: threads")]
    assert not faults, str(report)


def test_many_notifies_leave_nothing_behind(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    report = notifies(openssh, tmp_path, 20_000)
    assert not report.faults, str(report)


def test_what_grows_is_noticed() -> None:
    track = Track("master", 1000)
    for _ in range(40):
        track.note(Vitals(10, 3, 100_000))
    assert track.faults() == []
    for n in range(40):
        track.note(Vitals(10 + n, 3, 100_000 + 100 * n))
    assert len(track.faults()) == 2
