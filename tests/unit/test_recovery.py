"""After another boot: which files may have lost what came last, and for how long that is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.transfer_bench import Bench


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
        local.write(b"row")
    if closed:
        local.ledger.journal.close()
    local.boot = boot
    local.open()
    local.snapshots.suspects.open()
    files = ["early.csv", "late.csv"]
    assert [n for n in files if str(local.folder / n) in local.snapshots.suspects] == suspects


def test_which_of_them_are_left(local: Local) -> None:
    """Not what is as it was, nor what is gone, nor what nobody looks at any more."""

    def are_left(path: str, *, watched: bool = True) -> bool:
        local.snapshots.suspects.suspect({path}, unclean=True)
        return local.snapshots.suspects.are_left(lambda path: watched)

    local.write(b"rows\n")
    local.clock.show_real_time()
    local.clock.advance(100)
    local.take()
    assert not are_left(local.path)
    local.write(b"row")
    assert are_left(local.path)
    assert not are_left(local.path, watched=False)
    Path(local.path).unlink()
    assert not are_left(local.path)


@pytest.mark.parametrize("ends", ["stops", "is killed"])
def test_a_process_that_did_not_look_leaves_that_to_the_next(tmp_path: Path, ends: str) -> None:
    bench = Bench(tmp_path)
    path = tmp_path / "data" / "a"
    path.write_bytes(b"row 1\nrow 2\n")
    before = bench.start("one")
    bench.deliver_all(before)
    before.stop(bench.clock.now)
    path.write_bytes(b"row 1\n")  # a loss of power after the stop
    idle = bench.start("two")
    if ends == "stops":
        idle.intake.step = lambda now: now + 1.0  # type: ignore[method-assign]
        idle.stop(bench.clock.now)
    after = bench.start("two")
    bench.deliver_all(after)
    assert bench.server.read_file("/in/a") == b"row 1\n"
    (kept,) = [name for name in bench.server.names() if "/a~" in name]
    assert bench.server.read_file(kept) == b"row 1\nrow 2\n"
    after.stop(bench.clock.now)


def test_a_file_that_nobody_changes_does_not_keep_the_doubt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "data" / "a").write_bytes(b"rows\n")
    for boot in ["one", "two", "two", "two"]:
        subtask = bench.start(boot)
        assert not subtask.ledger.journal.unclean_boot
        bench.deliver_all(subtask)
        subtask.stop(bench.clock.now)
