"""What was delivered of a rotated file is kept at the destination under a name of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.core.model import entry_from_json, entry_to_json
from pysubtask.errors import RemoteDenied
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import KINDS, Cut, Remote, make_remote

FIRST, SECOND, THIRD = b"head,1\nfirst\n", b"second\n", b"third, longer than others\n"
STAMP = "20261126T104500Z"
CHANGED_AT = 1_795_689_900


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk(), rotated_as="{name}-{time}")


def rotate(local: Local, to: str, new: bytes) -> None:
    os.rename(local.path, local.folder / to)
    write(local, new)


def write(local: Local, data: bytes, mode: str = "wb") -> None:
    local.write(data, mode)
    os.utime(local.path, (CHANGED_AT, CHANGED_AT))


def first_delivered(local: Local, kind: str = "sequential", growth: str = "append") -> Remote:
    remote = make_remote(local, kind)
    write(local, FIRST)
    local.take(growth)
    remote.settle()
    return remote


def files(remote: Remote) -> dict[str, bytes | None]:
    return {name: remote.server.read_file(name) for name in remote.server.names()}


@KINDS
@pytest.mark.parametrize("growth", ["append", "auto"])
def test_the_finished_file_is_kept_and_nothing_is_sent_again(
    local: Local, kind: str, growth: str
) -> None:
    remote = first_delivered(local, kind, growth)
    rotate(local, "a.csv.1", SECOND)
    local.take(growth)
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST, "a.csv": SECOND}
    assert remote.server.written_bytes == len(FIRST + SECOND)
    assert local.entry.rotated == ()


@KINDS
def test_without_the_setting_the_new_file_takes_its_place(local: Local, kind: str) -> None:
    local.rotated_as = ""
    remote = first_delivered(local, kind)
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {"a.csv": SECOND}


@KINDS
def test_numbers_that_shift_name_nothing_and_never_meet(local: Local, kind: str) -> None:
    """a.csv.1 becomes a.csv.2: at the destination each file has one name for good."""
    local.rotated_as = "{local}"
    remote = first_delivered(local, kind)
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    remote.settle()
    os.rename(local.folder / "a.csv.1", local.folder / "a.csv.2")
    rotate(local, "a.csv.1", THIRD)  # within the same second
    local.take("append")
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST, f"a.csv-{STAMP}_1": SECOND, "a.csv": THIRD}


def test_a_dated_name_is_taken_over(local: Local) -> None:
    local.rotated_as = "{local}"
    remote = first_delivered(local)
    rotate(local, "a.csv.2026-11-26", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {"a.csv.2026-11-26": FIRST, "a.csv": SECOND}


def test_not_the_name_of_a_file_that_is_watched_itself(local: Local) -> None:
    local.rotated_as = "{local}"
    local.sources._is_watched = lambda path: path.endswith("2026-11-26")
    remote = first_delivered(local)
    rotate(local, "a.csv.2026-11-26", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST, "a.csv": SECOND}


def test_what_came_before_the_rotation_is_delivered_first(local: Local) -> None:
    remote = first_delivered(local)
    write(local, b"more\n", "ab")
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST + b"more\n", "a.csv": SECOND}


@pytest.mark.parametrize("growth", ["append", "auto"])
def test_several_rotations_while_the_link_is_down(local: Local, growth: str) -> None:
    remote = make_remote(local)
    local.write(FIRST)
    local.take(growth)
    for number, content in ((1, SECOND), (2, THIRD)):
        rotate(local, f"a.csv.2026-11-0{number}", content)
        local.rotated_as = "{local}"
        local.take(growth)
    remote.settle()
    assert files(remote) == {"a.csv.2026-11-01": FIRST, "a.csv.2026-11-02": SECOND, "a.csv": THIRD}


@pytest.mark.parametrize("gone_first", [False, True])
def test_a_rotation_that_happens_while_no_child_runs(local: Local, gone_first: bool) -> None:
    local.rotated_as = "{local}"
    first_delivered(local)
    os.rename(local.path, local.folder / "a.csv-20261126")
    local.sources.close()
    local.open()
    if gone_first:
        assert local.take("append").result == "missing"
    local.write(SECOND)
    remote = make_remote(local)
    remote.server.put_file("a.csv", FIRST)
    local.take("append")
    remote.settle()
    assert files(remote) == {"a.csv-20261126": FIRST, "a.csv": SECOND}


@pytest.mark.parametrize(("growth", "kept"), [("append", True), ("auto", False)])
def test_copy_and_truncate(local: Local, growth: str, kept: bool) -> None:
    """With "auto" a file that was never seen to grow may just as well have been rewritten."""
    remote = first_delivered(local, growth=growth)
    local.write(b"2\n")
    local.take(growth)
    remote.settle()
    assert (f"a.csv-{STAMP}" in files(remote)) == kept
    assert files(remote)["a.csv"] == b"2\n"


def test_a_growing_file_that_is_truncated_was_rotated(local: Local) -> None:
    remote = first_delivered(local, growth="auto")
    write(local, b"more\n", "ab")
    local.take("auto")
    remote.settle()
    local.write(b"2\n")
    local.take("auto")
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST + b"more\n", "a.csv": b"2\n"}


def test_an_edit_is_no_rotation(local: Local) -> None:
    remote = first_delivered(local, growth="auto")
    local.write(FIRST.replace(b"1", b"2"))
    local.take("auto")
    remote.settle()
    assert files(remote) == {"a.csv": FIRST.replace(b"1", b"2")}


def test_a_file_under_that_name_stays(local: Local) -> None:
    remote = first_delivered(local)
    remote.server.put_file(f"a.csv-{STAMP}", b"somebody's")
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {
        f"a.csv-{STAMP}": b"somebody's",
        f"a.csv-{STAMP}_1": FIRST,
        "a.csv": SECOND,
    }


def test_what_a_consumer_took_is_not_missed(local: Local) -> None:
    remote = first_delivered(local)
    remote.server.take_file("a.csv")
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    remote.settle()
    assert files(remote) == {"a.csv": SECOND}


@KINDS
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_request_nothing_is_lost_doubled_or_overwritten(
    tmp_path: Path, kind: str, after: bool
) -> None:
    """Each request of the delivery in turn is the last one that a process makes."""
    for number in range(1, 30):
        folder = tmp_path / str(number)
        folder.mkdir()
        local = Local(folder, ManualClock(), HookedDisk(), rotated_as="{name}-{time}")
        remote = first_delivered(local, kind)
        rotate(local, "a.csv.1", SECOND)
        local.take("append")
        cut = Cut(number)
        if after:
            remote.server.fault_after = cut
        else:
            remote.server.fault_before = cut
        remote.step()
        if not cut.done:
            break
        remote.restart()
        remote.settle()
        assert files(remote) == {f"a.csv-{STAMP}": FIRST, "a.csv": SECOND}, number
    assert number > 4


def test_a_server_that_refuses_to_rename_keeps_what_is_there(local: Local) -> None:
    remote = first_delivered(local)
    rotate(local, "a.csv.1", SECOND)
    local.take("append")

    def deny(operation: str, path: str) -> None:
        if operation == "rename" and path == "a.csv":
            raise RemoteDenied("no", operation=operation, path=path)

    remote.server.fault_before = deny
    remote.step()
    assert remote.server.read_file("a.csv") == FIRST
    assert "no" in str(remote.delivery.errors)
    remote.server.fault_before = lambda operation, path: None
    local.clock.advance(300)
    remote.settle()
    assert files(remote) == {f"a.csv-{STAMP}": FIRST, "a.csv": SECOND}


def test_the_journal_keeps_the_name(local: Local) -> None:
    first_delivered(local)
    rotate(local, "a.csv.1", SECOND)
    local.take("append")
    assert local.entry.rotated == ((1, f"a.csv-{STAMP}"),)
    assert entry_from_json(entry_to_json(local.entry)) == local.entry
    local.open()
    assert local.entry.rotated == ((1, f"a.csv-{STAMP}"),)
