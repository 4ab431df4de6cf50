"""The temporary names of heartbeats: not the same for two connections, and none left for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from pysubtask.core.model import Entry, entry_from_json, entry_to_json
from pysubtask.errors import LinkLost, RemoteDenied, RemoteError, RemoteExists, RemoteNotFound
from pysubtask.subtask.delivery.beats import BeatNames, is_beat
from pysubtask.subtask.store.recordlog import Codec, RecordLog
from tests.unit.core_fakes import LOG, HookedDisk, ManualClock, nothing
from tests.unit.core_local import Local
from tests.unit.core_remote import TEMP_PREFIX, Remote, make_remote

TEXT = b"60\n{}\n"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(Local(tmp_path, ManualClock(), HookedDisk()))


def beat(remote: Remote, text: bytes = TEXT) -> None:
    remote.delivery.beat("edge.heartbeat", text)
    for _ in range(5):
        remote.local.clock.now = max(remote.local.clock.now + 1, 0)
        remote.delivery.step()


def names_used(remote: Remote) -> list[str]:
    return [name for operation, name in remote.server.requests if operation == "write"]


def test_one_name_while_all_is_well(remote: Remote) -> None:
    for number in range(20):
        beat(remote, b"%d\n" % number)
    assert len(set(names_used(remote))) == 1
    assert remote.server.names() == ["edge.heartbeat"]
    assert all(operation != "remove" for operation, _ in remote.server.requests)


def test_a_late_rename_does_not_publish_what_the_next_one_has_begun(remote: Remote) -> None:
    """History 12005205773 of the simulator: for a moment the heartbeat was empty."""

    def cut(operation: str, path: str) -> None:
        if operation == "rename":
            raise LinkLost("cut by the test", operation=operation, path=path)

    remote.server.fault_before = cut
    beat(remote)
    first = names_used(remote)[0]
    remote.server.fault_before = nothing
    for _ in range(60):
        beat(remote, b"later\n")
    assert first not in names_used(remote)[1:]
    assert remote.server.names() == ["edge.heartbeat"], "what was left is removed"


@pytest.mark.parametrize("refusal", [RemoteError, RemoteExists, RemoteDenied])
@pytest.mark.parametrize("swept", [True, False])
def test_a_refused_rename_removes_the_last_heartbeat_only_for_a_new_one(
    tmp_path: Path, refusal: type[RemoteError], swept: bool
) -> None:
    """Where a rename can't replace. Without: a temporary file that somebody swept away costs the
    last heartbeat, and the monitor says gone."""
    remote = make_remote(Local(tmp_path, ManualClock(), HookedDisk()), "rename-only")
    beat(remote)

    def fault(operation: str, path: str) -> None:
        if operation != "rename":
            return
        if swept:
            for name in [n for n in remote.server.names() if n.startswith(TEMP_PREFIX)]:
                del remote.server._files[name]
            raise RemoteNotFound("no such file", operation=operation, path=path)
        if "edge.heartbeat" in remote.server.names():
            raise refusal("refused", operation=operation, path=path)

    remote.server.fault_before = fault
    beat(remote, b"later\n")
    assert remote.server.names() == ["edge.heartbeat"]
    assert bytes(remote.server._files["edge.heartbeat"].data) == (TEXT if swept else b"later\n")


def test_what_may_not_be_removed_yet_is_removed_later(remote: Remote) -> None:
    broken = False

    def fault(operation: str, path: str) -> None:
        nonlocal broken
        if operation == "rename" and not broken:
            broken = True
            raise LinkLost("cut by the test", operation=operation, path=path)
        if operation == "remove":
            raise RemoteError("try again later", operation=operation, path=path)

    remote.server.fault_before = fault
    for _ in range(60):
        beat(remote)
    assert len(remote.server.temps()) == 1
    remote.server.fault_before = nothing
    beat(remote)
    assert remote.server.temps() == []


def opened(folder: Path) -> RecordLog[Entry]:
    """The journal, as the next process opens it."""
    log: RecordLog[Entry] = RecordLog(
        HookedDisk(),
        ManualClock(),
        str(folder / "journal"),
        codec=Codec(Entry, entry_to_json, entry_from_json),
        log=LOG,
    )
    log.open()
    return log


def test_a_process_begins_with_another_name_than_the_one_that_was_killed(tmp_path: Path) -> None:
    used, left = [], []
    for _ in range(4):
        log = opened(tmp_path)
        names = BeatNames(log)
        used.append(names.begin())
        left.append(len(names.left()))
    assert len(set(used)) == 4
    assert left == [0, 7, 7, 7]
    assert all(is_beat(name) for name in used)
    log.close()
    log = opened(tmp_path)
    names = BeatNames(log)
    names.begin()
    assert names.left() == [], "the one before has ended in order"
    log.close()


@pytest.mark.parametrize("name", [".pysubtask-0123456712345678", ".pysubtask-01234567000000011"])
def test_other_temporary_names_are_no_heartbeats(name: str) -> None:
    assert not is_beat(name)
