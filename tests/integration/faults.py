"""What goes wrong, as rows of a table: what ``status()`` says, what happens, what to do.

Each test of a fault carries its row, and asserts the very words that the row shows. The rows of all
``tests/integration/test_faults_*.py`` make ``docs/faults.md``::

    python -m tests.integration.faults            # writes docs/faults.md anew
"""

from __future__ import annotations

import importlib
import pathlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from pysubtask import TaskMaster
from tests.integration.promises import wait_until

__all__ = ["NAMED_WITHIN_SECS", "Fault", "fault", "page", "row", "rows"]

NAMED_WITHIN_SECS = 10.0
"""``status()`` names the cause of every fault within this time (design §5)."""

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "faults.md"
SECTIONS = {
    "login": "Who we are, and who the server is",
    "link": "The link",
    "server": "The server",
    "disk": "The local disk and the state folder",
    "files": "Files that are none, and floods",
    "process": "Processes and clocks",
}
HEAD = """# Faults

What can go wrong, what `status()` says of it within 10 s, what happens, and what to do. Each row
is a test that provokes the fault, mostly against a real `sshd`, and looks for these very words
(`…` stands for what differs from case to case). The page is made from the tests by
`python -m tests.integration.faults`.
"""

_Test = TypeVar("_Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        what: the fault.
        says: words of ``str(master.status())``, with ``…`` for any text; several, which may come
            one after the other. None if it shows no error, because it is mended at once.
        happens: what pysubtask does.
        remedy: what a person can do.
    """

    what: str
    says: tuple[str, ...]
    happens: str
    remedy: str

    def shown(self, master: TaskMaster, secs: float = NAMED_WITHIN_SECS, number: int = 0) -> str:
        """The whole status, once it says the words (the ``number``-th of them).

        Raises:
            AssertionError: it does not within the time.
        """
        parts = [re.escape(part) for part in self.says[number].split("…")]
        pattern = re.compile(".*".join(parts))

        def look() -> str | None:
            text = str(master.status())
            return text if pattern.search(text) else None

        try:
            return str(wait_until(look, secs))
        except AssertionError:
            words = f"{self.says[number]!r} not within {secs:g} s; it says:\n{master.status()}"
            raise AssertionError(words) from None


def fault(what: str, says: str | tuple[str, ...] | None, happens: str, remedy: str) -> Any:
    """Marks a test as the proof of a row; the test gets it as the fixture ``row``, or several as
    ``rows``, in their order in the source."""
    words = () if says is None else (says,) if isinstance(says, str) else says

    def mark(test: _Test) -> _Test:
        found = [Fault(what, words, happens, remedy), *getattr(test, "faults", ())]
        test.faults = found  # type: ignore[attr-defined]
        return test

    return mark


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Fault]:
    """The rows of this test."""
    found: list[Fault] = request.function.faults
    return found


@pytest.fixture
def row(rows: list[Fault]) -> Fault:
    """The only row of this test."""
    (found,) = rows
    return found


def _rows(section: str) -> list[Fault]:
    module = importlib.import_module(f"tests.integration.test_faults_{section}")
    tests = [thing for name, thing in vars(module).items() if name.startswith("test_")]
    return [found for test in tests for found in getattr(test, "faults", ())]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page() -> str:
    """The text of ``docs/faults.md``."""
    lines = [HEAD]
    for section, title in SECTIONS.items():
        lines += [f"## {title}", ""]
        lines += [
            "| fault | `status()` says | what happens | what to do |",
            "| --- | --- | --- | --- |",
        ]
        for found in _rows(section):
            says = "; then ".join(f"`{words}`" for words in found.says) or "no error"
            cells = map(_cell, (found.what, says, found.happens, found.remedy or "–"))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)} written", file=sys.stderr)
