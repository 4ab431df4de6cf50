"""The file of a log on a disk that fails: what can be read of it is not always on the platter."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from pysubtask.seams.disk import WriteHandle
from pysubtask.subtask.store import recordfile
from pysubtask.subtask.store.journal import Journal
from tests.simulation.clock import SimClock
from tests.simulation.disk import SimDisk
from tests.simulation.filesystem import FileSystemKind, SimFileSystem
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock, disk_full, fail_with, nothing
from tests.unit.test_journal import Bench, _put, _sizes


def eio() -> OSError:
    """What a failing disk says."""
    return OSError(errno.EIO, "Input/output error")


class _Syncing:
    def __init__(self, disk: ForgetfulDisk, handle: WriteHandle, path: str) -> None:
        self._disk = disk
        self._path = path
        self.append = handle.append
        self.truncate = handle.truncate
        self.stat = handle.stat
        self.close = handle.close

    def sync(self) -> None:
        self._disk.bring(self._path)


class ForgetfulDisk(HookedDisk):
    """As Linux: what a failed fsync did not write counts as written, and the next one succeeds
    without it (fsync(2), "Errors")."""

    def __init__(self) -> None:
        super().__init__()
        self.platter: dict[str, bytes] = {}
        self.refuses = False
        self._tried: dict[str, int] = {}

    def bring(self, path: str) -> None:
        """fsync: what came since the last one, whatever became of that."""
        data = Path(path).read_bytes()
        new = data[self._tried.get(path, 0) :]
        self._tried[path] = len(data)
        before = self.platter.get(path, b"")
        self.platter[path] = before + (bytes(len(new)) if self.refuses else new)
        if self.refuses:
            raise eio()

    def open_append(
        self, path: str, *, create_new: bool = False, private: bool = True
    ) -> WriteHandle:
        handle = super().open_append(path, create_new=create_new, private=private)
        return _Syncing(self, handle, path)

    def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
        super().write_whole(path, data, sync=sync)
        self.platter[path] = data
        self._tried[path] = len(data)


class Forgetful(Bench):
    """A journal on such a disk."""

    disk: ForgetfulDisk

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disk = ForgetfulDisk()

    def lose_power(self) -> None:
        """What comes next reads what the platter has."""
        self.data = self.disk.platter[self.path]


@pytest.fixture
def forgetful(tmp_path: Path) -> Forgetful:
    return Forgetful(tmp_path)


# -- a sync that fails -------------------------------------------------------------------------


def test_a_failed_sync_is_not_made_good_by_the_next_one(forgetful: Forgetful) -> None:
    """Else copies would be removed for a record that the power takes."""
    journal = forgetful.open()
    _put(journal, "/a", 1)
    on_disk: list[dict[str, int]] = []
    journal.after_sync(lambda: on_disk.append(_sizes(journal)))
    forgetful.disk.refuses = True
    assert not journal.sync()
    assert on_disk == []
    forgetful.disk.refuses = False
    _put(journal, "/b", 2)
    assert journal.sync()
    assert on_disk == [{"/a": 1, "/b": 2}]
    _put(journal, "/c", 3)
    assert journal.sync()
    forgetful.lose_power()
    again = forgetful.open("two")
    assert not again.damaged
    assert _sizes(again) == {"/a": 1, "/b": 2, "/c": 3}


def test_while_no_new_file_can_be_written_nothing_counts_as_synced(forgetful: Forgetful) -> None:
    journal = forgetful.open()
    _put(journal, "/a", 1)
    forgetful.disk.refuses = True
    journal.sync()
    forgetful.disk.refuses = False
    forgetful.disk.before = fail_with(disk_full, "write_whole")
    done: list[str] = []
    journal.after_sync(lambda: done.append("done"))
    for _ in range(3):
        assert not journal.sync()
        with pytest.raises(OSError, match="No space left"):
            journal.sync(must=True)
    assert done == []
    assert _sizes(forgetful.open()) == {"/a": 1}, "a mere kill takes nothing"
    forgetful.disk.before = nothing
    assert journal.sync()
    assert done == ["done"]


def test_who_is_killed_after_a_failed_sync_leaves_no_trap(forgetful: Forgetful) -> None:
    """The next process reads what the platter does not have, and its own sync succeeds."""
    journal = forgetful.open()
    _put(journal, "/a", 1)
    forgetful.disk.refuses = True
    journal.sync()
    forgetful.disk.refuses = False
    again = forgetful.open()
    _put(again, "/b", 2)
    assert again.sync()
    forgetful.lose_power()
    assert _sizes(forgetful.open("two")) == {"/a": 1, "/b": 2}


def test_what_a_killed_process_has_copied_is_brought_to_the_disk(forgetful: Forgetful) -> None:
    """Its log is written anew at once; what that speaks of is not on the disk with it."""
    _put(forgetful.open(), "/a", 1)
    order: list[str] = []
    again = forgetful.open(before_sync=lambda: order.append("pieces"))
    assert again.sync_due() is not None
    again.sync()
    assert order == ["pieces"]


def test_who_stops_while_the_disk_fails_leaves_none_either(forgetful: Forgetful) -> None:
    journal = forgetful.open()
    _put(journal, "/a", 1)
    forgetful.disk.refuses = True
    forgetful.disk.before = fail_with(disk_full, "write_whole")
    journal.close()
    forgetful.disk.refuses = False
    forgetful.disk.before = nothing
    again = forgetful.open()
    assert again.was_killed
    assert again.sync()
    forgetful.lose_power()
    assert _sizes(forgetful.open("two")) == {"/a": 1}


def test_a_stop_just_when_a_sync_fails_is_a_clean_one(forgetful: Forgetful) -> None:
    """It is written to a new file at once: nobody comes back to try again."""
    journal = forgetful.open()
    _put(journal, "/a", 1)
    forgetful.disk.refuses = True
    journal.close()
    forgetful.disk.refuses = False
    forgetful.lose_power()
    again = forgetful.open("two")
    assert not again.unclean_boot
    assert _sizes(again) == {"/a": 1}


@pytest.mark.parametrize("call", ["open_append", "sync_dir"])
def test_a_new_file_whose_name_may_not_be_on_the_disk_is_written_once_more(
    forgetful: Forgetful, call: str
) -> None:
    """Else the power could bring the old one back, hours later."""
    journal = forgetful.open()
    _put(journal, "/a", 1)
    forgetful.disk.before = fail_with(eio, call)
    with pytest.raises(OSError, match="Input/output"):
        journal.write_anew()
    done: list[str] = []
    journal.after_sync(lambda: done.append("done"))
    assert not journal.sync()
    assert done == []
    written: list[str] = []
    forgetful.disk.before = lambda operation, path: written.append(operation)
    assert journal.sync()
    assert written.index("write_whole") < written.index("sync_dir")
    assert done == ["done"]
    _put(journal, "/b", 2)
    assert _sizes(forgetful.open()) == {"/a": 1, "/b": 2}


def test_a_full_disk_keeps_nobody_from_taking_over(forgetful: Forgetful) -> None:
    """What a killed process left is written anew; where there is no room, it is added to."""
    _put(forgetful.open(), "/a", 1)
    forgetful.disk.before = fail_with(disk_full, "write_whole")
    journal = forgetful.open()
    _put(journal, "/b", 2)
    forgetful.disk.before = nothing
    again = forgetful.open()
    assert _sizes(again) == {"/a": 1, "/b": 2}
    assert again.starts == 3


# -- half a line -------------------------------------------------------------------------------


@pytest.mark.parametrize("must", [True, False])
@pytest.mark.parametrize("on_windows", [False, True])
def test_half_a_line_precedes_nothing_whatever_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, must: bool, on_windows: bool
) -> None:
    """The next record, told to be written, would be taken for a torn end with it after a kill."""
    bench = Bench(tmp_path)
    journal = bench.open()
    _put(journal, "/a", 1)
    if on_windows:  # the file is closed before it is replaced there
        monkeypatch.setattr(recordfile.sys, "platform", "win32")
    bench.disk.before = fail_with(eio, "append", "truncate", "write_whole")
    if must:
        with pytest.raises(OSError, match="Input/output"):
            _put(journal, "/a", 2)
    else:
        _put(journal, "/a", 2, must=False)
    bench.disk.before = fail_with(eio, "truncate", "write_whole")
    with pytest.raises(OSError, match="Input/output"):
        _put(journal, "/b", 3)
    bench.disk.before = nothing
    _put(journal, "/c", 4)
    monkeypatch.undo()
    assert _sizes(bench.open()) == {"/a": 1, "/c": 4}


def test_the_simulated_disk_takes_what_a_failed_sync_did_not_write() -> None:
    """As the histories do it: EIO in one fsync, and the power goes long after the next one."""
    clock = SimClock()
    file_system = SimFileSystem(clock, FileSystemKind())
    file_system.make_dirs("/state")
    file_system.write_back()
    refused: list[str] = []

    def refuse(operation: str, path: str) -> None:
        if operation == "sync" and not refused:
            refused.append(path)
            raise OSError(errno.EIO, "injected", path)

    disk = SimDisk(file_system, lambda operation, path: None)
    journal = Journal(disk, ManualClock(), "/state/journal", boot_id="one", log=LOG)
    journal.open()
    _put(journal, "/a", 1)
    disk.before_call = refuse
    assert not journal.sync()
    assert journal.sync()
    disk.forget()
    file_system.crash(random.Random(1), "nothing")
    disk.before_call = lambda operation, path: None
    again = Journal(disk, ManualClock(), "/state/journal", boot_id="two", log=LOG)
    again.open()
    assert refused == ["/state/journal"]
    assert _sizes(again) == {"/a": 1}
