"""``python -m tests.frozen``: freezes a program with PyInstaller (``pip install pyinstaller``) and
tries it against a real sshd."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import tempfile
import time
from typing import get_args

from tests.frozen.trials import Kind, build, try_out


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """The exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.frozen", description=__doc__)
    parser.add_argument("--kind", choices=get_args(Kind), help="one of the two only")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for builds and logs")
    given = parser.parse_args()
    if importlib.util.find_spec("PyInstaller") is None:
        parser.error("PyInstaller is missing: pip install pyinstaller")
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pysubtask-frozen-") as temporary:
        folder = (given.keep or pathlib.Path(temporary)).resolve()
        for kind in [given.kind] if given.kind else get_args(Kind):
            began = time.monotonic()
            program = build(kind, folder)
            _say(f"{kind}: built in {time.monotonic() - began:.0f} s")
            faults += try_out(program, folder / f"{kind}-trials", _say)
    for fault in faults:
        _say(f"FAULT: {fault}")
    _say("all as it should be" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
