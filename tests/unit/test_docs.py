"""The README and the docs say what is so.

``python -m tests.unit.test_docs`` prints the README's settings table, made from the settings
themselves.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import logging
import pathlib
import re
import shutil
import sys
from typing import Any

import pytest

import pysubtask
from pysubtask.arrivals import Arrival
from pysubtask.core.capabilities import Capabilities
from pysubtask.monitor.beatfile import Facts
from pysubtask.monitor.config import Config
from pysubtask.settings import describe

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SECTIONS = {
    "base": "The subtask (section `base`)",
    "burst_mode": "Bursts (section `burst_mode`)",
    "link": "The link and the destination (section `ftp`, `dropbox` or `folder`)",
    "ftp": "S/FTP (section `ftp`)",
    "dropbox": "Dropbox (section `dropbox`)",
    "folder": "A folder (section `folder`)",
}
MIB = 1 << 20


def used_settings() -> set[str]:
    """Names that some code of the package reads: what no code reads does nothing yet."""
    apart = {"settings.py", "config.py", "defaults_config.py"}
    text = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "pysubtask").rglob("*.py")
        if path.name not in apart
    )
    read = set(re.findall(r"(?:settings|chosen)\.(\w+)", text))
    # on the way into a Destination, whose own words they become
    return read | {"host", "host_port", "host_path", "username", "password", "use_sftp"}


def shown(value: Any) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, int) and not isinstance(value, bool) and value >= MIB:
        return f"`{value}` ({value // MIB} MiB)"
    return f"`{value!r}`".replace("'", '"')


def settings_table() -> str:
    used = used_settings()
    lines: list[str] = []
    current = None
    for name, section, default, description in sorted(
        describe(), key=lambda row: list(SECTIONS).index(row[1])
    ):
        if section != current:
            current = section
            lines += ["", f"| {SECTIONS[section]} | default | meaning |", "| --- | --- | --- |"]
        later = "" if name in used else " *(not yet)*"
        lines.append(f"| `{name}` | {shown(default)} | {description}{later} |")
    return "\n".join(lines).strip()


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_first_lines_are_the_two_commands() -> None:
    lines = README.splitlines()[:6]
    text = "\n".join(lines)
    assert "python -m pip install -e '.[demo]' && python demo.py" in text
    assert "python -m pip install -e '.[test]' && python -m pytest" in text
    for extra in ("demo", "test"):
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert (ROOT / "demo.py").exists()


def test_the_settings_table_is_the_settings() -> None:
    found = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- end of settings -->", README, re.DOTALL)
    assert found is not None
    assert found[1].strip() == settings_table(), "run python -m tests.unit.test_docs"
    for name, *_ in describe():
        assert found[1].count(f"| `{name}` |") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_in_the_docs_compiles(page: pathlib.Path) -> None:
    for block in code_blocks(page.read_text("utf-8"), "python"):
        ast.parse(block)


def test_the_first_example_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = code_blocks(README, "python")[0]
    lines = block.strip().splitlines()
    assert len(lines) - sum(not line for line in lines) <= 10
    (tmp_path / "logs" / "outgoing").mkdir(parents=True)
    (tmp_path / "share").mkdir()
    monkeypatch.chdir(tmp_path)
    local, count = re.subn(r'to="[^"]*"', f'to="file://{tmp_path.as_posix()}/share"', block)
    assert count == 1
    exec(compile(local, "README.md", "exec"), {})
    ours = (tmp_path / "logs/test1.csv").read_bytes()
    assert ours.count(b"\n") == 10
    assert (tmp_path / "share/test1.csv").read_bytes() == ours
    assert capsys.readouterr().out == "True\n"


def test_the_second_example_makes_a_master(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code_blocks(README, "python")[1], "README.md", "exec"), names)
    assert repr(names["master"]) == (
        "<FTPTaskMaster of 4 watches to sftp://edge@collector.example/incoming>"
    )


def test_the_example_of_a_program_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (b for b in code_blocks(README, "python") if "NotifyingHandler" in b)
    (tmp_path / "logs").mkdir()
    (tmp_path / "share").mkdir()
    monkeypatch.chdir(tmp_path)
    local, count = re.subn(r'to="[^"]*"', f'to="file://{tmp_path.as_posix()}/share"', block)
    assert count == 1
    names: dict[str, Any] = {}
    try:
        exec(compile(local, "README.md", "exec"), names)
    finally:
        logging.getLogger("app").removeHandler(names["handler"])
    assert sorted(capsys.readouterr().out.splitlines()) == ["logs/app.log 9", "logs/test1.csv 6"]
    assert (tmp_path / "share/test1.csv").read_text() == "1,2,3\n"
    assert (tmp_path / "share/app.log").read_text() == "measured\n"


def test_the_example_of_fetching_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = code_blocks((ROOT / "docs" / "fetching.md").read_text("utf-8"), "python")
    for folder in ("logs", "share", "orders"):
        (tmp_path / folder).mkdir()
    (tmp_path / "orders" / "a.cfg").write_text("rate = 5\n")
    (tmp_path / "orders" / "a.txt").write_text("not wanted\n")
    monkeypatch.chdir(tmp_path)
    here = f"file://{tmp_path.as_posix()}"
    local, count = re.subn(r"sftp://edge@collector.example/orders", f"{here}/orders", block)
    assert count == 1
    local, count = re.subn(r'to="[^"]*"', f'to="{here}/share"', local)
    assert count == 1
    exec(compile(local, "fetching.md", "exec"), {})
    assert capsys.readouterr().out == f"new 9 {tmp_path / 'inbox' / 'a.cfg'}\n"
    assert (tmp_path / "inbox" / "a.cfg").read_text() == "rate = 5\n"
    assert sorted(path.name for path in (tmp_path / "inbox").iterdir()) == [
        "a.cfg",
        "a.cfg.arrived",
    ]


def test_the_subtask_of_the_readme_is_the_example() -> None:
    (block,) = (b for b in code_blocks(README, "python") if "class CountLines" in b)
    example = (ROOT / "examples" / "count_lines.py").read_text("utf-8")
    assert block[block.index("class CountLines") :].strip() in example


def test_the_example_runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    script = shutil.copy(ROOT / "examples" / "count_lines.py", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "all counted: True\nlines: 1000\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_the_docs_point_at_is_there(page: pathlib.Path) -> None:
    text = page.read_text("utf-8")
    missing = []
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not (page.parent / target).exists():
            missing.append(target)
    for path in re.findall(r"`((?:pysubtask|tests|benchmarks|examples|docs)/[\w./-]*)`", text):
        if not (ROOT / path).exists():
            missing.append(path)
    for module in re.findall(r"python -m ((?:pysubtask|tests|benchmarks)[\w.]*)", text):
        if importlib.util.find_spec(module) is None:
            missing.append(module)
    for name in re.findall(r"\]\(#([^)]+)\)", text):
        heads = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        if name not in slugs:
            missing.append(f"#{name}")
    assert not missing


def test_the_reference_has_everything_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    shown = set(re.findall(r"auto(?:class|function):: ([\w.]+)", text))
    for module in re.findall(r"automodule:: ([\w.]+)", text):
        shown |= {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    for name in shown:
        module, _, what = name.rpartition(".")
        assert hasattr(importlib.import_module(module), what), name
    bare = {name.rpartition(".")[2] for name in shown}
    assert set(pysubtask.__all__) - {"__version__"} <= bare


def test_settings_named_in_the_docs_exist() -> None:
    known = {name for name, *_ in describe()}
    units = ("_secs", "_milli", "_bytes")
    known |= {*Config.__struct_fields__, *Facts.__dataclass_fields__}  # the monitor's page
    for page in PAGES:
        for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page.read_text("utf-8")):
            if name.endswith(units) and name not in known:
                fields = {*pysubtask.Status.__struct_fields__, *Capabilities.__slots__}
                fields |= {*pysubtask.FileStatus.__struct_fields__, "wait_secs", "follow_secs"}
                fields |= {*Arrival.__struct_fields__, "interval_secs"}
                assert name in fields | {"start_trigger_milli", "expire_milli"}, (page.name, name)


if __name__ == "__main__":
    print(settings_table())
