"""The tutorial's sixth step: everything dies as if the plug was pulled, and nothing is lost."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from tests.docs.bench import Bench
from tests.docs.blocks import ROOT, Block, blocks_of

if sys.platform == "win32":
    pytest.skip("the examples are for a POSIX shell", allow_module_level=True)

BLOCKS = blocks_of(ROOT / "docs" / "tutorial.md")


def the_block(words: str) -> Block:
    (found,) = (block for block in BLOCKS if words in block.text)
    return found


def wait_for(condition: Callable[[], bool], secs: float = 40) -> None:
    until = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The program and its subtask at once, as far as a process can do that."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        one.suspend()
    for one in family:
        one.kill()
    process.wait(10)
    psutil.wait_procs(family, timeout=10)


def test_the_plug_is_pulled(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> None:
    bench = Bench(tmp_path, request.getfixturevalue)
    bench.run(the_block("def celsius"))
    ours = bench.folder / "logs" / "temperature.csv"
    program = bench.folder / "logger.py"
    program.write_text(program.read_text("utf-8").replace("time.sleep(1)", "time.sleep(0.05)"))
    assert bench.incoming is not None
    there = bench.incoming / "incoming" / "temperature.csv"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(program)], cwd=bench.folder, env=bench.env, start_new_session=True
        )

    process = start()
    try:
        wait_for(lambda: there.exists() and there.stat().st_size > 100)
        kill_all(process)
        before = ours.stat().st_size
        process = start()
        wait_for(lambda: there.stat().st_size > before)
        process.send_signal(2)
        assert process.wait(40) == 0
    finally:
        if process.poll() is None:
            kill_all(process)
    assert there.read_bytes() == ours.read_bytes()
    bench.run(the_block("pysubtask verify"))


def test_what_it_shows_is_what_is_shown(
    tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    """The picture of `status` has the columns that `status` has."""
    (picture,) = (block.text for block in BLOCKS if "● connected" in block.text)
    bench = Bench(tmp_path, request.getfixturevalue)
    done = subprocess.run(
        [sys.executable, "-m", "pysubtask", "demo", "--seconds", "2", "--keep"],
        cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = done.stderr.strip().splitlines()[-1].removeprefix("kept: ")
    shown = subprocess.run(
        [sys.executable, "-m", "pysubtask", "status", f"{kept}/here"],
        cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    heads = [line.split() for text in (picture, shown) for line in text.splitlines()
             if line.strip().startswith("file ")]  # fmt: skip
    assert len(heads) == 2
    assert heads[0] == heads[1]
