"""The whole monitor without its pages: what survives a restart, what is written, uptime."""

from __future__ import annotations

import os
import pathlib
import stat
import sys
import time
from collections.abc import Iterator

import pytest

from pysubtask.errors import StateError
from pysubtask.monitor.clients import Settings
from pysubtask.monitor.history import History, Past, Span
from pysubtask.monitor.names import client_id
from pysubtask.monitor.uptime import days, uptime
from tests.monitor.bench import Bench
from tests.monitor.fakes import HOSTILE


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_loses_no_state_and_raises_no_alert(bench: Bench, kill: bool) -> None:
    for name in ("up", "down", "bye", "paused", "skewed"):
        bench.world.beat(name)
    bench.look()
    bench.monitor.pause(client_id("paused"), "hand")
    bench.monitor.tag(client_id("up"), ["north", "north", "roof"])
    bench.world.beat("bye", secs=0)
    bench.world.beat("skewed", mtime=4e9, ctime=bench.world.now)
    bench.run(200, "up")
    bench.world.beat("skewed", mtime=4e9 + 1)
    bench.run(15, "up")
    before = bench.states()
    assert before == {
        "up": "up", "down": "down", "bye": "stopped", "paused": "paused", "skewed": "up"
    }  # fmt: skip
    told = bench.told()
    assert told == ["down", "down", "up"]  # skewed was down meanwhile
    flips = bench.monitor.history.flips(client_id("down"))
    bench.world.chmod("down")  # while nobody looks
    bench.restart(kill=kill)
    bench.look(1)
    assert bench.states() == before
    assert bench.monitor.snapshot.rows[client_id("up")].tags == ("north", "roof")
    bench.run(55, "up", "skewed")
    assert bench.states() == before
    assert bench.told() == told
    assert bench.monitor.history.flips(client_id("down")) == flips
    bench.run(30, "up", "skewed", "down")
    assert bench.told() == [*told, "up"]


def test_while_nobody_looked_nobody_could_see_beats(bench: Bench) -> None:
    for name in "abcdefgh":
        bench.world.beat(name)
    bench.look()
    bench.run(100, *"abcdefgh")
    bench.restart(away=4000)  # the file server was down, too: nobody could deliver
    bench.look()
    assert set(bench.states().values()) == {"late"}
    bench.run(60, *"abcdefg")
    assert set(bench.states().values()) == {"up", "late"}
    assert bench.told() == []
    bench.run(60, *"abcdefg")
    assert bench.told() == ["down"]
    (span,) = bench.monitor.history.blind_spans(0)
    assert (span.until or 0) - span.since == pytest.approx(4005, abs=61)


def test_the_file_servers_clock_is_known_after_a_restart(bench: Bench) -> None:
    """Else clients that deliver are down until its error has been measured anew."""

    def deliver() -> None:
        behind = bench.world.now - 300
        bench.world.beat("edge", secs=75, mtime=behind, ctime=behind)

    deliver()
    bench.look(1)
    for _ in range(10):
        deliver()
        bench.run(60)
    assert bench.states() == {"edge": "up"}
    bench.restart()
    assert bench.monitor.fleet.offset == pytest.approx(305)
    for _ in range(4):
        deliver()
        for _ in range(12):
            bench.look()
            assert bench.states() == {"edge": "up"}


def test_while_a_look_hung_nobody_could_see_beats(bench: Bench) -> None:
    """That time is none of anybody's uptime, and nobody is down for it."""
    for name in "abcdefgh":
        bench.world.beat(name)
    bench.look()
    bench.look(1800)
    assert set(bench.states().values()) == {"late"}
    (span,) = bench.monitor.history.blind_spans(0)
    assert ((span.until or 0) - span.since, span.why) == (1800, "the monitor did not look")
    bench.run(60, *"abcdefgh")
    assert bench.told() == []


def test_one_look_that_hung_does_not_make_the_next_ones_seldom(bench: Bench) -> None:
    """After half an hour in a dead mount it would not look for two hours."""
    assert bench.monitor._pause_secs(0.1, 1800.0) == 5.0
    assert bench.monitor._pause_secs(1800.0, 0.1) == 5.0
    assert bench.monitor._pause_secs(20.0, 30.0) == 80.0
    assert bench.monitor._pause_secs(1800.0, 1800.0) == 300.0


@pytest.mark.parametrize("away", [-86_400.0, -30 * 86_400.0])
def test_a_clock_that_is_set_back_between_two_runs(bench: Bench, away: float) -> None:
    """A beat that lies ahead would keep a dead client up until the clock has caught up with it."""
    for name in ("edge", "gone", "other"):
        bench.world.beat(name)
    bench.look()
    bench.run(60, "edge", "gone", "other")
    del bench.world.files["gone"]
    bench.run(5, "edge", "other")
    bench.restart(away=away)
    bench.run(100, "other")
    assert bench.states() == {"edge": "down", "gone": "gone", "other": "up"}
    bench.run(60, "other")
    assert bench.told() == ["gone", "down"]
    bench.run(60, "edge", "other")
    assert bench.told() == ["gone", "down", "up"]
    (span,) = bench.monitor.history.blind_spans(0)
    assert (span.until or 0) - span.since == pytest.approx(5, abs=1)


def test_a_clock_that_is_set_back_delays_no_writing_and_no_alert(bench: Bench) -> None:
    """Else both would wait until the clock has caught up with when they were due before."""
    bench.world.beat("edge", secs=86_400 * 20)
    bench.look()
    bench.run(10)
    bench.world.now -= 86_400
    bench.monitor.history.query(
        "INSERT INTO notices VALUES (1, ?, 'down', '', '', '')", bench.world.now
    )
    bench.monitor.history.query(
        "INSERT INTO deliveries VALUES (1, 'mail', 3, ?, NULL, 'away')", bench.world.now + 86_460
    )
    bench.run(60)
    assert bench.monitor.history.get("last_look") <= bench.world.now
    ((next_try,),) = bench.monitor.history.query("SELECT next_try FROM deliveries")
    assert next_try == pytest.approx(bench.world.now)


def test_a_remembered_folder_that_is_empty_now_is_an_unmount(bench: Bench) -> None:
    for name in "abc":
        bench.world.beat(name, secs=3600)
    bench.look()
    bench.restart()
    files, bench.world.files, bench.world.root = bench.world.files, {}, "8:8"
    bench.run(60)
    assert set(bench.states().values()) == {"unknown"}
    assert bench.told() == ["blind"]
    bench.world.files, bench.world.root = files, "1:2"
    bench.run(60)
    assert set(bench.states().values()) == {"up"}
    assert bench.told() == ["blind", "sight"]


def test_a_source_that_raises_makes_the_monitor_blind_and_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.world.beat("a", secs=3600)
    bench.look()
    with monkeypatch.context() as patch:
        patch.setattr(bench.monitor.source, "scan", lambda: 1 / 0)
        bench.run(30)
    assert bench.states() == {"a": "unknown"}
    assert bench.told() == ["blind"]
    bench.look()
    assert bench.states() == {"a": "up"}


def test_another_mount_is_noticed_after_a_restart_even_with_one_client(bench: Bench) -> None:
    bench.world.beat("only", secs=3600)
    bench.look()
    bench.restart()
    del bench.world.files["only"]
    bench.world.root = "8:8"
    bench.look()
    assert bench.states() == {"only": "unknown"}


def test_forgetting(bench: Bench) -> None:
    for name in "abc":
        bench.world.beat(name, secs=3600)
    bench.look()
    assert not bench.monitor.forget(client_id("a"))  # it is there
    del bench.world.files["a"]
    bench.look()
    assert bench.states()["a"] == "gone"
    assert bench.monitor.forget(client_id("a"))
    assert set(bench.states()) == {"b", "c"}
    bench.restart()
    bench.look()
    assert set(bench.states()) == {"b", "c"}
    for act in (bench.monitor.resume, bench.monitor.forget):
        assert not act("no such id")
    assert not bench.monitor.pause("no such id", "hand")


def test_who_has_been_archived_for_long_is_forgotten_with_its_past(bench: Bench) -> None:
    """Default names are host names: each new container would leave a client for ever."""
    bench.monitor.fleet.settings = Settings(archive_secs=600, forget_secs=1200)
    for name in ("edge", "container", "tagged", "back"):
        bench.world.beat(name, secs=86_400)
    bench.look()
    bench.monitor.tag(client_id("tagged"), ["north"])
    for name in ("container", "tagged", "back"):
        del bench.world.files[name]
        bench.look()
        bench.monitor.accept_loss()
    bench.run(700)
    assert bench.states()["container"] == "archived"
    bench.world.beat("back", secs=86_400)
    bench.run(3600)
    assert bench.states() == {"edge": "up", "tagged": "archived", "back": "up"}
    bench.run(60)
    for table in ("clients WHERE id", "flips WHERE client"):
        sql = f"SELECT count(*) FROM {table} = ?"
        assert bench.monitor.history.query(sql, client_id("container")) == [(0,)]


def test_pausing_for_a_time(bench: Bench) -> None:
    bench.world.beat("a")
    bench.look()
    bench.monitor.pause(client_id("a"), "time", 600.0)
    assert bench.states() == {"a": "paused"}
    bench.run(590)
    bench.restart()
    bench.run(5)
    assert bench.states() == {"a": "paused"}
    bench.run(30)
    assert bench.states() == {"a": "down"}
    assert bench.told() == ["down"]
    bench.monitor.pause(client_id("a"), "beat")
    bench.run(100)
    bench.monitor.resume(client_id("a"))
    assert bench.states() == {"a": "down"}


def test_hostile_names_survive_the_history(bench: Bench) -> None:
    for name in HOSTILE:
        bench.world.beat(name, secs=3600)
    bench.look()
    bench.restart()
    bench.look()
    assert set(bench.states()) == set(HOSTILE)
    assert set(bench.states().values()) == {"up"}


def test_beats_alone_are_written_once_a_minute(bench: Bench) -> None:
    bench.world.beat("a")
    bench.look()
    changes = bench.monitor.history.query("SELECT total_changes()")[0][0]
    bench.run(50, "a")
    assert bench.monitor.history.query("SELECT total_changes()")[0][0] == changes
    bench.run(20, "a")
    assert bench.monitor.history.query("SELECT total_changes()")[0][0] > changes


def test_samples_of_what_changes(bench: Bench) -> None:
    for backlog in (5, 5, 9):
        bench.world.beat("a", secs=3600, backlog_bytes=backlog)
        bench.run(900)
    found = bench.monitor.history.samples(client_id("a"), 0)
    assert [one.backlog_bytes for one in found] == [5, 9]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_state_folder_is_private(bench: Bench) -> None:
    assert stat.S_IMODE(os.stat(bench.folder).st_mode) == 0o700


def test_a_history_that_cannot_be_used_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="--state"):
        History(tmp_path / "file" / "below")
    (tmp_path / "history.sqlite3").write_bytes(b"no database at all, but long enough" * 50)
    with pytest.raises(StateError, match="not a database"):
        History(tmp_path)
    history = History(tmp_path / "new")
    history.query("PRAGMA user_version=99")
    history.close()
    with pytest.raises(StateError, match="newer version"):
        History(tmp_path / "new")


def test_pruning_keeps_what_a_client_is(bench: Bench) -> None:
    bench.world.beat("a", secs=86_400 * 30)
    bench.look()
    bench.monitor.history.prune(bench.world.now + 200 * 86_400)
    assert [flip.new for flip in bench.monitor.history.flips(client_id("a"))] == ["up"]


DAY = 86_400.0


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if sys.platform == "win32":
        pytest.skip("no tzset")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_utc")
def test_uptime_is_up_by_known_time() -> None:
    noon = 1_800_014_400.0  # 2027-01-15 12:00 UTC
    past = [
        Past(noon - 2 * DAY, None, "up"),
        Past(noon - DAY, "up", "down"),
        Past(noon - DAY + 3600, "down", "up"),
        Past(noon - 7200, "up", "paused"),
        Past(noon - 3600, "paused", "up"),
    ]
    blind = [Span(noon - DAY + 1800, noon - DAY + 5400, "the monitor did not run")]
    found = days(past, blind, noon, 4)
    assert [round(day.up_secs) for day in found] == [0, 43_200, 86_400 - 1800 - 3600, 43_200 - 3600]
    assert [round(day.down_secs) for day in found] == [0, 0, 1800, 0]
    assert [round(day.unknown_secs) for day in found] == [0, 0, 3600, 0]
    assert [day.uptime is None for day in found] == [True, False, False, False]
    known = 43_200 + 86_400 - 3600 + 43_200 - 3600
    assert uptime(found) == pytest.approx((known - 1800) / known)
    assert uptime([]) is None


def test_days_of_a_source_that_blinks() -> None:
    """A server that cut each idle connection for 78 days: the page of one client looked through
    all spans for each flip, for half a minute, again with each beat."""
    now, count = 1_800_000_000.0, 22_500
    blind = [
        Span(now - (count - n) * 300.0, now - (count - n) * 300.0 + 5, "x") for n in range(count)
    ]
    flips = [Past(blind[0].since - 100.0, None, "up")]
    for span in blind:
        flips += [Past(span.since, "up", "unknown"), Past(span.until or now, "unknown", "up")]
    began = time.process_time()
    found = days(flips, blind, now, 90)
    assert time.process_time() - began < 3
    assert sum(day.unknown_secs for day in found) == pytest.approx(count * 5)
    assert sum(day.up_secs for day in found) == pytest.approx(count * 295 + 100)


def test_days_with_spans_that_overlap() -> None:
    """The clock was set back in between."""
    now = 1_800_000_000.0
    blind = [
        Span(now - 900, now - 100, "x"),
        Span(now - 800, now - 700, "x"),
        Span(now - 50, None, "x"),
    ]
    found = days([Past(now - 1000, None, "up")], blind, now, 2)
    assert sum(day.unknown_secs for day in found) == pytest.approx(850)
    assert sum(day.up_secs for day in found) == pytest.approx(150)
