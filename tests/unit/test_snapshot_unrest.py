"""Looks at a file that is being written, and looks on a disk that refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.core_fakes import HookedDisk, ManualClock, disk_full, fail_with, nothing, on_nth
from tests.unit.core_local import Local


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


# -- while it is written -----------------------------------------------------------------------


@contextmanager
def _writes_during(local: Local, nth_read: int, data: bytes, mode: str = "wb") -> Iterator[None]:
    """The program writes before the ``nth`` read of the file; afterwards if there is none."""
    done = False

    def act() -> None:
        nonlocal done
        done = True
        local.write(data, mode)

    local.disk.before = on_nth("read", "a.csv", nth_read, act)
    try:
        yield
    finally:
        local.disk.before = nothing
        if not done:
            act()


def _is_prefix(content: bytes, *wholes: bytes) -> bool:
    return any(whole.startswith(content) for whole in wholes)


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
@pytest.mark.parametrize("nth_read", [1, 2, 3])
@pytest.mark.parametrize("new", [b"BBBBBBBB", b"BB", b"BBBBBBBBBBBBBBBB"])
def test_a_version_that_is_rewritten_while_it_is_read_is_never_mixed(
    local: Local, growth: str, nth_read: int, new: bytes
) -> None:
    local.write(b"AAAAAAAA")
    with _writes_during(local, nth_read, new):
        outcome = local.take(growth)
    if outcome.result == "taken":
        assert _is_prefix(local.content(), b"AAAAAAAA", new)
    local.take(growth)
    assert local.content() == new
    assert not local.outbox_litter()


@pytest.mark.parametrize("nth_read", range(1, 6))
@pytest.mark.parametrize("new", [b"BBBBBBBB", b"BBBBBBBBBBBBBBBB", b"AAAABBBBB"])
def test_growth_that_turns_into_a_rewrite_while_it_is_read_is_never_mixed(
    local: Local, nth_read: int, new: bytes
) -> None:
    """Promise 3: one whole version, or an exact prefix; never the old head and the new tail."""
    local.write(b"AAAA")
    local.take()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, new):
        local.take()
    assert _is_prefix(local.content(), b"AAAAaaaa", new)
    local.take()
    assert local.content() == new


@pytest.mark.parametrize("nth_read", [1, 2, 3])
def test_growth_while_it_is_read_is_taken(local: Local, nth_read: int) -> None:
    local.write(b"AAAA")
    local.take()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, b"more", "ab"):
        assert local.take().result == "taken"
    assert local.content() in (b"AAAAaaaa", b"AAAAaaaamore")
    assert local.current.growing


def test_a_rewriter_that_never_rests_is_taken_at_last(local: Local) -> None:
    local.write(b"AAAAAAAA")
    with _writes_during(local, 2, b"BBBBBBBB"):
        assert local.take("rewrite").result == "unstable"
    assert local.ledger.get(local.path) is None
    with _writes_during(local, 2, b"CCCCCCCC"):
        assert local.take("rewrite", final=True).result == "taken"


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
@pytest.mark.parametrize(
    "nth_read",
    [
        1,
        2,
    ],
)
def test_what_was_taken_at_last_is_mended_once_it_rests(
    local: Local, growth: str, nth_read: int
) -> None:
    """A torn snapshot may be sent with a warning; the next look must see that it was torn."""
    local.write(b"AAAAAAAA")
    with _writes_during(local, nth_read, b"BBBBBBBB"):
        assert local.take(growth, final=True).result == "taken"
    local.take(growth)
    assert local.content() == b"BBBBBBBB"


@pytest.mark.parametrize(
    "growth",
    [
        "auto",
        "rewrite",
        "append",
    ],
)
def test_bytes_that_are_not_the_snapshots_are_never_sent(local: Local, growth: str) -> None:
    """A file that was truncated and outgrew its snapshot: the old version is itself, or lost."""
    local.verify_up_to_bytes = 10  # longer pieces of the file itself have no digest
    local.open()
    local.write(b"old " * 10)
    local.take(growth)
    local.write(b"more " * 10, "ab")
    local.take(growth)
    old = b"old " * 10 + b"more " * 10
    new = b"new content " * 50
    local.write(new)
    local.take(growth)
    assert local.content() == new
    for version in local.entry.versions[:-1]:
        try:
            found = local.content(version.number)
        except Exception as error:
            assert type(error).__name__ == "BytesLost"  # noqa: PT017
        else:
            assert found == old


# -- a disk that refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("growth", "where"),
    [
        ("auto", "journal"),
        ("auto", ".piece"),
        ("rewrite", "journal"),
        ("rewrite", ".piece"),
        ("append", "journal"),
        ("append", ".piece"),
    ],
)
def test_a_full_disk_loses_nothing_and_leaves_no_litter(
    local: Local, growth: str, where: str
) -> None:
    """Promise 1: pysubtask never fills the disk. A refused look cleans up."""
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.disk.before = fail_with(disk_full, "append", suffix=where)
    results = [local.take(growth).result for _ in range(3)]
    if growth == "append" and where == ".piece":  # copies nothing
        assert results == ["taken", "unchanged", "unchanged"]
    else:
        assert results == ["failed"] * 3
    assert not local.outbox_litter()
    local.disk.before = nothing
    local.take(growth)
    assert local.content() == b"one+two"
    local.open()
    assert local.content() == b"one+two"


@pytest.mark.parametrize("growth", ["auto", "append"])
@pytest.mark.parametrize(
    "there",
    [True, False],
)
def test_a_full_disk_at_rotation_fails_the_look_and_the_old_version_waits(
    local: Local, growth: str, there: bool
) -> None:
    local.write(b"one")
    local.take(growth)
    local.write(b"+two", "ab")
    local.take(growth)
    local.write(b"+three", "ab")
    os.rename(local.path, local.path + ".1")
    if there:
        local.write(b"new")
    local.disk.before = fail_with(disk_full, "append", "write_whole", suffix="")
    outcome = local.take(growth)
    assert outcome.result == "failed"
    assert outcome.error is not None
    assert outcome.error.errno == errno.ENOSPC
    local.disk.before = nothing
    local.take(growth)
    assert local.content(1) == b"one+two+three"
    if there:
        assert local.content(2) == b"new"
    assert not local.outbox_litter()


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
@pytest.mark.parametrize("operation", ["fstat", "read"])
def test_a_look_that_fails_after_it_has_copied_leaves_no_litter(
    local: Local, growth: str, operation: str
) -> None:
    """A bad block that is read well only once, say. The look is tried again and again: one file of
    1 GB would fill the outbox, and nothing of other files be copied."""
    local.write(b"x" * 1000)

    def refuse() -> None:
        raise OSError(errno.EIO, "Input/output error")

    for _ in range(5):
        local.disk.before = on_nth(operation, "a.csv", 2, refuse)
        assert local.take(growth).result == "failed"
    local.disk.before = nothing
    assert local.ledger.outbox.held_bytes == 0
    assert not local.outbox_litter()
    assert local.take(growth).result == "taken"


def test_a_copy_that_can_not_be_opened_to_be_checked_leaves_no_litter(tmp_path: Path) -> None:
    """There are too many open files at that moment."""
    local = Local(tmp_path, ManualClock(), HookedDisk(), verify_up_to_bytes=10)
    local.write(b"x" * 1000)
    too_many = OSError(errno.EMFILE, "Too many open files")
    local.disk.before = fail_with(lambda: too_many, "open_read", suffix=".piece")
    assert local.take().result == "failed"
    local.disk.before = nothing
    assert local.ledger.outbox.held_bytes == 0
    assert not local.outbox_litter()


@pytest.mark.parametrize("nth_read", [1, 2, 3])
def test_unstable_looks_leave_no_litter(local: Local, nth_read: int) -> None:
    local.write(b"AAAA")
    local.take()
    local.deliver_all()
    local.write(b"aaaa", "ab")
    with _writes_during(local, nth_read, b"BBBBBBBB"):
        local.take()
    assert not local.outbox_litter()


@pytest.mark.parametrize("growth", ["auto", "append"])
@pytest.mark.parametrize("first", [b"", b"head\n"])
def test_a_third_file_is_not_taken_for_the_end_of_the_first(
    local: Local, growth: str, first: bytes
) -> None:
    """Rotated twice within one look: what has the name by now is no rest of what had it at first
    (history 213656 of the simulator), though it may begin with the same bytes."""
    local.write(first)
    local.take(growth)
    with open(local.path, "rb"):  # so that the second file gets another inode
        os.remove(local.path)
        local.open()  # nothing is held any more
        local.write(b"second")

    def rotate() -> None:
        os.rename(local.path, local.path + ".1")
        local.write(first + b"third")

    local.disk.before = on_nth("open_read", "a.csv", 2, rotate)
    local.take(growth)
    local.disk.before = nothing
    local.take(growth)
    contents = [local.content(version.number) for version in local.entry.versions]
    whole = [first, b"second", first + b"third"]  # what nobody has begun on may be left out
    assert contents == [content for content in whole if content in contents]
    assert contents[-1] == first + b"third"
    assert growth != "append" or b"second" in contents


def test_nor_if_it_has_the_number_of_the_first_one(local: Local) -> None:
    """A longer copy of a file is moved into its place, and then one of the copy, to which the file
    system gives the number that is free again: nobody may see the second before the first
    (history 17012106253 of the simulator)."""
    local.write(b"head\n")
    local.take("append")
    local.open()  # nothing is held any more
    original = os.stat(local.path).st_ino

    first, second = b"head\none\n", b"head\none\ntwo\n"
    os.rename(local.path, local.path + ".kept")  # so that its number is free to be given back
    local.write(first)

    def again() -> None:
        os.remove(local.path)
        os.rename(local.path + ".kept", local.path)
        with open(local.path, "ab") as file:
            file.write(second[len(b"head\n") :])
        assert os.stat(local.path).st_ino == original

    local.disk.before = on_nth("open_read", "a.csv", 2, again)
    local.take("append")
    local.disk.before = nothing
    local.take("append")
    contents = [local.content(version.number) for version in local.entry.versions]
    assert contents == sorted(contents, key=len), contents
    assert contents[-1] == second
