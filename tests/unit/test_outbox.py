"""The outbox keeps what the journal speaks of, all of it, and nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysubtask.core.model import Piece
from pysubtask.core.prints import digest_of
from pysubtask.subtask.store import outbox as outbox_module
from pysubtask.subtask.store.outbox import Outbox
from tests.unit.core_fakes import HookedDisk, disk_full, fail_with, nothing, on_nth


class Bench:
    """An outbox over a real folder, opened anew as often as needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "outbox"
        self.disk = HookedDisk()
        self.box = self.open()

    def open(self, *wanted: str) -> Outbox:
        self.box = Outbox(self.disk, str(self.folder))
        self.box.open(wanted)
        return self.box

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _halves(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


def test_a_piece_is_what_was_stored(bench: Bench) -> None:
    name, size, digest = bench.box.store(_halves(b"0123456789"))
    assert bench.content(name) == b"0123456789"
    assert (size, digest) == (10, digest_of(b"0123456789"))
    assert bench.box.held_bytes == 10
    handle = bench.box.open_piece(name)
    assert handle.read_at(2, 3) == b"234"
    handle.close()


def test_nothing_at_all_is_a_piece_too(bench: Bench) -> None:
    name, size, digest = bench.box.store([])
    assert (size, digest) == (0, digest_of(b""))
    assert bench.box.is_whole(Piece(0, 0, name, digest))


def test_only_the_owner_reads_the_copies(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"secret"])
    assert os.stat(bench.folder / name).st_mode & 0o077 == 0
    assert os.stat(bench.folder).st_mode & 0o077 == 0


# -- opening -----------------------------------------------------------------------------------


def test_what_nobody_speaks_of_goes_at_the_start(bench: Bench) -> None:
    kept, _, _ = bench.box.store([b"kept"])
    bench.box.store([b"litter"])
    (bench.folder / "not ours.txt").write_bytes(b"x")
    bench.open(kept)
    assert bench.files() == [kept, "not ours.txt"]
    assert bench.box.held_bytes == 4


def test_a_name_is_never_given_twice(bench: Bench) -> None:
    """Not even that of a piece which the power took, but not the record that speaks of it."""
    first, _, _ = bench.box.store([b"1"])
    lost, _, _ = bench.box.store([b"2"])
    bench.open(first, lost)
    os.unlink(bench.folder / lost)
    bench.open(first, lost)
    third, _, _ = bench.box.store([b"3"])
    assert third not in (first, lost)
    assert not bench.box.is_whole(Piece(0, 1, lost, digest_of(b"2")))


def test_litter_that_can_not_be_removed_keeps_nobody_from_starting(bench: Bench) -> None:
    bench.box.store([b"litter"])
    bench.disk.before = fail_with(lambda: PermissionError(13, "denied"), "remove")
    bench.open()
    assert bench.box.store([b"new"])[1] == 3


# -- adding to a piece -------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6))
def test_a_piece_that_is_added_to_is_all_of_it(bench: Bench, parts: list[bytes]) -> None:
    name, size, digest = bench.box.store([parts[0]])
    for part in parts[1:]:
        assert bench.box.may_extend(name, size)
        size, digest = bench.box.extend(name, [part])
    whole = b"".join(parts)
    assert bench.content(name) == whole
    assert (size, digest) == (len(whole), digest_of(whole))
    bench.box.discard([name])
    assert bench.box.held_bytes == 0


def test_what_may_be_added_to(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_EXTEND_UP_TO_BYTES", 10)
    name, _, _ = bench.box.store([b"1234"])
    full, _, _ = bench.box.store([b"0123456789"])
    assert bench.box.may_extend(name, 4)
    assert not bench.box.may_extend(name, 3), "it holds more than the journal knows"
    assert not bench.box.may_extend(full, 10), "it is large enough"
    assert not bench.box.may_extend("never.piece", 0)
    bench.open(name, full)
    assert not bench.box.may_extend(name, 4), "an earlier process's: its hash is not at hand"


def test_what_was_synced_before_a_piece_was_added_to_outlives_a_torn_addition(bench: Bench) -> None:
    name, size, _ = bench.box.store([b"first"])
    bench.box.sync()
    size, digest = bench.box.extend(name, [b"+second"])
    piece = Piece(100, 100 + size, name, digest, *bench.box.synced(name))
    bench.open(name)
    assert bench.box.whole_part(piece) == piece
    (bench.folder / name).write_bytes(b"first+se\0\0\0\0")  # the power went
    assert bench.box.whole_part(piece) == Piece(100, 105, name, digest_of(b"first"))
    (bench.folder / name).write_bytes(b"firs")
    assert bench.box.whole_part(piece) is None


def test_what_was_never_synced_has_no_part_that_can_be_believed(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"first"])
    size, digest = bench.box.extend(name, [b"+second"])
    assert bench.box.synced(name) == (0, "")
    assert Piece(0, size, name, digest, *bench.box.synced(name)).synced_part is None


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_piece_that_goes_while_it_is_added_to_stays_gone(bench: Bench, nth: int) -> None:
    """It was delivered meanwhile, by the other thread: a KeyError would end all looks of a step."""
    name, _, _ = bench.box.store([b"one"])

    def deliver() -> None:
        bench.disk.before = nothing
        bench.box.discard([name])

    bench.disk.before = on_nth("append" if nth else "open_append", ".piece", nth or 1, deliver)
    assert bench.box.extend(name, [b"two", b"three"]) == (11, digest_of(b"onetwothree"))
    assert bench.files() == []
    assert bench.box.held_bytes == 0
    assert _synced(bench) == []


# -- a disk that refuses -----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open_append", "append"])
def test_a_piece_that_could_not_be_stored_leaves_nothing(bench: Bench, call: str) -> None:
    bench.disk.before = on_nth(call, ".piece", 1, _raise_full)
    with pytest.raises(OSError, match="No space left"):
        bench.box.store(_halves(b"0123456789"))
    assert bench.files() == []
    assert bench.box.held_bytes == 0
    bench.box.sync()
    assert bench.files() == []


def _raise_full() -> None:
    raise disk_full()


def test_a_source_that_fails_leaves_nothing_either(bench: Bench) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        bench.box.store(broken())
    assert bench.files() == []
    assert bench.box.held_bytes == 0


def test_what_a_piece_had_is_good_if_adding_fails(bench: Bench) -> None:
    name, size, digest = bench.box.store([b"0123"])
    bench.disk.before = fail_with(disk_full, "append")
    with pytest.raises(OSError, match="No space left"):
        bench.box.extend(name, [b"456789"])
    bench.disk.before = nothing
    assert bench.content(name).startswith(b"0123")
    assert bench.box.is_whole(Piece(0, size, name, digest))
    assert not bench.box.may_extend(name, size), "there may be half a part at its end"


def test_what_a_full_disk_took_of_a_refused_part_counts(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"0123"])
    bench.disk.before = fail_with(disk_full, "append")
    with pytest.raises(OSError, match="No space left"):
        bench.box.extend(name, [b"456789"])
    assert bench.box.held_bytes == len(bench.content(name)) > 4
    bench.disk.before = nothing
    bench.box.discard([name])
    assert bench.box.held_bytes == 0


# -- what is whole -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        (b"0123456789", True),
        (b"0123456789 and more", True),
        (b"0123456780", False),
        (b"012345678", False),
        (b"", False),
        (None, False),
    ],
)
def test_whether_a_piece_is_whole(bench: Bench, found: bytes | None, whole: bool) -> None:
    name, size, digest = bench.box.store([b"0123456789"])
    if found is None:
        os.unlink(bench.folder / name)
    else:
        (bench.folder / name).write_bytes(found)
    assert bench.box.is_whole(Piece(0, size, name, digest)) == whole
    assert not bench.disk.open_handles


def test_only_this_process_pieces_are_its_own(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"x"])
    assert bench.box.is_own(name)
    assert not bench.open(name).is_own(name)


# -- reaching the disk -------------------------------------------------------------------------


def _synced(bench: Bench) -> list[str]:
    found: list[str] = []

    def note(operation: str, path: str) -> None:
        if operation in ("sync", "sync_dir"):
            found.append(os.path.basename(path))

    bench.disk.before = note
    bench.box.sync()
    bench.disk.before = nothing
    return found


def test_what_was_written_is_synced_once_and_the_folder_after_it(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"x"])
    assert _synced(bench) == [name, "outbox"]
    assert _synced(bench) == []
    bench.box.extend(name, [b"y"])
    assert _synced(bench) == [name, "outbox"]


def test_what_is_about_to_go_need_not_be_synced(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"x"])
    bench.box.unneeded([name])
    assert _synced(bench) == []


def test_a_sync_that_failed_is_due_again(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"x"])
    bench.disk.before = fail_with(disk_full, "sync")
    with pytest.raises(OSError, match="No space left"):
        bench.box.sync()
    assert _synced(bench) == ["000000000002.piece", "outbox"], "in a new file"
    assert bench.files() == [name]


def test_a_piece_that_goes_while_it_is_synced_stays_gone(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"x"])
    bench.disk.before = on_nth("open_append", ".piece", 1, lambda: bench.box.discard([name]))
    try:
        bench.box.sync()
    except FileNotFoundError:
        pass
    assert bench.files() == []


def test_what_is_added_while_the_other_thread_syncs_is_synced_next(bench: Bench) -> None:
    """Else the journal would speak of bytes that nobody brings to the disk."""
    name, _, _ = bench.box.store([b"one"])

    def add() -> None:
        bench.disk.before = nothing
        bench.box.extend(name, [b"two"])

    bench.disk.before = on_nth("sync", ".piece", 1, add)
    bench.box.sync()
    assert _synced(bench) == [name, "outbox"]
    assert _synced(bench) == []


def test_what_is_noted_as_synced_has_its_own_digest(bench: Bench) -> None:
    """A size with the digest of another one is never whole: after a loss of power nothing of the
    piece would be believed."""
    box = Outbox(bench.disk, str(bench.folder), still_alive=lambda: look())
    looks: list[tuple[int, str]] = []

    def look() -> None:
        """The other thread syncs after each part that was added."""
        if not box._syncing.locked():
            box.sync()
            looks.extend(box.synced(name) for name in bench.files())

    box.open(())
    name, _, _ = box.store([b"one"])
    box.extend(name, [b"two", b"three"])
    assert (6, digest_of(b"onetwo")) in looks
    assert all(box.is_whole(Piece(0, size, name, digest)) for size, digest in looks[:] if size)


def test_who_relies_on_a_sync_waits_for_the_one_under_way(bench: Bench) -> None:
    """The keeper puts a copy in the file's place once it is synced: not while it is being synced,
    which may fail."""
    bench.box.store([b"one"])
    order: list[str] = []
    second = threading.Thread(target=lambda: (bench.box.sync(), order.append("second")))

    def slow() -> None:
        bench.disk.before = nothing
        second.start()
        second.join(0.2)  # it can't get on
        order.append("first")

    bench.disk.before = on_nth("sync", ".piece", 1, slow)
    bench.box.sync()
    second.join(60)
    assert order == ["first", "second"]


def test_one_that_can_not_be_synced_keeps_no_other_from_the_disk(bench: Bench) -> None:
    bad, _, _ = bench.box.store([b"x"])
    good, _, _ = bench.box.store([b"y"])
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "sync", suffix=bad)
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync()
    assert bench.box.synced(good) == (1, digest_of(b"y"))
    assert bench.box.synced(bad) == (0, "")


def test_who_names_his_pieces_hears_of_them_and_of_the_folder_only(bench: Bench) -> None:
    bad, _, _ = bench.box.store([b"x"])
    good, _, _ = bench.box.store([b"y"])
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "sync", suffix=bad)
    bench.box.sync({good})
    assert bench.box.synced(good) == (1, digest_of(b"y"))
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync({bad})
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "sync_dir")
    late, _, _ = bench.box.store([b"z"])
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync({late})
    assert _synced(bench)[-1] == "outbox"


def test_a_folder_whose_sync_failed_is_synced_the_next_time(bench: Bench) -> None:
    """Else the power could take the pieces' names, with nothing left to sync."""
    bench.box.store([b"x"])
    bench.disk.before = fail_with(lambda: OSError(5, "Input/output error"), "sync_dir")
    with pytest.raises(OSError, match="Input/output"):
        bench.box.sync()
    assert _synced(bench) == ["outbox"]
    assert _synced(bench) == []


# -- going -------------------------------------------------------------------------------------


def test_what_can_not_be_removed_goes_later(bench: Bench) -> None:
    """One by one: a disk that refuses one is not asked for all of them each time."""
    names = [bench.box.store([b"bytes"])[0] for _ in range(3)]
    bench.disk.before = fail_with(lambda: OSError(errno.EIO, "Input/output error"), "remove")
    bench.box.discard(names)
    calls: list[str] = []

    def refuse(operation: str, path: str) -> None:
        if operation == "remove":
            calls.append(path)
            raise OSError(errno.EIO, "Input/output error", path)

    bench.disk.before = refuse
    bench.box.sync()
    assert len(calls) == 1
    assert bench.files() == sorted(names)
    assert bench.box.held_bytes == 3 * len(b"bytes"), "they take room as long as they are there"
    bench.open()
    assert bench.box.held_bytes == 3 * len(b"bytes")
    bench.disk.before = nothing
    bench.box.sync()
    assert bench.files() == []
    assert bench.box.held_bytes == 0


def _refuse_to_remove(operation: str, path: str) -> None:
    if operation == "remove":
        raise OSError(errno.EROFS, "Read-only file system", path)


def test_what_can_not_be_removed_counts_once(bench: Bench) -> None:
    """The other thread discards a piece that is being added to; both try to remove it."""
    name, _, _ = bench.box.store([b"bytes"])

    def chunks() -> Iterator[bytes]:
        yield b"more"
        bench.disk.before = _refuse_to_remove
        bench.box.discard([name])

    bench.box.extend(name, chunks())
    assert bench.box.held_bytes == len(b"bytesmore")
    bench.box.remove_left_over()
    assert bench.box.held_bytes == len(b"bytesmore")
    bench.disk.before = nothing
    bench.box.remove_left_over()
    assert (bench.files(), bench.box.held_bytes) == ([], 0)


def test_a_piece_that_goes_while_its_sync_begins_ends_nothing(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"bytes"])

    class Slow(dict[str, object]):
        def pop(self, key: str, *default: object) -> object:
            other = threading.Thread(target=bench.box.sync)
            other.start()
            other.join(0.2)  # it waits for the lock, or has looked before
            others.append(other)
            return super().pop(key, *default)

    others: list[threading.Thread] = []
    bench.box._hashes = Slow(bench.box._hashes)  # type: ignore[assignment]
    bench.box.discard([name])
    for other in others:
        other.join(10)
    assert (bench.files(), bench.box.held_bytes) == ([], 0)


def test_discarding_twice_or_what_is_gone_is_no_error(bench: Bench) -> None:
    name, _, _ = bench.box.store([b"1234"])
    other, _, _ = bench.box.store([b"12"])
    os.unlink(bench.folder / name)
    bench.box.discard([name, "never.piece"])
    bench.box.discard([name])
    assert bench.box.held_bytes == 2
    assert bench.files() == [other]
    assert not bench.box.is_own(name)
