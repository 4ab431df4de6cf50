"""After another boot: which files may have lost what came last."""

from __future__ import annotations

from pathlib import Path

import pytest

from pysubtask.subtask.recovery import may_have_lost_ends
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


@pytest.mark.parametrize(
    ("closed", "boot", "suspects"),
    [
        pytest.param(False, "two", ["early.csv", "late.csv"], id="the machine went down"),
        pytest.param(True, "two", ["late.csv"], id="after a clean stop: not yet written back"),
        pytest.param(True, "one", [], id="a clean stop in the same boot"),
        pytest.param(False, "one", [], id="a kill in the same boot"),
    ],
)
def test_what_a_loss_of_power_may_have_cost(
    local: Local, closed: bool, boot: str, suspects: list[str]
) -> None:
    for name, wait_secs in [("early.csv", 0.0), ("late.csv", 100.0)]:
        local.clock.advance(wait_secs)
        local.path = str(local.folder / name)
        local.write(b"rows\n")
        local.take()
    if closed:
        local.ledger.journal.close()
    local.boot = boot
    local.open()
    found = may_have_lost_ends(local.ledger.journal)
    assert sorted(Path(path).name for path in found) == suspects


def test_a_first_start_suspects_nothing(local: Local) -> None:
    assert may_have_lost_ends(local.ledger.journal) == set()


def test_a_clean_stop_before_the_first_look_leaves_the_doubt(local: Local) -> None:
    """Not for what is gone, nor for what nobody looks at any more."""

    def is_left(path: str, *, watched: bool = True) -> bool:
        local.snapshots.suspect({path}, unclean=True)
        return local.snapshots.has_suspects(lambda path: watched)

    local.write(b"rows\n")
    local.clock.show_real_time()
    local.clock.advance(100)
    local.take()
    assert not is_left(local.path)  # it is as it was
    local.write(b"row")
    assert is_left(local.path)
    assert not is_left(local.path, watched=False)
    assert not is_left(local.path + ".gone")
    local.ledger.journal.doubt()
    local.open()
    assert local.ledger.journal.unclean_boot
    local.ledger.journal.doubtful = True
    local.ledger.journal.close()
    local.open()
    assert local.ledger.journal.unclean_boot
    local.snapshots.suspect({local.path}, unclean=True)
    local.take()
    assert not local.snapshots.suspects
