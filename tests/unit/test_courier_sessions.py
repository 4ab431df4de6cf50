"""Destinations that take whole files only: one request, an upload with a token, or segments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.core.plan import Policy
from pysubtask.errors import RemoteError
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import (
    BIG,
    SESSIONS,
    Cut,
    Remote,
    WatchedServer,
    make_remote,
    numbered,
)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def requests(remote: Remote) -> list[str]:
    """What was asked for since the last time, without the paths."""
    asked = [name for name, _ in remote.server.requests]
    remote.server.requests.clear()
    return asked


def test_a_small_delivery_is_a_look_and_one_request(local: Local) -> None:
    remote = make_remote(local, "sessions")
    for n in range(3):
        local.write(numbered(3000, n), "ab")
        local.take("append")
        remote.settle()
        assert requests(remote) == ["stat", "put", "stat"]  # the last one is the fake's own
    assert remote.server.seen[-1] == Path(local.path).read_bytes()
    assert remote.server.written_bytes == 3000 + 6000 + 9000


def test_what_another_hand_changed_is_seen_and_said(local: Local) -> None:
    remote = make_remote(local, "sessions")
    local.write(numbered(3000))
    local.take("append")
    remote.settle()
    remote.server.put_file("a.csv", b"not ours" * 375)
    local.clock.advance(10)
    local.write(numbered(100), "ab")
    local.take("append")
    remote.settle()
    assert local.entry.conflict_at is not None
    assert remote.server.read_file("a.csv") == Path(local.path).read_bytes()


def test_what_is_there_already_is_not_sent(local: Local) -> None:
    """By its digest: not a byte of it is read from the server."""
    remote = make_remote(local, "sessions")
    remote.server.put_file("a.csv", numbered(BIG))
    local.write(numbered(BIG))
    local.take()
    remote.settle()
    assert set(requests(remote)) == {"stat"}
    assert remote.server.written_bytes == 0


def test_after_the_journal_is_lost_our_own_beginning_is_no_stranger(local: Local) -> None:
    remote = make_remote(local, "sessions")
    remote.server.put_file("a.csv", numbered(BIG)[:5000])
    local.write(numbered(BIG))
    local.take("append")
    remote.settle()
    assert remote.server.names() == ["a.csv"]
    assert remote.server.read_file("a.csv") == numbered(BIG)


def test_each_request_of_an_upload_is_noted_before_it_leaves(local: Local) -> None:
    remote = make_remote(local, "sessions")
    local.write(numbered(3_000_000))
    local.take()
    noted: list[tuple[int, int]] = []

    def look(operation: str, path: str) -> None:
        upload = local.entry.upload
        if operation == "write":
            assert upload is not None
            assert upload.token
            noted.append((upload.acked, upload.reach))
            assert len(remote.server.uploads[upload.token]) == upload.acked

    remote.server.fault_before = look
    remote.settle()
    assert len(noted) > 8
    assert [reach for _, reach in noted[:-1]] == [acked for acked, _ in noted[1:]]
    assert noted[-1][1] == 3_000_000


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
def test_a_big_upload_goes_on_where_it_broke(local: Local, where: str, kill: bool) -> None:
    remote = make_remote(local, "sessions")
    data = numbered(3_000_000)
    local.write(data)
    local.take()
    for n in (8, 5, 11):
        cut = Cut(n)
        setattr(remote.server, f"fault_{where}", cut)
        remote.step()
        assert cut.done
        if kill:
            remote.restart()
    remote.settle()
    assert remote.server.seen == [None, data]
    most = len(data) if where == "after" else len(data) + 3 * 262_144
    assert remote.server.written_bytes <= most


def test_a_lost_upload_begins_anew(local: Local) -> None:
    remote = make_remote(local, "sessions")
    local.write(numbered(1_000_000))
    local.take()
    lost = False

    def lose(operation: str, path: str) -> None:
        nonlocal lost
        if operation == "write" and not lost and remote.server.written_bytes > 300_000:
            lost = True
            remote.server.uploads.clear()

    remote.server.fault_before = lose
    remote.settle()
    assert lost
    assert remote.server.seen == [None, numbered(1_000_000)]


def test_an_upload_that_holds_what_was_never_sent_begins_anew(local: Local) -> None:
    """The server may have all of the last request, or nothing of it; not a part."""
    remote = make_remote(local, "sessions")
    local.write(numbered(1_000_000))
    local.take()
    remote.server.fault_before = Cut(8)
    remote.step()
    (upload,) = remote.server.uploads.values()
    upload += b"x"
    remote.settle()
    assert remote.server.seen == [None, numbered(1_000_000)]


def test_after_a_loss_of_power_the_server_may_be_ahead(local: Local) -> None:
    remote = make_remote(local, "sessions", policy=Policy(unclean_boot=True))
    data = numbered(1_000_000)
    local.write(data)
    local.take()
    remote.server.fault_before = Cut(8)
    remote.step()
    (upload,) = remote.server.uploads.values()
    upload += data[len(upload) : 900_000]  # of these requests the journal knows nothing
    remote.server.requests.clear()
    remote.settle()
    assert remote.server.seen == [None, data]
    assert remote.server.written_bytes < 500_000


@pytest.mark.parametrize("size", [5_000, BIG])
def test_what_arrives_damaged_is_sent_again(local: Local, size: int) -> None:
    remote = make_remote(local, "sessions")
    local.write(numbered(size))
    local.take()
    damaged = False

    def damage(operation: str, path: str) -> None:
        nonlocal damaged
        if operation == ("put" if size < BIG else "rename") and not damaged:
            damaged = True
            remote.server.put_file("a.csv", b"x" * size)

    remote.server.fault_after = damage
    remote.step()
    assert damaged
    assert "digest differs" in remote.delivery.errors[local.path]
    remote.settle()
    assert remote.server.read_file("a.csv") == numbered(size)


def test_a_file_rotated_away_before_its_commit_is_finished(local: Local) -> None:
    """Its bytes are all at the server; that they can't be read here any more is no harm."""
    remote = make_remote(local, "sessions")
    data = numbered(1_000_000)
    local.write(data)
    local.take("append")

    def truncate(operation: str, path: str) -> None:
        if operation == "write" and local.entry.upload and local.entry.upload.reach == len(data):
            local.write(b"")

    remote.server.fault_after = truncate
    remote.settle()
    assert remote.server.seen == [None, data]


# -- segments ------------------------------------------------------------------------------------


def joined(server: WatchedServer, folder: str = "a.csv.d") -> bytes:
    """As ``cat a.csv.d/*`` does."""
    names = [n for n in server.names() if n.startswith(folder + "/")]
    return b"".join(server.read_file(n) or b"" for n in names)


def play_segments(folder: Path, cut: Cut, where: str, *, kill: bool) -> Remote:
    folder.mkdir()
    local = Local(folder, ManualClock(), HookedDisk())
    server = WatchedServer(SESSIONS)
    setattr(server, f"fault_{where}", cut)
    remote = Remote(local, server, segmented=True)
    for n, size in enumerate((0, 3000, 200_000, 50)):
        local.write(numbered(size, n), "ab")
        local.take("append")
        done = cut.done
        remote.step()
        if kill and cut.done and not done:
            remote.restart()
        assert Path(local.path).read_bytes().startswith(joined(server))
        remote.settle()
        assert Path(local.path).read_bytes() == joined(server)
    return remote


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
def test_segments_joined_are_the_file_whatever_breaks(
    tmp_path: Path, where: str, kill: bool
) -> None:
    for n in range(1, 100):
        cut = Cut(n)
        remote = play_segments(tmp_path / str(n), cut, where, kill=kill)
        assert not [name for name in remote.server.names() if "~" in name]
        if not cut.done:
            assert n > 8
            assert remote.server.written_bytes == 203_050
            return
    pytest.fail("it never ends")


class FolderServer(WatchedServer):
    """Renames whole folders, as Dropbox does."""

    def rename_folder(self, old: str, new: str) -> None:
        for name in [n for n in self.names() if n.startswith(old + "/")]:
            self._files[new + name[len(old) :]] = self._files.pop(name)
        self._folders = {f for f in self._folders if f != old} | {new}


def make_segmented(local: Local, **changes: object) -> Remote:
    server = FolderServer(SESSIONS)
    remote = Remote(local, server, segmented=True, **changes)  # type: ignore[arg-type]

    def rename(operation: str, path: str) -> None:
        if operation == "rename" and server.has_folder(path):
            stamp = f"{path}~aside"
            server.rename_folder(path, stamp)
            # what the transport does now finds a file, and moves it out of the way
            server.put_file(path, b"")

    server.fault_before = rename
    return remote


def test_a_new_version_begins_a_new_folder(local: Local) -> None:
    remote = make_segmented(local)
    for n in range(3):
        local.write(numbered(100, n), "ab")
        local.take("append")
        remote.settle()
    first = Path(local.path).read_bytes()
    os.rename(local.path, local.path + ".1")
    local.write(numbered(50, 9))
    local.take("append")
    remote.settle()
    assert joined(remote.server) == numbered(50, 9)
    assert joined(remote.server, "a.csv.d~aside") == first


def test_a_foreign_folder_is_kept(local: Local) -> None:
    remote = make_segmented(local)
    remote.server.make_folder("a.csv.d")
    remote.server.put_file("a.csv.d/theirs", b"theirs")
    local.write(numbered(100))
    local.take("append")
    remote.settle()
    assert joined(remote.server) == numbered(100)
    assert joined(remote.server, "a.csv.d~aside") == b"theirs"


@pytest.mark.parametrize("foreign", [False, True])
def test_after_a_loss_of_power_segments_never_overlap(local: Local, foreign: bool) -> None:
    """The journal forgot the last two: they are counted if they are ours, else all begins anew."""
    remote = make_segmented(local, policy=Policy(unclean_boot=True))
    for n in range(3):
        local.write(numbered(100, n), "ab")
        local.take("append")
        remote.settle()
        if n == 0:
            old = local.entry.delivered
    assert old is not None
    local.ledger.update(local.path, lambda e: replace_delivered(e, old))
    if foreign:
        remote.server.put_file(f"a.csv.d/{200:016d}", b"y" * 100)
    local.write(numbered(100, 3), "ab")
    local.take("append")
    local.ledger.doubt(local.entry)
    sent = remote.server.written_bytes
    remote.settle()
    assert joined(remote.server) == Path(local.path).read_bytes()
    assert remote.server.written_bytes - sent == (400 if foreign else 100)


def replace_delivered(entry: object, delivered: object) -> object:
    from msgspec.structs import replace

    return replace(entry, delivered=delivered)


def test_a_refused_segment_is_held_like_any_file(local: Local) -> None:
    remote = make_remote(local, "sessions", segmented=True)
    local.write(numbered(100))
    local.take("append")

    def refuse(operation: str, path: str) -> None:
        if operation == "put":
            raise RemoteError("no", operation=operation, path=path)

    remote.server.fault_before = refuse
    remote.step()
    assert "no" in remote.delivery.errors[local.path]
