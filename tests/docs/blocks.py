"""The code blocks of a page, and what a comment before one says of how it is run.

A block in a language that is known here is run, unless ``<!-- test: … -->`` right before it says
otherwise:

- ``file NAME``: it is the content of a file; later blocks use it
- ``background``: it goes on until the page's end and is interrupted then
- ``secs N``: it is interrupted after N seconds
- ``lines``: each line is a command; those that do not end are interrupted after some seconds
- ``answers TEXT``: run on a terminal, where TEXT is typed
- ``fails CODE``: it ends with this exit code
- ``part of FILE``: an excerpt; each of its lines is in that file
- ``skip TEST: WHY``: it can't be run here; TEST is the file or folder of a test that does it
"""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass

import pysubtask

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
RUN = ("python", "sh", "toml", "ini", "yaml")
"""Languages of blocks that are run or read by the program that they are for."""
WORDS = ("file", "background", "secs", "lines", "answers", "fails", "part of", "skip")
ELSEWHERE = {"README.md", "CHANGELOG.md"}
"""Their blocks are run by ``tests/unit/test_docs.py``."""

_BLOCK = re.compile(
    r"(?:^<!-- test: (?P<how>[^\n]*) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One example; ``line`` is where it begins, ``how`` what the comment says."""

    page: pathlib.Path
    line: int
    language: str
    text: str
    how: str

    @property
    def word(self) -> str:
        return next((one for one in WORDS if self.how.startswith(one)), "")

    @property
    def value(self) -> str:
        return self.how.removeprefix(self.word).strip()

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[pathlib.Path]:
    found = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *ROOT.glob("*.md")]
    return sorted(
        page for page in found if page.name not in ELSEWHERE or page.parent.name == "examples"
    )


def blocks_of(page: pathlib.Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            found["text"],
            found["how"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]
