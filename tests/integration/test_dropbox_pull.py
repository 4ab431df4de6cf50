"""Fetching from a Dropbox, which tells of changes: nothing is polled while it does."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pysubtask import TaskMaster
from tests.integration.promises import is_running, wait_until
from tests.servers.dropbox import DropboxServer

LONGPOLL = "list_folder/longpoll"
NEWS_SECS = 10.0
"""For news that come by longpoll, on a busy machine. Polling would take a minute."""


class Fetching:
    """A master that fetches one folder, and looks once a minute."""

    def __init__(self, server: DropboxServer, home: pathlib.Path, **settings: Any) -> None:
        self.server = server
        self.name, _ = server.new_folder()
        self.here = home / "inbox"
        settings.setdefault("pull_interval_secs", 60.0)
        self.master = TaskMaster(
            [{"pull": f"dropbox://{self.name}/", "to": str(self.here)}],
            dropbox_refresh_token=server.refresh_token,
            dropbox_app_key=server.app_key,
            ca_file=server.ca_file,
            bak_to_folder=str(home / "state"),
            log_to_folder=str(home / "logs"),
            **settings,
        )

    def put(self, name: str, data: bytes) -> None:
        """As another hand would."""
        self.server.account.put(f"{self.name}/{name}", data)

    def has(self, name: str, data: bytes) -> bool:
        path = self.here / name
        return path.exists() and path.read_bytes() == data

    def looks(self) -> int:
        return self.server.requests.count("list_folder")


Start = Callable[..., Fetching]


@pytest.fixture
def fetch(
    tmp_path: pathlib.Path, dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    for name, value in dropbox.environment().items():
        monkeypatch.setenv(name, value)
    made: list[Fetching] = []

    def start(**settings: Any) -> Fetching:
        made.append(Fetching(dropbox, tmp_path, **settings))
        made[-1].master.start()
        return made[-1]

    yield start
    for one in made:
        pid = one.master.status().pid
        one.master.stop(forcekill=True)
        assert pid is None or not is_running(pid)


def test_a_new_file_is_here_at_once(fetch: Start, dropbox: DropboxServer) -> None:
    at = fetch()
    wait_until(lambda: dropbox.longpolls == 1)
    for number in range(3):
        data = b"%d" % number
        began = time.monotonic()
        at.put("a.cfg", data)
        wait_until(lambda data=data: at.has("a.cfg", data), NEWS_SECS)
        print(f"here after {time.monotonic() - began:.2f} s")
        wait_until(lambda: dropbox.longpolls == 1)
    assert [arrival.kind for arrival in at.master.arrivals()] == ["replaced"]
    looked = at.looks()
    time.sleep(2)
    assert at.looks() == looked  # nothing is polled
    assert dropbox.came_early == 0


def test_a_stop_does_not_wait_for_the_longpoll(fetch: Start, dropbox: DropboxServer) -> None:
    at = fetch(stop_timeout_secs=20.0)
    wait_until(lambda: dropbox.longpolls == 1)
    began = time.monotonic()
    at.master.stop()
    assert time.monotonic() - began < 10  # it would go on for 60 s at least
    assert "killed" not in (at.here.parent / "logs/dropbox_taskmaster.log.txt").read_text()


@pytest.mark.parametrize("kind", ["400", "500", "429", "cut-before"])
def test_without_longpoll_it_looks(fetch: Start, dropbox: DropboxServer, kind: Any) -> None:
    dropbox.fail(kind, LONGPOLL, times=1000)
    at = fetch(pull_interval_secs=0.3, pull_max_interval_secs=0.3)
    wait_until(lambda: at.looks() >= 3)
    at.put("a.cfg", b"1")
    wait_until(lambda: at.has("a.cfg", b"1"))
    if kind == "429":
        assert dropbox.requests.count(LONGPOLL) < at.looks()  # looks go on, longpolls wait
    dropbox.calm()
    wait_until(lambda: dropbox.longpolls == 1)


def test_a_backoff_is_heeded(fetch: Start, dropbox: DropboxServer) -> None:
    dropbox.longpoll_secs, dropbox.backoff_secs = 0.1, 2
    at = fetch()
    wait_until(lambda: dropbox.longpolls >= 1)
    early = dropbox.came_early  # the wait of a client of an earlier test may have ended just now
    wait_until(lambda: dropbox.requests.count(LONGPOLL) >= 4)
    assert dropbox.came_early <= early + 1  # three waits: unheeded, they would all be early
    at.put("a.cfg", b"1")
    wait_until(lambda: at.has("a.cfg", b"1"), NEWS_SECS)


def test_a_cursor_that_is_too_old_costs_a_look(fetch: Start, dropbox: DropboxServer) -> None:
    at = fetch()
    dropbox.longpoll_secs = 0.3
    wait_until(lambda: dropbox.longpolls == 1)
    dropbox.reset_cursors()
    wait_until(lambda: at.looks() >= 2)
    dropbox.longpoll_secs = None
    at.put("a.cfg", b"1")
    wait_until(lambda: at.has("a.cfg", b"1"), NEWS_SECS)
