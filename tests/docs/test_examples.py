"""Every example in the docs runs, in the order of its page, in one folder; against real servers."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from pysubtask.tomlfile import load
from tests.docs.bench import Bench
from tests.docs.blocks import ROOT, RUN, Block, blocks_of, pages

if sys.platform == "win32":
    pytest.skip("the examples are for a POSIX shell", allow_module_level=True)

WITH_EXAMPLES = [page for page in pages() if any(b.language in RUN for b in blocks_of(page))]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
@pytest.mark.timeout(300)
def test_the_examples_run(
    page: pathlib.Path, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    text = page.read_text("utf-8")
    if "systemd-analyze" in text or "```ini" in text:
        require("systemd-analyze")
    with Bench(tmp_path, request.getfixturevalue).open() as bench:
        for block in blocks_of(page):
            if block.word == "skip":
                tested = ROOT / block.value.partition(":")[0]
                assert tested.exists(), f"{block}: no test {tested}"
                assert block.value.partition(":")[2].strip(), f"{block}: says no reason"
            elif block.word == "part of":
                check_excerpt(block)
            elif block.language == "toml":
                check_toml(block, bench)
            elif block.language == "ini":
                check_unit(block, bench)
            elif block.language == "yaml":
                assert block.word == "file", f"{block}: nothing reads it"
                bench.run(block)
            elif block.language in ("python", "sh"):
                bench.run(block)
            else:
                assert not block.how, f"{block}: nothing runs a block of {block.language!r}"


def require(program: str) -> None:
    if shutil.which(program) is None:
        if os.environ.get("PYSUBTASK_REQUIRE_SERVERS") == "1":
            pytest.fail(f"program not installed: {program}")
        pytest.skip(f"program not installed: {program}")


def check_excerpt(block: Block) -> None:
    """Each line is in the file that it is said to be from, however that breaks its lines; `...`
    stands for a body."""
    held = squeezed((ROOT / block.value).read_text("utf-8"))
    for line in block.text.splitlines():
        wanted = squeezed(line.strip().removesuffix("...")).rstrip(",")
        assert wanted in held, f"{block}: not in {block.value}: {line}"


def squeezed(text: str) -> str:
    return "".join(text.split()).replace(",)", ")")


def check_toml(block: Block, bench: Bench) -> None:
    """A file of `pysubtask run` has no mistake; others are TOML."""
    text = bench.replace(block.text)
    found = tomllib.loads(text)
    if block.word == "file":
        bench.run(block)
    if {"to", "watch", "deliver", "settings"} & set(found):
        path = bench.folder / (block.value or f"block{block.line}.toml")
        path.write_text(text, "utf-8")
        for delivery in load(path, environ={}).deliveries:
            delivery.without_passwords().make_master()


def check_unit(block: Block, bench: Bench) -> None:
    """systemd itself takes it without a word."""
    assert block.word == "file", f"{block}: a unit needs a name"
    unit = bench.folder / block.value
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", block.text, flags=re.MULTILINE)
    text = re.sub(r"^User=.*\n", "User=root\n", text, flags=re.MULTILINE)
    unit.write_text(text, "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.strip()) == (0, ""), f"{block}: {done.stderr}"
