"""The wheel and the source distribution, and what has to be in them."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).parent.parent.parent
OUTSIDE = re.compile(r"\]\((?!https?://|#|mailto:)")  # a link that means nothing away from here
IN_SDIST = ("docs/architecture.md", "tests/servers/openssh.py", "demo.py", "examples/README.md",
            "benchmarks/__init__.py", "CHANGELOG.md", "tests/unit/test_docs.py")  # fmt: skip


def build(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The wheel, made from the source distribution, and that; each in an environment of its own."""
    _call("build", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def faults_of(wheel: pathlib.Path, sdist: pathlib.Path) -> list[str]:
    """What is wrong with them, in words."""
    _call("twine", "check", "--strict", str(wheel), str(sdist))
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
        (name,) = (one for one in held if one.endswith(".dist-info/METADATA"))
        metadata = opened.read(name).decode()
    wanted = {f"pysubtask/{one}" for one in package_files()}
    faults = [f"not in the wheel: {one}" for one in sorted(wanted - held)]
    strangers = {one for one in held - wanted if ".dist-info/" not in one}
    faults += [f"a stranger in the wheel: {one}" for one in sorted(strangers)]
    faults += [f"a link that leads nowhere: {one}" for one in OUTSIDE.findall(metadata)]
    if not any(one.endswith("/licenses/LICENSE") for one in held):
        faults.append("no licence in the wheel")
    with tarfile.open(sdist) as archive:
        sources = {one.partition("/")[2] for one in archive.getnames()}
    wanted |= {*IN_SDIST}
    faults += [f"not in the source distribution: {one}" for one in sorted(wanted - sources)]
    faults += [
        f"litter in the source distribution: {one}"
        for one in sorted(sources)
        if "__pycache__" in one or one.startswith(("logs/", "upload/"))
    ]
    return faults


def package_files() -> set[str]:
    """What the package's folder holds, by the path in it."""
    package = ROOT / "pysubtask"
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _call(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stdout}")
