"""The architecture's arrows: who may import whom. Read from the source, not by importing."""

from __future__ import annotations

import ast
import pathlib
import sys
from collections.abc import Iterator

import pytest

import pysubtask

PACKAGE = pathlib.Path(pysubtask.__file__).parent


def imports(path: pathlib.Path, *, at_once: bool = False) -> Iterator[str]:
    """The modules that a file imports; ``at_once``: but not those in functions."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if at_once else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def files(*folders: str) -> list[pathlib.Path]:
    found = [path for folder in folders for path in sorted(PACKAGE.glob(f"{folder}/**/*.py"))]
    assert found
    return found


@pytest.mark.parametrize("path", files("core"), ids=lambda path: path.name)
def test_the_core_is_pure(path: pathlib.Path) -> None:
    for name in imports(path):
        if name.startswith("pysubtask"):
            assert name.startswith(("pysubtask.core", "pysubtask.suffixes", "pysubtask.blake")), (
                name
            )
        assert name.partition(".")[0] not in ("socket", "threading", "time", "subprocess"), name


@pytest.mark.parametrize("path", files("master"), ids=lambda path: path.name)
def test_the_master_never_imports_the_child(path: pathlib.Path) -> None:
    for name in imports(path):
        assert not name.startswith(("pysubtask.subtask", "pysubtask.transports")), name


@pytest.mark.parametrize("path", files("transports"), ids=lambda path: path.name)
def test_transports_know_nothing_of_who_uses_them(path: pathlib.Path) -> None:
    above = ("master", "cli", "monitor", "subtask", "doctor")
    for name in imports(path):
        assert not name.startswith(tuple(f"pysubtask.{part}" for part in above)), name


@pytest.mark.parametrize("path", files("transports"), ids=lambda path: path.name)
def test_no_protocol_imports_another(path: pathlib.Path) -> None:
    """What two of them need is beside them."""
    protocols = {p.name for p in (PACKAGE / "transports").iterdir() if (p / "__init__.py").exists()}
    own = path.relative_to(PACKAGE / "transports").parts[0]
    for name in imports(path) if own in protocols else ():
        parts = name.split(".")
        other = parts[2] if parts[:2] == ["pysubtask", "transports"] and len(parts) > 2 else own
        assert other == own or other not in protocols, name


def test_the_child_never_imports_the_programs_around_it() -> None:
    for path in files("subtask"):
        for name in imports(path):
            assert not name.startswith(("pysubtask.cli", "pysubtask.monitor")), (path, name)


def test_only_the_standard_library_and_msgspec_at_once_in_the_program() -> None:
    known = {*sys.stdlib_module_names, "pysubtask", "msgspec"}
    for path in files("master"):
        for name in imports(path, at_once=True):
            assert name.partition(".")[0] in known, (path, name)
