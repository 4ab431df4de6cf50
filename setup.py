"""What ``pyproject.toml`` has no words for: a README whose links work away from the repository,
and a source distribution that holds the tests, the docs and the demo."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from setuptools import setup
from setuptools.command.sdist import sdist

ROOT = pathlib.Path(__file__).parent
SOURCE = "https://github.com/djacobson/pysubtask"
MORE = ("CHANGELOG.md", "CONTRIBUTING.md", "demo.py", "demo_config.py")
MORE_FOLDERS = ("benchmarks", "docs", "examples", "tests")
NOT_THESE = {"__pycache__", "_build"}


class FullSdist(sdist):
    """Everything that the tests need, ``.ci`` apart."""

    def make_release_tree(self, base_dir: str, files: Sequence[str]) -> None:
        found = {*files, *MORE}
        for folder in MORE_FOLDERS:
            for path in (ROOT / folder).rglob("*"):
                if path.is_file() and not NOT_THESE & {*path.parts}:
                    found.add(path.relative_to(ROOT).as_posix())
        super().make_release_tree(base_dir, sorted(found))


def absolute_links(text: str) -> str:
    """Links into the repository become links to where it is published."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\1{SOURCE}/raw/main/", text)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!\w+:|#)", rf"\1{SOURCE}/blob/main/", text)


setup(
    cmdclass={"sdist": FullSdist},
    long_description=absolute_links((ROOT / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
