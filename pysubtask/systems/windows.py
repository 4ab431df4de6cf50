"""Windows: files that others may rename meanwhile, network drives, processes without a window.

The system's modules are imported by name, when needed: on other systems they do not exist.
"""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

__all__ = ["CREATION_FLAGS", "is_network_drive", "open_shared", "opener", "replace"]

# https://learn.microsoft.com/windows/win32/procthread/process-creation-flags
_CREATE_NEW_PROCESS_GROUP = 0x00000200
_CREATE_NO_WINDOW = 0x08000000
CREATION_FLAGS = _CREATE_NEW_PROCESS_GROUP | _CREATE_NO_WINDOW
"""A console program without a console window, that Ctrl-C in the program's console does not hit."""

# https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
_OPEN_ALWAYS = 4
_SHARE_READ, _SHARE_WRITE, _SHARE_DELETE = 0x1, 0x2, 0x4
_DRIVE_REMOTE = 4  # https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-getdrivetypew
_REPLACE_SECS = 1.0
_REPLACE_STEP_SECS = 0.01


def open_shared(path: str, *, write: bool = False, create: bool = False) -> int:
    """Open a file so that others may still write, rename or delete it.

    CPython's ``open`` does not share deletion, so that renaming or deleting would fail meanwhile.

    Args:
        write: for reading and writing; else for reading only.
        create: make it if it is not there.

    Raises:
        OSError: as ``open`` would.
    """
    winapi: Any = import_module("_winapi")
    msvcrt: Any = import_module("msvcrt")
    share = _SHARE_READ | _SHARE_WRITE | _SHARE_DELETE
    access = winapi.GENERIC_READ | (winapi.GENERIC_WRITE if write else 0)
    how = _OPEN_ALWAYS if create else winapi.OPEN_EXISTING
    handle = winapi.CreateFile(path, access, share, 0, how, 0, 0)
    flags = (os.O_RDWR if write else os.O_RDONLY) | getattr(os, "O_BINARY", 0)
    try:
        return int(msvcrt.open_osfhandle(handle, flags))
    except OSError:
        winapi.CloseHandle(handle)
        raise


def opener(path: str, flags: int) -> int:
    """:func:`open_shared` as the ``opener`` of ``open(path, "rb")``."""
    return open_shared(path)


def replace(source: str, target: str) -> None:
    """``os.replace``, patient with those who have the target open for a moment.

    A virus scanner, an indexer or a reader that does not share deletion makes it fail with "access
    denied" or "sharing violation", and is gone soon after.

    Raises:
        OSError: it still fails after a second, or for another reason.
    """
    until = time.monotonic() + _REPLACE_SECS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= until or os.path.isdir(target):
                raise
        time.sleep(_REPLACE_STEP_SECS)


def is_network_drive(path: str) -> bool:
    """Whether an absolute path is on a share, by its UNC name or by a drive mapped to one."""
    import ntpath

    drive = ntpath.splitdrive(path)[0]
    if drive.startswith(("\\\\?\\UNC\\", "\\\\?\\unc\\")):
        return True
    drive = drive.removeprefix("\\\\?\\")
    if drive.startswith(("\\\\", "//")):
        return True
    ctypes: Any = import_module("ctypes")
    return bool(drive) and ctypes.windll.kernel32.GetDriveTypeW(f"{drive}\\") == _DRIVE_REMOTE
