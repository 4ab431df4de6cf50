"""A file system of a few hundred KiB, to be filled: a tmpfs of its own (root only, Linux)."""

from __future__ import annotations

import array
import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.processes import ServerMissing

__all__ = ["fill", "freeze", "make_read_only", "small_disk", "thaw"]


@contextmanager
def small_disk(folder: pathlib.Path, size_bytes: int) -> Iterator[pathlib.Path]:
    """Mount an empty file system of that size at ``folder`` (made if missing).

    Raises:
        ServerMissing: mounting is not allowed here.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ServerMissing("tmpfs (needs root on Linux)")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes},mode=0777"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "pysubtask-test", str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        raise ServerMissing(f"tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: pathlib.Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(folder)], capture_output=True, timeout=30).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def make_read_only(folder: pathlib.Path, read_only: bool = True) -> None:
    """Let nobody write to the file system, or let them again."""
    # remounting read-only is refused while a file is open for writing; a read-only bind is not
    if read_only:
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True, timeout=30)
        options = "remount,ro,bind"
        subprocess.run(["mount", "-o", options, str(folder)], check=True, timeout=30)
    else:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def fill(folder: pathlib.Path, leave_bytes: int = 0) -> pathlib.Path:
    """Fill the file system but for so many bytes; removing the file that is given makes room."""
    filler = folder / ".filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096) == 4096:
            pass
    if leave_bytes:
        os.truncate(filler, max(0, filler.stat().st_size - leave_bytes))
    return filler


_GETFLAGS, _SETFLAGS = 0x8008_6601, 0x4008_6602  # ioctl_iflags(2), on 64 bits
_IMMUTABLE = 0x10


def freeze(place: pathlib.Path, frozen: bool = True) -> None:
    """Let nobody change a file or folder, root included (``chattr +i``).

    Raises:
        OSError: neither the file system nor we can do that.
    """
    import fcntl

    fd = os.open(place, os.O_RDONLY)
    try:
        flags = array.array("i", [0])
        fcntl.ioctl(fd, _GETFLAGS, flags)
        flags[0] = flags[0] | _IMMUTABLE if frozen else flags[0] & ~_IMMUTABLE
        fcntl.ioctl(fd, _SETFLAGS, flags)
    finally:
        os.close(fd)


def thaw(place: pathlib.Path) -> None:
    """Undo :func:`freeze`."""
    freeze(place, frozen=False)
