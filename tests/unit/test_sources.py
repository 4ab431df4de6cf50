"""The watched file as a source: held open, followed through renames, never mistaken."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pysubtask.core.model import Identity, Version
from pysubtask.core.prints import print_of
from pysubtask.subtask.store import sources as sources_module
from pysubtask.subtask.store.sources import Sources, is_same_content
from tests.unit.core_fakes import HookedDisk, fail_with, make_version, nothing


class Bench:
    """A folder with a file, and what is held of it."""

    def __init__(self, folder: Path, *, hold: bool = True) -> None:
        self.folder = folder
        self.path = str(folder / "a.csv")
        self.disk = HookedDisk()
        self.sources = Sources(self.disk, hold=hold)

    def version(self, number: int = 1, path: str = "") -> Version:
        """The version that the file holds now."""
        path = path or self.path
        data = Path(path).read_bytes()
        st = os.stat(path)
        kept = print_of(lambda at, n: data[at : at + n], "whole", len(data))
        assert kept is not None
        return make_version(number, len(data), identity=Identity(st.st_dev, st.st_ino), print=kept)

    def hold(self, number: int = 1, path: str = "") -> None:
        self.sources.hold(path or self.path, number, self.disk.open_read(path or self.path))

    def read(self, version: Version) -> bytes:
        with self.sources.borrow(self.path, version) as handle:
            return handle.read_at(0, 100)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "a.csv").write_bytes(b"content")
    return Bench(tmp_path)


# -- finding -----------------------------------------------------------------------------------


def test_the_file_itself(bench: Bench) -> None:
    assert bench.read(bench.version()) == b"content"
    assert not bench.disk.open_handles


def test_it_may_have_grown(bench: Bench) -> None:
    version = bench.version()
    with open(bench.path, "ab") as file:
        file.write(b"+more")
    assert bench.read(version) == b"content+more"


def test_renamed(bench: Bench) -> None:
    version = bench.version()
    os.rename(bench.path, bench.path + ".1")
    Path(bench.path).write_bytes(b"another")
    assert bench.read(version) == b"content"
    assert not bench.disk.open_handles


def test_renamed_and_the_new_one_begins_alike(bench: Bench) -> None:
    """With the same header, say, when no more than the header had been seen."""
    version = bench.version()
    os.rename(bench.path, bench.path + ".1")
    with open(bench.path + ".1", "ab") as file:
        file.write(b"+old")
    Path(bench.path).write_bytes(b"content+new")
    assert bench.read(version) == b"content+old"


@pytest.mark.parametrize("new", [None, b"another", b"content+new"])
def test_renamed_while_we_look(bench: Bench, new: bytes | None) -> None:
    version = bench.version()

    def rotate(operation: str, path: str) -> None:
        if operation == "open_read" and path == bench.path:
            bench.disk.before = nothing
            os.rename(bench.path, bench.path + ".1")
            if new is not None:
                Path(bench.path).write_bytes(new)

    bench.disk.before = rotate
    assert bench.read(version) == b"content"
    assert not bench.disk.open_handles


@pytest.mark.parametrize("new", [None, b"another"])
def test_renamed_again_while_it_is_looked_for(bench: Bench, new: bytes | None) -> None:
    """The folder was listed before it had its newest name (history 5101716 of the simulator)."""
    version = bench.version()
    os.rename(bench.path, bench.path + ".1")
    Path(bench.path).write_bytes(b"later")

    def rotate(operation: str, path: str) -> None:
        if operation == "open_read" and path == bench.path + ".1":
            bench.disk.before = nothing
            os.rename(path, bench.path + ".2")
            if new is not None:
                Path(path).write_bytes(new)

    bench.disk.before = rotate
    assert bench.read(version) == b"content"
    assert not bench.disk.open_handles


def test_a_file_that_is_watched_itself_is_no_renamed_one(bench: Bench) -> None:
    """Its inode may have been used again for it, and a header be all that had been seen."""
    version = bench.version()
    other = bench.path + ".1"
    os.rename(bench.path, other)
    bench.sources = Sources(bench.disk, is_watched=lambda path: path == other)
    with pytest.raises(FileNotFoundError):
        bench.read(version)


def test_nothing_at_all_is_found_nowhere_else(bench: Bench) -> None:
    Path(bench.path).write_bytes(b"")
    version = bench.version()
    os.rename(bench.path, bench.path + ".1")
    with pytest.raises(FileNotFoundError):
        bench.read(version)


def test_replaced_by_a_copy_that_begins_alike(bench: Bench) -> None:
    version = bench.version()
    Path(bench.path + ".new").write_bytes(b"content+more")
    os.replace(bench.path + ".new", bench.path)
    assert bench.read(version) == b"content+more"


@pytest.mark.parametrize("what", ["gone", "rewritten", "shorter", "renamed and rewritten"])
def test_not_to_be_found(bench: Bench, what: str) -> None:
    version = bench.version()
    if what == "gone":
        os.unlink(bench.path)
    elif what == "shorter":
        os.truncate(bench.path, 3)
    else:
        Path(bench.path).write_bytes(b"CONTENT")
    if what.startswith("renamed"):
        os.rename(bench.path, bench.path + ".1")
    with pytest.raises(FileNotFoundError, match="is gone"):
        bench.read(version)
    assert not bench.disk.open_handles


def test_an_inode_alone_is_not_believed(bench: Bench) -> None:
    version = bench.version()
    os.rename(bench.path, bench.path + ".1")
    Path(bench.path + ".1").write_bytes(b"another content in the same inode")
    with pytest.raises(FileNotFoundError):
        bench.read(version)


def test_a_folder_of_that_inode_or_what_vanished_is_passed_over(bench: Bench) -> None:
    version = bench.version()
    os.unlink(bench.path)
    os.mkdir(bench.folder / "folder")
    os.symlink("nowhere", bench.folder / "dangling")
    with pytest.raises(FileNotFoundError):
        bench.read(version)


def test_the_folder_is_gone_too(bench: Bench) -> None:
    version = bench.version()
    os.unlink(bench.path)
    os.rmdir(bench.folder)
    with pytest.raises(FileNotFoundError):
        bench.read(version)


def test_a_file_that_can_not_be_opened_says_why(bench: Bench) -> None:
    """It is not gone: nothing is given up for a wrong permission."""
    version = bench.version()
    bench.disk.before = fail_with(lambda: PermissionError(13, "Permission denied"), "open_read")
    with pytest.raises(PermissionError):
        bench.read(version)


@pytest.mark.parametrize("renamed", [False, True])
def test_a_read_error_leaves_nothing_open(bench: Bench, renamed: bool) -> None:
    version = bench.version()
    if renamed:
        os.rename(bench.path, bench.path + ".1")
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "read")
    with pytest.raises(OSError, match="Input/output"):
        bench.read(version)
    assert not bench.disk.open_handles


# -- holding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["deleted", "renamed", "replaced"])
def test_what_is_held_stays_readable(bench: Bench, change: str) -> None:
    version = bench.version()
    bench.hold()
    if change == "deleted":
        os.unlink(bench.path)
    elif change == "renamed":
        os.rename(bench.path, bench.path + ".1")
    else:
        Path(bench.path + ".new").write_bytes(b"another")
        os.replace(bench.path + ".new", bench.path)
    assert bench.read(version) == b"content"
    assert bench.sources.is_held(bench.path, 1)


def test_each_version_has_its_own_file(bench: Bench) -> None:
    first = bench.version(1)
    bench.hold(1)
    os.rename(bench.path, bench.path + ".1")
    Path(bench.path).write_bytes(b"second")
    second = bench.version(2)
    bench.hold(2)
    assert (bench.read(first), bench.read(second)) == (b"content", b"second")
    assert len(bench.disk.open_handles) == 2


def test_the_same_file_is_held_once_by_the_latest_handle(bench: Bench) -> None:
    bench.hold()
    (first,) = bench.disk.open_handles
    bench.hold()
    assert len(bench.disk.open_handles) == 1
    assert first not in bench.disk.open_handles


def test_another_file_takes_the_place_of_the_one_held(bench: Bench) -> None:
    bench.hold()
    Path(bench.path + ".new").write_bytes(b"content+more")
    os.replace(bench.path + ".new", bench.path)
    bench.hold()
    assert bench.read(bench.version()) == b"content+more"
    assert len(bench.disk.open_handles) == 1


def test_no_more_than_so_many_are_held_and_the_oldest_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "_MAX_HELD", 3)
    paths = [str(bench.folder / f"{n}.txt") for n in range(4)]
    for path in paths:
        Path(path).write_bytes(path.encode())
    for path in paths[:3]:
        bench.hold(1, path)
    with bench.sources.borrow(paths[0], bench.version(1, paths[0])):
        pass  # used now: it is not the oldest any more
    bench.hold(1, paths[3])
    assert [bench.sources.is_held(path, 1) for path in paths] == [True, False, True, True]
    assert len(bench.disk.open_handles) == 3


def test_of_too_many_the_one_that_bytes_would_go_with_goes_last(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted file that is still owed: of more than 256 growing ones it was the first to go, if
    it was used longest ago."""
    monkeypatch.setattr(sources_module, "_MAX_HELD", 3)
    names = ["deleted and owed", "owed", "neither", "new", "newer", "newest"]
    paths = [str(bench.folder / name) for name in names]
    owed = set(paths[:2])
    bench.sources = Sources(bench.disk, is_needed=lambda path, number: path in owed)
    for path in paths:
        Path(path).write_bytes(path.encode())
    versions = [bench.version(1, path) for path in paths]
    for path in paths[:3]:
        bench.hold(1, path)
    os.unlink(paths[0])

    def held() -> list[str]:
        return [n for n, path in zip(names, paths, strict=True) if bench.sources.is_held(path, 1)]

    bench.hold(1, paths[3])
    assert held() == ["deleted and owed", "owed", "new"]
    owed.add(paths[3])
    bench.hold(1, paths[4])
    assert held() == ["deleted and owed", "new", "newer"], "what has a name can be found by it"
    owed.add(paths[4])
    for path in paths[3:5]:
        os.unlink(path)
    bench.hold(1, paths[5])
    assert held() == ["new", "newer", "newest"], "there is an end to what can be held"
    with bench.sources.borrow(paths[1], versions[1]) as handle:
        assert handle.read_at(0, 1000) == paths[1].encode()


def test_where_nothing_may_be_held(tmp_path: Path) -> None:
    """Windows: an open handle would keep the program from renaming onto the file."""
    (tmp_path / "a.csv").write_bytes(b"content")
    bench = Bench(tmp_path, hold=False)
    bench.hold()
    assert not bench.disk.open_handles
    assert not bench.sources.is_held(bench.path, 1)
    assert bench.read(bench.version()) == b"content"
    assert not bench.disk.open_handles


# -- handles that went stale -------------------------------------------------------------------


BOTH = ("fstat", "read")


@pytest.mark.parametrize("operations", [BOTH, ("read",)])
def test_a_stale_handle_gives_way_to_the_file_itself(
    bench: Bench, operations: tuple[str, ...]
) -> None:
    """A stick that was taken out and put back: no delivery of what was not copied could go on."""
    version = bench.version()
    bench.hold()
    bench.disk.go_stale(errno.EIO, *operations)
    assert bench.read(version) == b"content"
    assert not bench.sources.is_held(bench.path, 1)
    assert not bench.disk.open_handles


def test_a_stale_handle_of_a_file_that_is_nowhere_is_let_go_of(bench: Bench) -> None:
    """Another client of the file server has replaced it: there is nothing to be waited for."""
    version = bench.version()
    bench.hold()
    os.unlink(bench.path)
    bench.disk.go_stale(errno.ESTALE, *BOTH)
    with pytest.raises(FileNotFoundError):
        bench.read(version)
    assert not bench.disk.open_handles


def test_a_disk_that_refuses_for_a_moment_does_not_cost_the_only_handle(bench: Bench) -> None:
    """A deleted file is nowhere else: it is given up only if it can't be read for long."""
    version = bench.version()
    bench.hold()
    os.unlink(bench.path)
    for _ in range(sources_module._MOST_REFUSALS - 1):
        bench.disk.go_stale(errno.EIO, "read")
        with pytest.raises(OSError, match="Input/output"):
            bench.read(version)
    bench.disk.go_stale(errno.EIO)  # it refuses nothing any more
    assert bench.read(version) == b"content"
    bench.disk.go_stale(errno.EIO, "read")
    for _ in range(sources_module._MOST_REFUSALS - 1):
        with pytest.raises(OSError, match="Input/output"):
            bench.read(version)
    with pytest.raises(FileNotFoundError):
        bench.read(version)
    assert not bench.disk.open_handles


# -- letting go --------------------------------------------------------------------------------


def test_released_is_closed(bench: Bench) -> None:
    bench.hold()
    bench.sources.release(bench.path, 2)
    assert bench.sources.is_held(bench.path, 1)
    bench.sources.release(bench.path, 1)
    bench.sources.release(bench.path, 1)
    assert not bench.disk.open_handles


def test_older_versions_are_let_go_of_but_not_those_of_other_files(bench: Bench) -> None:
    other = str(bench.folder / "b.csv")
    Path(other).write_bytes(b"other")
    for number in (1, 2, 3):
        bench.hold(number)
    bench.hold(1, other)
    bench.sources.release_others(bench.path, {2, 3})
    assert [bench.sources.is_held(bench.path, n) for n in (1, 2, 3)] == [False, True, True]
    assert bench.sources.is_held(other, 1)
    assert len(bench.disk.open_handles) == 3


@pytest.mark.parametrize("how", ["release", "close", "hold another"])
def test_what_is_lent_is_closed_when_it_comes_back(bench: Bench, how: str) -> None:
    """The delivering thread reads from it while the other lets go of it."""
    version = bench.version()
    bench.hold()
    with bench.sources.borrow(bench.path, version) as first:
        with bench.sources.borrow(bench.path, version):
            if how == "release":
                bench.sources.release(bench.path, 1)
            elif how == "close":
                bench.sources.close()
            else:
                Path(bench.path + ".new").write_bytes(b"content")
                os.replace(bench.path + ".new", bench.path)
                bench.hold()
        assert first.read_at(0, 100) == b"content"
    bench.sources.close()
    assert not bench.disk.open_handles


def test_same_content(bench: Bench) -> None:
    version = bench.version()
    handle = bench.disk.open_read(bench.path)
    bench.disk.before = nothing
    assert is_same_content(handle, version)
    assert not is_same_content(handle, make_version(1, 7))
    handle.close()
