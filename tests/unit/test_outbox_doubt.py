"""Copies on a disk that fails to sync: what can be read of them is not always on the platter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.core.model import Piece
from pysubtask.core.prints import digest_of
from tests.unit.core_fakes import disk_full, fail_with, nothing, on_nth
from tests.unit.test_outbox import Bench
from tests.unit.test_recordfile import ForgetfulDisk


class Forgetful(Bench):
    """An outbox on a disk that forgets what a failed sync did not write."""

    disk: ForgetfulDisk

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disk = ForgetfulDisk()
        self.open()

    def store(self, data: bytes) -> str:
        """A piece of which a sync has failed."""
        name, _, _ = self.box.store([data])
        self.disk.refuses = True
        with pytest.raises(OSError, match="Input/output"):
            self.box.sync()
        self.disk.refuses = False
        return name


@pytest.fixture
def bench(tmp_path: Path) -> Forgetful:
    return Forgetful(tmp_path)


def test_a_copy_whose_sync_failed_is_written_to_a_new_file(bench: Forgetful) -> None:
    """The next sync of the old one would succeed, and the power take what the file has no more."""
    name = bench.store(b"precious rows")
    assert bench.box.synced(name) == (0, "")
    before = os.stat(bench.folder / name).st_ino
    bench.box.sync()
    assert os.stat(bench.folder / name).st_ino != before
    assert bench.files() == [name]
    assert bench.content(name) == b"precious rows"
    assert bench.box.synced(name) == (13, digest_of(b"precious rows"))
    assert b"precious rows" in bench.disk.platter.values()


def test_until_then_it_is_not_added_to_and_checked_when_it_is_sent(bench: Forgetful) -> None:
    name = bench.store(b"one")
    assert not bench.box.may_extend(name, 3)
    assert not bench.box.is_own(name)
    with pytest.raises(OSError, match="a sync of it failed"):
        bench.box.extend(name, [b"two"])


def test_afterwards_it_is_as_any_other(bench: Forgetful) -> None:
    name = bench.store(b"one")
    bench.box.sync()
    assert bench.box.may_extend(name, 3)
    assert bench.box.is_own(name)
    size, digest = bench.box.extend(name, [b"two"])
    assert bench.box.is_whole(Piece(0, size, name, digest))


@pytest.mark.parametrize("call", ["open_append", "append", "rename"])
def test_a_disk_that_has_no_room_for_it_keeps_the_old_one(bench: Forgetful, call: str) -> None:
    name = bench.store(b"one")
    bench.disk.before = fail_with(disk_full, call)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            bench.box.sync()
    bench.disk.before = nothing
    assert bench.files() == [name]
    bench.box.sync()
    assert bench.box.synced(name) == (3, digest_of(b"one"))


def test_what_the_disk_does_not_show_as_it_was_written_is_not_believed(bench: Forgetful) -> None:
    """The system may have let go of what it could not write, and read the platter again."""
    name = bench.store(b"one")
    (bench.folder / name).write_bytes(b"\0\0\0")
    with pytest.raises(OSError, match="as it was written"):
        bench.box.sync()
    assert bench.files() == [name]


def test_one_of_an_earlier_process_is_copied_as_it_is(bench: Forgetful) -> None:
    """Its digest is in the journal, and compared when it is sent."""
    name, _, _ = bench.box.store([b"one"])
    bench.open(name)
    bench.disk.refuses = True
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync()
    bench.disk.refuses = False
    bench.box.sync()
    assert bench.files() == [name]
    assert bench.content(name) == b"one"


@pytest.mark.parametrize("call", ["open_read", "append"])
def test_one_that_goes_meanwhile_stays_gone(bench: Forgetful, call: str) -> None:
    name = bench.store(b"one")
    bench.disk.before = on_nth(call, ".piece", 1, lambda: bench.box.discard([name]))
    bench.box.sync()
    bench.disk.before = nothing
    assert bench.files() == []
    bench.box.sync()


def test_one_that_is_missing_is_not_told_as_the_loss_of_the_file_that_is_copied(
    bench: Forgetful,
) -> None:
    name = bench.store(b"one")
    os.unlink(bench.folder / name)
    with pytest.raises(OSError, match="No such file") as caught:
        bench.box.sync()
    assert not isinstance(caught.value, FileNotFoundError)


def _tries(bench: Forgetful, name: str, secs: int) -> tuple[list[int], set[str]]:
    """Sync each second, on a disk that has no room for a new file. Gives when one was begun, and
    what was said."""
    now = [100.0]
    bench.box._now = lambda: now[0]
    at: list[int] = []
    said: set[str] = set()

    def refuse(operation: str, path: str) -> None:
        if operation == "append" and not path.endswith(name):
            at.append(int(now[0]) - 100)
            raise disk_full()

    bench.disk.before = refuse
    for _ in range(secs):
        with pytest.raises(OSError, match="No space left") as caught:
            bench.box.sync()
        said.add(str(caught.value))
        now[0] += 1
    bench.disk.before = nothing
    return at, said


def test_one_that_can_not_be_renewed_is_tried_ever_more_rarely(bench: Forgetful) -> None:
    """Each delivery would write all of it again, and the log have a line for each."""
    name = bench.store(b"one")
    at, said = _tries(bench, name, 2000)
    assert at[:6] == [0, 1, 3, 7, 15, 31]
    assert len(at) < 16
    assert at[-1] - at[-2] == 300, "the disk may be good again"
    assert len(said) == 1
    assert name in said.pop()


def test_after_that_it_begins_anew(bench: Forgetful) -> None:
    name = bench.store(b"one")
    _tries(bench, name, 100)
    bench.box._now = lambda: 1000.0
    bench.box.sync()
    assert bench.box.synced(name) == (3, digest_of(b"one"))
    bench.box.extend(name, [b"two"])
    bench.disk.refuses = True
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync()
    bench.disk.refuses = False
    assert _tries(bench, name, 4)[0] == [0, 1, 3]
    bench.box.discard([name])
    assert not bench.box._refused


def test_one_that_is_being_added_to_is_renewed_later(bench: Forgetful) -> None:
    name, _, _ = bench.box.store([b"one"])
    seen: list[str] = []

    def other_thread() -> None:
        bench.disk.before = nothing
        bench.disk.refuses = True
        for _ in range(2):
            with pytest.raises(OSError, match=r"Input/output|added to") as caught:
                bench.box.sync()
            seen.append(str(caught.value))
        bench.disk.refuses = False

    bench.box._dirty[name] = None
    bench.disk.before = on_nth("append", ".piece", 1, other_thread)
    bench.box.extend(name, [b"two"])
    assert "added to" in seen[1]
    bench.box.sync()
    assert bench.content(name) == b"onetwo"
    assert bench.box.synced(name) == (6, digest_of(b"onetwo"))
