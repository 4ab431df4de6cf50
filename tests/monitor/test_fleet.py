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


def test_the_clients_own_clock_is_only_flagged() -> None:
    world = World()
    world.beat(sent_at=START - 4000)
    world.look()
    assert (world.state(), world.client().flags) == ("up", (Flag.CLOCK_SKEW,))
    assert "behind the server's" in flag_words(world.client())["clock_skew"]
    world.beat(sent_at=START - 30)  # delivery takes its time
    world.look()
    assert world.client().flags == ()


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


def test_an_unreadable_source_makes_all_unknown_and_a_restored_one_nobody_down() -> None:
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    world.error = "/srv/drop can't be read: Input/output error"
    changes = world.look(5)
    assert changes.went_blind
    assert {world.state(name) for name in "abc"} == {"unknown"}
    assert {world.client(name).online for name in "abc"} == {None}
    world.run(1000)
    world.error = None
    changes = world.look(5)
    assert changes.sight_back
    assert {world.state(name) for name in "abc"} == {"late"}  # one more interval
    world.beat("a", secs=600)
    world.look(50)
    world.look(50)
    assert [world.state(name) for name in "abc"] == ["up", "down", "down"]
    assert world.told() == ["blind", "sight"]


def test_a_folder_below_that_cannot_be_read_makes_only_its_clients_unknown() -> None:
    world = World()
    names = ["a", "site/b", "site/c", "site/deep/d", "sites/e"]
    for name in names:
        world.beat(name)
    world.look()
    world.unread = ("site/",)
    world.run(300, beats=["a", "sites/e"])
    assert [world.state(name) for name in names] == ["up", *["unknown"] * 3, "up"]
    world.unread = ()
    world.beat("a")
    world.look(5)
    assert [world.state(name) for name in names] == ["up", *["late"] * 3, "up"]
    world.run(60, beats=["a", "site/b", "sites/e"])
    world.run(60, beats=["a", "site/b", "sites/e"])
    assert [world.state(name) for name in names] == ["up", "up", "down", "down", "up"]
    assert world.told() == ["blind", "sight", "down", "down"]


def test_a_look_that_hangs_is_a_time_of_blindness() -> None:
    """The file server of a hard mount was away for half an hour: nobody could deliver either.

    All would be down the moment it is back.
    """
    world = World()
    names = [f"c{number}" for number in range(10)]
    world.beat("dead", secs=10)
    for name in names:
        world.beat(name)
    world.run(60, beats=names)
    since = world.now
    changes = world.stall(1800)
    assert changes.stalled_since == since
    assert {world.state(name) for name in names} == {"late"}
    assert world.state("dead") == "down"
    world.run(60, beats=names[1:])
    assert [world.state(name) for name in names] == ["late"] + ["up"] * 9
    world.run(60, beats=names[1:])
    assert world.told() == ["down", "down"]
    assert world.state("c0") == "down"


def test_looks_that_always_take_long_are_none() -> None:
    """Else whoever came due between two of them would be late for an interval more each time."""
    world = World(settings=Settings(look_secs=60))
    world.beat(secs=3600)
    world.look()
    assert world.stall(200).stalled_since is None
    for _ in range(8):
        world.stall(200)
    assert world.stall(700).stalled_since is None
    assert world.stall(900).stalled_since is not None


@pytest.mark.parametrize("secs", [290, 310, 400])
def test_who_comes_due_just_after_a_blindness_has_more_time_too(secs: int) -> None:
    """It could not beat for as long as it lasted, though its deadline was not yet reached."""
    world = World()
    world.beat("edge", secs=secs)
    world.look()
    world.error = "can't be read"
    world.run(300)
    world.error = None
    world.run(secs)
    assert world.state() == "late"
    world.run(300)
    assert world.state() == "down"


def test_a_blink_gives_nobody_a_whole_interval() -> None:
    """Else a folder that can't be read for a moment each day would keep the dead alive."""
    world = World()
    world.beat("edge", secs=3600)
    world.look()
    for _ in range(5):
        world.run(600)
        world.error = "can't be read"
        world.look(5)
        world.error = None
        world.look(5)
    world.run(600)
    assert world.state() == "late" or world.state() == "down"
    world.run(50)
    assert world.state() == "down"


def test_files_that_cannot_be_read_one_by_one_make_nobody_down() -> None:
    """After a change of umask, or with EIO, all would be called dead while all deliver."""
    world = World()
    names = [f"c{number}" for number in range(10)]
    for name in names:
        world.beat(name)
    world.look()
    world.refusing = frozenset(names[:4])
    world.run(300, beats=names)
    assert [world.state(name) for name in names] == ["unknown"] * 4 + ["up"] * 6
    assert explain(world.client("c0"), world.now).startswith("Unknown for 4 m ")
    assert "Permission denied" in explain(world.client("c0"), world.now)
    assert (world.fleet.blind, world.fleet.partly) == (None, None)
    world.refusing = frozenset(names[:5])
    world.look(5)
    assert "5 of 10 heartbeat files can't be read" in (world.fleet.partly or "")
    world.refusing = frozenset(names)
    assert "10 of 10 heartbeat files can't be read" in (world.look(5).blind or "")
    world.refusing = frozenset()
    world.look(5)
    assert {world.state(name) for name in names} == {"up"}


def test_a_first_look_that_can_read_no_file_is_blind() -> None:
    """A plugin that runs as another user would say that all is well with nobody."""
    world = World()
    world.beat("a")
    world.refusing = frozenset("a")
    assert "Permission denied" in (world.look().blind or "")
    world.beat("b")
    world.look(5)
    assert (world.state("a"), world.client("a").online, world.state("b")) == ("unknown", None, "up")
    world.refusing = frozenset()
    world.look(5)
    assert world.state("a") == "up"


def test_lost_files_hide_nobody_else() -> None:
    """Else the death of the others would not be told for an hour, and whoever may upload could
    make and remove files to bring that about again and again."""
    world = World()
    names = [f"c{number}" for number in range(10)]
    for name in names:
        world.beat(name)
    world.look()
    for name in names[:5]:
        del world.files[name]
    world.run(600, beats=names[6:])
    assert [world.state(name) for name in names] == ["unknown"] * 5 + ["down"] + ["up"] * 4
    assert world.fleet.blind is None
    assert "5 of 10 heartbeat files vanished at once" in (world.fleet.partly or "")
    assert [one.title for one in world.notices] == [
        "The monitor can't see 5 of 10 clients", "c5 is down"
    ]  # fmt: skip
    for name in names[:5]:
        world.beat(name)
    world.look(5)
    assert world.notices[-1].title.startswith("The monitor sees 5 clients again after 10 m")


def test_who_was_down_before_the_blindness_is_down_after_it() -> None:
    world = World()
    world.beat("a", secs=10)
    world.beat("b", secs=1000)
    world.look()
    world.run(100)
    assert world.state("a") == "down"
    world.error = "gone"
    world.look(5)
    world.error = None
    world.look(5)
    assert (world.state("a"), world.state("b")) == ("down", "up")


def test_files_that_vanish_together_are_an_unmount() -> None:
    world = World()
    names = [f"c{number}" for number in range(10)]
    for name in names:
        world.beat(name, secs=3600)
    world.look()
    files, world.files = world.files, {}
    changes = world.look(5)
    assert "10 of 10 heartbeat files vanished at once" in (changes.blind or "")
    assert {world.state(name) for name in names} == {"unknown"}
    world.files = files
    world.look(5)
    assert {world.state(name) for name in names} == {"up"}
    assert not [kind for kind in world.told() if kind != "blind"]


def test_another_folder_in_its_place_is_never_believed_by_itself() -> None:
    world = World()
    world.beat("only", secs=3600)
    world.look()
    del world.files["only"]
    world.root = "9:9"
    assert "another folder is mounted there" in (world.look(5).blind or "")
    world.run(8000, step=500)
    assert world.state("only") == "unknown"
    world.fleet.accept_loss()
    world.look(5)
    assert world.state("only") == "gone"
    world.look(5)
    assert world.state("only") == "gone"


def test_a_loss_that_lasts_is_believed() -> None:
    world = World()
    for name in "abcd":
        world.beat(name, secs=86_400)
    world.look()
    del world.files["a"], world.files["b"]
    world.run(3590)
    assert world.state("a") == "unknown"
    world.run(20)
    assert [world.state(name) for name in "abcd"] == ["gone", "gone", "up", "up"]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 86_400.0])
def test_a_clock_that_is_set_flips_nobody(step: float) -> None:
    world = World()
    world.beat("alive")
    world.beat("dead", secs=10)
    world.look()
    world.run(100, beats=["alive"])
    assert (world.state("alive"), world.state("dead")) == ("up", "down")
    age = world.now - (world.client("dead").beat_at or 0)
    world.now += step
    changes = world.look(5)
    assert changes.step_secs == pytest.approx(step)
    assert not changes.flips
    world.look(5)
    assert (world.state("alive"), world.state("dead")) == ("up", "down")
    assert world.now - (world.client("dead").beat_at or 0) == pytest.approx(age + 10)
    world.run(55)
    assert world.state("alive") == "late"  # its beat keeps its age
    world.beat("alive")
    world.look(5)
    assert (world.state("alive"), world.client("alive").flags) == ("up", ())
    assert world.told() == ["down"]


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_beat_just_before_the_clock_was_set_has_its_age_too(step: float) -> None:
    world = World()
    world.beat()
    world.look()
    world.run(50)
    world.now += 2
    world.monotonic += 2
    world.beat()  # stamped by the old clock, seen by the new one
    world.now += step
    world.look(3)
    world.run(30)
    assert (world.state(), world.client().flags) == ("up", ())
    assert world.now - (world.client().beat_at or 0) == pytest.approx(33, abs=5)
    world.run(40)
    assert world.state() == "late"


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_pardon_lasts_as_long_as_it_was_meant_to(step: float) -> None:
    """Else a client that is dead stays late for a day, or one that is not is down at once."""
    world = World()
    for name in ("edge", "other"):
        world.beat(name)
    world.look()
    world.error = "can't be read"
    world.run(300)
    world.error = None
    world.look(5)
    world.now += step
    world.run(80)
    assert world.state() == "late"
    world.run(30)
    assert world.state() == "down"


def test_a_clock_that_is_set_archives_nobody() -> None:
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    del world.files["a"]
    world.look(5)
    world.now += 40 * 86_400
    world.run(60, beats="bc")
    assert world.state("a") == "gone"


def test_a_clock_that_is_set_makes_no_loss_believed() -> None:
    world = World()
    for name in "abc":
        world.beat(name, secs=86_400 * 30)
    world.look()
    world.files.clear()
    world.look(5)
    world.now += 7200
    world.run(60)
    assert world.state("a") == "unknown"
    world.now -= 86_400
    world.run(3600)
    assert world.state("a") == "gone"


def test_who_comes_due_while_the_clock_is_set_waits_for_one_look() -> None:
    world = World()
    world.beat()
    world.look()
    world.look(58)
    world.now += 3600
    world.look(5)
    assert world.state() == "up"
    world.look(5)
    assert world.state() == "late"


def test_a_file_server_whose_clock_is_behind_is_measured() -> None:
    world = World()
    world.beat("a", secs=60)
    world.look()
    for _ in range(5):
        world.now += 10
        world.monotonic += 10
        world.beat("a", secs=60, mtime=world.now - 500, ctime=world.now - 500)
        world.look(0.5)
    assert world.fleet.offset == pytest.approx(500.5, abs=1)
    assert (world.state("a"), world.client("a").flags) == ("up", ())


def test_a_file_server_whose_clock_is_set_back_makes_nobody_down() -> None:
    """All its clients would be called dead for as long as it takes to measure the new error."""
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    behind, states = 0.0, set()
    for turn in range(40):
        behind = 600.0 if turn >= 10 else 0.0
        for name in "abc":
            world.beat(name, secs=75, mtime=world.now - behind, ctime=world.now - behind)
        for _ in range(12):
            world.look(5)
            states |= {world.state(name) for name in "abc"}
    assert states == {"up"}
    assert world.fleet.offset == pytest.approx(605)
    world.now -= 3600  # now the monitor's own is: that of the server is ahead by so much less
    world.look(5)
    assert world.fleet.offset == pytest.approx(605 - 3600)


def test_a_file_that_was_away_and_comes_back_is_as_old_as_it_says() -> None:
    """A folder that was moved away and back again is no beat of anybody's."""
    world = World()
    for name in "abc":
        world.beat(name)
    world.look()
    del world.files["a"]
    world.run(300, beats="bc")
    assert world.state("a") == "gone"
    world.beat("a", mtime=world.now - 250, ctime=world.now - 250)
    world.look(5)
    assert world.state("a") == "down"


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
