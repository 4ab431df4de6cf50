"""Files below a folder, whatever symbolic links somebody has made in it.

Who may write to a share could make ``a.csv`` a link to a file of this machine, or a subfolder one
to a folder, and what is delivered would be written there. Links to somewhere in the folder are
followed, others are refused.

Where the system has ``dir_fd`` and ``O_NOFOLLOW`` each part of a path is opened by way of the one
before, so that a link that is made in this very moment is not followed either (openat(2); what
``RESOLVE_BENEATH`` of openat2(2) does, which Python does not have).
"""

from __future__ import annotations

import errno
import os

from pysubtask.errors import RemoteDenied

__all__ = ["keep_inside", "open_below"]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_TO_PASS = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY))
"""A folder may be passed through, and written to, by who may not list it (``-wx``)."""
_PARENT = _TO_PASS | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | _NO_FOLLOW
_MET_A_LINK = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR})
"""Of ``O_NOFOLLOW``: the first, on FreeBSD the second; with ``O_DIRECTORY`` the third."""


def open_below(root: str, path: str, flags: int, at: int) -> int:
    """Open ``path``, which is relative to the folder ``root`` that is open as ``at``.

    Raises:
        RemoteDenied: a link leads out of the folder.
        OSError: as ``os.open`` would.
    """
    try:
        return _open_each(path, flags, at)
    except OSError as error:
        if error.errno not in _MET_A_LINK:
            raise
        keep_inside(root, path)
        base, place = os.path.realpath(root), os.path.realpath(os.path.join(root, path))
        real = os.path.relpath(place, base)
        if real == os.path.normpath(path):
            raise  # it was no link
    return _open_each(real, flags, at)


def _open_each(path: str, flags: int, at: int) -> int:
    """Without following any link. What is not below the folder by its words (a folder of the
    user's own choice) is opened as it is."""
    *folders, name = path.split("/")
    if os.path.isabs(path) or not folders:
        return os.open(path, flags | _NO_FOLLOW, 0o666, dir_fd=at)
    parent = at
    try:
        for folder in folders:
            inner = os.open(folder or ".", _PARENT, dir_fd=parent)
            if parent != at:
                os.close(parent)
            parent = inner
        return os.open(name, flags | _NO_FOLLOW, 0o666, dir_fd=parent)
    finally:
        if parent != at:
            os.close(parent)


def keep_inside(root: str, path: str) -> None:
    """Look whether the links in ``path`` lead out of ``root``.

    Raises:
        RemoteDenied: so they do.
    """
    place = os.path.normpath(os.path.join(root, path))
    if not _is_below(place, os.path.normpath(root)):
        return  # so it was asked for, by name
    if not _is_below(os.path.realpath(place), os.path.realpath(root)):
        raise RemoteDenied(
            "a symbolic link leads out of the destination folder",
            operation="write",
            path=path,
            hint="remove it; links to somewhere in the folder are followed",
        )


def _is_below(place: str, folder: str) -> bool:
    try:
        return os.path.commonpath([place, folder]) == folder
    except ValueError:  # another drive
        return False
