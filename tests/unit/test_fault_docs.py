"""``docs/faults.md`` is what the tests of faults say."""

from __future__ import annotations

from tests.integration.faults import PAGE, SECTIONS, _rows, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.integration.faults"


def test_every_row_is_whole() -> None:
    rows = [row for section in SECTIONS for row in _rows(section)]
    assert len(rows) >= 30
    assert len({row.what for row in rows}) == len(rows)
    for row in rows:
        assert row.happens
        assert row.remedy
        assert all(words.strip("… ") for words in row.says)
