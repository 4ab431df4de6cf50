"""What status() says of very many files: the right sums, the right thousand, at a small price."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.costs import ABILITIES, Ability
from pysubtask.core.model import Entry, Identity, Piece, Print, Stamp, Version
from pysubtask.core.space import Held
from pysubtask.errors import RemoteDenied
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.intake.intake import Intake
from pysubtask.subtask.report import Report
from pysubtask.subtask.store.space import Space
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import Remote, WatchedServer, make_remote

COUNT = 3000


class Failing:
    """An intake that can't read one file."""

    def errors(self) -> dict[str, str]:
        return {"/out/unreadable": "permission denied"}


def owe(entry: Entry) -> Entry:
    piece = Piece(0, 10, None, "")
    print_ = Print("whole", 10, "")
    stamp = Stamp(1, 1)
    version = Version(1, 10, False, Identity(1, 1), stamp, True, print_, (piece,), taken_at=1.0)
    return entry.with_version(version)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    local = Local(tmp_path, ManualClock(), HookedDisk())
    for number in reversed(range(COUNT)):
        local.ledger.update(f"/out/{number:05d}", owe, remote=f"{number}")
    return local


def make_report(local: Local, remote: Remote | None = None) -> tuple[Report, list[str]]:
    remote = remote or make_remote(local)
    remote.delivery._held.hold("/out/00007", RemoteDenied("no"))
    outbox = local.ledger.outbox
    space = Space(local.disk, "", outbox, outbox_max_bytes=0, keep_free_bytes=0, log=LOG)
    asked: list[str] = []

    def file_status(path: str) -> FileStatus:
        asked.append(path)
        return FileStatus()

    report = Report(
        local.ledger,
        cast(Intake, Failing()),
        remote.delivery,
        space,
        destination=None,
        declared=["/out/02999", "/declared"],
        declared_name=lambda path: path,
        pulls=tuple,
    )
    status = report.status(Status(link="resting"), file_status)
    assert status.pending_bytes == status.only_in_files_bytes == 10 * COUNT
    assert status.files_left_out == COUNT + 1 - 1 - 1000
    return report, asked


def test_the_thousand_that_are_shown(local: Local) -> None:
    """What can't be read, what is refused, and what waits longest."""
    _, asked = make_report(local)
    longest = [f"/out/{number:05d}" for number in reversed(range(COUNT - 999, COUNT - 1))]
    assert sorted(asked) == sorted(["/out/unreadable", "/out/00007", *longest])


def test_a_status_does_not_look_at_each_entry(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, _ = make_report(local)
    looked: list[str] = []
    get = local.ledger.get

    def counted(path: str) -> Entry | None:
        looked.append(path)
        return get(path)

    monkeypatch.setattr(local.ledger, "get", counted)
    report.status(Status(link="resting"), lambda path: FileStatus())
    assert len(looked) < 20


@pytest.mark.parametrize("ability", ABILITIES, ids=lambda ability: ability.name)
def test_what_a_server_lacks_is_in_the_status_and_the_log(
    local: Local, ability: Ability, caplog: pytest.LogCaptureFixture
) -> None:
    """Each ability: what its absence costs, in words, from the first connection on."""
    caplog.set_level("INFO")
    everything = Capabilities(True, True, True, server_copy=True, fsync=True)
    server = WatchedServer(dataclasses.replace(everything, **{ability.name: False}))
    local.write(b"data")
    local.take()
    remote = Remote(local, server)
    remote.step()
    report = make_report(local, remote)[0]
    notes = report.status(Status(link="connected"), lambda path: FileStatus()).notes
    assert notes == (f"the destination can't {ability.title}: {ability.cost}",)
    assert f"memory: {notes[0]}" in caplog.messages
    assert notes[0] in str(Status(link="connected", notes=notes))


def test_the_sums_follow_every_change(tmp_path: Path) -> None:
    local = Local(tmp_path, ManualClock(), HookedDisk())

    def check(owed_bytes: int, held: Held) -> None:
        assert local.ledger.owed_bytes == sum(local.ledger.owed.values()) == owed_bytes
        assert local.ledger.held == held

    local.write(b"copied")
    local.take()
    check(6, Held(copied_bytes=6))
    local.ledger.outbox.has_room = lambda size: False
    local.write(b" and not", "ab")
    local.take()
    check(14, Held(6, 8))
    local.deliver_all()
    check(0, Held())
    local.ledger.doubt(local.entry)
    local.write(b"!", "ab")
    local.take()
    check(1, Held(0, 1))
    local.open()
    check(1, Held(0, 1))
    local.deliver_all()
    check(0, Held())
