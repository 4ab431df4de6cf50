"""How ``demo.py`` ends: is what was written there, and as it is here?"""

from __future__ import annotations

from pathlib import Path

from examples.demo_screen import size_of
from pysubtask import TaskMaster

__all__ = ["judge_by_bytes", "judge_by_status"]


def judge_by_bytes(path: str, there: Path) -> tuple[bool, str]:
    try:
        ours = Path(path).read_bytes()
    except FileNotFoundError:
        return False, f"  MISSING    {path}: no file here"
    try:
        theirs = there.read_bytes()
    except FileNotFoundError:
        return False, f"  MISSING    {path}: {len(ours):,} bytes here, no file there"
    if ours == theirs:
        return True, f"  equal      {path}: {len(ours):,} bytes"
    pairs = zip(ours, theirs, strict=False)
    common = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    return False, (
        f"  DIFFERENT  {path}: {len(ours):,} bytes here, {len(theirs):,} there, "
        f"from byte {common:,} on"
    )


def judge_by_status(master: TaskMaster, path: str) -> tuple[bool, str]:
    shown = master.status(path)
    size = size_of(path)
    if shown.delivered_bytes == size and not shown.pending_bytes:
        return True, f"  delivered  {path}: {size:,} bytes"
    return False, (
        f"  PENDING    {path}: {size:,} bytes here, {shown.delivered_bytes:,} delivered"
        + (f"; {shown.last_error}" if shown.last_error else "")
    )
