"""Old files move aside; data only when they are delivered; nothing is ever lost or overwritten."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.aging import day_folder
from pysubtask.core.model import Delivered
from pysubtask.seams.disk import FileStat, RealDisk
from pysubtask.signals import notify_path
from pysubtask.subtask.archive import Archive, is_shown
from pysubtask.subtask.store.ledger import drop_superseded, record_delivery
from pysubtask.watch import Watch
from tests.unit.core_fakes import LOG, close_all, fail_with, nothing, on_nth
from tests.unit.intake_fakes import SETTLE_SECS, TIMER_SECS, Bench

DAYS = 3.0
DAY_SECS = 86_400.0


class Old:
    """A bench with an archive, and files whose age a test chooses."""

    def __init__(self, folder: Path, archive_to: str = "archive") -> None:
        self.bench = Bench(folder)
        self.bench.clock.show_real_time()
        self.folder = folder
        self.archive_to = archive_to
        self.archive = self.open()

    def open(self) -> Archive:
        bench = self.bench
        watches = [
            Watch(path=bench.path(name), is_dir=False, declared=name, remote_name=name)
            for name in bench.files
        ]
        watches.append(Watch(path=str(bench.outgoing), is_dir=True, declared="outgoing"))
        self.archive = Archive(
            bench.disk,
            bench.clock,
            bench.ledger,
            watches,
            bench.layout.state_dir,
            archive_to=self.archive_to,
            days=DAYS,
            recheck_secs=2.0,
            is_delivered=is_shown,
            is_settled=bench.intake.is_settled,
            is_own=lambda path: path.endswith(".log.txt"),
            moved=bench.intake.retire,
            log=LOG,
        )
        return self.archive

    def write(self, name: str, data: bytes = b"data", days: float = 10.0) -> str:
        self.bench.write(name, data, "wb")
        at = self.bench.clock.time() - days * DAY_SECS
        os.utime(self.bench.path(name), (at, at))
        return self.bench.path(name)

    def archived(self, name: str, days: float = 10.0, folder: str = "") -> Path:
        day = day_folder(self.bench.clock.time() - days * DAY_SECS, _local)
        return self.folder.joinpath(folder, self.archive_to, *day, name)

    def run(self, secs: float = 60.0) -> None:
        """Let the archive work, and the intake beside it."""
        clock = self.bench.clock
        until = clock.now + secs
        while clock.now < until:
            clock.now = min(until, max(self.archive.step(clock.now), clock.now + 0.01))
            self.bench.step()

    def deliver(self, name: str) -> None:
        """The destination shows all of it."""
        path = self.bench.path(name)
        entry = self.bench.ledger.get(path)
        assert entry is not None
        assert entry.current is not None
        done = Delivered(entry.current.number, entry.current.size)
        self.bench.ledger.update(path, lambda e: drop_superseded(record_delivery(e, done)))


def _local(secs: float):  # type: ignore[no-untyped-def]
    from datetime import datetime

    return datetime.fromtimestamp(secs)


@pytest.fixture
def old(tmp_path: Path) -> Old:
    return Old(tmp_path)


# -- what moves --------------------------------------------------------------------------------


def test_a_file_that_is_no_data_of_ours_moves_by_its_date(old: Old) -> None:
    path = old.write("notes.txt", b"old notes")
    mtime = os.stat(path).st_mtime
    young = old.write("young.txt", days=2.9)
    old.run()
    assert not os.path.exists(path)
    assert old.archived("notes.txt").read_bytes() == b"old notes"
    assert os.stat(old.archived("notes.txt")).st_mtime == mtime
    assert os.path.exists(young)
    assert old.archive.moved_files == 1


def test_what_never_moves(old: Old) -> None:
    names = [
        "a.csv",  # declared
        "a.csv.notify",
        "x.csv.notify",
        "host.heartbeat",
        "host.heartbeat.77.tmp",
        ".hidden",
        ".pysubtask-0123456789abcdef",
        "ftp_subtask.log.txt",
    ]
    for name in names:
        old.write(name)
    (old.folder / "below").mkdir()
    old.write("below/deep.txt")
    os.mkfifo(old.folder / "fifo")
    os.symlink("below/deep.txt", old.folder / "link")
    os.symlink("nowhere", old.folder / "dangling")
    os.link(old.bench.path("a.csv"), old.bench.path("the same file"))
    old.run()
    assert old.archive.moved_files == 0
    assert old.archive.waiting == 0
    assert sorted(os.listdir(old.folder / "below")) == ["deep.txt"]
    assert not (old.folder / "archive").exists()


def test_declared_files_are_not_looked_at_for_each_old_one(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        old.write(f"old{number}.txt")
    looked: list[str] = []
    stat = old.bench.disk.stat

    def counted(path: str, *, follow: bool = True) -> FileStat:
        looked.append(path)
        return stat(path, follow=follow)

    monkeypatch.setattr(old.bench.disk, "stat", counted)
    while old.archive.moved_files < 500:
        old.archive.step(old.bench.clock.now)
    assert 0 < looked.count(old.bench.path("a.csv")) < 2 * 500 / 64


def test_the_target_of_a_declared_link_stays(tmp_path: Path) -> None:
    """current.csv -> data.csv: the data are declared under another name."""
    (tmp_path / "data.csv").write_bytes(b"data")
    os.symlink("data.csv", tmp_path / "a.csv")
    old = Old(tmp_path)
    old.write("data.csv")
    old.run()
    assert (tmp_path / "data.csv").exists()


def test_a_state_folder_among_the_data_is_left_alone(old: Old) -> None:
    for name in ("lock", "status.json", "journal.damaged-1"):
        old.write(f"state/{name}")
    archive = Archive(
        old.bench.disk,
        old.bench.clock,
        old.bench.ledger,
        [Watch(path=old.bench.layout.state_dir, is_dir=True, declared="state")],
        old.bench.layout.state_dir,
        archive_to="archive",
        days=DAYS,
        recheck_secs=2.0,
        is_delivered=lambda entry, st: True,
        is_settled=lambda path: True,
        is_own=lambda path: False,
        moved=lambda path: True,
        log=LOG,
    )
    archive.step(0.0)
    assert archive.moved_files == 0


def test_it_never_moves_over_another(old: Old) -> None:
    there = old.archived("notes.txt")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"first")
    there.with_name("notes_1.txt").write_bytes(b"second")
    old.write("notes.txt", b"third")
    old.run()
    assert there.read_bytes() == b"first"
    assert there.with_name("notes_1.txt").read_bytes() == b"second"
    assert there.with_name("notes_2.txt").read_bytes() == b"third"


def test_the_archive_may_be_anywhere_on_the_same_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    old = Old(tmp_path / "data", archive_to=str(tmp_path / "elsewhere"))
    old.write("notes.txt")
    old.run()
    assert old.archived("notes.txt").read_bytes() == b"data"
    assert str(old.archived("notes.txt")).startswith(str(tmp_path / "elsewhere"))


def test_a_month_of_files_in_slices(old: Old) -> None:
    """A step never does much: looking at new data must not wait."""
    for number in range(300):
        old.write(f"{number}.txt", b"%d" % number, days=4 + number % 30)
    steps = 0
    while old.archive.step(old.bench.clock.now) <= old.bench.clock.now:
        steps += 1
        assert old.archive.moved_files <= 64 * steps
    for number in range(300):
        assert old.archived(f"{number}.txt", 4 + number % 30).read_bytes() == b"%d" % number


def test_once_a_day_again(old: Old) -> None:
    old.run()
    old.write("notes.txt")
    old.run(DAY_SECS - 120)
    assert old.archive.moved_files == 0
    old.run(120)
    assert old.archive.moved_files == 1


# -- what is owed waits ------------------------------------------------------------------------


def test_a_file_in_a_watched_folder_waits_until_it_is_delivered(old: Old) -> None:
    name = "outgoing/x.dat"
    path = old.write(name)
    old.archive.step(old.bench.clock.now)
    assert old.archive.waiting == 1, "nobody has looked at it yet"
    old.run(TIMER_SECS + SETTLE_SECS + 60)
    assert old.bench.taken(name) == b"data"
    assert os.path.exists(path)
    assert old.archive.waiting == 1
    old.deliver(name)
    old.run(10)
    assert old.archived("x.dat", folder="outgoing").read_bytes() == b"data"
    entry = old.bench.ledger.get(path)
    assert entry is not None
    assert entry.versions == ()
    assert entry.delivered is not None, "what the destination shows stays known"
    old.bench.forget()
    old.bench.run(60)
    assert old.bench.looks == [], "nobody misses it"


def test_its_touch_goes_with_it(old: Old) -> None:
    name = "outgoing/x.dat"
    old.write(name)
    old.bench.touch(name)
    old.bench.run(60)
    old.deliver(name)
    old.run(60)
    assert not os.path.exists(notify_path(old.bench.path(name)))
    assert old.archived("x.dat", folder="outgoing").exists()


def test_a_touch_that_nobody_has_served_keeps_it(old: Old) -> None:
    name = "outgoing/x.dat"
    path = old.write(name)
    old.bench.run(60)
    old.deliver(name)
    old.bench.touch(name, hint=False)
    old.archive.step(old.bench.clock.now)
    assert os.path.exists(path)
    old.run(60)
    assert not os.path.exists(path)


@pytest.mark.parametrize("touched", [True, False])
def test_a_change_while_it_is_moved_brings_it_back(old: Old, touched: bool) -> None:
    """A program may put its time back: then neither size nor time tells that it has changed
    (histories 2000121195 and, without a touch, 2004008330 of the simulator)."""
    name = "outgoing/x.dat"
    path = old.write(name)
    old.bench.run(60)
    old.deliver(name)
    st = os.stat(path)

    def change() -> None:
        Path(path).write_bytes(b"n3w!")
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        if touched:
            old.bench.touch(name, hint=False)

    old.bench.disk.before = on_nth("rename", "x.dat", 1, change)
    old.run(1 if touched else 200)
    assert Path(path).read_bytes() == b"n3w!"
    assert old.bench.taken(name) == b"n3w!"
    assert old.archive.moved_files == 0
    old.deliver(name)
    old.run(60)
    assert old.archived("x.dat", folder="outgoing").read_bytes() == b"n3w!"


@pytest.mark.parametrize("change", ["appended", "rewritten", "replaced"])
def test_a_change_that_nobody_has_seen_keeps_it(old: Old, change: str) -> None:
    name = "outgoing/x.dat"
    path = old.write(name)
    old.bench.run(60)
    old.deliver(name)
    if change == "replaced":
        Path(path + ".new").write_bytes(b"new!")
        os.replace(path + ".new", path)
    else:
        with open(path, "ab" if change == "appended" else "wb") as file:
            file.write(b"new!")
    at = old.bench.clock.time() - 9 * DAY_SECS
    os.utime(path, (at, at))
    old.archive.step(old.bench.clock.now)
    assert os.path.exists(path)
    assert old.archive.waiting == 1


def test_a_rotated_file_waits_under_its_new_name(old: Old) -> None:
    bench = old.bench
    bench.write("a.csv", b"1\n")
    bench.touch("a.csv")
    bench.run(60)
    os.rename(bench.path("a.csv"), bench.path("a.csv.1"))
    at = bench.clock.time() - 10 * DAY_SECS
    os.utime(bench.path("a.csv.1"), (at, at))
    bench.write("b.csv.1", b"2\n")  # somebody else's
    os.utime(bench.path("b.csv.1"), (at, at))
    old.run()
    assert os.path.exists(bench.path("a.csv.1"))
    assert not os.path.exists(bench.path("b.csv.1"))
    old.deliver("a.csv")
    old.run()
    assert not os.path.exists(bench.path("a.csv.1"))


def test_a_rotated_file_with_an_end_that_nobody_has_read(old: Old) -> None:
    bench = old.bench
    bench.write("a.csv", b"1\n")
    bench.touch("a.csv")
    bench.run(60)
    old.deliver("a.csv")
    bench.write("a.csv", b"2\n")
    os.rename(bench.path("a.csv"), bench.path("a.csv.1"))
    at = bench.clock.time() - 10 * DAY_SECS
    os.utime(bench.path("a.csv.1"), (at, at))
    old.archive.step(bench.clock.now)
    assert os.path.exists(bench.path("a.csv.1"))
    assert old.archive.waiting == 1


def test_a_stranger_with_an_old_inode_of_ours_goes(old: Old) -> None:
    bench = old.bench
    path = old.write("strange.txt", b"a stranger that is longer")
    bench.write("a.csv", b"1\n")
    bench.touch("a.csv")
    bench.run(60)
    ino = os.stat(path).st_ino
    bench.ledger.update(
        bench.path("a.csv"),
        lambda e: replace(
            e,
            versions=tuple(replace(v, identity=replace(v.identity, ino=ino)) for v in e.versions),
        ),
    )
    old.run()
    assert not os.path.exists(path)


# -- a disk that refuses -----------------------------------------------------------------------


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("number", "call", "words"),
    [
        (errno.EROFS, "open_append", "Read-only file system"),
        (errno.ENOSPC, "open_append", "the local disk is full"),
        (errno.ENOSPC, "rename", "the local disk is full"),
        (errno.EXDEV, "rename", "Invalid cross-device link"),
        (errno.EACCES, "open_append", "Permission denied"),
        (errno.EIO, "sync_dir", "Input/output error"),
    ],
)
def test_an_archive_that_can_not_be_written_is_told_once(
    old: Old, caplog: pytest.LogCaptureFixture, number: int, call: str, words: str
) -> None:
    for name in ("1.txt", "2.txt", "3.txt"):
        old.write(name)
    old.bench.disk.before = fail_with(lambda: OSError(number, os.strerror(number)), call)
    old.run(550)
    assert len(_warnings(caplog)) == 1, _warnings(caplog)
    assert words in caplog.text
    assert str(old.folder) in caplog.text
    assert "next try in 600 s" in caplog.text
    assert old.archive.waiting == 3
    assert sorted(os.listdir(old.folder)).count("1.txt") == 1
    old.bench.disk.before = nothing
    old.run(120)
    assert old.archive.moved_files == 3


def test_a_file_that_can_not_be_moved_holds_up_no_other(
    old: Old, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1.txt", "2.txt", "3.txt"):
        old.write(name)
    busy = fail_with(lambda: PermissionError(13, "in use"), "rename", suffix="2.txt")
    old.bench.disk.before = busy
    old.run()
    assert old.archive.moved_files == 2
    (told,) = _warnings(caplog)
    assert "2.txt" in told
    assert "in use" in told
    assert not old.archived("2.txt").exists()


def test_a_rename_that_was_done_though_it_failed_loses_nothing(old: Old) -> None:
    """A network mount whose first answer was lost says ENOENT to the second request."""
    path = old.write("notes.txt", b"precious")

    def fail(operation: str, called: str) -> None:
        if operation == "rename" and called == path:
            RealDisk().rename(path, str(old.archived("notes.txt")))
            raise FileNotFoundError(2, "No such file", path)

    old.bench.disk.before = fail
    old.run()
    assert old.archived("notes.txt").read_bytes() == b"precious"


@pytest.mark.parametrize("links", [True, False])
def test_what_the_program_writes_while_a_file_goes_back_is_not_replaced(
    old: Old, links: bool
) -> None:
    """It finds no file of that name, makes one, and must not lose it (history 2011201802 of the
    simulator)."""
    path = old.write("notes.txt", b"old")
    moves = 0

    def hook(operation: str, called: str) -> None:
        nonlocal moves
        if operation not in ("rename", "link"):
            return
        moves += 1
        if moves == 1:
            Path(path).write_bytes(b"brand-new")
        elif moves == 2:
            with open(path, "ab") as file:
                file.write(b"mine")
        if operation == "link" and not links:
            raise OSError(errno.EPERM, "Operation not permitted", called)

    old.bench.disk.before = hook
    old.run(1)
    contents = [p.read_bytes() for p in old.folder.rglob("notes*") if p.is_file()]
    assert sorted(contents) == [b"brand-new", b"mine"]
    assert Path(path).read_bytes() == b"mine"


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_changes_while_it_is_moved_goes_back(old: Old, again: bool) -> None:
    path = old.write("notes.txt", b"old")

    def change() -> None:
        Path(path).write_bytes(b"brand-new")

    old.bench.disk.before = on_nth("rename", "notes.txt", 1, change)
    if again:  # and the program makes still another one meanwhile

        def both(operation: str, called: str) -> None:
            if operation == "rename" and called == path:
                change()
                RealDisk().rename(path, str(old.archived("notes.txt")))
                Path(path).write_bytes(b"another")
                RealDisk().rename(path, path + ".aside")
                RealDisk().rename(str(old.archived("notes.txt")), path)
                old.bench.disk.before = lambda op, where: (
                    RealDisk().rename(path + ".aside", path)
                    if op == "link" and where == path
                    else None
                )

        old.bench.disk.before = both
    old.run(1)
    contents = [p.read_bytes() for p in old.folder.rglob("*") if p.is_file()]
    assert b"brand-new" in contents
    if again:
        assert b"another" in contents
        assert (old.folder / "notes_1.txt").read_bytes() == b"brand-new", "none stays behind"
    else:
        assert Path(path).read_bytes() == b"brand-new"
    assert old.archive.moved_files == 0


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_can_not_go_back_now_goes_back_later(
    old: Old, links: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What is new in it would never be delivered (history 2012345269 of the simulator)."""
    path = old.write("notes.txt", b"old")
    refused = 0

    def hook(operation: str, called: str) -> None:
        nonlocal refused
        if operation == "rename" and called == path:
            Path(path).write_bytes(b"brand-new")
        elif operation == "link" and not links:
            raise OSError(errno.EPERM, "Operation not permitted", called)
        elif operation in ("link", "open_append") and "/archive/" not in called and refused < 3:
            refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", called)

    old.bench.disk.before = hook
    with caplog.at_level(logging.INFO):
        old.run(1)
        assert refused == 1
        assert old.archived("notes.txt").read_bytes() == b"brand-new"
        old.run(10)
    assert refused == 3
    assert not old.archived("notes.txt").exists()
    assert [p.read_bytes() for p in old.folder.glob("notes*")] == [b"brand-new"]
    told = [r.message for r in caplog.records if "go back" in r.message]
    assert len(told) == 1, told
    assert "will be tried again" in told[0]


def test_a_file_that_could_not_lose_its_name_in_the_archive_gets_no_third_one(old: Old) -> None:
    path = old.write("notes.txt", b"old")
    refused = False

    def hook(operation: str, called: str) -> None:
        nonlocal refused
        if operation == "rename" and called == path:
            Path(path).write_bytes(b"brand-new")
        elif operation == "remove" and "/archive/" in called and not refused:
            refused = True
            raise OSError(errno.EIO, "Input/output error", called)

    old.bench.disk.before = hook
    for _ in range(4):
        old.run(1)
    assert refused
    assert [p for p in old.folder.rglob("notes*") if p.is_file()] == [Path(path)]


# -- whatever happens --------------------------------------------------------------------------

_NAMES = st.sampled_from(["a.txt", "b.txt", "a_1.txt", "x", "b.csv", "outgoing/a.txt", "c.csv"])
_FAULTS = st.sampled_from([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, 0])
_CALLS = st.sampled_from(["open_append", "rename", "remove", "sync_dir"])


class _Killed(BaseException):
    """The process died here."""


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(
    days=st.lists(st.tuples(_NAMES, st.integers(0, 6), st.booleans()), min_size=1, max_size=12),
    faults=st.lists(st.tuples(_CALLS, st.integers(1, 6), _FAULTS), max_size=4),
)
def test_nothing_is_lost_and_nothing_overwritten(
    tmp_path_factory: pytest.TempPathFactory,
    days: list[tuple[str, int, bool]],
    faults: list[tuple[str, int, int]],
) -> None:
    """Days of files with the same names, a disk that fails, a child that is killed."""
    old = Old(tmp_path_factory.mktemp("archive"))
    written: list[bytes] = []
    plan = iter(faults)
    try:
        for number, (name, age, fails) in enumerate(days):
            path = old.bench.path(name)
            content = b"%d of %s" % (number, name.encode())
            if not os.path.exists(path):
                old.write(name, content, age * 1.5)
                written.append(content)
            if fails:
                call, nth, error = next(plan, ("rename", 1, 0))

                def fault(error: int = error) -> None:
                    if error:
                        raise OSError(error, os.strerror(error))
                    raise _Killed

                old.bench.disk.before = on_nth(call, "", nth, fault)
            try:
                old.run(3)
            except _Killed:
                old.bench.disk.before = nothing
                close_all()
                old.bench.open()
                old.open()
            old.bench.disk.before = nothing
        found = sorted(
            p.read_bytes()
            for p in old.folder.rglob("*")
            if p.is_file() and "state" not in p.parts and p.stat().st_size
        )
        assert found == sorted(written)
    finally:
        close_all()
