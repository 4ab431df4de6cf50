"""What the demo shows in a terminal of 80 columns."""

from __future__ import annotations

import sys

import pytest

from examples import demo_screen
from examples.demo_screen import Screen, fold, source_words, tail
from pysubtask.status import PullStatus


def test_lines_are_folded_between_words() -> None:
    text = "one two three\n  a: bcdefgh ijklmnop qrstuv\n" + "x" * 30
    assert fold(text, 20).splitlines() == [
        "one two three",
        "  a: bcdefgh",
        "      ijklmnop",
        "      qrstuv",
        "x" * 30,
    ]
    assert fold("", 20) == ""


def test_of_a_long_name_the_end_is_shown() -> None:
    assert tail("logs/watch_all_in_here/ (4 files)", 27) == "…tch_all_in_here/ (4 files)"
    assert tail("logs/test1.csv (burst mode)", 27) == "logs/test1.csv (burst mode)"


def test_a_source_tells_an_error_once() -> None:
    pull = PullStatus(source="sftp://h/*.cfg", to="inbox", link="retrying", last_error="refused")
    assert source_words(pull) == "inbox/: 0 files, retrying: refused ← sftp://h/*.cfg"
    assert source_words(pull, "refused") == "inbox/: 0 files, retrying ← sftp://h/*.cfg"


def test_news_do_not_take_the_question_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    screen = Screen(3)
    assert screen.live
    screen.say("before")
    screen.ask()
    screen.say("news")
    screen.answered()
    screen.say("the answer")
    prompt = demo_screen.PROMPT
    assert capsys.readouterr().out == (f"before\n{prompt}\r\x1b[Knews\n{prompt}the answer\n")
