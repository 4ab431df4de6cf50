"""Environments that hold nothing but what was installed, and what has to work in them."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent.parent
EXTRAS = ("cli", "dropbox", "keyring", "monitor", "apprise", "demo", "all")
LIMIT_SECS = 600

DELIVERS = """
import pathlib, sys
import pysubtask
from pysubtask import TaskMaster
assert "site-packages" in pysubtask.__file__, pysubtask.__file__
for name in ("paramiko", "dropbox", "click", "starlette", "asyncssh"):
    assert name not in sys.modules, name
pathlib.Path("there").mkdir(exist_ok=True)
with TaskMaster(["a.csv"], to=pathlib.Path("there").resolve().as_uri()) as master:
    with open("a.csv", "a") as file:
        file.write("1,2,3\\n")
    master.notify("a.csv")
    assert master.flush(timeout=60), master.status()
assert pathlib.Path("there/a.csv").read_bytes() == pathlib.Path("a.csv").read_bytes()
"""
"""A program that delivers to a folder by a real subtask."""

IMPORTS = {
    "": "import paramiko, pysubtask.transports.sftp.ssh, pysubtask.transports.ftp.client",
    "cli": "import pysubtask.cli.app",
    "keyring": "import keyring",
    "dropbox": "import pysubtask.transports.dropbox.client",
    "monitor": "import pysubtask.monitor.web, pysubtask.monitor.web.pages, uvicorn",
    "apprise": "import apprise",
    "demo": "import asyncssh",
    "all": "import apprise, asyncssh, dropbox, pysubtask.cli.app, pysubtask.monitor.web.pages",
}


def interpreters() -> Iterator[tuple[str, str]]:
    """Pythons of this machine that pysubtask is for: version and program."""
    seen = set()
    beside = pathlib.Path(sys.base_prefix).parent  # where pyenv and its kind keep the others
    for minor in (11, 12, 13):
        name = f"python3.{minor}"
        found = shutil.which(name)
        others = sorted(beside.glob(f"3.{minor}.*/bin/{name}"))
        for program in [*([found] if found else []), *map(str, others)]:
            asked = "import sys; print('%d.%d' % sys.version_info[:2])"
            done = subprocess.run(
                [program, "-c", asked], capture_output=True, text=True, timeout=60
            )
            version = done.stdout.strip()  # a shim may be there and start nothing
            if done.returncode == 0 and version == f"3.{minor}" and version not in seen:
                seen.add(version)
                yield version, program


class Environment:
    """A virtual environment that is empty but for pip, and an empty folder to work in.

    Args:
        python: the interpreter.
        folder: where it is made.
    """

    def __init__(self, python: str, folder: pathlib.Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._folder = folder / "venv"
        uv = shutil.which("uv", path=str(pathlib.Path(sys.executable).parent))
        self._uv = [uv] if uv is not None else None
        if self._uv is not None:  # some seconds quicker than venv and pip
            run([*self._uv, "venv", "--quiet", "--python", python, str(self._folder)], self.home)
        else:
            run([python, "-m", "venv", str(self._folder)], self.home)
        self._bin = self._folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = str(self._bin / "python")

    def install(self, *what: str) -> None:
        if self._uv is not None:
            head = [*self._uv, "pip", "install", "--quiet", "--python", self.python]
        else:
            head = [self.python, "-m", "pip", "install", "--quiet"]
        run([*head, *what], self.home)

    def runs(self, code: str) -> None:
        """Code, as a file in the empty folder."""
        path = self.home / "program.py"
        path.write_text(code, "utf-8")
        run([self.python, "-W", "error", str(path)], self.home)

    def command(self, *words: str, code: int = 0) -> str:
        """A program that the package brought; gives what it printed."""
        return run([str(self._bin / words[0]), *words[1:]], self.home, code)


def run(words: list[str], folder: pathlib.Path, code: int = 0) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    if uv_cache := os.path.expanduser("~/.cache/uv"):
        env.setdefault("UV_CACHE_DIR", uv_cache)
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=env,
        timeout=LIMIT_SECS,
    )
    if done.returncode != code:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def try_bare(environment: Environment, wheel: pathlib.Path) -> None:
    """Without any extra: a program delivers; commands say which extra they need."""
    environment.install(str(wheel))
    environment.runs(DELIVERS)
    environment.runs(IMPORTS[""])
    told = environment.command("pysubtask", "--version", code=1)
    assert "pip install 'pysubtask[cli]'" in told, told


def try_extra(environment: Environment, wheel: pathlib.Path, extra: str) -> None:
    """What an extra is for works with what it brings."""
    environment.install(f"pysubtask[{extra}] @ {wheel.as_uri()}")
    environment.runs(DELIVERS)
    environment.runs(IMPORTS[extra])
    if extra in ("cli", "all"):
        (environment.home / "there").mkdir(exist_ok=True)
        (environment.home / "b.csv").write_text("1,2,3\n")
        there = (environment.home / "there").as_uri()
        environment.command("pysubtask", "push", "b.csv", "--to", there)
        environment.command("pysubtask", "verify", "b.csv", "--to", there)
    if extra in ("monitor", "all"):
        told = environment.command("pysubtask-monitor", "scan", str(environment.home))
        assert "Traceback" not in told, told
        environment.runs(MONITOR_PAGES)


MONITOR_PAGES = """
from importlib.resources import files
web = files("pysubtask.monitor.web")
assert "<html" in (web / "templates" / "base.html").read_text("utf-8")
assert any(one.name.startswith("htmx") for one in (web / "static" / "vendor").iterdir())
assert (files("pysubtask.monitor") / "exports" / "prometheus.yml").is_file()
"""
