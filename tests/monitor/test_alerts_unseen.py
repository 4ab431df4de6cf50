"""What is told while the monitor can't see, of whom it can't, and afterwards."""

from __future__ import annotations

import json

from tests.monitor.test_alerts import world_of


def test_blindness_is_one_alert_about_the_monitor() -> None:
    world = world_of(*"abcdef")
    world.run(60, beats="abcdef")
    world.error = "can't be read"
    world.run(1000)
    world.error = None
    world.run(60, beats="abcdef")
    assert world.told() == ["blind", "sight"]
    assert "16 m" in world.notices[1].title


def test_folders_below_that_cannot_be_read_are_told() -> None:
    """Where each client has its own folder, that is the whole fleet: unknown for ever, untold."""
    names = [f"site{number}/edge" for number in range(10)]
    world = world_of(*names)
    world.run(60, beats=names)
    world.unread = tuple(f"site{number}/" for number in range(10))
    world.run(7200, step=60)
    assert (world.told(), {world.state(name) for name in names}) == (["blind"], {"unknown"})
    assert "10 of 10 heartbeat files can't be read" in world.notices[0].body
    world.unread = ()
    world.run(60, beats=names)
    assert world.told() == ["blind", "sight"]


def test_one_client_that_cannot_be_seen_is_told_and_so_are_the_next() -> None:
    """Nobody would tell of its death."""
    names = [f"c{number}" for number in range(10)]
    world = world_of(*names)
    world.refusing = frozenset(["c0"])
    world.run(60, beats=names)
    assert [one.title for one in world.notices] == ["The monitor can't see c0"]
    assert "Permission denied" in world.notices[0].body
    world.alerts.recall(json.loads(json.dumps(world.alerts.keep())))
    world.run(60, beats=names)
    world.refusing = frozenset(names[:3])
    world.run(60, beats=names)
    assert world.notices[1].title == "The monitor can't see 2 of 10 clients"
    world.refusing = frozenset(["c0"])
    world.run(400, beats=names)
    world.refusing = frozenset()
    world.run(60, beats=names)
    assert [one.title.split(" again")[0] for one in world.notices[2:]] == [
        "The monitor sees 2 clients", "The monitor sees c0"
    ]  # fmt: skip


def test_a_loss_that_is_believed_is_told_as_gone() -> None:
    """ "The monitor sees again", and nothing else, would be a false all-clear."""
    names = [f"c{number}" for number in range(10)]
    world = world_of(*names)
    world.run(60, beats=names)
    for name in names[:8]:
        del world.files[name]
    world.run(4000, beats=names[8:])
    assert [one.title for one in world.notices] == [
        "The monitor can't see 8 of 10 clients", "8 of 10 clients gone: heartbeat file removed"
    ]  # fmt: skip


def test_the_loss_of_all_is_told_as_gone_too() -> None:
    world = world_of(*"abcdef")
    world.files.clear()
    world.run(4000)
    assert world.told() == ["blind", "sight", "gone"]
    assert world.notices[1].title.endswith(", 6 heartbeat files are missing")


def test_what_is_removed_while_the_monitor_is_blind_is_told_but_for_who_said_goodbye() -> None:
    world = world_of(*"abcde")
    world.beat("b", secs=0)
    world.run(60, beats="acde")
    world.error = "can't be read"
    world.run(60)
    world.error = None
    del world.files["a"], world.files["b"]
    world.run(60, beats="cde")
    assert (world.state("a"), world.state("b")) == ("gone", "gone")
    assert [one.title for one in world.notices[2:]] == ["a is gone: heartbeat file removed"]


def test_whoever_makes_and_removes_files_silences_nobody() -> None:
    names = [f"c{number}" for number in range(10)]
    world = world_of(*names)
    world.run(60, beats=names)
    for number in range(20):
        world.beat(f"mallory/{number}")
    world.look(5)
    for number in range(20):
        del world.files[f"mallory/{number}"]
    world.run(1800, beats=names[1:])
    assert "c0 is down" in [one.title for one in world.notices]


def test_a_blink_is_no_news() -> None:
    world = world_of(*"abc")
    world.error = "can't be read"
    world.look(5)
    world.error = None
    world.run(50, beats="abc")
    assert world.told() == []


def test_a_down_client_is_not_told_again_after_blindness() -> None:
    world = world_of("a", "b")
    world.run(300, beats=["b"])
    world.error = "can't be read"
    world.run(60)
    world.error = None
    world.run(60, beats=["b"])
    assert world.told() == ["down", "blind", "sight"]
    world.run(30, beats=["a", "b"])
    assert world.told()[3:] == ["up"]
