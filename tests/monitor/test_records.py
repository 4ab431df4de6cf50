"""What is owed to a history that can't be written."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from pysubtask.monitor.history import History
from pysubtask.monitor.keeper import Monitor
from pysubtask.monitor.names import client_id
from tests.monitor.bench import Bench, FakeSource


def fill(database: sqlite3.Connection) -> None:
    """Leave the file no page to grow by, and none to fill."""
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}")
    for size in (400, 0):
        with contextlib.suppress(sqlite3.OperationalError):
            while True:
                database.execute(
                    f"INSERT INTO meta VALUES (hex(randomblob(8)), hex(randomblob({size})))"
                )


def test_a_full_disk_loses_no_alert_and_no_row(bench: Bench) -> None:
    """It is full just when a client dies: fleet and alerts have taken note, the file has not.

    What a failed write left out would be missing for good, and the page would go on showing "up".
    """
    bench.world.beat("edge")
    bench.world.beat("other", secs=86_400)
    bench.look()
    bench.run(85)
    fill(bench.monitor.history._db)
    bench.run(30)
    assert bench.states()["edge"] == "down"
    assert not bench.monitor.healthy  # nobody is told now: the dead man's switch has to
    assert "can't be written" in bench.monitor.snapshot.source.warnings[-1]
    bench.monitor.history._db.execute("PRAGMA max_page_count=1000000")
    bench.look()
    assert bench.told() == ["down"]
    assert bench.monitor.healthy
    assert bench.monitor.snapshot.source.warnings == ()
    past = bench.monitor.history.flips(client_id("edge"))
    assert [flip.new for flip in past] == ["up", "late", "down"]
    bench.restart()
    bench.run(60)
    assert bench.told() == ["down"]


@pytest.fixture
def readonly(bench: Bench) -> Iterator[Callable[[bool], None]]:
    """Switches whether the history may be written."""

    def switch(on: bool) -> None:
        bench.monitor.history._db.execute(f"PRAGMA query_only={int(on)}")

    yield switch
    switch(False)


def test_blindness_that_came_and_went_on_a_full_disk_is_written_later(
    bench: Bench, readonly: Callable[[bool], None]
) -> None:
    """Else its time would count as known, and 90 days of uptime would be wrong by it."""
    bench.world.beat("edge", secs=3600)
    bench.look()
    readonly(True)
    bench.world.error = "can't be read"
    bench.run(300)
    bench.world.error = None
    bench.run(60)
    readonly(False)
    bench.look()
    (span,) = bench.monitor.history.blind_spans(0)
    assert (span.until or 0) - span.since == pytest.approx(305)
    assert bench.told() == ["blind", "sight"]


def test_what_people_do_on_a_full_disk_is_done_and_written_later(
    bench: Bench, readonly: Callable[[bool], None]
) -> None:
    """A pause that raised half way would be on the page and not in the alerts, or the reverse."""
    for name in "abc":
        bench.world.beat(name, secs=3600)
    bench.look()
    del bench.world.files["b"]
    bench.look()
    readonly(True)
    assert bench.monitor.pause(client_id("a"), "hand")
    assert bench.monitor.forget(client_id("b"))
    assert bench.states() == {"a": "paused", "c": "up"}
    assert not bench.monitor.healthy
    readonly(False)
    bench.look()
    bench.restart(kill=True)
    bench.look()
    assert bench.states() == {"a": "paused", "c": "up"}


def test_it_starts_and_stops_on_a_full_disk(tmp_path: pathlib.Path) -> None:
    """A traceback at the start would leave nobody to look, and systemd to try for ever."""
    bench = Bench(tmp_path)
    bench.world.beat("edge", secs=3600)
    bench.look()
    bench.monitor.stop()
    history = History(tmp_path)
    history.query("PRAGMA query_only=1")
    bench.monitor = Monitor(
        FakeSource(bench.world), history, clock=lambda: bench.world.now, monotonic=lambda: 1.0
    )
    bench.look()
    assert bench.states() == {"edge": "up"}
    assert not bench.monitor.healthy
    bench.monitor.stop()
