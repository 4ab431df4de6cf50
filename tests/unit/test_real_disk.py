"""The operating system's disk, where the simulated one can't stand in for it."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from pysubtask.seams.disk import FileStat, RealDisk


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be synced there")
def test_a_folder_that_is_made_survives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync(2): that of a file does not bring the name of its folder to the disk."""
    synced: list[int] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    RealDisk().make_dirs(str(tmp_path / "a" / "b"))
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    RealDisk().make_dirs(str(tmp_path / "a" / "b"))
    assert len(synced) == 2  # it was there


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be synced there")
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_file_systems_that_sync_no_folders_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Some FUSE and network mounts: the first start would fail, and no copy ever count as safe. A
    disk that fails is another matter."""

    def fsync(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            RealDisk().sync_dir(str(tmp_path))
    else:
        RealDisk().sync_dir(str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are the system's own there")
def test_folders_are_private_unless_they_are_the_programs(tmp_path: Path) -> None:
    disk = RealDisk()
    disk.make_dirs(str(tmp_path / "state" / "outbox"))
    disk.make_dirs(str(tmp_path / "inbox"), private=False)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("state", "state/outbox")]
    assert modes == [0o700, 0o700]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "inbox").stat().st_mode) == 0o777 & ~umask


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileExistsError):
        RealDisk().make_dirs(str(tmp_path / "a"))


def test_how_many_names_a_file_has_does_not_make_it_another() -> None:
    one, two, other = (
        FileStat(1, 2, 3, 4, 5),
        FileStat(1, 2, 3, 4, 5, links=2),
        FileStat(2, 2, 3, 4, 5),
    )
    assert one == two
    assert (one != two) is False
    assert hash(one) == hash(two)
    assert one != other
    assert one != "a"


def test_times_are_those_of_stat(tmp_path: Path) -> None:
    file = tmp_path / "a"
    assert RealDisk().times(str(file)) is None
    file.write_bytes(b"x")
    st = RealDisk().stat(str(file))
    assert RealDisk().times(str(file)) == (st.mtime_ns, st.ctime_ns)
