"""The simulated disk does what a real one does, and a loss of power takes only what it may."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pysubtask.seams.disk import Disk, FileStat, ReadHandle, RealDisk, WriteHandle
from tests.simulation.clock import Killed, SimClock
from tests.simulation.disk import SimDisk
from tests.simulation.filesystem import FileSystemKind, SimFileSystem

NAMES = ["a", "b", "d/a", "d/e/a", "d", "nowhere/a", "x" * 300, "\udcff\udc80"]
name = st.sampled_from(NAMES)
data = st.binary(max_size=20)


def _nothing(operation: str, path: str) -> None:
    pass


def _sim(kind: FileSystemKind | None = None) -> tuple[SimClock, SimFileSystem, SimDisk]:
    clock = SimClock()
    file_system = SimFileSystem(clock, kind or FileSystemKind())
    file_system.make_dirs("/w")
    file_system.write_back()
    return clock, file_system, SimDisk(file_system, _nothing)


class SameAsReal(RuleBasedStateMachine):
    """Every call on both; the same result or the same errno."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        _, _, sim = _sim()
        self.sides: list[tuple[Disk, str]] = [(sim, "/w"), (RealDisk(), self._folder.name)]
        self.handles: list[tuple[Any, Any]] = []

    def teardown(self) -> None:
        for pair in self.handles:
            for handle in pair:
                handle.close()
        self._folder.cleanup()

    def both(self, call: Callable[[Disk, str], Any]) -> Any:
        """The simulated side's result, if it is the real one's as well."""
        results: list[Any] = []
        values: list[Any] = []
        for disk, root in self.sides:
            try:
                value = call(disk, root)
            except OSError as error:
                results.append(("error", error.errno))
                values.append(None)
            else:
                handle = hasattr(value, "close")
                results.append("handle" if handle else value)
                values.append(value)
        assert results[0] == results[1]
        if results[0] == "handle":
            self.handles.append((values[0], values[1]))
        return results[0]

    @rule(path=name, new=st.booleans())
    def open_append(self, path: str, new: bool) -> None:
        self.both(lambda disk, root: disk.open_append(f"{root}/{path}", create_new=new))

    @rule(path=name)
    def open_read(self, path: str) -> None:
        self.both(lambda disk, root: disk.open_read(f"{root}/{path}"))

    @rule(which=st.integers(0), content=data, size=st.integers(0, 30))
    def use_handle(self, which: int, content: bytes, size: int) -> None:
        if not self.handles:
            return
        pair = self.handles[which % len(self.handles)]
        results = [_use(handle, content, size) for handle in pair]
        assert results[0] == results[1]

    @rule(which=st.integers(0))
    def close(self, which: int) -> None:
        if self.handles:
            for handle in self.handles.pop(which % len(self.handles)):
                handle.close()

    @rule(path=name, content=data, sync=st.booleans())
    def write_whole(self, path: str, content: bytes, sync: bool) -> None:
        self.both(lambda disk, root: disk.write_whole(f"{root}/{path}", content, sync=sync))

    @rule(path=name, limit=st.integers(0, 30))
    def read_whole(self, path: str, limit: int) -> None:
        self.both(lambda disk, root: disk.read_whole(f"{root}/{path}", limit))

    @rule(path=name, onto=name)
    def rename(self, path: str, onto: str) -> None:
        for disk, root in self.sides:
            try:
                if disk.stat(f"{root}/{path}").is_dir:
                    return  # folders are never renamed
            except OSError:
                pass
        self.both(lambda disk, root: disk.rename(f"{root}/{path}", f"{root}/{onto}"))

    @rule(path=name)
    def remove(self, path: str) -> None:
        self.both(lambda disk, root: disk.remove(f"{root}/{path}"))

    @rule(path=st.sampled_from(["d", "d/e", "a"]))
    def make_dirs(self, path: str) -> None:
        self.both(lambda disk, root: disk.make_dirs(f"{root}/{path}"))

    @rule(path=st.sampled_from(["", "/nowhere"]))
    def sync_dir(self, path: str) -> None:
        self.both(lambda disk, root: disk.sync_dir(root + path))

    @rule(path=name)
    def stat(self, path: str) -> None:
        self.both(lambda disk, root: _plain(disk.stat(f"{root}/{path}")))

    @invariant()
    def same_names(self) -> None:
        for folder in ("", "/d"):
            self.both(lambda disk, root, f=folder: _listing(disk, root + f))  # type: ignore[misc]


def _plain(st: FileStat) -> tuple[bool, bool, int]:
    return st.is_file, st.is_dir, st.size if st.is_file else 0


def _listing(disk: Disk, folder: str) -> list[Any]:
    return sorted((name, _plain(st) if st else None) for name, st in disk.scan(folder))


def _use(handle: Any, content: bytes, size: int) -> Any:
    if hasattr(handle, "append"):
        writer: WriteHandle = handle
        if size % 5 == 0:
            writer.truncate(size)
        writer.append(content)
        writer.sync()
        return None
    reader: ReadHandle = handle
    return reader.read_at(size, len(content)), _plain(reader.stat())


SameAsReal.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSameAsReal = SameAsReal.TestCase


def test_process_death_loses_nothing_and_closes_handles() -> None:
    _, file_system, disk = _sim()
    handle = disk.open_append("/w/a")
    handle.append(b"one")
    disk.abandon()
    assert file_system.read("/w/a") == b"one"
    assert file_system.file("/w/a").opens == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        handle.append(b"two")


@pytest.mark.parametrize("zero_tails", [False, True])
def test_power_loss_keeps_what_was_synced_and_a_prefix_of_the_rest(zero_tails: bool) -> None:
    seen = set()
    for seed in range(200):
        _, file_system, disk = _sim(FileSystemKind(zero_tails=zero_tails))
        handle = disk.open_append("/w/a")
        handle.append(b"hard")
        handle.sync()
        disk.sync_dir("/w")
        handle.append(b"soft")
        handle.append(b"MORE")
        disk.forget()
        file_system.crash(random.Random(seed))
        left = file_system.read("/w/a")
        assert left[:4] == b"hard"
        tail = left[4:]
        kept = len(tail.rstrip(b"\0"))
        assert b"softMORE".startswith(tail[:kept])
        assert zero_tails or kept == len(tail)
        seen.add(left)
    assert b"hard" in seen
    assert b"hardsoftMORE" in seen
    assert len(seen) > 4
    assert any(b"\0" in left for left in seen) == zero_tails


def test_what_a_failed_sync_did_not_write_is_seen_and_lost() -> None:
    """fsync(2), "Errors": Linux counts it as written, and the next one succeeds without it."""
    _, file_system, disk = _sim()
    handle = disk.open_append("/w/a")
    handle.append(b"one,")
    handle.sync()
    handle.append(b"two,")

    def refuse(operation: str, path: str) -> None:
        raise OSError(errno.EIO, "injected", path)

    disk.before_call = refuse
    with pytest.raises(OSError, match="injected"):
        handle.sync()
    disk.before_call = _nothing
    handle.append(b"three,cut")
    handle.truncate(14)
    handle.sync()
    assert file_system.read("/w/a") == b"one,two,three,"
    disk.forget()
    file_system.crash(random.Random(1))
    assert file_system.read("/w/a") == b"one,\0\0\0\0three,"


def test_power_loss_undoes_names_in_order_within_a_folder() -> None:
    seen = set()
    for seed in range(200):
        _, file_system, disk = _sim(FileSystemKind(ordered_names=False))
        for path in ("/w/a", "/w/b", "/w/c"):
            disk.open_append(path).close()
        disk.rename("/w/a", "/w/d")
        disk.forget()
        file_system.crash(random.Random(seed))
        seen.add("".join(sorted(name for name, _ in disk.scan("/w"))))
    assert seen == {"", "a", "ab", "abc", "bcd"}


def test_folders_lose_names_independently_unless_there_is_one_journal() -> None:
    def outcomes(ordered: bool) -> set[tuple[bool, bool]]:
        found = set()
        for seed in range(100):
            _, file_system, disk = _sim(FileSystemKind(ordered_names=ordered))
            file_system.make_dirs("/w/x")
            file_system.write_back()
            disk.open_append("/w/x/first").close()
            disk.open_append("/w/second").close()
            disk.forget()
            file_system.crash(random.Random(seed))
            found.add((file_system.exists("/w/x/first"), file_system.exists("/w/second")))
        return found

    assert outcomes(ordered=False) == {(a, b) for a in (False, True) for b in (False, True)}
    assert outcomes(ordered=True) == {(False, False), (True, False), (True, True)}


def test_a_move_between_folders_is_one_change() -> None:
    for seed in range(100):
        _, file_system, disk = _sim(FileSystemKind(ordered_names=False))
        file_system.make_dirs("/w/x")
        disk.open_append("/w/a").close()
        file_system.write_back()
        disk.rename("/w/a", "/w/x/a")
        disk.forget()
        file_system.crash(random.Random(seed))
        assert file_system.exists("/w/a") != file_system.exists("/w/x/a")


def test_a_freed_inode_number_goes_to_the_next_file() -> None:
    _, _, disk = _sim()
    disk.open_append("/w/a").close()
    number = disk.stat("/w/a").ino
    held = disk.open_read("/w/a")
    disk.remove("/w/a")
    disk.open_append("/w/b").close()
    assert disk.stat("/w/b").ino != number, "it is still open"
    held.close()
    disk.open_append("/w/c").close()
    assert disk.stat("/w/c").ino == number


@pytest.mark.parametrize(
    ("kind", "mtime_ns", "ctime_ns"),
    [
        (FileSystemKind(), 5_123_456_789, 7_001_000_003),
        (FileSystemKind(tick_ns=4_000_000), 5_123_456_789, 7_000_000_000),
        (FileSystemKind(tick_ns=10**9, granularity_ns=10**9), 5 * 10**9, 7 * 10**9),
        (
            FileSystemKind(tick_ns=2 * 10**9, granularity_ns=2 * 10**9, ctime_is_mtime=True),
            4 * 10**9,
            4 * 10**9,
        ),
    ],
)
def test_time_stamps_are_as_coarse_as_the_file_system(
    kind: FileSystemKind, mtime_ns: int, ctime_ns: int
) -> None:
    clock, file_system, disk = _sim(kind)
    clock.wall_offset_ns = 7_001_000_003
    file_system.touch("/w/a", 5_123_456_789)
    st = disk.stat("/w/a")
    assert (st.mtime_ns, st.ctime_ns) == (mtime_ns, ctime_ns)
    file_system.touch("/w/a")
    assert disk.stat("/w/a").mtime_ns == 7_001_000_003 // kind.tick_ns * kind.tick_ns


def test_a_full_disk_takes_what_fits() -> None:
    _, file_system, disk = _sim()
    handle = disk.open_append("/w/a")
    file_system.capacity_bytes = file_system.used_bytes + 3
    with pytest.raises(OSError, match="No space left"):
        handle.append(b"12345")
    assert file_system.read("/w/a") == b"123"
    assert disk.free_bytes("/w") == 0
    file_system.append("/w/p", b"the program has reserved blocks")


def test_the_dead_do_nothing_more() -> None:
    clock = SimClock()
    file_system = SimFileSystem(clock, FileSystemKind())
    file_system.make_dirs("/w")
    calls: list[str] = []

    def third_is_deadly(operation: str, path: str) -> None:
        calls.append(operation)
        if len(calls) >= 3:
            raise Killed(0.5)

    disk = SimDisk(file_system, third_is_deadly)
    handle = disk.open_append("/w/a")
    handle.append(b"first.")
    with pytest.raises(Killed):
        handle.append(b"second")
    assert file_system.read("/w/a") == b"first.sec", "half of the write was done"


def test_names_are_text_with_surrogates() -> None:
    _, _, disk = _sim()
    path = "/w/" + os.fsdecode(b"\xff\x80")
    disk.open_append(path).close()
    assert [name for name, _ in disk.scan("/w")] == ["\udcff\udc80"]
