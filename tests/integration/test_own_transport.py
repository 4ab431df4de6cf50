"""Transports of other packages, by their entry points: the example under ``examples/``."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pysubtask import LinkError, SettingsError, TaskMaster
from pysubtask.master import _process
from pysubtask.own import OwnTaskMaster
from pysubtask.seams.clock import RealClock
from pysubtask.settings import Settings
from pysubtask.transports import transport_factory
from pysubtask.transports.contract import Stat
from pysubtask.urls import parse_url
from tests.integration.promises import QUICK, wait_until
from tests.servers.shelf import ShelfServer

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture
def shelf() -> Iterator[ShelfServer]:
    with ShelfServer() as server:
        yield server


@pytest.fixture
def offer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Makes a package that says it has a transport: ``offer("name", "scheme", "module:make")``."""
    site = tmp_path / "site"

    def make(package: str, scheme: str, target: str, code: str = "") -> None:
        info = site / f"{package}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[pysubtask.transports]\n{scheme} = {target}\n")
        (site / f"{target.partition(':')[0]}.py").write_text(code)

    monkeypatch.syspath_prepend(str(site))
    return make


def refusal(url: str) -> str:
    with pytest.raises(SettingsError) as caught:
        transport_factory(parse_url(url), Settings(), RealClock(), lambda: None)
    return str(caught.value)


def test_a_master_delivers_by_the_example(shelf: ShelfServer, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(b"one\n")
    (shelf.root / "in").mkdir()
    with TaskMaster([str(file)], to=f"{shelf.url}in", **QUICK) as master:
        assert type(master) is OwnTaskMaster
        assert master.notify(file)
        assert master.flush(20), master.status()
        with file.open("ab") as out:
            out.write(b"two\n")
        assert master.notify(file)
        assert master.flush(20), master.status()
        assert str(master.status().destination) == f"{shelf.url}in"
    assert (shelf.root / "in" / "log.csv").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "upload" / "shelf" / "journal").exists()
    assert (tmp_path / "logs" / "shelf_subtask.log.txt").exists()


def test_an_unknown_scheme_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SettingsError, match=r"'nobody' is no scheme .* what installed packages"):
        TaskMaster([str(tmp_path / "a")], to="nobody://host/x")


def test_urls_of_other_schemes(offer: object) -> None:
    offer("some", "box", "some_box:make")  # type: ignore[operator]
    for url in ("box:///a/b.zip", "box://host", "box://me@host:7/a%20b", "box://host/"):
        assert str(parse_url(url)) == url
    found = parse_url("box://me:s3cret@host:7/x")
    assert (found.user, found.host, found.port, found.path) == ("me", "host", 7, "/x")
    assert "s3cret" not in str(found)


def test_what_can_not_be_loaded_is_told_in_words(
    offer: object, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("broken", "broken", "broken_box:make", "import no_such_module\n")  # type: ignore[operator]
    offer("nothing", "nothing", "nothing_box:make")  # type: ignore[operator]
    offer("value", "value", "value_box:make", "make = 7\n")  # type: ignore[operator]
    offer("one", "twice", "one_box:make")  # type: ignore[operator]
    offer("two", "twice", "two_box:make")  # type: ignore[operator]
    assert "broken_box:make of broken can't be loaded: ModuleNotFoundError" in refusal("broken://h")
    assert "nothing_box:make of nothing can't be loaded: AttributeError" in refusal("nothing://h")
    assert "value_box:make of value is no function" in refusal("value://h")
    assert "several packages offer it: one, two" in refusal("twice://h")
    master = TaskMaster([str(tmp_path / "a")], to="broken://h")  # the program loads nothing
    try:
        master.start()
        wait_until(lambda: "broken_box:make of broken can't be loaded" in str(master.status()), 10)
    finally:
        master.stop(forcekill=True)
    assert "broken_box" not in sys.modules
    lost = parse_url("broken://h")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("site")])
    with pytest.raises(SettingsError, match="no installed package offers it"):
        transport_factory(lost, Settings(), RealClock(), lambda: None)


def test_the_contract_suite_tries_whatever_is_named(shelf: ShelfServer) -> None:
    """As ``docs/transports.md`` says; ``shelf`` has the example installed."""
    paths = [path for path in sys.path if "shelf" in path]
    some = ["-k", "odd_names or remove or rename or break_at_every_request"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", "-q", *some]
    done = subprocess.run(
        [*command, "tests/contract"],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYSUBTASK_CONTRACT": "pysubtask_shelf.harness:harness",
        },
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 6


def test_an_oserror_of_a_transport_is_a_broken_connection(shelf: ShelfServer) -> None:
    url = parse_url(shelf.url)
    make = transport_factory(url, Settings(), RealClock(), lambda: None)
    transport = make()
    transport.connect()
    transport._inner._socket.shutdown(2)  # type: ignore[attr-defined]
    transport.submit(1, Stat("x"))
    with pytest.raises(LinkError):
        list(transport.collect())
    transport.close()
    closed = parse_url("shelf://127.0.0.1:1/")
    with pytest.raises(LinkError, match="refused"):
        transport_factory(closed, Settings(), RealClock(), lambda: None)().connect()


STUCK = """
import os, threading
from pysubtask.transports.folder import FolderTransport


class StuckOnce(FolderTransport):
    def write(self, path, offset, data, *, create):
        if not os.path.exists({mark!r}):
            open({mark!r}, "w").close()
            threading.Event().wait()  # as a library that waits for what never comes
        super().write(path, offset, data, create=create)


def make(setup):
    return StuckOnce(setup.destination.path, notes=setup.notes, mount="ignored")
"""


def test_a_subtask_stuck_in_a_library_is_replaced_within_the_watchdogs_time(
    offer: object, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process, "FIRST_WAIT_SECS", 0.2)
    mark, there = tmp_path / "stuck", tmp_path / "there"
    there.mkdir()
    offer("stuck", "stuck", "stuck_box:make", STUCK.format(mark=str(mark)))  # type: ignore[operator]
    file = tmp_path / "log.csv"
    file.write_bytes(b"one\n")
    limits = {"connect_timeout_secs": 0.5, "login_timeout_secs": 0.5, "reply_timeout_secs": 1.0}
    settings = {**QUICK, **limits, "watchdog_secs": 7.0}
    with TaskMaster([str(file)], to=f"stuck://{there}", **settings) as master:
        first = master.status().pid
        assert master.notify(file)
        wait_until(mark.exists, 20)
        since = time.monotonic()
        wait_until(lambda: master.status().restarts > 0, 20)
        assert 5.0 < time.monotonic() - since < 15.0
        assert "has not moved for 7 s" in str(master.status().last_error), master.status()
        assert master.flush(20), master.status()
        assert master.status().pid != first
    assert (there / "log.csv").read_bytes() == b"one\n"
