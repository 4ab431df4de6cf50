"""Touches, and the small JSON files."""

from __future__ import annotations

import os
import pathlib
import sys
import threading
import time

import pytest

from pysubtask.signals import (
    StateLayout,
    next_touch_ns,
    notify_path,
    read_json,
    touch,
    write_json,
)


def test_a_touch_makes_the_file_and_then_moves_its_time(tmp_path: pathlib.Path) -> None:
    file = notify_path(str(tmp_path / "a.csv"))
    assert file.endswith("a.csv.notify")
    before = time.time_ns()
    first = touch(file, 0)
    assert before <= first <= time.time_ns()
    assert os.stat(file).st_mtime_ns == first
    assert touch(file, first) > first


def test_time_stamps_never_repeat_or_go_back(tmp_path: pathlib.Path) -> None:
    file = str(tmp_path / "a.notify")
    future = time.time_ns() + 10**8  # another thread was quicker
    assert touch(file, future) > future
    seen = set()
    last = 0
    for _ in range(2000):
        now = touch(file, last)
        assert now > last
        assert os.stat(file).st_mtime_ns == now
        seen.add(now)
        last = now
    assert len(seen) == 2000


def test_after_a_clock_that_was_set_back_the_time_is_the_clock_s() -> None:
    now = 1_800_000_000_000_000_000
    assert next_touch_ns(now - 5, now) == now
    assert next_touch_ns(now, now) > now
    assert next_touch_ns(now + 3_600 * 10**9, now) == now


def test_it_says_when_it_can_not(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match=r"\S"):
        touch(str(tmp_path / "missing" / "a.notify"), 0)
    with pytest.raises(OSError, match=r"\S"):
        touch(str(tmp_path / ("x" * 300)), 0)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_it_makes_nothing_through_a_symbolic_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.notify").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"\S"):
        touch(str(tmp_path / "a.notify"), 0)
    assert not (tmp_path / "elsewhere").exists()


def test_layout_names_are_inside_the_state_folder(tmp_path: pathlib.Path) -> None:
    layout = StateLayout(str(tmp_path))
    places = [value for value in vars(layout).values() if value != str(tmp_path)]
    assert len(set(places)) == len(places) == 16
    assert all(os.path.dirname(place) == str(tmp_path) for place in places)
    assert os.path.dirname(layout.ask_path("ab")) == layout.requests
    assert layout.fallback_notify_path("/a/b") != layout.fallback_notify_path("/a/c")
    assert os.path.dirname(layout.fallback_notify_path("/\udcff" * 500)) == layout.notify_dir


def test_nobody_reads_half_a_json_file(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "x.json")
    write_json(path, {"text": "", "length": 0})
    done = threading.Event()
    bad: list[object] = []

    def read() -> None:
        while not done.is_set():
            value = read_json(path)
            if value is None or len(value["text"]) != value["length"]:
                bad.append(value)

    reader = threading.Thread(target=read)
    reader.start()
    for length in range(0, 60_000, 200):
        write_json(path, {"text": "\udcff" * length, "length": length})
    done.set()
    reader.join(10)
    assert not bad
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_is_no_json_object_reads_as_none(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    assert read_json(str(path)) is None
    for data in (b"", b"{", b"[]", b"\xff", b"[" * 100_000):
        path.write_bytes(data)
        assert read_json(str(path)) is None
    path.write_bytes(b'{"a": 1}')
    assert read_json(str(path)) == {"a": 1}
    assert read_json(str(path), limit_bytes=4) is None
