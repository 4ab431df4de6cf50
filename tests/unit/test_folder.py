"""The client of a folder: what a cache has, links that lead elsewhere, odd names and entries."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from pysubtask.core.budget import Limits
from pysubtask.core.plan import Policy
from pysubtask.errors import LinkLost, RemoteDenied, RemoteError
from pysubtask.transports import folder, mount
from pysubtask.transports.contract import (
    Finish,
    List,
    MakeDir,
    Read,
    Remove,
    Rename,
    Request,
    Result,
    Stat,
    Write,
)
from pysubtask.transports.folder import FolderTransport
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import SEQUENTIAL, Remote, WatchedServer, numbered

WHOLE = numbered(3_000_000)
TEMP = ".pysubtask-0a1b2c3d00000001"


@pytest.fixture
def local(tmp_path: Path) -> Local:
    (tmp_path / "local").mkdir()
    return Local(tmp_path / "local", ManualClock(), HookedDisk())


@pytest.fixture
def there(tmp_path: Path) -> Path:
    made = tmp_path / "there"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def _synced_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_SYNC_EVERY_BYTES", 1 << 20)


def remote_of(local: Local, there: Path, **options: object) -> Remote:
    """The real delivery to the folder ``there``."""
    return Remote(
        local,
        WatchedServer(SEQUENTIAL),
        make_transport=lambda: FolderTransport(str(there), mount="ignored"),
        **options,  # type: ignore[arg-type]
    )


def opened(there: Path) -> FolderTransport:
    made = FolderTransport(str(there), mount="ignored")
    made.connect()
    return made


def ask(transport: FolderTransport, request: Request) -> Result:
    transport.submit(1, request)
    ((_, found),) = transport.collect()
    return found


def temp_in(there: Path) -> Path:
    (name,) = [n for n in os.listdir(there) if n.startswith(".pysubtask-")]
    return there / name


class LateRefusal:
    """A mount whose server has no room for a page: a hole from then on. That is told once, by the
    call ``at`` when the file has ``size`` bytes."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, there: Path, at: str, *, hole: int, size: int
    ) -> None:
        self.told = 0
        self._at, self._hole, self._size = at, hole, size
        self._there = there
        self._fsync, self._write = os.fsync, os.write
        monkeypatch.setattr(folder.os, "fsync", self.fsync)
        monkeypatch.setattr(folder.os, "write", self.write)

    def _tell(self, at: str, fd: int) -> None:
        found = os.fstat(fd)
        if at != self._at or self.told or not self._is_there(found.st_ino):
            return
        if found.st_size >= self._size:
            self.told += 1
            os.pwrite(fd, bytes(4096), self._hole)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_there(self, inode: int) -> bool:
        return any(os.stat(self._there / name).st_ino == inode for name in os.listdir(self._there))

    def fsync(self, fd: int) -> None:
        self._tell("fsync", fd)
        self._fsync(fd)

    def write(self, fd: int, data: bytes) -> int:
        self._tell("write", fd)
        return self._write(fd, data)


@pytest.mark.parametrize(
    ("at", "hole", "size"),
    [
        ("fsync", 4096, 1 << 20),
        ("fsync", 1_200_000, 2 << 20),
        ("fsync", 2_300_000, 3_000_000),
        ("write", 1_200_000, 1_500_000),
    ],
)
def test_pages_that_were_refused_late_are_written_again(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch, at: str, hole: int, size: int
) -> None:
    """NFS and SMB tell by a later write or fsync that pages found no room. The next fsync succeeds:
    what counted as acknowledged would be renamed into place with a hole."""
    remote = remote_of(local, there)
    local.write(WHOLE)
    local.take("rewrite")
    late = LateRefusal(monkeypatch, there, at, hole=hole, size=size)
    remote.settle(3600)
    assert late.told
    assert (there / "a.csv").read_bytes() == WHOLE


def test_what_is_shown_of_a_refused_append_is_written_again(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local disk goes on showing from memory what its fsync has refused (errors of pages are told
    once). Were it believed for that, it would be gone at the next boot."""
    remote = remote_of(local, there)
    local.write(WHOLE[:100_000])
    local.take("append")
    remote.settle(3600)
    local.write(WHOLE[100_000:150_000], "ab")
    local.take("append")
    refused: list[int] = []
    writes: list[tuple[int, int]] = []
    real_fsync, real_write = os.fsync, folder._write_at

    def fsync(fd: int) -> None:
        if not refused and os.fstat(fd).st_size == 150_000:
            refused.append(fd)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(fd)

    def write_at(fd: int, offset: int, data: bytes, *, sync: bool) -> None:
        if refused:
            writes.append((offset, len(data)))
        real_write(fd, offset, data, sync=sync)

    monkeypatch.setattr(folder.os, "fsync", fsync)
    monkeypatch.setattr(folder, "_write_at", write_at)
    remote.settle(3600)
    assert refused
    assert writes == [(100_000, 50_000)]
    assert (there / "a.csv").read_bytes() == WHOLE[:150_000]


def test_appends_that_the_journal_lost_with_the_power_are_written_again_once(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than one write takes: the file is longer than any but the last leaves it, which
    must not be taken for another hand's work, again and again."""
    remote = remote_of(local, there)
    local.write(WHOLE[:100_000])
    local.take("append")
    remote.settle(3600)
    local.write(WHOLE[100_000:300_000], "ab")
    local.take("append")
    remote.delivery.close()
    with open(there / "a.csv", "ab") as file:
        file.write(WHOLE[100_000:300_000])
    written: list[int] = []
    real = folder._write_at

    def write_at(fd: int, offset: int, data: bytes, *, sync: bool) -> None:
        written.append(len(data))
        real(fd, offset, data, sync=sync)

    monkeypatch.setattr(folder, "_write_at", write_at)
    remote.restart()
    remote.settle(60)
    assert sum(written) == 200_000
    assert (there / "a.csv").read_bytes() == WHOLE[:300_000]


def _interrupted(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> tuple[Remote, Path]:
    """An upload whose link breaks at a write; the remote, and its temporary file."""
    real, count = FolderTransport.write, [0]

    def cut(self: FolderTransport, path: str, offset: int, data: bytes, *, create: bool) -> None:
        count[0] += 1
        if count[0] == writes:
            raise LinkLost("cut by the test")
        real(self, path, offset, data, create=create)

    remote = remote_of(local, there)
    local.write(WHOLE)
    local.take("rewrite")
    monkeypatch.setattr(FolderTransport, "write", cut)
    while count[0] < writes:
        remote.step()
        local.clock.advance(1)
    return remote, temp_in(there)


@pytest.mark.parametrize("hole", [2_100_000, 2_400_000])
def test_a_loss_of_power_takes_pages_that_waited_in_a_cache(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch, hole: int
) -> None:
    """Pages go out in any order: after a loss of power the temporary file may be as long as the
    journal says, and have a hole in its middle, which would be put in place."""
    remote, temp = _interrupted(local, there, monkeypatch, 40)
    up = local.entry.upload
    assert up is not None
    assert up.acked == 2 << 20
    local.ledger.make_durable()
    remote.delivery.close()
    with open(temp, "r+b") as file:
        file.seek(hole)
        file.write(bytes(4096))
    local.boot = "two"
    local.open()
    remote.policy = Policy(unclean_boot=True)
    remote.open()
    remote.settle(3600)
    assert (there / "a.csv").read_bytes() == WHOLE


def test_an_upload_that_was_broken_off_goes_on_from_what_was_synced(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a big file no more comes again than what a cache may have had: each time from the
    beginning, an upload that is broken off often would never end."""
    remote, _ = _interrupted(local, there, monkeypatch, 40)
    offsets: list[int] = []
    real = FolderTransport.write

    def write(self: FolderTransport, path: str, offset: int, data: bytes, *, create: bool) -> None:
        offsets.append(offset)
        real(self, path, offset, data, create=create)

    monkeypatch.setattr(FolderTransport, "write", write)
    remote.settle(3600)
    assert min(offsets) == 2 << 20
    assert (there / "a.csv").read_bytes() == WHOLE


def test_an_upload_that_waits_for_a_budget_sends_nothing_twice(
    local: Local, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is synced before the wait. Where a cache holds more than a budget gives at
    once, the upload would not get on at all."""
    monkeypatch.setattr(folder, "_SYNC_EVERY_BYTES", 16 << 20)
    written: list[int] = []
    real = FolderTransport.write

    def write(self: FolderTransport, path: str, offset: int, data: bytes, *, create: bool) -> None:
        written.append(len(data))
        real(self, path, offset, data, create=create)

    monkeypatch.setattr(FolderTransport, "write", write)
    remote = remote_of(local, there, limits=Limits(bytes_per_day=1_500_000))
    local.write(WHOLE)
    local.take("rewrite")
    remote.settle(10 * 86_400)
    assert (there / "a.csv").read_bytes() == WHOLE
    assert sum(written) <= len(WHOLE) + 100_000


def test_a_temporary_file_is_synced_every_so_often(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each write, which a local disk would be slow for; and at the end."""
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(folder.os, "fsync", fsync)
    made = opened(there)
    for at in range(0, 2_500_000, 50_000):
        assert ask(made, Write(TEMP, at, bytes(50_000), create=True)) is None
    assert ask(made, Finish(TEMP)) is None
    made.close()
    assert synced == [1_050_000, 2_100_000, 2_500_000]


def test_a_temporary_file_that_was_taken_away_does_not_come_back(there: Path) -> None:
    """It would begin with a hole, and be put in place."""
    made = opened(there)
    assert ask(made, Write(TEMP, 0, b"one\n", create=True)) is None
    made.relax()
    os.unlink(there / TEMP)
    assert isinstance(ask(made, Write(TEMP, 4, b"two\n", create=True)), RemoteError)
    made.close()
    assert os.listdir(there) == []


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    made = tmp_path / "outside"
    made.mkdir()
    return made


@pytest.mark.parametrize("first_contact", ["keep", "replace"])
def test_a_link_that_leads_out_is_not_written_through(
    local: Local, there: Path, outside: Path, first_contact: str
) -> None:
    """Who may write to a share would have what is delivered appended to a file of this machine
    whose content is a beginning of it."""
    victim = outside / "victim"
    victim.write_bytes(b"echo")
    (there / "a.csv").symlink_to(victim)
    remote = remote_of(local, there)
    remote.policy = Policy(on_first_contact=first_contact)  # type: ignore[arg-type]
    local.write(b"echo hello\n")
    local.take("append")
    for _ in range(5):
        remote.step()
        local.clock.advance(60)
    assert victim.read_bytes() == b"echo"
    if first_contact == "replace":
        assert (there / "a.csv").read_bytes() == b"echo hello\n"
        assert not (there / "a.csv").is_symlink()


@pytest.mark.parametrize("name", ["a.csv", TEMP, f"sub/{TEMP}", "sub/inner/a.csv"])
def test_what_a_link_leads_to_outside_is_neither_made_nor_changed(
    there: Path, outside: Path, name: str
) -> None:
    """Nor is anything made, renamed or removed in a folder that is elsewhere."""
    (outside / "inner").mkdir()
    (outside / "mine").write_bytes(b"mine")
    if name.startswith("sub"):
        (there / "sub").symlink_to(outside)
    else:
        (there / name).symlink_to(outside / "new")
    before = sorted(os.listdir(outside))
    made = opened(there)
    found = ask(made, Write(name, 0, b"x", create=True))
    assert isinstance(found, RemoteDenied)
    assert "leads out" in str(found)
    if name.startswith("sub"):
        for request in (Rename("sub/mine", "sub/yours"), Remove("sub/mine"), MakeDir("sub/x")):
            assert isinstance(ask(made, request), RemoteDenied)
    made.close()
    assert sorted(os.listdir(outside)) == before


def test_links_to_somewhere_in_the_folder_are_followed(there: Path) -> None:
    """Its owner may have made them: a name for the present file, a folder on the same disk."""
    (there / "real" / "inner").mkdir(parents=True)
    (there / "real" / "data").write_bytes(b"one\n")
    (there / "sub").symlink_to("real")
    (there / "a.csv").symlink_to(there / "real" / "data")
    made = opened(there)
    assert ask(made, Write("a.csv", 4, b"two\n")) is None
    for name in ("sub/b.csv", "sub/inner/b.csv", "real/inner/c.csv"):
        assert ask(made, Write(name, 0, b"x", create=True)) is None
    made.close()
    assert (there / "real" / "data").read_bytes() == b"one\ntwo\n"
    assert (there / "real" / "inner" / "b.csv").read_bytes() == b"x"


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="this system opens no folder without reading")
def test_a_folder_that_may_not_be_listed_is_written_to(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-wx``: a mailbox. Root may list it nevertheless, so the system's refusal is a stand-in."""
    (there / "in" / "inner").mkdir(parents=True)
    (there / "in").chmod(0o300)
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "in" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    made = opened(there)
    for name in ("in/a.csv", "in/inner/a.csv"):
        assert ask(made, Write(name, 0, b"one\n", create=True)) is None
        assert ask(made, Write(name, 4, b"two\n")) is None
    made.close()
    monkeypatch.undo()
    (there / "in").chmod(0o700)
    assert (there / "in" / "a.csv").read_bytes() == b"one\ntwo\n"


def test_a_folder_that_is_a_link_itself_is_a_destination(there: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(there)
    (there / "sub").mkdir()
    made = opened(tmp_path / "link")
    assert ask(made, Write("sub/a.csv", 0, b"x", create=True)) is None
    made.close()
    assert (there / "sub" / "a.csv").read_bytes() == b"x"


def test_a_marker_that_is_a_link_is_not_written_through(
    there: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / mount.MARKER).symlink_to(outside / "new")
    monkeypatch.setattr(mount, "mount_point", lambda path: str(there))
    made = FolderTransport(str(there))
    made.connect()
    assert "no .pysubtask-destination can be made there" in made.capabilities.limits[0]
    assert os.listdir(outside) == []


def test_a_named_pipe_is_not_waited_for(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it would hang until somebody else opens its other end."""
    os.mkfifo(there / "a.csv")
    os.mkfifo(there / mount.MARKER)
    monkeypatch.setattr(mount, "mount_point", lambda path: str(there))
    made = FolderTransport(str(there))
    made.connect()
    made.submit(1, Read("a.csv", 0, 10))
    ((_, found),) = made.collect()
    assert found == b"" or isinstance(found, RemoteError)


def test_links_that_lead_nowhere_do_not_keep_a_folder_from_being_listed(there: Path) -> None:
    """One of them, in a circle or through a file, and nothing would be fetched from there."""
    (there / "good.csv").write_bytes(b"x")
    (there / "circle").symlink_to("circle")
    (there / "through").symlink_to("good.csv/x")
    (there / "nothing").symlink_to("nowhere")
    (there / "same").symlink_to("good.csv")
    found = ask(opened(there), List(""))
    assert isinstance(found, dict)
    assert found.keys() == {"good.csv", "same"}


def test_what_can_not_be_looked_at_for_another_reason_is_not_taken_for_removed(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching removes here what was removed there, where it was asked to."""

    class Entry:
        name = "a.csv"

        def stat(self) -> os.stat_result:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        def is_symlink(self) -> bool:
            return False

    monkeypatch.setattr(folder, "_scandir", lambda name, at: nullcontext(iter([Entry()])))
    assert isinstance(ask(opened(there), List("")), RemoteDenied)


@pytest.mark.parametrize(("limit", "value"), [("_MAX_NAMES", 2), ("_MAX_NAME_BYTES", 11)])
def test_a_folder_without_end_is_not_listed(
    there: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(folder, limit, value)
    for name in ("a.csv", "b.csv"):
        (there / name).write_bytes(b"")
    assert isinstance(ask(opened(there), List("")), dict)
    (there / "c.csv").write_bytes(b"")
    assert isinstance(ask(opened(there), List("")), RemoteError)


@pytest.mark.parametrize("name", ["\ud800.csv", "sub\ud800/a.csv", "a\0.csv"])
def test_a_name_that_no_file_can_have_is_refused_alone(there: Path, name: str) -> None:
    """Of a watch's ``as``, say: the subtask would crash, be started again and crash, and nothing of
    the other files be delivered."""
    made = opened(there)
    for request in (Stat(name), Write(name, 0, b"x", create=True), Remove(name), MakeDir(name)):
        found = ask(made, request)
        assert isinstance(found, RemoteError)
        assert not found.retryable


def test_a_handle_that_went_stale_is_opened_anew(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: ESTALE of a handle stays for ever, though the name is good: the file would get nothing
    more before the next quiet moment, however far that is."""
    (there / "a.csv").write_bytes(b"one\n")
    made = opened(there)
    stale: list[int] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if not stale:
            stale.append(fd)
        if fd in stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(fd, data)

    monkeypatch.setattr(folder.os, "write", write)
    monkeypatch.setattr(folder, "_close", lambda fd: None)  # so that its number is not used again
    assert isinstance(ask(made, Write("a.csv", 4, b"two\n")), RemoteError)
    assert ask(made, Write("a.csv", 4, b"two\n")) is None
    assert (there / "a.csv").read_bytes() == b"one\ntwo\n"
