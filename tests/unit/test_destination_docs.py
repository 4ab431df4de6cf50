"""``docs/destinations.md`` shows every case and every transport of the contract suite."""

from __future__ import annotations

import re

from tests.contract.conftest import OURS
from tests.contract.page import PAGE, TITLES, case_names, words_of

TEXT = PAGE.read_text("utf-8")


def test_every_transport_has_its_row() -> None:
    names = [maker.__name__ for maker in OURS]
    assert names == list(TITLES)
    for number, title in enumerate(TITLES.values(), 1):
        assert f"| {number} | {title} |" in TEXT


def test_every_case_has_its_row_and_none_fails() -> None:
    rows = re.findall(r"^\| ([a-z][a-z ]+) \| ((?:\S \| ?)+)$", TEXT, re.MULTILINE)
    assert [case for case, _ in rows] == [words_of(case) for case in case_names()]
    letters = set(re.findall(r"\b([a-z]): ", TEXT[TEXT.index("✓ holds") :].split("\n")[0]))
    for _, cells in rows:
        marks = [mark.strip() for mark in cells.strip("| ").split("|")]
        assert len(marks) == len(OURS)
        assert set(marks) <= {"✓"} | letters
