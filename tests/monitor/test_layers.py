"""The monitor is a program of its own beside the library."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pysubtask

ROOT = pathlib.Path(pysubtask.__file__).parent
PURE = (
    "rule names beatfile clients sight fleet notices alerts words units listing documents snapshot "
    "memory check uptime"
).split()


def imports(path: pathlib.Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_it_reaches_neither_side_of_the_library_and_nobody_reaches_it() -> None:
    for path in ROOT.rglob("*.py"):
        names = imports(path)
        if ROOT / "monitor" in path.parents:
            bad = [
                name for name in names if name.startswith(("pysubtask.master", "pysubtask.subtask"))
            ]
        else:
            bad = [name for name in names if name.startswith("pysubtask.monitor")]
        assert bad == [], path


def test_the_pure_parts_touch_no_file_no_network_and_no_clock() -> None:
    banned = {
        "os.path",
        "pathlib",
        "socket",
        "sqlite3",
        "threading",
        "urllib.request",
        "subprocess",
    }
    for name in PURE:
        path = ROOT / "monitor" / f"{name}.py"
        assert not imports(path) & banned, name
        text = path.read_text("utf-8")
        for call in ("time.time(", "time.monotonic(", "time.sleep(", "open("):
            assert call not in text, (name, call)


def test_looking_needs_no_web_packages(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys\n"
        "for name in ('starlette', 'uvicorn', 'jinja2', 'anyio'): sys.modules[name] = None\n"
        "from pysubtask.monitor.cli import main\n"
        f"code = main(['scan', {str(tmp_path)!r}])\n"
        f"code += main(['key', 'list', '--state', {str(tmp_path / 'state')!r}])\n"
        f"assert main(['serve', {str(tmp_path)!r}]) == 2\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'pysubtask[monitor]'" in done.stderr
