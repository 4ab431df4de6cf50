"""The journal is consistent after any kill, and says when it is not (design: the local disk)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.errors import StateError
from pysubtask.subtask.store import recordlines, recordlog
from pysubtask.subtask.store.journal import Journal
from tests.unit.core_fakes import (
    LOG,
    HookedDisk,
    ManualClock,
    disk_full,
    fail_with,
    make_version,
    nothing,
    on_nth,
)

IN_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


class Bench:
    """A journal over the real disk, opened anew as often as needed."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "journal")
        self.disk = HookedDisk()
        self.clock = ManualClock()

    def open(self, boot: str = "one", **changes: object) -> Journal:
        journal = Journal(
            self.disk,
            self.clock,
            self.path,
            boot_id=boot,
            new_id=lambda: "c0ffee00",
            log=LOG,
            **changes,  # type: ignore[arg-type]
        )
        journal.open()
        return journal

    @property
    def data(self) -> bytes:
        return Path(self.path).read_bytes()

    @data.setter
    def data(self, value: bytes) -> None:
        Path(self.path).write_bytes(value)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _put(journal: Journal, path: str, size: int, *, must: bool = True) -> None:
    journal.update(
        path, lambda e: replace(e, versions=(make_version(1, size),)), remote="r", must=must
    )


def _sizes(journal: Journal) -> dict[str, int]:
    return {e.path: e.versions[-1].size for e in journal.entries()}


def test_what_was_written_is_there_after_a_kill(bench: Bench) -> None:
    journal = bench.open()
    _put(journal, "/a", 1)
    _put(journal, "/b", 2)
    _put(journal, "/a", 3)
    assert _sizes(bench.open()) == {"/a": 3, "/b": 2}


@pytest.mark.parametrize(
    "path", ["/\udcff\udc80", "/\u00e4\u4e2d", "/a\nb", '/"', "/\x00", "/\ud83d"]
)
def test_every_name_survives(bench: Bench, path: str) -> None:
    _put(bench.open(), path, 7)
    assert _sizes(bench.open()) == {path: 7}


def test_an_update_that_changes_nothing_writes_nothing(bench: Bench) -> None:
    journal = bench.open()
    _put(journal, "/a", 1)
    before = len(bench.data)
    _put(journal, "/a", 1)
    assert len(bench.data) == before


def test_the_client_id_lives_as_long_as_the_journal(bench: Bench) -> None:
    assert bench.open().client_id == "c0ffee00"
    journal = Journal(bench.disk, bench.clock, bench.path, new_id=lambda: "other", log=LOG)
    journal.open()
    assert journal.client_id == "c0ffee00"
    assert not journal.fresh


# -- torn and damaged --------------------------------------------------------------------------


def _history(bench: Bench) -> list[dict[str, int]]:
    """A journal with some history; gives what it said after each record."""
    journal = bench.open()
    said: list[dict[str, int]] = [{}]
    for n, path in enumerate(["/a", "/b", "/\udcff", "/a", "/c", "/b", "/a"]):
        _put(journal, path, n + 1)
        said.append(_sizes(journal))
    journal.close()
    return said


@IN_FOLDER
@given(cut=st.floats(0, 1))
def test_any_prefix_opens_and_says_a_prefix_of_the_history(bench: Bench, cut: float) -> None:
    bench.__init__(Path(bench.path).parent)  # type: ignore[misc]
    for name in os.listdir(os.path.dirname(bench.path)):
        os.unlink(os.path.join(os.path.dirname(bench.path), name))
    said = _history(bench)
    whole = bench.data
    bench.data = whole[: round(cut * len(whole))]
    journal = bench.open()
    assert _sizes(journal) in said
    header = whole.index(b"\n") + 1
    assert journal.damaged == (0 < len(whole[: round(cut * len(whole))]) < header)
    _put(journal, "/new", 99)
    assert _sizes(bench.open())["/new"] == 99


@IN_FOLDER
@given(
    at=st.floats(0, 1),
    junk=st.binary(max_size=40) | st.just(b"\0" * 4096) | st.just(b"\n\n") | st.just(b"0" * 12),
    over=st.booleans(),
)
def test_any_garbage_opens_and_invents_nothing(
    bench: Bench, at: float, junk: bytes, over: bool
) -> None:
    for name in os.listdir(os.path.dirname(bench.path)):
        os.unlink(os.path.join(os.path.dirname(bench.path), name))
    _history(bench)
    whole = bench.data
    start = round(at * len(whole))
    bench.data = whole[:start] + junk + whole[start + (len(junk) if over else 0) :]
    journal = bench.open()
    for path, size in _sizes(journal).items():
        assert (path, size) in [
            ("/a", 1), ("/b", 2), ("/\udcff", 3), ("/a", 4), ("/c", 5), ("/b", 6), ("/a", 7)
        ]  # fmt: skip
    _put(journal, "/new", 99)
    journal.close()
    again = bench.open()
    assert _sizes(again)["/new"] == 99
    assert not again.damaged


@IN_FOLDER
@given(st.binary(max_size=300))
def test_a_file_that_is_no_journal_opens_empty_and_is_kept(bench: Bench, junk: bytes) -> None:
    folder = os.path.dirname(bench.path)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    bench.data = junk
    journal = bench.open()
    assert journal.entries() == []
    assert journal.fresh == (not junk)
    kept = [n for n in os.listdir(folder) if ".damaged-" in n]
    assert [(Path(folder) / n).read_bytes() for n in kept] == ([junk] if junk else [])
    assert journal.damaged == bool(junk)


def test_damage_in_the_middle_keeps_the_rest_and_the_evidence(bench: Bench) -> None:
    _history(bench)
    lines = bench.data.splitlines(keepends=True)
    lines[2] = lines[2].replace(b"/b", b"/x")
    damaged = b"".join(lines)
    bench.data = damaged
    journal = bench.open()
    assert journal.damaged
    assert journal.unclean_boot  # the destination is compared before anything is sent
    assert _sizes(journal) == {"/a": 7, "/\udcff": 3, "/c": 5, "/b": 6}
    aside = f"{bench.path}.damaged-{int(bench.clock.time())}"
    assert Path(aside).read_bytes() == damaged
    assert not bench.open().damaged


class _Killed(BaseException):
    """The process dies."""


@pytest.mark.parametrize("end", [disk_full, _Killed], ids=["full", "killed"])
def test_a_damaged_journal_is_there_until_the_new_one_is(
    bench: Bench, end: Callable[[], BaseException]
) -> None:
    """Without any, the next start would owe nothing, and remove all copies as nobody's."""
    _history(bench)
    damaged = bench.data.replace(b"/b", b"/x", 1)
    bench.data = damaged
    bench.disk.before = fail_with(end, "write_whole", suffix="journal")
    with pytest.raises((OSError, _Killed)):
        bench.open()
    assert bench.data == damaged
    bench.disk.before = nothing
    journal = bench.open()
    assert not journal.fresh
    assert journal.damaged
    assert _sizes(journal) == {"/a": 7, "/\udcff": 3, "/c": 5, "/b": 6}
    aside = f"{bench.path}.damaged-{int(bench.clock.time())}"
    assert Path(aside).read_bytes() == damaged


@pytest.mark.parametrize("copied", [True, False])
def test_evidence_where_files_have_one_name_only(bench: Bench, copied: bool) -> None:
    """FAT has no second names: it is copied; what there is no room for is not kept, but read."""
    _history(bench)
    damaged = bench.data.replace(b"/b", b"/x", 1)
    bench.data = damaged

    def before(operation: str, path: str) -> None:
        if operation == "link":
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        if operation == "write_whole" and not copied and ".damaged-" in path:
            raise disk_full()

    bench.disk.before = before
    assert _sizes(bench.open()) == {"/a": 7, "/\udcff": 3, "/c": 5, "/b": 6}
    kept = list(Path(bench.path).parent.glob("journal.damaged-*"))
    assert [path.read_bytes() for path in kept] == ([damaged] if copied else [])


def test_a_newer_format_is_refused_and_not_touched(bench: Bench) -> None:
    bench.open().close()
    bench.data = recordlines.encode({"journal": 2, "id": "x"}) + b"whatever\n"
    before = bench.data
    with pytest.raises(StateError, match="newer pysubtask") as caught:
        bench.open()
    assert caught.value.hint is not None
    assert caught.value.path == bench.path
    assert bench.data == before


# -- a disk that refuses -----------------------------------------------------------------------


def test_a_record_that_must_be_written_and_is_not_changes_nothing(bench: Bench) -> None:
    journal = bench.open()
    _put(journal, "/a", 1)
    before = bench.data
    bench.disk.before = fail_with(disk_full, "append")
    with pytest.raises(OSError, match="No space left"):
        _put(journal, "/a", 2)
    assert _sizes(journal) == {"/a": 1}
    assert bench.data == before
    bench.disk.before = nothing
    _put(journal, "/b", 3)
    assert _sizes(bench.open()) == {"/a": 1, "/b": 3}


def test_half_a_line_that_can_not_be_cut_off_is_rewritten(bench: Bench) -> None:
    journal = bench.open()
    _put(journal, "/a", 1)
    bench.disk.before = fail_with(disk_full, "append", "truncate")
    with pytest.raises(OSError, match="No space left"):
        _put(journal, "/a", 2)
    bench.disk.before = nothing
    _put(journal, "/b", 3)
    again = bench.open()
    assert _sizes(again) == {"/a": 1, "/b": 3}
    assert not again.damaged


def test_a_record_that_need_not_be_written_is_written_later(bench: Bench) -> None:
    journal = bench.open()
    bench.disk.before = fail_with(disk_full, "append")
    _put(journal, "/a", 2, must=False)
    assert _sizes(journal) == {"/a": 2}
    assert b"/a" not in bench.data
    bench.disk.before = nothing
    assert journal.sync_due() is not None
    journal.sync()
    assert _sizes(bench.open()) == {"/a": 2}


def test_what_could_not_be_written_is_written_by_close(bench: Bench) -> None:
    journal = bench.open()
    bench.disk.before = fail_with(disk_full, "append")
    _put(journal, "/a", 2, must=False)
    bench.disk.before = nothing
    journal.close()
    assert _sizes(bench.open()) == {"/a": 2}


@pytest.mark.parametrize("refused", ["sync", "append"])
def test_what_waits_for_the_disk_goes_on_waiting_while_it_fails(bench: Bench, refused: str) -> None:
    """An outbox piece goes only after its delivery record is on disk (design §4)."""
    journal = bench.open()
    _put(journal, "/a", 1)
    done: list[str] = []
    if refused == "append":
        bench.disk.before = fail_with(disk_full, "append")
        _put(journal, "/a", 2, must=False)
    journal.after_sync(lambda: done.append("first"))
    journal.after_sync(lambda: done.append("second"))
    bench.disk.before = fail_with(disk_full, refused)
    journal.sync()
    journal.after_sync(lambda: done.append("third"))
    assert done == []
    due = journal.sync_due()
    assert due == bench.clock.now + 1.0  # sooner than the 5 s of a disk that works
    bench.disk.before = nothing
    journal.sync()
    assert done == ["first", "second", "third"]
    assert journal.sync_due() is None


def test_one_record_that_can_not_be_written_does_not_keep_the_others_from_the_disk(
    bench: Bench,
) -> None:
    journal = bench.open()
    bench.disk.before = fail_with(disk_full, "append")
    _put(journal, "/a", 2, must=False)
    bench.disk.before = nothing
    _put(journal, "/b", 3)
    synced: list[str] = []

    def still_full(operation: str, path: str) -> None:
        if operation == "append":
            raise disk_full()
        if operation == "sync":
            synced.append(path)

    bench.disk.before = still_full
    journal.sync()
    assert synced, "what could be written is on the disk"
    assert journal.sync_due() is not None, "and the rest is tried again"
    bench.disk.before = nothing
    journal.sync()
    assert _sizes(bench.open()) == {"/a": 2, "/b": 3}


def test_the_pieces_reach_the_disk_before_the_records_that_speak_of_them(bench: Bench) -> None:
    order: list[str] = []
    bench.disk.before = lambda operation, path: order.append(operation)
    journal = bench.open(before_sync=lambda: order.append("pieces"))
    _put(journal, "/a", 1)
    journal.after_sync(lambda: order.append("discard"))
    order.clear()
    journal.sync()
    assert order == ["pieces", "sync", "discard"]


def test_pieces_that_do_not_reach_the_disk_hold_back_the_records(bench: Bench) -> None:
    order: list[str] = []

    def refuse() -> None:
        raise disk_full()

    journal = bench.open(before_sync=refuse)
    _put(journal, "/a", 1)
    journal.after_sync(lambda: order.append("discard"))
    bench.disk.before = lambda operation, path: order.append(operation)
    journal.sync()
    assert order == []
    assert journal.sync_due() is not None


def test_one_copy_in_a_bad_block_does_not_hold_back_the_records_for_ever(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the outbox fills with what was delivered, a loss of power takes all that was noted
    since, and the log has a line for each second."""

    def refuse() -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = bench.open(before_sync=refuse)
    done: list[float] = []
    for n in range(600):
        bench.clock.advance(1)
        _put(journal, "/a", n + 1)
        journal.after_sync(lambda: done.append(bench.clock.now))
        due = journal.sync_due()
        if due is not None and due <= bench.clock.now:
            journal.sync()
    assert len(done) > 500
    _put(journal, "/b", 1)
    due = journal.sync_due()
    assert due is not None
    assert due <= bench.clock.now + 5.0, "as ever"
    assert len(caplog.records) <= 11
    with pytest.raises(OSError, match="Input/output"):
        journal.sync(must=True)


def test_group_commit_is_due_sync_secs_after_the_first_record(bench: Bench) -> None:
    journal = bench.open(sync_secs=5.0)
    journal.sync()
    assert journal.sync_due() is None
    _put(journal, "/a", 1)
    first = bench.clock.now
    bench.clock.advance(3)
    _put(journal, "/a", 2)
    assert journal.sync_due() == first + 5.0


# -- compaction --------------------------------------------------------------------------------


def _fill(journal: Journal, size: int) -> None:
    n = 0
    while journal._file.size <= size:
        n += 1
        _put(journal, "/a", n)


def test_a_log_much_longer_than_what_it_says_is_rewritten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordlog, "_COMPACT_MIN_BYTES", 4000)
    journal = bench.open()
    _put(journal, "/keep", 5)
    _fill(journal, 4000)
    said = _sizes(journal)
    journal.sync()
    assert len(bench.data) < 1000
    assert _sizes(bench.open()) == said
    _put(bench.open(), "/b", 6)
    assert _sizes(bench.open()) == {**said, "/b": 6}


@pytest.mark.parametrize("call", ["write_whole", "open_append", "sync_dir"])
def test_rewriting_that_fails_is_no_disaster(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A failing disk is logged and tried again: the subtask goes on with the long log."""
    monkeypatch.setattr(recordlog, "_COMPACT_MIN_BYTES", 4000)
    journal = bench.open()
    _fill(journal, 4000)
    bench.disk.before = fail_with(disk_full, call, suffix="")
    journal.sync()
    bench.disk.before = nothing
    _put(journal, "/b", 6)
    journal.sync()
    assert _sizes(bench.open())["/b"] == 6
    assert len(bench.data) < 2000


def test_a_folder_that_could_not_be_synced_is_with_the_next_sync(bench: Bench) -> None:
    """Else a loss of power might take the name of the state folder itself, hours later."""
    parent = os.path.dirname(os.path.dirname(bench.path))
    synced: list[str] = []

    def note(operation: str, path: str) -> None:
        if operation == "sync_dir":
            synced.append(path)

    def fail(operation: str, path: str) -> None:
        if operation == "sync_dir" and path == parent:
            raise OSError(errno.EIO, "Input/output error", path)

    bench.disk.before = fail
    journal = bench.open()
    _put(journal, "/a", 5)
    journal.sync()
    assert journal.sync_due() is not None
    bench.disk.before = note
    journal.sync()
    assert parent in synced
    assert journal.sync_due() is None
    synced.clear()
    _put(journal, "/a", 6)
    journal.sync()
    assert not synced


def test_a_folder_that_can_never_be_synced_does_not_hold_up_the_journal(bench: Bench) -> None:
    parent = os.path.dirname(os.path.dirname(bench.path))

    def fail(operation: str, path: str) -> None:
        if operation == "sync_dir" and path == parent:
            raise OSError(errno.EIO, "Input/output error", path)

    bench.disk.before = fail
    journal = bench.open()
    _put(journal, "/a", 5)
    done: list[str] = []
    journal.after_sync(lambda: done.append("after"))
    for _ in range(10):
        journal.sync()
    assert done == ["after"]
    assert journal.sync_due() is None


@pytest.mark.parametrize("call", ["write_whole", "rename"])
def test_a_kill_while_it_is_rewritten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(recordlog, "_COMPACT_MIN_BYTES", 4000)
    journal = bench.open()
    _fill(journal, 4000)
    said = _sizes(journal)

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    bench.disk.before = on_nth(call, "journal", 1, kill)
    try:
        journal.sync()
    except Killed:
        pass
    bench.disk.before = nothing
    assert _sizes(bench.open()) == said


def test_forgetting_lasts(bench: Bench) -> None:
    journal = bench.open()
    _put(journal, "/a", 1)
    _put(journal, "/b", 2)
    journal.forget("/a")
    assert _sizes(journal) == _sizes(bench.open()) == {"/b": 2}


# -- boots -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "boot", "unclean"),
    [
        pytest.param(True, "one", False, id="closed, same boot"),
        pytest.param(True, "two", False, id="closed, then a reboot"),
        pytest.param(False, "one", False, id="killed: no process's death needs a check"),
        pytest.param(False, "two", True, id="the machine went down while it was in use"),
    ],
)
def test_an_unclean_boot_is_told_from_a_kill(
    bench: Bench, closed: bool, boot: str, unclean: bool
) -> None:
    journal = bench.open("one")
    _put(journal, "/a", 1)
    if closed:
        journal.close()
    assert bench.open(boot).unclean_boot == unclean


def test_a_new_journal_met_no_unclean_boot(bench: Bench) -> None:
    journal = bench.open()
    assert (journal.fresh, journal.unclean_boot, journal.damaged) == (True, False, False)


def test_opened_and_killed_after_a_clean_stop_counts_as_in_use(bench: Bench) -> None:
    bench.open("one").close()
    bench.open("one")
    assert bench.open("two").unclean_boot


def test_a_clean_stop_is_one_even_if_it_rewrites_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordlog, "_COMPACT_MIN_BYTES", 4000)
    journal = bench.open("one")
    _fill(journal, 4000)
    journal.close()
    assert not bench.open("two").unclean_boot


def test_a_stop_without_all_copies_is_not_a_clean_one_after_a_loss_of_power(bench: Bench) -> None:
    """The line that calls it one was on the disk already, since a lasting refusal of a copy does
    not hold back the records."""

    def refuse() -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = bench.open("one", before_sync=refuse)
    for n in range(12):
        _put(journal, "/a", n + 1)
        journal.sync()
    on_disk: list[bytes] = []

    def note(operation: str, path: str) -> None:
        if operation == "sync" and path == bench.path:
            on_disk.append(bench.data)

    bench.disk.before = note
    journal.close()
    bench.disk.before = nothing
    bench.data = on_disk[-1]
    assert bench.open("two").unclean_boot


def test_closed_is_closed(bench: Bench) -> None:
    journal = bench.open()
    journal.close()
    journal.close()
    with pytest.raises(OSError, match="closed"):
        _put(journal, "/a", 1)
    assert journal.get("/a") is None
