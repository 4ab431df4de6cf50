"""macOS: syncing for real, and which mounts are a network's."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__all__ = ["NETWORK_TYPES", "mount_type", "sync"]

NETWORK_TYPES = frozenset("afpfs ftp macfuse nfs osxfuse smbfs webdav".split())
"""Types of file systems whose locks and caches a journal can't trust, as ``mount`` names them."""


def sync(fd: int) -> None:
    """Return when the data would survive a loss of power.

    ``fsync`` on macOS hands the data to the drive, which may keep it in its cache; ``F_FULLFSYNC``
    asks the drive to flush that (fsync(2), fcntl(2) of macOS). Where the file system has no such
    thing, ``fsync`` has to do.

    Raises:
        OSError: the data could not be written.
    """
    fcntl: Any = import_module("fcntl")
    try:
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    except (OSError, AttributeError):
        os.fsync(fd)


def mount_type(path: str) -> str | None:
    """The type of the file system that an absolute, real path lies on; None if it can't be told."""
    psutil: Any = import_module("psutil")
    best, kind = "", None
    try:
        for mount in psutil.disk_partitions(all=True):
            point = str(mount.mountpoint)
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) > len(best):
                best, kind = point, str(mount.fstype).lower()
    except (OSError, psutil.Error):
        return None
    return kind
