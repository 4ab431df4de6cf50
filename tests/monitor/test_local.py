"""Looking at a real folder, in which strangers may put anything."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import sys
import time

import pytest

from pysubtask.monitor.clients import Settings
from pysubtask.monitor.fleet import Fleet
from pysubtask.monitor.local import LocalFolder
from tests.monitor.fakes import HOSTILE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def names(folder: LocalFolder) -> dict[str, str | None]:
    scan = folder.scan()
    assert scan.error is None
    return {one.name: one.refused for one in scan.sightings}


def test_what_is_found(tmp_path: pathlib.Path) -> None:
    for name in ("a.heartbeat", "site/b.heartbeat", "site/deep/er/c.heartbeat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"60\n")
    for name in (".a.heartbeat", "a.csv", "a.heartbeat.tmp", ".heartbeat", ".hid/x.heartbeat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"60\n")
    assert set(names(LocalFolder(str(tmp_path)))) == {"a", "site/b", "site/deep/er/c"}
    assert set(names(LocalFolder(str(tmp_path), recursive=False))) == {"a"}


def test_links_fifos_sockets_and_folders_are_refused_at_once(tmp_path: pathlib.Path) -> None:
    drop, secret = tmp_path / "drop", tmp_path / "secret"
    drop.mkdir()
    secret.mkdir()
    (secret / "shadow.heartbeat").write_bytes(b"60\nroot:x\n")
    (drop / "link.heartbeat").symlink_to(secret / "shadow.heartbeat")
    (drop / "loop.heartbeat").symlink_to("loop.heartbeat")
    (drop / "zero.heartbeat").symlink_to("/dev/zero")
    (drop / "folder").symlink_to(secret)
    (drop / "dir.heartbeat").mkdir()
    os.mkfifo(drop / "fifo.heartbeat")
    bound = socket.socket(socket.AF_UNIX)
    old = pathlib.Path.cwd()
    os.chdir(drop)
    try:
        bound.bind("sock.heartbeat")
    finally:
        os.chdir(old)
        bound.close()
    found = names(LocalFolder(str(drop)))
    assert {name: (refused or "").split(",")[0] for name, refused in found.items()} == {
        "link": "is a symbolic link",
        "loop": "is a symbolic link",
        "zero": "is a symbolic link",
        "dir": "is a folder",
        "fifo": "is a FIFO",
        "sock": "is a socket",
    }
    fleet = Fleet()
    fleet.observe(LocalFolder(str(drop)).scan(), 1000.0, 0.0)
    assert {client.state for client in fleet.clients.values()} == {"new"}
    assert all(client.flags == ("bad_file",) for client in fleet.clients.values())


def test_hostile_names_are_files_like_others(tmp_path: pathlib.Path) -> None:
    for name in HOSTILE:
        (tmp_path / f"{name}.heartbeat").write_bytes(b"60\n")
    assert set(names(LocalFolder(str(tmp_path)))) == set(HOSTILE)


def test_a_huge_file_is_read_in_part(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "big.heartbeat").open("wb") as file:
        file.write(b"60\n")
        file.truncate(1 << 40)
    (sighting,) = LocalFolder(str(tmp_path)).scan().sightings
    assert len(sighting.content) == 4096


def test_a_folder_that_is_not_there_is_an_error_and_one_below_a_warning(
    tmp_path: pathlib.Path,
) -> None:
    assert "No such file" in (LocalFolder(str(tmp_path / "no")).scan().error or "")
    (tmp_path / "file").write_bytes(b"")
    assert "Not a directory" in (LocalFolder(str(tmp_path / "file")).scan().error or "")
    (tmp_path / "a.heartbeat").write_bytes(b"60\n")
    if os.geteuid() != 0:
        (tmp_path / "shut").mkdir(mode=0)
        scan = LocalFolder(str(tmp_path)).scan()
        assert (scan.error, len(scan.sightings), len(scan.warnings)) == (None, 1, 1)


def test_so_many_and_no_more(tmp_path: pathlib.Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.heartbeat").write_bytes(b"60\n")
    scan = LocalFolder(str(tmp_path), limit=3).scan()
    assert len(scan.sightings) == 3
    assert "more than 3" in scan.warnings[0]


def test_what_the_limit_leaves_out_is_not_gone(tmp_path: pathlib.Path) -> None:
    """Whoever may upload 200,000 files would have living clients told as removed."""
    for number in range(10):
        (tmp_path / f"c{number}").mkdir()
        (tmp_path / f"c{number}/edge.heartbeat").write_bytes(b"3600\n")
    source, fleet = LocalFolder(str(tmp_path), limit=12), Fleet()
    fleet.observe(source.scan(), time.time(), 1.0)
    (tmp_path / "zz").mkdir()
    for number in range(6):
        (tmp_path / f"zz/junk{number}.heartbeat").write_bytes(b"60\n")
    for again in (False, True):
        if again:  # another run, which has seen nobody yet
            source = LocalFolder(str(tmp_path), limit=12)
        scan = source.scan()
        fleet.observe(scan, time.time(), 2.0)
        assert len(scan.sightings) == 12
        assert "more than 12" in scan.warnings[0]
        states = [fleet.by_name[f"c{number}/edge"].state for number in range(10)]
        assert set(states) <= ({"up", "unknown"} if again else {"up"})


def test_data_beside_a_heartbeat_that_is_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/edge.heartbeat").write_bytes(b"60\n")
    (tmp_path / "one/data.csv").write_bytes(b"x" * 100)
    os.utime(tmp_path / "one/data.csv", (1000, 1000))
    (sighting,) = LocalFolder(str(tmp_path), data=True).scan().sightings
    assert (sighting.data_at, sighting.data_bytes) == (1000.0, 100)
    (tmp_path / "one/other.heartbeat").write_bytes(b"60\n")  # whose data are they now?
    assert {one.data_at for one in LocalFolder(str(tmp_path), data=True).scan().sightings} == {None}


def test_real_time_stamps_beats_and_lies(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "edge.heartbeat"
    path.write_bytes(b"60\n")
    fleet, source = Fleet(Settings(look_secs=100)), LocalFolder(str(tmp_path))
    now = path.stat().st_ctime
    fleet.observe(source.scan(), now, 0.0)
    (client,) = fleet.clients.values()
    assert client.beat_at == pytest.approx(path.stat().st_mtime, abs=1e-5)
    assert client.flags == ()
    path.chmod(0o600)
    assert fleet.observe(source.scan(), now + 100, 100.0).changed == [client]
    assert client.state == "down"
    path.chmod(0o644)
    fleet.observe(source.scan(), now + 101, 101.0)
    assert client.state == "down"
    os.utime(path, (4e9, 4e9))  # touch -d 2096
    fleet.observe(source.scan(), now + 102, 102.0)
    assert client.flags == ("clock_skew",)
    assert (client.beat_at or 0) < now + 103


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_file_that_cannot_be_opened_is_unread_and_no_beat(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It says nothing about its client, whereas a link in its place is no heartbeat at all."""
    (tmp_path / "edge.heartbeat").write_bytes(b"60\n")
    fleet, source = Fleet(), LocalFolder(str(tmp_path))
    now = (tmp_path / "edge.heartbeat").stat().st_mtime
    fleet.observe(source.scan(), now, 0.0)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        (sighting,) = source.scan().sightings
        assert sighting.refused is None
        assert os.strerror(number) in (sighting.unread or "")
        fleet.observe(source.scan(), now + 200, 200.0)
        (client,) = fleet.clients.values()
        assert client.state == "unknown"
    fleet.observe(source.scan(), now + 205, 205.0)
    assert client.state == "late"
