"""Where state and logs lie, and which folders are left alone.

State goes below the folder of the first watch. Where that can't be written, or lies on a network
mount (whose locks and caches a journal can't trust), it goes to the user's own state folder. A
trouble that passes is no reason: what is owed stands in the journal that is there.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Literal

from pysubtask.errors import SettingsError, StateError
from pysubtask.settings import Settings
from pysubtask.systems import macos, windows

__all__ = [
    "Place",
    "is_network_mount",
    "log_file",
    "other_places",
    "place_state",
    "refuse_to_sweep",
]

# Types of file systems that are a network's, as /proc/self/mountinfo names them (proc(5)).
_NETWORK_TYPES = frozenset(
    """9p afs beegfs ceph cifs coda davfs fuse.ceph fuse.curlftpfs fuse.davfs2 fuse.gcsfuse
    fuse.glusterfs fuse.rclone fuse.s3fs fuse.smbnetfs fuse.sshfs glusterfs gfs2 gpfs lustre ncpfs
    nfs nfs4 ocfs2 pvfs2 smb3 smbfs""".split()
)


_PASSING = {
    code
    for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO", "ENOMEM", "EINTR", "EAGAIN")
    if (code := getattr(errno, name, None)) is not None
}
"""A folder that is there can be used in spite of it, or again soon."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that was chosen, and why not the one that was asked for."""

    folder: str
    instead_of: str | None = None
    why: str | None = None


def place_state(wanted: str) -> Place:
    """Make the state folder (mode 0700) and return where it is.

    Args:
        wanted: absolute path of the folder as the settings name it.

    Raises:
        StateError: neither it nor any of the places instead can be used.
    """
    why = _trouble_with(wanted)
    if why is None:
        return Place(wanted)
    for folder in other_places(wanted):
        if _trouble_with(folder) is None:
            return Place(folder, instead_of=wanted, why=why)
    raise StateError(
        why,
        operation="make the state folder",
        path=wanted,
        hint="set bak_to_folder to a folder on a local disk that can be written",
    )


def _trouble_with(folder: str) -> str | None:
    """Why a folder can't hold the state; None if it can. It exists afterwards."""
    try:
        if is_network_mount(folder):
            return "it is on a network mount"
        _make(folder)
        handle, probe = tempfile.mkstemp(prefix=".probe-", dir=folder)
        os.close(handle)
        os.unlink(probe)
    except (OSError, ValueError) as error:
        passing = isinstance(error, OSError) and error.errno in _PASSING
        if passing and os.path.isdir(folder):
            return None
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    return None


def _make(folder: str) -> None:
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise


def other_places(wanted: str, *, make: bool = True) -> list[str]:
    """Where the state of ``wanted`` goes instead. ``make=False``: only look, make no folder."""
    from pysubtask.blake import blake2b  # late: seldom needed

    name = blake2b(os.fsencode(wanted), digest_size=8).hexdigest()
    places = []
    try:
        import platformdirs

        places.append(os.path.join(platformdirs.user_state_dir("pysubtask", False), name))
    except (ImportError, OSError, RuntimeError):
        pass  # no home folder can be found out
    if sys.platform != "win32":
        ours = f"/var/tmp/pysubtask-{os.getuid()}"  # noqa: S108  (checked below)
        try:
            if make:
                os.makedirs(ours, mode=0o700, exist_ok=True)
            found = os.lstat(ours)
            # anybody may make this name first: only our own private folder will do
            if found.st_uid == os.getuid() and not found.st_mode & 0o077:
                places.append(os.path.join(ours, name))
        except OSError:
            pass
    return places


def is_network_mount(path: str) -> bool:
    """Whether ``path``, or the nearest folder above it that exists, is on a network mount.

    Tells on Linux, Windows and macOS; elsewhere the answer is False.
    """
    existing = os.path.realpath(path)
    while not os.path.exists(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    if sys.platform == "linux":
        return _mount_type(existing) in _NETWORK_TYPES
    if sys.platform == "win32":
        return windows.is_network_drive(existing)
    if sys.platform == "darwin":
        return macos.mount_type(existing) in macos.NETWORK_TYPES
    return False


def _mount_type(path: str) -> str | None:
    """The file system's type: found by the device number that stat tells, so that overlapping
    mounts do not matter; by the longest mount point where that number is not listed (btrfs)."""
    if sys.platform == "win32":
        return None
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best, best_length = None, -1
    for line in lines:
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(), tail.partition(" ")[0]
        if len(fields) < 5:
            continue
        if fields[2] == wanted:
            return kind
        point = fields[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) > best_length:
            best, best_length = kind, len(point)
    return best


def refuse_to_sweep(folders: set[str]) -> None:
    """Refuse to send or move all files of folders that are certainly not meant.

    Raises:
        SettingsError: one of them is the root of a disk, the home folder or a project's folder.
    """
    for folder in sorted(folders):
        why = _why_not_swept(folder)
        if why is not None:
            raise SettingsError(
                f"its old files would be sent or moved, but {why}",
                operation="start(precleanup_old_files=True)",
                path=folder,
                hint="keep data files in a folder of their own",
            )


def _why_not_swept(folder: str) -> str | None:
    real = os.path.realpath(folder)
    if os.path.dirname(real) == real:
        return "it is the root of a disk"
    if real == os.path.realpath(os.path.expanduser("~")):
        return "it is your home folder"
    for name in (".git", "pyproject.toml"):
        if os.path.lexists(os.path.join(real, name)):
            return f"it holds {name}, so it is a project's folder"
    return None


def log_file(
    settings: Settings,
    side: Literal["taskmaster", "subtask"],
    extension: str,
    home: str,
    work_dir: str,
    place: Place | None,
) -> tuple[str | None, str]:
    """Where one side's log goes: folder (None: no file) and name.

    Args:
        home: folder of the first watch.
        work_dir: the program's folder, from which version 1 counted (``./logs/x.txt``).
        place: where the state is, for logs whose own folder can't be written either.
    """
    names = {
        "taskmaster": settings.master_log_file_name,
        "subtask": settings.subtask_log_file_name,
    }
    head, name = os.path.split(names[side] or f"{extension}_{side}.log.txt")
    if head:
        return os.path.normpath(os.path.join(work_dir, head)), name
    if settings.log_to_folder is None:
        return None, name
    folder = os.path.normpath(os.path.join(home, os.path.expanduser(settings.log_to_folder)))
    if place is not None and place.instead_of and not _can_write(folder):
        folder = os.path.join(place.folder, "logs")
    return folder, name


def _can_write(folder: str) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK)
