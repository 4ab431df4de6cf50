"""What a program is told of fetched files: nothing twice without need, nothing never."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from pysubtask.arrivals import arrived_path, take_arrivals
from pysubtask.core.pull import Told
from pysubtask.seams.clock import RealClock
from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.pull.news import News


@pytest.fixture
def news(tmp_path: Path) -> News:
    return News(RealDisk(), RealClock(), str(tmp_path / "arrivals"), logging.getLogger(__name__))


def tell(
    news: News, tmp_path: Path, name: str, kind: str = "new", start: int = 0, size: int = 9
) -> None:
    place = tmp_path / name
    place.write_bytes(b"x" * size)
    news.tell(str(place), f"/in/{name}", Told(kind, start), size, os.urandom(8).hex())


def taken(tmp_path: Path) -> list[tuple[str, str, int, int]]:
    found = take_arrivals(str(tmp_path / "arrivals"))
    return [(Path(a.path).name, a.kind, a.start_bytes, a.size_bytes) for a in found]


def test_in_their_order_and_once(news: News, tmp_path: Path) -> None:
    tell(news, tmp_path, "b")
    tell(news, tmp_path, "a")
    assert taken(tmp_path) == [("b", "new", 0, 9), ("a", "new", 0, 9)]
    assert taken(tmp_path) == []


def test_the_touch_beside_the_file_changes_each_time(news: News, tmp_path: Path) -> None:
    tell(news, tmp_path, "a")
    touch = Path(arrived_path(str(tmp_path / "a")))
    first = touch.stat()
    assert b'"kind": "new"' in touch.read_bytes()
    tell(news, tmp_path, "a", "grown", 9, 12)
    assert (touch.stat().st_ino, touch.stat().st_mtime_ns) != (first.st_ino, first.st_mtime_ns)
    assert not list(tmp_path.glob(".pysubtask-*"))


def test_what_was_not_taken_is_told_along_with_the_next(news: News, tmp_path: Path) -> None:
    tell(news, tmp_path, "a", "new", 0, 10)
    tell(news, tmp_path, "a", "grown", 10, 15)
    tell(news, tmp_path, "a", "grown", 15, 20)
    assert taken(tmp_path) == [("a", "new", 0, 20)]
    tell(news, tmp_path, "a", "grown", 20, 25)
    assert taken(tmp_path) == [("a", "grown", 20, 25)]


def test_a_program_that_dies_at_work_is_told_again(news: News, tmp_path: Path) -> None:
    tell(news, tmp_path, "a")
    for _ in take_arrivals(str(tmp_path / "arrivals")):
        break  # as if it had died here
    assert taken(tmp_path) == [("a", "new", 0, 9)]


def test_later_news_are_not_taken_with_earlier_ones(news: News, tmp_path: Path) -> None:
    tell(news, tmp_path, "a")
    found = take_arrivals(str(tmp_path / "arrivals"))
    assert next(found).size_bytes == 9
    tell(news, tmp_path, "a", "replaced", 0, 5)  # while the program is at work on the first
    assert [(a.kind, a.size_bytes) for a in found] == [("replaced", 5)]
    assert taken(tmp_path) == []
    assert not list((tmp_path / "arrivals").iterdir())


def test_it_waits_only_if_it_is_told_to(news: News, tmp_path: Path) -> None:
    began = time.monotonic()
    assert taken(tmp_path) == []
    (tmp_path / "arrivals").mkdir()
    (tmp_path / "arrivals" / "rubbish.json").write_text("{")
    assert list(take_arrivals(str(tmp_path / "arrivals"), wait_secs=0.2)) == []
    assert time.monotonic() - began >= 0.2


def test_what_cannot_be_taken_away_is_told_once_in_a_loop(
    news: News, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state folder that has become read-only must not keep a program busy for ever."""
    tell(news, tmp_path, "a")

    def refuse(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    assert taken(tmp_path) == [("a", "new", 0, 9)]
