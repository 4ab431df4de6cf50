"""What the files say over time: beats, lies, blindness, clocks that are set."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysubtask.monitor import fleet
from pysubtask.monitor.clients import Settings
from pysubtask.monitor.memory import from_text, to_text
from pysubtask.monitor.rule import Flag
from pysubtask.monitor.words import explain, flag_words
from tests.monitor.fakes import START, World


def test_a_client_lives_and_dies() -> None:
    world = World()
    world.beat(secs=60)
    world.look()
    assert world.state() == "up"
    world.look(60)
    assert world.state() == "up"
    world.look(1)
    assert world.state() == "late"
    world.look(30)
    assert world.state() == "down"
    assert world.client().online is False
    assert explain(world.client(), world.now).startswith("Down 31 s. Last beat ")
    world.beat()
    flips = world.look(5).flips
    assert [(flip.old, flip.new) for flip in flips] == [("down", "up")]
    world.beat(secs=0)
    world.look(5)
    assert world.state() == "stopped"


def test_a_change_of_the_change_time_alone_is_no_beat() -> None:
    world = World()
    world.beat()
    world.look()
    world.run(100)
    assert world.state() == "down"
    world.chmod("edge")
    world.look(5)
    assert world.state() == "down"
    assert Flag.CLOCK_SKEW not in world.client().flags


def test_same_time_stamp_other_content_is_a_beat() -> None:
    world = World()
    world.beat(secs=60, mtime=START - 3)
    world.look()
    world.look(100)
    assert world.state() == "down"
    world.beat(secs=61, mtime=START - 3)
    world.look(5)
    assert world.state() == "up"
    assert world.client().beat_at == world.now - 5


def test_another_inode_alone_is_no_beat() -> None:
    """``rsync -a`` of a backup, or of the whole folder to another disk, would revive the dead."""
    world = World()
    for name in ("edge", "other"):
        world.beat(name)
    world.look()
    world.run(600, beats=["other"])
    assert world.state() == "down"
    old = world.files["edge"]
    world.files["edge"] = replace(old, inode=999_999, ctime_ns=round(world.now * 1e9))
    world.run(60, beats=["other"])
    assert (world.state(), world.client().flags) == ("down", ())
    assert world.told() == ["down"]


@pytest.mark.parametrize("mtime", [4e9, START - 5e8, START + 60, START - 60, 0.0])
def test_a_modified_time_that_lies_is_flagged_and_not_believed(mtime: float) -> None:
    world = World()
    world.look()
    world.beat(secs=60, mtime=mtime)
    world.look(1)
    assert world.client().beat_at == START
    assert world.client().flags == (Flag.CLOCK_SKEW,)
    assert "not believed" in flag_words(world.client())["clock_skew"]
    world.look(60)
    assert world.state() == "late"
    world.beat()
    world.look(1)
    assert world.client().flags == ()


@pytest.mark.parametrize("ahead", [60.0, 1e9])
def test_a_future_that_both_stamps_agree_on_is_not_believed(ahead: float) -> None:
    world = World()
    world.look()
    world.beat(mtime=START + ahead, ctime=START + ahead)
    world.look(1)
    assert world.client().beat_at == world.now
    assert world.client().flags == (Flag.CLOCK_SKEW,)


def test_without_a_change_time_the_time_of_the_sighting_counts() -> None:
    world = World(ctimes=False)
    world.look()
    world.beat(secs=60, mtime=4e9)
    world.look(5)
    assert (world.client().beat_at, world.client().flags) == (world.now, (Flag.CLOCK_SKEW,))
    world.beat(secs=60, mtime=world.now - 2)
    world.look(5)
    assert (world.client().beat_at, world.client().flags) == (world.now, ())


def test_without_a_change_time_the_first_sighting_believes_the_past() -> None:
    world = World(ctimes=False)
    world.beat(secs=60, mtime=START - 1000)
    world.look()
    assert world.state() == "down"


def test_a_stamp_that_is_none_is_not_shown_as_56_years() -> None:
    world = World(ctimes=False)
    world.beat(mtime=0.0)
    world.look()
    assert (world.client().beat_at, world.state()) == (world.now, "up")
    assert world.client().flags == (Flag.CLOCK_SKEW,)


def test_a_half_written_promise_is_believed_when_it_stands_still() -> None:
    world = World()
    world.beat(secs=b"3")
    world.look()
    assert world.state() == "new"
    world.beat(secs=b"300\n")
    world.look(1)
    assert (world.state(), world.client().interval_secs) == ("up", 300)
    world.beat(secs=b"30")
    world.look(1)
    assert world.client().interval_secs == 300
    world.beat(secs=b"300")  # as before, without newline: no reason to wait
    world.look(1)
    assert world.client().unsure is None
    world.beat(secs=b"20")
    world.look(1)
    world.look(1)
    assert world.client().interval_secs == 20


def test_an_empty_or_invalid_file_keeps_the_last_promise_and_is_flagged_if_it_stays() -> None:
    world = World()
    world.beat(secs=60)
    world.look()
    world.beat(secs=b"")
    world.look(5)
    assert (world.state(), world.client().flags) == ("up", ())  # being written, maybe
    assert world.look(5).changed == [world.client()]
    assert world.look(5).changed == []
    assert (world.state(), world.client().flags) == ("up", (Flag.BAD_FILE,))
    assert flag_words(world.client())["bad_file"].endswith("the file is empty.")
    world.look(200)
    assert world.state() == "down"
    world.beat()
    world.look(5)
    assert (world.state(), world.client().flags) == ("up", ())


def test_flapping() -> None:
    world = World()
    for _ in range(4):
        world.beat(secs=10)
        world.look(1)
        world.look(60)
        assert world.state() == "down"
    assert Flag.FLAPPING in world.client().flags
    world.beat(secs=86_400)
    world.look(1)
    world.look(3700)
    assert world.client().flags == ()


def test_a_growing_backlog_is_online_but_no_data() -> None:
    world = World()
    for backlog in (10, 20, 30, 40):
        world.beat(backlog_bytes=backlog)
        world.look(5)
    assert (world.state(), world.client().flags) == ("up", (Flag.NO_DATA,))
    world.beat(backlog_bytes=35)
    world.look(5)
    assert world.client().flags == ()


def test_a_client_that_says_no_more_what_it_owes_is_not_called_stuck() -> None:
    """The first pysubtask runs there again: what the other one said is no news."""
    world = World()
    for backlog in range(1, 6):
        world.beat(backlog_bytes=backlog)
        world.look(5)
    assert world.client().flags == (Flag.NO_DATA,)
    world.beat(secs=b"60\n")
    world.look(5)
    assert world.client().flags == ()


def test_a_client_that_delivers_may_owe_ever_more() -> None:
    world = World()
    for backlog in range(10, 100, 10):
        world.beat(backlog_bytes=backlog, oldest_age_secs=20)
        world.look(5)
        assert world.client().flags == ()
    world.beat(backlog_bytes=200, oldest_age_secs=90)
    world.look(5)
    assert world.client().flags == (Flag.NO_DATA,)


def test_data_that_wait_for_an_hour_are_stuck() -> None:
    world = World()
    for age, flags in ((3600, ()), (3601, (Flag.NO_DATA,)), (5, ())):
        world.beat(backlog_bytes=10, oldest_age_secs=age)
        world.look(5)
        assert world.client().flags == flags
    world.beat(secs=3600, backlog_bytes=10, oldest_age_secs=7200)
    world.look(5)
    assert world.client().flags == ()


def test_gone_archived_and_back() -> None:
    world = World(settings=Settings(archive_secs=1000))
    world.beat("a")
    world.beat("b")
    world.beat("c")
    world.look()
    del world.files["b"]
    world.look(5)
    assert (world.state("a"), world.state("b")) == ("up", "gone")
    world.look(1000)
    assert world.state("b") == "archived"
    world.beat("b")
    world.look(5)
    assert world.state("b") == "up"


def test_pausing() -> None:
    world = World()
    world.beat()
    world.look()
    client = world.client()
    client.pause = "beat"
    client.settled_until = 0.0
    world.run(500)
    assert (world.state(), client.online) == ("paused", False)
    world.beat()
    world.look(5)
    assert world.state() == "up"
    client.pause, client.pause_until = "time", world.now + 100
    client.settled_until = 0.0
    world.run(95)
    assert world.state() == "paused"
    world.run(10)
    assert world.state() == "down"
    assert "up" not in world.told()


def test_look_alikes_are_flagged() -> None:
    world = World()
    world.beat("admin")
    world.look()
    assert world.client("admin").flags == ()
    world.beat("\u0430dmin")
    assert set(world.look(1).changed) == {world.client("admin"), world.client("\u0430dmin")}
    assert world.client("admin").flags == (Flag.LOOK_ALIKE,)
    assert "\u0430dmin" in flag_words(world.client("admin"))["look_alike"]
    world.fleet.remove(world.client("\u0430dmin"))
    assert world.client("admin").flags == ()


def test_very_many_names_that_look_alike_cost_what_others_cost() -> None:
    """16 letters have 65,536 spellings: quadratic time would stop all judging for an hour."""
    spent = []
    for spell in (str.upper, str):
        world = World()
        for number in range(4000):
            name = "".join(
                spell(char) if number >> place & 1 else char
                for place, char in enumerate("abcdefghijkl")
            )
            world.beat(name if spell is str.upper else f"client{number}")
        began = time.process_time()
        world.look()
        for client in list(world.fleet.clients.values()):
            world.fleet.remove(client)
        spent.append(time.process_time() - began)
    assert spent[0] < 5 * spent[1]
    assert not world.fleet._alike


def test_a_client_that_was_renamed_looks_like_nobody_once_its_old_name_is_archived() -> None:
    world = World(settings=Settings(archive_secs=1000))
    for name in ("Edge", "edge", "EDGE", "other"):
        world.beat(name)
    world.look()
    assert world.client("edge").flags == (Flag.LOOK_ALIKE,)
    del world.files["Edge"]
    world.run(1100, beats=["edge", "EDGE", "other"])
    assert world.state("Edge") == "archived"
    assert world.client("edge").look_alike == "EDGE"
    del world.files["EDGE"]
    world.fleet.remove(world.client("EDGE"))
    assert world.client("edge").flags == ()
    world.beat("Edge")
    world.look(5)
    assert world.client("edge").look_alike == "Edge"


def test_a_limit_to_those_whose_files_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may make and remove files would fill the monitor's memory; the old ones stay."""
    monkeypatch.setattr(fleet, "MAX_GONE", 10)
    world = World()
    for number in range(10):
        world.beat(f"old{number}")
    world.beat("edge")
    world.run(600, beats=["edge"])
    for number in range(9):
        del world.files[f"old{number}"]
    for number in range(9):
        world.beat(f"junk{number}")
        world.look(5)
        del world.files[f"junk{number}"]
        world.fleet.accept_loss()
        world.look(5)
    out = world.fleet.outdated(world.now)
    assert len(out) == 8
    assert all(client.name.startswith("junk") for client in out)


steps = st.lists(
    st.tuples(
        st.sampled_from(
            "beat bad half bye gone error unread refuse restore chmod wait pause".split()
        ),
        st.sampled_from("ab"),
        st.floats(0.1, 200),
    ),
    max_size=30,
)


@given(steps)
@settings(max_examples=150, deadline=None)
def test_however_it_goes_a_quick_look_says_what_a_whole_one_would(
    history: list[tuple[str, str, float]],
) -> None:
    """Scans skip clients that can't have changed; a fleet that forgets to skip agrees with them.

    And a fleet that was written down and read again goes on as the one that was not.
    """
    quick, whole = World(), World()
    for act, name, wait in history:
        for world in (quick, whole):
            world.error, world.unread = None, ("a",) if act == "unread" else ()
            world.refusing = frozenset([name] if act == "refuse" else [])
            if act == "beat":
                world.beat(name, secs=50)
            elif act in ("bad", "half", "bye"):
                world.beat(name, secs={"bad": b"x\n", "half": b"7", "bye": b"0\n"}[act])
            elif act == "gone":
                world.files.pop(name, None)
            elif act == "error":
                world.error = "can't"
            elif act == "restore" and name in world.files:
                world.files[name] = replace(world.files[name], inode=world.number + 1000)
            elif act == "chmod" and name in world.files:
                world.chmod(name)
            elif act == "pause" and name in world.fleet.by_name:
                one = world.fleet.by_name[name]
                one.pause, one.pause_until = "time", world.now + 60
                one.settled_until = 0.0
            for client in whole.fleet.clients.values():
                client.settled_until, client._last = 0.0, None
            world.look(wait)
        states = [
            sorted((c.name, c.state, c.online, c.flags) for c in world.fleet.clients.values())
            for world in (quick, whole)
        ]
        assert states[0] == states[1]
        for client in quick.fleet.clients.values():
            again = from_text(client.name, to_text(client))
            assert (again.state, again.flags, again.identity, again.deadline) == (
                client.state,
                tuple(flag for flag in client.flags if flag != Flag.LOOK_ALIKE),
                client.identity,
                client.deadline,
            )
