"""Events: every kind is told, storms are cheap, and trouble ends in "anything may have changed"."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pysubtask.subtask.shell import events as module
from pysubtask.subtask.shell.events import Events, InotifyEvents, WatchdogEvents
from tests.unit.shell_fakes import quiet_log

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


class Heard:
    """Collects hints and waits for them, at most 5 s."""

    def __init__(self) -> None:
        self.hints: list[tuple[str | None, bool]] = []
        self._news = threading.Condition()

    def __call__(self, path: str | None, complete: bool = False) -> None:
        with self._news:
            self.hints.append((path, complete))
            self._news.notify_all()

    def wait(self, wanted: Callable[[], bool], timeout_secs: float = 5.0) -> None:
        with self._news:
            assert self._news.wait_for(wanted, timeout_secs), self.hints

    def wait_for(self, path: Path | str | None, complete: bool | None = None) -> None:
        text = None if path is None else str(path)
        self.wait(
            lambda: any(
                hint[0] == text and complete in (None, hint[1]) for hint in list(self.hints)
            )
        )


@pytest.fixture(params=["inotify", "watchdog"])
def either(request: pytest.FixtureRequest, heard: Heard) -> Iterator[Events]:
    if request.param == "watchdog":
        pytest.importorskip("watchdog")
        events: Events = WatchdogEvents(heard, quiet_log())
    else:
        events = InotifyEvents(heard, quiet_log())
    yield events
    events.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def events(heard: Heard) -> Iterator[InotifyEvents]:
    made = InotifyEvents(heard, quiet_log())
    yield made
    made.close()


def test_a_touch_a_close_and_a_rename(either: Events, heard: Heard, tmp_path: Path) -> None:
    notify = tmp_path / "a.notify"
    notify.touch()
    other = tmp_path / "other"
    other.touch()
    assert either.watch(str(tmp_path))
    assert either.alive
    os.utime(notify, ns=(1, 1))
    heard.wait_for(notify, False)
    with (tmp_path / "b").open("wb") as file:
        heard.wait_for(tmp_path / "b", False)
        file.write(b"x")
    heard.wait_for(tmp_path / "b", True)
    other.rename(tmp_path / "c")
    heard.wait_for(other)
    heard.wait_for(tmp_path / "c", True)
    (tmp_path / "c").unlink()
    heard.wait_for(tmp_path / "c")


def test_unwatch_and_close_are_silent(either: Events, heard: Heard, tmp_path: Path) -> None:
    assert either.watch(str(tmp_path))
    either.unwatch(str(tmp_path))
    either.unwatch(str(tmp_path))
    time.sleep(0.05)
    heard.hints.clear()
    (tmp_path / "a").touch()
    time.sleep(0.1)
    assert heard.hints == []
    assert either.watch(str(tmp_path))
    either.close()
    either.close()
    (tmp_path / "b").touch()
    time.sleep(0.05)
    assert heard.hints == []
    assert not either.watch(str(tmp_path))


def test_names_that_are_no_utf8(events: InotifyEvents, heard: Heard, tmp_path: Path) -> None:
    assert events.watch(str(tmp_path))
    for raw in (b"\xff\xfe.csv", "ü\n\x1b".encode()):
        path = os.path.join(os.fsencode(tmp_path), raw)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        heard.wait_for(os.fsdecode(path), True)


def test_appending_is_not_heard(events: InotifyEvents, heard: Heard, tmp_path: Path) -> None:
    with (tmp_path / "data").open("ab", buffering=0) as file:
        assert events.watch(str(tmp_path))
        for _ in range(100):
            file.write(b"x" * 100)
        time.sleep(0.1)
        assert heard.hints == []
    heard.wait_for(tmp_path / "data", True)


def test_a_folder_that_vanishes_and_returns(
    events: InotifyEvents, heard: Heard, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    assert not events.watch(str(folder))
    assert events.alive  # a folder that is not there is no fault
    folder.mkdir()
    assert events.watch(str(folder))
    folder.rmdir()
    heard.wait_for(None)
    assert not events.watch(str(folder))
    folder.mkdir()
    assert events.watch(str(folder))
    (folder / "x").touch()
    heard.wait_for(folder / "x")


def test_a_folder_that_is_moved_away(events: InotifyEvents, heard: Heard, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    folder = parent / "out"
    folder.mkdir(parents=True)
    assert events.watch(str(folder))
    parent.rename(tmp_path / "old")  # no event: the folder's own name stays
    assert not events.watch(str(folder))
    folder.mkdir(parents=True)
    assert events.watch(str(folder))
    (folder / "new").touch()
    heard.wait_for(folder / "new")
    heard.hints.clear()
    folder.rename(parent / "elsewhere")
    heard.wait_for(None)
    assert not events.watch(str(folder))


def test_two_names_of_one_folder(events: InotifyEvents, heard: Heard, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    assert events.watch(str(real))
    assert events.watch(str(link))
    (real / "x").touch()
    heard.wait_for(real / "x")
    heard.wait_for(link / "x")
    events.unwatch(str(link))
    (real / "y").touch()
    heard.wait_for(real / "y")
    assert (str(link / "y"), False) not in heard.hints


def test_a_storm_is_cheap(events: InotifyEvents, heard: Heard, tmp_path: Path) -> None:
    """5,000 files made, closed and touched: each told, in far less time than making them took."""
    assert events.watch(str(tmp_path))
    before = _thread_cpu_secs(events)
    for number in range(5000):
        fd = os.open(tmp_path / str(number), os.O_WRONLY | os.O_CREAT)
        os.close(fd)
    wanted = {str(tmp_path / str(number)) for number in range(5000)}
    heard.wait(lambda: len(heard.hints) >= 5000 and wanted <= _completed(heard))
    assert len(heard.hints) < 7500  # CREATE and CLOSE_WRITE mostly share a hint
    assert _thread_cpu_secs(events) - before < 1.0


def _completed(heard: Heard) -> set[str | None]:
    return {path for path, complete in heard.hints if complete}


def _thread_cpu_secs(events: InotifyEvents) -> float:
    assert events._thread is not None
    path = f"/proc/self/task/{events._thread.native_id}/stat"
    fields = Path(path).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_rest_costs_no_wakeups(events: InotifyEvents, tmp_path: Path) -> None:
    assert events.watch(str(tmp_path))
    assert events._thread is not None
    status = Path(f"/proc/self/task/{events._thread.native_id}/status")

    def switches() -> int:
        return int(status.read_text().rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])

    time.sleep(0.1)
    before = switches()
    time.sleep(1.0)
    assert switches() - before == 0


def test_overflow_means_anything(heard: Heard, tmp_path: Path) -> None:
    events = InotifyEvents(heard, quiet_log())
    try:
        assert events.watch(str(tmp_path))
        event = module.__dict__["_Q_OVERFLOW"]

        class Overflow:
            wd, mask, name = -1, event, ""

        events._tell([Overflow()])
        assert heard.hints == [(None, False)]
    finally:
        events.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSYS])
def test_no_inotify(
    heard: Heard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    import inotify_simple

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(inotify_simple, "INotify", refuse)
    events = InotifyEvents(heard, quiet_log())
    for _ in range(3):
        assert not events.watch(str(tmp_path))
    assert not events.alive
    assert len(caplog.records) == 1
    events.close()


def test_the_watch_limit(
    events: InotifyEvents,
    heard: Heard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert events.watch(str(one))
    real = events._inotify.add_watch

    def refuse(path: str, mask: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(events._inotify, "add_watch", refuse, raising=False)
    assert not events.watch(str(two))
    assert not events.watch(str(two))
    assert not events.alive
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "max_user_watches" in caplog.text
    (one / "x").touch()
    heard.wait_for(one / "x")  # the others go on
    monkeypatch.setattr(events._inotify, "add_watch", real)
    monkeypatch.setattr(events, "_retry_at", 0.0)
    assert events.watch(str(two))
    assert events.alive


def test_a_mistake_in_the_listener_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    def listener(path: str | None, complete: bool = False) -> None:
        heard(path, complete)
        raise ZeroDivisionError

    events = InotifyEvents(listener, quiet_log())
    try:
        assert events.watch(str(tmp_path))
        (tmp_path / "a").touch()
        heard.wait_for(tmp_path / "a")
        (tmp_path / "b").touch()
        heard.wait_for(tmp_path / "b")
        assert len(caplog.records) == 1
    finally:
        events.close()


def test_no_descriptor_is_left_behind(heard: Heard, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        events = InotifyEvents(heard, quiet_log())
        events.watch(str(tmp_path))
        events.close()
    assert len(os.listdir("/proc/self/fd")) <= before
