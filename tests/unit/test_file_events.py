"""What file-system events make known: that a path may have changed, is complete, or has gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pysubtask.subtask.shell.events import WatchdogEvents, open_events
from tests.unit.core_fakes import LOG


class Heard:
    """What was told of each path, put together."""

    def __init__(self) -> None:
        self.complete: set[str] = set()
        self.gone: set[str] = set()
        self.changed: set[str] = set()
        self._news = threading.Condition()

    def __call__(self, path: str | None, complete: bool = False, gone: bool = False) -> None:
        name = "anything" if path is None else os.path.basename(path)
        with self._news:
            self.changed.add(name)
            self.complete |= {name} if complete else set()
            self.gone |= {name} if gone else set()
            self._news.notify_all()

    def wait_for(self, told: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(told, 10.0), (self.changed, self.complete, self.gone)


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    if not sys.platform.startswith("linux"):
        pytest.skip("inotify")
    heard = Heard()
    events = open_events(heard, LOG)
    assert events.watch(str(tmp_path))
    yield heard
    events.close()


def test_a_file_that_is_rotated_has_gone_and_its_successor_is_complete(
    heard: Heard, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    heard.wait_for(lambda: "a.csv" in heard.complete)
    assert not heard.gone
    path.rename(tmp_path / "a.csv.1")
    path.write_bytes(b"new")
    heard.wait_for(lambda: heard.gone == {"a.csv"} and "a.csv.1" in heard.complete)


def test_a_deleted_file_has_gone(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    path.unlink()
    heard.wait_for(lambda: heard.gone == {"a.csv"})


def test_a_touch_says_only_that_something_may_have_changed(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.notify"
    path.touch()
    heard.wait_for(lambda: "a.csv.notify" in heard.complete)
    heard.changed.clear()
    heard.complete.clear()
    os.utime(path, (5, 5))
    heard.wait_for(lambda: "a.csv.notify" in heard.changed)
    assert not heard.complete | heard.gone


@pytest.mark.parametrize(
    ("kind", "complete", "gone"),
    [
        ("modified", set(), set()),
        ("created", set(), set()),
        ("closed", {"a"}, set()),
        ("deleted", set(), {"a"}),
        ("moved", {"b"}, {"a"}),
    ],
)
def test_elsewhere_events_say_the_same(kind: str, complete: set[str], gone: set[str]) -> None:
    """A file that is written to has not gone: each write of a program would wake us."""
    heard = Heard()
    events = WatchdogEvents(heard, LOG)
    try:
        events._on_event(SimpleNamespace(event_type=kind, src_path="/data/a", dest_path="/data/b"))
    finally:
        events.close()
    assert (heard.complete, heard.gone) == (complete, gone)
