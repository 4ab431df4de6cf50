"""Temporary files that nobody needs any more: swept by their file, purged after a loss of power."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.errors import RemoteDenied, RemoteError
from pysubtask.watch import Watch
from tests.unit.core_fakes import HookedDisk, ManualClock, nothing, on_nth
from tests.unit.core_local import Local
from tests.unit.core_remote import Cut, make_remote, numbered


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def test_after_a_loss_of_power_what_is_ours_is_removed_but_for_the_heartbeats(local: Local) -> None:
    """A heartbeat may be on its way there while names are listed."""
    remote = make_remote(local)
    local.ledger.journal.unclean_boot = True
    ours = f".pysubtask-{local.ledger.journal.client_id}"
    for temp in (f"{ours}12345678", f"{ours}00000000", ".pysubtask-0123456789abcdef"):
        remote.server.put_file(temp, b"x")
    local.write(b"data")
    local.take()
    remote.settle()
    assert set(remote.server.temps()) == {f"{ours}00000000", ".pysubtask-0123456789abcdef"}


@pytest.mark.parametrize("operation", ["list", "remove"])
def test_after_a_loss_of_power_what_was_refused_is_tried_over_the_next_connection(
    local: Local, operation: str
) -> None:
    remote = make_remote(local, dead_time_secs=5.0)
    local.ledger.journal.unclean_boot = True
    remote.server.put_file(f".pysubtask-{local.ledger.journal.client_id}12345678", b"x")

    def refuse() -> None:
        raise RemoteError("busy", operation=operation, path="")

    remote.server.fault_before = on_nth(operation, "", 1, refuse)
    local.write(b"data")
    local.take()
    remote.settle()
    assert not local.ledger.journal.purged
    assert len(remote.server.temps()) == 1
    for _ in range(3):
        local.clock.advance(3600)
        remote.delivery.step()
    assert remote.connections == 1, "it is worth none of its own"
    local.write(b"more")
    local.take()
    remote.settle()
    assert local.ledger.journal.purged
    assert not remote.server.temps()


def test_after_a_loss_of_power_a_drop_box_that_shows_nothing_is_done_with(local: Local) -> None:
    remote = make_remote(local)
    local.ledger.journal.unclean_boot = True

    def deny(operation: str, path: str) -> None:
        if operation == "list":
            raise RemoteDenied("permission denied", operation=operation, path=path)

    remote.server.fault_before = deny
    local.write(b"data")
    local.take()
    remote.settle()
    assert local.ledger.journal.purged


def test_after_a_loss_of_power_all_folders_are_looked_through(local: Local) -> None:
    """The power may have taken the entry of the only file of one."""
    remote = make_remote(local, root="in")
    remote.watches = [Watch(path=local.path, is_dir=False, declared="a.csv", remote_dir="logs")]
    local.ledger.journal.unclean_boot = True
    remote.server.make_folder("in/logs")
    remote.server.put_file(f"in/logs/.pysubtask-{local.ledger.journal.client_id}12345678", b"x")
    local.write(b"data")
    local.take()
    remote.settle()
    assert local.entry.remote == "a.csv"
    assert not remote.server.temps()


def test_after_a_loss_of_power_what_a_file_knows_of_is_left_to_it(local: Local) -> None:
    """It may be in use: a trial of names that lost its file took two names for one's own each
    (history 17002001935 of the simulator)."""
    remote = make_remote(local)
    local.ledger.journal.unclean_boot = True
    temp = f".pysubtask-{local.ledger.journal.client_id}12345678"
    remote.server.put_file(temp, b"x")
    other = str(local.folder / "b.csv")

    def note() -> None:
        local.ledger.update(other, lambda e: replace(e, litter=(temp,)), remote="b.csv")

    remote.server.fault_before = on_nth("list", "", 1, note)
    local.write(b"data")
    local.take()
    remote.settle()
    assert ("list", "") in remote.server.requests
    assert remote.server.temps() == [temp]
    remote.delivery.offer(other)
    remote.delivery.step()
    assert not remote.server.temps()


@pytest.mark.parametrize("restarts", [False, True])
def test_litter_that_may_not_be_removed_for_a_while_is_tried_again(
    local: Local, restarts: bool
) -> None:
    remote = make_remote(local)
    temp = ".pysubtask-c0ffee0012345678"
    remote.server.put_file(temp, b"x")
    local.write(b"data")
    local.take()
    local.ledger.update(local.path, lambda e: replace(e, litter=(temp,)))

    def refuse(operation: str, path: str) -> None:
        if operation == "remove":
            raise RemoteError("busy", operation=operation, path=path)

    def live(secs: float) -> None:
        until = local.clock.now + secs
        while local.clock.now < until:
            local.clock.now = min(until, max(remote.delivery.step(), local.clock.now + 0.01))

    remote.server.fault_before = refuse
    remote.step()
    live(3 * 86_400.0)
    assert remote.server.read_file("a.csv") == b"data"
    assert not remote.delivery.errors
    assert remote.delivery.is_idle
    tries = remote.server.requests.count(("remove", temp))
    assert 8 < tries < 13
    remote.server.fault_before = nothing
    if restarts:
        remote.restart()
        live(1.0)
    else:
        live(86_400.0)
    assert not remote.server.temps()
    assert not local.entry.litter


def test_litter_that_may_not_be_removed_does_not_hold_up_the_file(local: Local) -> None:
    remote = make_remote(local)
    local.write(numbered(1_000_000))
    local.take("rewrite")
    remote.server.fault_before = Cut(15)
    remote.step()
    (temp,) = remote.server.temps()
    remote.server.put_file(temp, b"not what we wrote" * 100_000)

    def deny(operation: str, path: str) -> None:
        if operation == "remove":
            raise RemoteError("sticky folder", operation=operation, path=path)

    remote.server.fault_before = deny
    remote.step()
    local.clock.advance(5)
    remote.step()
    assert remote.server.read_file("a.csv") == numbered(1_000_000)
    remote.server.fault_before = nothing
    remote.settle()
    assert not remote.server.temps()
