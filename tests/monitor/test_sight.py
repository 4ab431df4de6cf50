"""What the monitor can't see: whom it calls unknown, and how much time they have afterwards."""

from __future__ import annotations

import pytest

from pysubtask.monitor.clients import Settings
from pysubtask.monitor.words import explain
from tests.monitor.fakes import World


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
