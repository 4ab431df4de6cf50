"""What people are told, and what not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysubtask.monitor.alerts import Alerts, AlertSettings
from pysubtask.monitor.clients import Settings
from tests.monitor.fakes import HOSTILE, World


def world_of(*names: str, **settings: float) -> World:
    world = World(alert_settings=AlertSettings(**settings))  # type: ignore[arg-type]
    for name in names:
        world.beat(name)
    world.look()
    return world


def test_down_and_up_are_told_once_with_words() -> None:
    world = world_of("edge")
    world.run(300)
    assert world.told() == ["down"]
    assert world.notices[0].title == "edge is down"
    assert world.notices[0].body.startswith("edge: Down ")
    assert world.notices[0].clients[0]["state"] == "down"
    world.run(60, beats=["edge"])
    assert world.told() == ["down", "up"]
    assert world.notices[1].title.startswith("edge is up again after 4 m ")


def test_late_and_back_is_no_news() -> None:
    world = world_of("edge")
    world.run(80)
    assert world.state() == "late"
    world.run(60, beats=["edge"])
    assert world.told() == []


def test_a_blip_within_the_gathering_time_is_no_news() -> None:
    world = world_of("edge")
    world.look(91)
    assert world.state() == "down"
    world.beat()
    world.run(100, beats=["edge"])
    assert world.told() == []


def test_a_first_sight_is_no_news_however_long_it_has_been_dead() -> None:
    world = World()
    world.beat("old", mtime=world.now - 1e6, ctime=world.now - 1e6)
    world.beat("old-style", b"60", mtime=world.now - 1e6, ctime=world.now - 1e6)
    world.run(300)
    assert (world.state("old"), world.state("old-style")) == ("down", "down")
    assert world.told() == []
    world.run(60, beats=["old"])
    world.run(300)
    assert world.told() == ["down"]


def test_many_at_once_share_a_notice() -> None:
    names = [f"c{number:02}" for number in range(30)]
    world = world_of(*names)
    world.run(300)
    (notice,) = world.notices
    assert (notice.kind, notice.mass, notice.title) == ("down", True, "30 of 30 clients down")
    assert len(notice.clients) == 30
    assert notice.body.endswith("… and 10 more.")
    world.run(100, beats=names)
    assert [(one.kind, one.title) for one in world.notices[1:]] == [("up", "30 clients are back")]


def test_an_outage_that_spreads_over_an_interval_is_a_few_notices() -> None:
    """The link of a whole site breaks: its clients come due one after the other."""
    world = World()
    for number in range(200):
        world.beat(f"c{number:03}", secs=60 + 3 * number)
    world.look()
    world.run(60 + 600 + 400)
    assert all(client.state == "down" for client in world.fleet.clients.values())
    assert len(world.notices) <= 7
    assert world.notices[-1].title.endswith("200 of 200 in all")
    assert sum(len(notice.clients) for notice in world.notices) == 200
    before = len(world.notices)
    for number in range(200):
        world.beat(f"c{number:03}", secs=86_400)
        world.look(3)
    world.run(400)
    assert len(world.notices) - before <= 4
    world.run(2000)
    world.beat("late", secs=60)
    world.run(300)
    assert world.notices[-1].title == "late is down"


def test_flapping_is_told_once_and_then_how_it_ended() -> None:
    world = world_of("edge")
    for _ in range(8):
        world.run(110)
        world.run(30, beats=["edge"])
    assert world.told().count("flapping") == 1
    assert world.told().count("down") == 3
    after = len(world.notices)
    world.run(3800, beats=["edge"])
    assert [one.kind for one in world.notices[after:]] == ["steady"]


def test_reminders_until_it_is_back() -> None:
    world = world_of("edge", reminder_secs=600.0)
    world.run(2000)
    assert world.told() == ["down", "reminder", "reminder", "reminder"]
    assert world.notices[1].title == "edge is still down"


def test_no_reminders_if_not_wanted() -> None:
    world = world_of("edge", reminder_secs=0.0)
    world.run(2000)
    assert world.told() == ["down"]


def test_deaths_are_told_after_a_clock_was_set_back() -> None:
    """The server boots a day ahead, then the time service sets it right.

    A client that was first seen "tomorrow" would count as dead before anybody looked, for a day.
    """
    world = world_of("edge")
    world.run(60, beats=["edge"])
    world.now -= 86_400
    world.run(600, beats=["edge"])
    assert world.state() == "up"
    world.run(3600)
    assert (world.state(), world.told()) == ("down", ["down"])


def test_durations_are_true_after_a_clock_was_set() -> None:
    """A death of five minutes would be told as one of a day, or of less than nothing."""
    world = world_of("edge")
    world.run(300)
    world.now += 86_400
    world.run(60)
    world.run(60, beats=["edge"])
    assert world.told() == ["down", "up"]
    assert world.notices[1].title.startswith("edge is up again after 5 m")


def test_goodbye_is_no_trouble_and_ends_one() -> None:
    world = world_of("edge")
    world.run(200)
    world.beat(secs=0)
    world.run(60)
    assert world.told() == ["down", "stopped"]
    assert world.notices[1].title == "edge has stopped: it said goodbye"


def test_a_file_that_is_removed_is_told() -> None:
    world = world_of("a", "b", "c")
    del world.files["a"]
    world.run(60, beats=["b", "c"])
    assert [one.title for one in world.notices] == ["a is gone: heartbeat file removed"]
    world.beat("a")
    world.run(30, beats=["a", "b", "c"])
    assert world.told() == ["gone", "up"]
    assert world.notices[1].title == "a is up again after 1 m"


def test_a_told_death_whose_file_is_removed_for_a_moment_ends_with_its_recovery() -> None:
    """Else it would stay open wherever somebody waits for its end."""
    world = world_of("a", "b", "c")
    world.run(200, beats=["b", "c"])
    del world.files["a"]
    world.look(5)
    world.run(60, beats=["a", "b", "c"])
    assert world.told() == ["down", "up"]


def test_who_came_back_while_paused_is_told_when_the_pause_ends() -> None:
    world = world_of("edge", "b")
    world.run(200, beats=["b"])
    world.client().pause, world.client().settled_until = "hand", 0.0
    world.run(30, beats=["b"])
    world.run(60, beats=["b", "edge"])
    assert world.told() == ["down"]
    world.client().pause, world.client().settled_until = None, 0.0
    world.run(60, beats=["b", "edge"])
    assert world.told() == ["down", "up"]


def test_paused_clients_are_silent() -> None:
    world = World(settings=Settings(grace_secs=0))
    world.beat()
    world.look()
    world.client().pause, world.client().settled_until = "hand", 0.0
    world.run(5000)
    assert world.told() == []


def test_it_goes_on_after_a_restart() -> None:
    world = world_of("edge")
    world.run(300)
    kept = world.alerts.keep()
    again = Alerts(AlertSettings())
    again.recall(kept)
    world.alerts = again
    world.run(300)
    assert world.told() == ["down"]
    world.run(60, beats=["edge"])
    assert world.told() == ["down", "up"]


def test_what_was_kept_before_silences_had_an_end_is_taken_over() -> None:
    """Without: all open troubles are forgotten, and nobody hears that they are over."""
    world = world_of("edge")
    world.run(300)
    kept = world.alerts.keep() | {"stuck": {"edge": 1000.0}}
    again = Alerts(AlertSettings())
    again.recall(kept)
    assert again.troubles.keys() == world.alerts.troubles.keys() != set()
    assert again.stuck["edge"].since == 1000.0


@pytest.mark.parametrize("kept", [None, {}, [], {"troubles": {"x": {"y": 1}}}, {"troubles": 7}])
def test_what_was_kept_by_nobody_knows_whom_is_no_obstacle(kept: object) -> None:
    alerts = Alerts()
    alerts.recall(kept)
    assert alerts.troubles == {}


def test_online_without_data_is_told_once() -> None:
    world = world_of("edge")
    for backlog in range(100, 100_000, 100):
        world.beat(backlog_bytes=backlog)
        world.look(5)
        if world.now > 1_800_000_000 + 3000:
            break
    assert world.told() == ["no_data"]
    assert world.notices[0].title == "edge: online, but data do not arrive"
    world.beat(backlog_bytes=0)
    world.run(4000, beats=["edge"])
    assert world.told() == ["no_data", "data"]
    assert world.notices[1].title.endswith(": data arrive again after 49 m 50 s")
    for backlog in (1, 2, 3, 4):
        world.beat(backlog_bytes=backlog)
        world.look(5)
    assert world.told() == ["no_data", "data", "no_data"]


def test_data_that_stand_still_all_day_are_told_as_seldom_as_a_death() -> None:
    """A notice each hour would teach people to look away."""
    world = world_of("edge", "b")
    for turn in range(25 * 60):
        world.beat(backlog_bytes=1000, oldest_age_secs=7200 + 60 * turn)
        world.beat("b")
        world.alerts.recall(json.loads(json.dumps(world.alerts.keep())))
        world.look(60)
    assert world.told() == ["no_data", "no_data"]


def test_data_that_come_and_go_are_told_once_an_hour() -> None:
    world = world_of("edge")
    for _ in range(6):
        for backlog in (1, 2, 3, 4, 0):
            world.beat(backlog_bytes=backlog)
            world.look(5)
        world.run(800, beats=["edge"])
    assert len(world.notices) <= 4


def test_of_a_client_that_dies_nobody_says_that_its_data_arrive_again() -> None:
    world = world_of("edge")
    for backlog in (1, 2, 3, 4):
        world.beat(backlog_bytes=backlog)
        world.look(5)
    world.run(5000)
    assert world.told() == ["no_data", "down"]


def test_a_title_says_the_verdict_however_a_file_is_named() -> None:
    """Who names the file would write the subject of the mail, and cut its end off."""
    name = "All clients are up again " + "x" * 150
    world = world_of(name, "b")
    world.run(300, beats=["b"])
    world.run(100, beats=["b", name])
    down, up = (notice.title for notice in world.notices)
    assert down.startswith("“All clients are up again xxx")
    assert down.endswith("xxx” is down")
    assert "xxx” is up again after " in up


def test_hostile_names_make_one_harmless_line() -> None:
    world = World(alert_settings=AlertSettings(mass_count=1000))
    for name in HOSTILE:
        world.beat(name)
    world.look()
    world.run(300)
    assert len(world.notices) == len(HOSTILE)
    for notice in world.notices:
        assert notice.title.isprintable()
        assert len(notice.title) <= 150
        assert len(notice.body.splitlines()) == 1


acts = st.lists(
    st.tuples(
        st.sampled_from(
            "beat beat beat bye gone error unread refuse step pause wait stall restart".split()
        ),
        st.sampled_from("abcdef"),
        st.sampled_from([1.0, 5.0, 30.0, 200.0]),
    ),
    max_size=60,
)


@given(acts)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_notices_are_true_and_in_order(
    history: list[tuple[str, str, float]],
) -> None:
    world = World()
    down: set[str] = set()
    troubled: set[str] = set()
    for act, name, wait in history:
        world.error, world.unread, world.refusing = None, (), frozenset()
        if act in ("beat", "bye"):
            world.beat(name, secs=40 if act == "beat" else 0)
        elif act == "gone":
            world.files.pop(name, None)
        elif act == "error":
            world.error = "can't"
        elif act == "unread":
            world.unread = (name,)
        elif act == "refuse":
            world.refusing = frozenset("abc")
        elif act == "step":
            world.now += 4000
        elif act == "pause" and name in world.fleet.by_name:
            world.fleet.by_name[name].pause = "beat"
            world.fleet.by_name[name].settled_until = 0.0
        elif act == "restart":
            kept, world.alerts = world.alerts.keep(), Alerts(world.alert_settings)
            world.alerts.recall(json.loads(json.dumps(kept)))
        before = len(world.notices)
        changes = world.stall(wait) if act == "stall" else world.look(wait)
        for notice in world.notices[before:]:
            names = {one["name"] for one in notice.clients}
            if changes.blind is not None:
                assert notice.kind == "blind"
            if notice.kind == "down":
                for one in names:
                    client = world.client(one)
                    assert client.state == "down"
                    assert world.now > (client.deadline or 0) + world.settings.grace_secs
                assert not names & down  # nobody is told of twice
                down |= names
                troubled |= names
            elif notice.kind in ("up", "stopped"):
                assert names <= troubled
                down -= names
                troubled -= names
            elif notice.kind == "gone":
                assert all(world.client(one).state == "gone" for one in names)
                down -= names
                troubled |= names
        for client in world.fleet.clients.values():
            if client.state in ("archived", "gone"):
                down.discard(client.name)


@pytest.mark.parametrize(
    "name", ["All clients are up again " + "x" * 150, "\u202e" * 100, "x" * 250], ids=ascii
)
def test_a_title_says_what_is_the_matter_however_long_the_name(name: str) -> None:
    """Who names the file must not write the subject of the mail. Without: down and up have the
    same, "All clients are up again xxx"."""
    world = world_of(name, "b")
    world.run(300, beats=["b"])
    world.run(100, beats=["b", name])
    down, up = (notice.title for notice in world.notices)
    assert down.endswith(" is down")
    assert " is up again after " in up
    assert max(len(down), len(up)) < 150
