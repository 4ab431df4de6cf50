"""Programs that were packed into one piece by PyInstaller, cx_Freeze, Nuitka …"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = [
    "CHILD_FLAG",
    "environment_for_itself",
    "environment_for_others",
    "is_frozen",
    "own_program",
]

CHILD_FLAG = "--pysubtask-child"
"""The first argument of a frozen program that is started as a subtask; the module follows."""

# What PyInstaller's bootloader sets for its own program, beside the former value if there was one:
# https://pyinstaller.org/en/stable/runtime-information.html#ld-library-path-libpath-considerations
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")


def is_frozen() -> bool:
    """Whether this program is one."""
    return bool(getattr(sys, "frozen", False)) or hasattr(
        sys.modules.get("__main__"), "__compiled__"
    )


def own_program() -> str | None:
    """The file that starts this frozen program again; None if it can't be told.

    ``sys.executable``, by PyInstaller's and cx_Freeze's rules. Nuitka names a ``python`` there that
    does not exist, so that programs that start themselves by mistake fail, and itself in
    ``sys.argv[0]`` (https://github.com/Nuitka/Nuitka/issues/3672).
    """
    for path in (sys.executable, *sys.argv[:1]):
        if path and os.path.isfile(path):
            return os.path.abspath(path)
    return None


def environment_for_others(own: Mapping[str, str]) -> dict[str, str]:
    """An environment for programs that are not this one.

    A program that PyInstaller froze runs with its own libraries in front; the system's ``ssh``, or
    a Python interpreter, would load those instead of its own, and fail or crash.

    Args:
        own: this process's, as ``os.environ``.
    """
    given = dict(own)
    if is_frozen():
        for name in _LIBRARY_PATHS:
            former = given.pop(f"{name}_ORIG", None)
            if former is not None:
                given[name] = former
            elif hasattr(sys, "_MEIPASS"):
                given.pop(name, None)
    return given


def environment_for_itself(own: Mapping[str, str]) -> dict[str, str]:
    """An environment for the program itself, started again as its subtask.

    A one-file program unpacks its libraries to a folder that PyInstaller's bootloader removes as
    soon as the program has ended. The subtask may stay for a while and load some of them only then,
    so it is told to unpack its own:
    https://pyinstaller.org/en/stable/common-issues-and-pitfalls.html#independent-subprocess
    (PyInstaller 6.9; others do not know the variable).
    """
    return {**environment_for_others(own), "PYINSTALLER_RESET_ENVIRONMENT": "1"}
