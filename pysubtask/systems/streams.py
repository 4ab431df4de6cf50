"""What our commands print to, on every system."""

from __future__ import annotations

import io
import sys

__all__ = ["print_anything"]


def print_anything() -> None:
    """What the encoding of standard output or standard error has no letters for is shown escaped,
    and breaks nothing: on Windows a pipe takes what the code page has, and no more."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
