"""The names under which rotated files are kept at the destination."""

from __future__ import annotations

import pytest

from pysubtask.config import build
from pysubtask.core.rotation import kept_name, numbered_apart
from pysubtask.errors import SettingsError
from pysubtask.patterns import complaint_of
from pysubtask.watch import parse_watches

AT = 1_795_689_900.9  # 2026-11-26 10:45:00.9 UTC
STAMP = "20261126T104500Z"


@pytest.mark.parametrize(
    ("pattern", "local", "expected"),
    [
        ("{name}-{time}", "app.log.1", f"app.log-{STAMP}"),
        ("{stem}-{time}{ext}", None, f"app-{STAMP}.log"),
        ("{local}", "app.log.2026-11-26", "app.log.2026-11-26"),
        ("{local}", "app.log-20261126", "app.log-20261126"),
        ("{local}", "app-2026-11.log", "app-2026-11.log"),
        ("old {local}", "app.log-20261126", "old app.log-20261126"),
        # another file after each rotation, so that it names none
        ("{local}", "app.log.1", f"app.log-{STAMP}"),
        ("{local}", "app.log.12345", f"app.log-{STAMP}"),
        ("{local}", "app.old", f"app.log-{STAMP}"),
        ("{local}", None, f"app.log-{STAMP}"),
    ],
)
def test_the_name_of_a_rotated_file(pattern: str, local: str | None, expected: str) -> None:
    assert complaint_of(pattern) is None
    assert kept_name(pattern, "app.log", AT, local) == expected


def test_times_that_no_calendar_has() -> None:
    assert kept_name("{name}-{time}", "a", -5.0, None) == "a-19700101T000000Z"
    assert kept_name("{name}-{time}", "a", 1e18, None) == "a-99991231T000000Z"


def test_digits_of_the_watched_name_itself_are_no_date() -> None:
    assert kept_name("{local}", "line20261126.csv", AT, "line20261126.csv.1") == (
        f"line20261126.csv-{STAMP}"
    )


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("app-2026.log", "app-2026_1.log"),
        ("app.log-20261126T104500Z", "app.log-20261126T104500Z_1"),
        ("app.log.2026-11-26", "app.log.2026-11-26_1"),
        (".log", ".log_1"),
    ],
)
def test_a_name_that_is_taken_gets_a_number(name: str, second: str) -> None:
    assert numbered_apart(name, 0) == name
    assert numbered_apart(name, 1) == second


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{name}", "a name of its own"),
        ("old", "a name of its own"),
        ("{name}-{date}", "there are {name}"),
        ("{name}-{time:%Y}", "there are {name}"),
        ("{name}-{time!r}", "there are {name}"),
        ("{}-{time}", "there are {name}"),
        ("{name-{time}", "is no pattern|there are"),
        ("old/{name}-{time}", "without folders"),
        ("old\\{name}-{time}", "without folders"),
        (".pysubtask-{time}", "keeps for itself"),
        ("{time}.notify", "keeps for itself"),
    ],
)
def test_patterns_that_make_no_name_of_its_own_are_refused_at_once(
    pattern: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        build("ftp", keywords={"rotated_as": pattern})
    with pytest.raises(SettingsError, match=words):
        parse_watches({"file": "a.csv", "rotated_as": pattern})


def test_a_watch_says_it_for_itself() -> None:
    found = parse_watches(
        ["a.csv", {"file": "b.csv", "rotated_as": "{local}"}, {"file": "c.csv", "rotated_as": ""}]
    )
    assert [watch.rotated_as for watch in found] == [None, "{local}", ""]


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ({"dir": "logs", "rotated_as": "{local}"}, "a file of its own"),
        ({"file": "a", "growth": "rewrite", "rotated_as": "{local}"}, "files that grow"),
        ({"file": "a", "rotated_as": 1}, "must be text"),
    ],
)
def test_watches_that_do_not_rotate(watch: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_watches(watch)
