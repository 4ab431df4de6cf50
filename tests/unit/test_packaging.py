"""What ``pyproject.toml`` and ``setup.py`` say of the package; ``python -m tests.packaging`` builds
and installs it."""

from __future__ import annotations

import ast
import pathlib
import re
import runpy
import sys
import tomllib
from typing import Any

import pytest

import pysubtask

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
PACKAGE = ROOT / "pysubtask"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_USERS = {"apprise", "cli", "demo", "dropbox", "keyring", "monitor"}
PLACES = {  # which extra a part of the package may count on
    "cli/": ("cli",),
    "dropbox.py": ("dropbox",),
    "monitor/": ("monitor", "apprise"),
    "passwords.py": ("keyring",),
    "transports/dropbox/": ("dropbox",),
}
COME_ALONG = {"requests": "dropbox", "urllib3": "dropbox", "cryptography": "paramiko"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", one)[0].lower().replace("-", "_") for one in requirements}


def third_party_imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"pysubtask", "_typeshed"}


def test_the_extras_are_there() -> None:
    assert {"all", "benchmarks", "docs", "package", "test"} | FOR_USERS == set(EXTRAS)
    (everything,) = EXTRAS["all"]
    listed = re.fullmatch(r"pysubtask\[([a-z,]+)\]", everything)
    assert listed is not None
    assert set(listed[1].split(",")) == FOR_USERS


def test_what_is_imported_is_declared() -> None:
    """Of the library itself in ``dependencies``, of a part that has an extra in that."""
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        declared = names(PROJECT["dependencies"])
        for start, extras in PLACES.items():
            if place.startswith(start):
                declared |= {name for extra in extras for name in names(EXTRAS[extra])}
        for name in third_party_imports(path):
            assert COME_ALONG.get(name, name).lower() in declared, f"{place} imports {name}"
            seen.add(COME_ALONG.get(name, name).lower())
    everything = names(PROJECT["dependencies"])
    everything |= {
        name for extra in ("cli", "dropbox", "keyring", "monitor") for name in names(EXTRAS[extra])
    }
    assert everything <= seen, "declared, but nothing imports it"


def test_each_requirement_has_a_floor() -> None:
    """The lowest versions are tried by ``python -m tests.packaging --floors``."""
    for requirement in [
        *PROJECT["dependencies"],
        *(one for many in EXTRAS.values() for one in many),
    ]:
        if not requirement.startswith("pysubtask["):
            assert ">=" in requirement, requirement


def test_every_file_of_the_package_gets_into_the_wheel() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    held = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.suffix == ".py" or path in held, f"no pattern takes {path}"
            if path.suffix == ".py":
                assert (path.parent / "__init__.py").exists(), f"{path} is in no package"


def test_the_versions_that_are_named_are_tried() -> None:
    minors = {
        one.rpartition(".")[2]
        for one in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", one)
    }
    assert min(map(int, minors)) == int(PROJECT["requires-python"].rpartition(".")[2])
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    for minor in minors:
        assert f'"3.{minor}"' in workflow


def test_links_of_the_readme_lead_somewhere_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import setuptools

    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    made = runpy.run_path(str(ROOT / "setup.py"))
    absolute_links, source = made["absolute_links"], made["SOURCE"]
    assert absolute_links("[a](docs/a.md#b) [c](#d) [e](https://f)") == (
        f"[a]({source}/blob/main/docs/a.md#b) [c](#d) [e](https://f)"
    )
    assert absolute_links("![a](docs/b.png)") == f"![a]({source}/raw/main/docs/b.png)"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert given["long_description"].count(source) > readme.count("](docs/") > 10
    assert not re.findall(r"\]\((?!https://|#)", given["long_description"])
