"""``python -m tests.packaging``: builds wheel and source distribution, looks into them, installs
the wheel in empty environments and uses it there.

Needs ``build`` and ``twine``; ``uv`` makes it quicker. With ``--floors`` instead: the lowest
versions that ``pyproject.toml`` allows, and the unit tests with them (needs ``uv``; minutes).
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.packaging.built import ROOT, build, faults_of
from tests.packaging.installed import EXTRAS, Environment, interpreters, try_bare, try_extra

FLOOR_EXTRAS = "test,all"
FLOOR_TESTS = ("tests/unit", "tests/integration/test_master.py", "tests/integration/test_cli.py")


def _say(text: str) -> None:
    print(text, flush=True)


def _packages(folder: pathlib.Path, quick: bool) -> int:
    began = time.monotonic()
    wheel, sdist = build(folder / "dist")
    faults = faults_of(wheel, sdist)
    for fault in faults:
        _say(f"FAULT: {fault}")
    if faults:
        return 1
    _say(f"{wheel.name}, {sdist.name}: as they should be ({time.monotonic() - began:.0f} s)")
    found = list(interpreters())
    for version, program in found[:1] if quick else found:
        for extra in ("", "all") if quick else ("", *EXTRAS):
            began = time.monotonic()
            place = folder / f"{version}-{extra or 'bare'}"
            environment = Environment(program, place)
            if extra:
                try_extra(environment, wheel, extra)
            else:
                try_bare(environment, wheel)
            shutil.rmtree(place)
            what = f"pysubtask[{extra}]" if extra else "pysubtask"
            _say(f"Python {version}: {what} installs and works ({time.monotonic() - began:.0f} s)")
    return 0 if found else 1


def _floors(folder: pathlib.Path, tests: list[str]) -> int:
    uv = shutil.which("uv", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        _say("uv is missing: python -m pip install uv")
        return 2
    venv = folder / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(venv)], check=True, timeout=300)
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = ["--resolution", "lowest-direct", "--editable", f"{ROOT}[{FLOOR_EXTRAS}]"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *install],
                   check=True, timeout=900)  # fmt: skip
    done = subprocess.run([str(python), "-m", "pytest", "-q", "--maxfail=20", *tests], cwd=ROOT)
    return done.returncode


def main() -> int:
    """The exit code is 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.packaging", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one Python, [all] and no extra only")
    parser.add_argument("--floors", action="store_true", help="the lowest versions allowed")
    parser.add_argument("tests", nargs="*", help=f"with --floors; default: {' '.join(FLOOR_TESTS)}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pysubtask-packaging-") as temporary:
        folder = pathlib.Path(temporary)
        if given.floors:
            return _floors(folder, given.tests or [*FLOOR_TESTS])
        return _packages(folder, given.quick)


if __name__ == "__main__":
    raise SystemExit(main())
