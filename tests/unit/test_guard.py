"""A state folder that somebody deletes or overwrites while it is in use."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import pytest

from pysubtask.errors import StateError
from pysubtask.signals import StateLayout
from pysubtask.subtask.store.guard import StateGuard
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock, close_all, fail_with
from tests.unit.core_local import Local


class Bench:
    """A state folder in use, with its lock."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.local = Local(folder, ManualClock(), HookedDisk())
        self.layout = StateLayout(str(folder / "state"))
        self.lock = pathlib.Path(self.layout.lock)
        self.held = self.lock.open("wb")  # as the lock is: its inode can't be given to another
        self.journal = pathlib.Path(self.layout.journal)
        self.local.write(b"12345")
        self.local.take()
        self.guard = StateGuard(self.local.disk, self.layout, self.local.ledger.journal, LOG)
        self.guard.check()

    def read_again(self) -> int:
        """What a new process finds owed."""
        self.local.open()
        return self.local.entry.pending_bytes


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.held.close()


def overwrite(path: pathlib.Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def shorten(path: pathlib.Path) -> None:
    os.truncate(path, 10)


def replace(path: pathlib.Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("harm", [overwrite, shorten, replace, pathlib.Path.unlink])
def test_a_journal_that_is_harmed_is_written_anew(
    bench: Bench, harm: Callable[[pathlib.Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    harm(bench.journal)
    bench.guard.check()
    assert "written anew from memory" in caplog.text
    caplog.clear()
    bench.guard.check()
    assert caplog.text == ""
    bench.local.write(b"67", "ab")
    bench.local.take()
    bench.guard.check()
    assert bench.read_again() == 7
    assert not bench.local.ledger.journal.damaged


def test_what_we_write_ourselves_is_no_harm(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(50):
        bench.local.write(b"%d" % number, "ab")
        bench.local.take()
        bench.guard.check()
    bench.local.deliver_all()
    bench.local.ledger.journal.sync()
    bench.local.ledger.journal.write_anew()
    bench.guard.check()
    bench.local.ledger.journal.close()
    bench.guard.check()
    assert caplog.text == ""


def test_a_folder_that_is_gone_makes_room_for_another_process(bench: Bench) -> None:
    shutil.rmtree(bench.layout.state_dir)
    with pytest.raises(StateError, match="removed while it was in use") as caught:
        bench.guard.check()
    assert caught.value.retryable
    assert os.stat(bench.layout.state_dir).st_mode & 0o777 == 0o700
    assert bench.read_again() == 5


def test_a_folder_that_is_somebody_elses_now_is_left_alone(bench: Bench) -> None:
    shutil.rmtree(bench.layout.state_dir)
    os.mkdir(bench.layout.state_dir)
    bench.lock.touch()
    bench.journal.write_bytes(b"theirs")
    with pytest.raises(StateError, match="replaced"):
        bench.guard.check()
    assert bench.journal.read_bytes() == b"theirs"


def test_the_outbox_is_made_again(bench: Bench) -> None:
    shutil.rmtree(bench.layout.outbox)
    bench.guard.check()
    bench.local.write(b"something else")
    assert bench.local.take().result == "taken"


def test_a_disk_that_fails_is_no_harm(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.local.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "open_read")
    bench.guard.check()
    assert caplog.text == ""


def test_without_a_lock_there_is_nothing_to_lose(tmp_path: pathlib.Path) -> None:
    local = Local(tmp_path, ManualClock(), HookedDisk())
    layout = StateLayout(str(tmp_path / "state"))
    guard = StateGuard(local.disk, layout, local.ledger.journal, LOG)
    guard.check()
    close_all()
