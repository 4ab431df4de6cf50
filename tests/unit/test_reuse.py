"""A file that changed inside: the server copies what it has, the rest is sent, nothing is mixed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pysubtask.core.delta import DeltaRule
from pysubtask.core.plan import Policy
from pysubtask.errors import RemoteDenied, RemoteFull, RemoteUnsupported
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import PARALLEL, RENAME_ONLY, SEQUENTIAL, Cut, Remote, WatchedServer
from tests.unit.test_delta import BIG

RULE = DeltaRule(block_bytes=64, from_bytes=4096, changed_from_bytes=1024)
KINDS = {
    "sequential": replace(SEQUENTIAL, server_copy=True),
    "parallel": replace(PARALLEL, server_copy=True),
    "rename-only": replace(RENAME_ONLY, server_copy=True),
}
ALL_KINDS = pytest.mark.parametrize("kind", list(KINDS))
OLD = BIG[:400_000]
NEW = OLD[:100_000] + b"changed!" * 10 + OLD[100_080:200_000] + b"inserted" * 20 + OLD[200_000:]
CHANGED = 80 + 160
BLOCKS = 4 * 64
"""What the edges of two changes cost."""


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path, ManualClock(), HookedDisk())


def make(local: Local, kind: str = "sequential", **changes: object) -> Remote:
    return Remote(local, WatchedServer(KINDS[kind]), delta=RULE, **changes)  # type: ignore[arg-type]


def put(local: Local, remote: Remote, content: bytes, growth: str = "auto") -> int:
    """Rewrite the file, deliver it, and tell how many bytes of data that took."""
    before = remote.server.written_bytes
    new = local.path + ".new"
    Path(new).write_bytes(content)
    os.replace(new, local.path)
    local.take(growth)
    remote.settle()
    assert remote.server.read_file("a.csv") == content
    assert remote.server.temps() == []
    return remote.server.written_bytes - before


@ALL_KINDS
@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_only_the_change_is_sent(local: Local, kind: str, growth: str) -> None:
    remote = make(local, kind)
    put(local, remote, OLD, growth)
    assert put(local, remote, NEW, growth) <= CHANGED + BLOCKS
    assert put(local, remote, OLD, growth) <= 80 + BLOCKS, "and the other way"
    assert set(remote.server.seen) <= {None, OLD, NEW}
    if kind != "rename-only":
        assert None not in remote.server.seen[1:]


def test_appended_to_in_between(local: Local) -> None:
    """What was appended is in the signature, too."""
    remote = make(local)
    put(local, remote, OLD)
    for n in range(20):
        local.write(b"appended %06d\n" % n * 40, "ab")
        local.take()
        remote.settle()
    content = Path(local.path).read_bytes()
    new = content[:-3000] + b"X" + content[-2999:]
    assert put(local, remote, new) <= 1 + 4 * 64


@pytest.mark.parametrize("grown_first", [False, True])
def test_by_another_process(local: Local, grown_first: bool) -> None:
    remote = make(local)
    put(local, remote, OLD)
    local.open()
    remote.open()
    content = OLD
    if grown_first:
        content = OLD + BIG[-30_000:]
        local.write(BIG[-30_000:], "ab")
        local.take()
        remote.settle()
        local.open()
        remote.open()
    new = content[:-20_000] + b"X" * 100 + content[-19_900:]
    assert put(local, remote, new) <= 100 + 4 * 64


def test_a_file_that_grew_from_nothing(local: Local) -> None:
    """It has a signature from the time on when it is large enough for one."""
    remote = make(local)
    content = b""
    while len(content) < 20_000:
        content += BIG[len(content) : len(content) + 700]
        local.write(content[-700:], "ab")
        local.take()
        remote.settle()
    assert put(local, remote, content[:9000] + b"!" + content[9001:]) <= 1 + 3 * 64


@ALL_KINDS
@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_every_request(tmp_path: Path, kind: str, when: str) -> None:
    """And a new process goes on: at most what was unanswered is sent again."""
    n = 0
    while True:
        n += 1
        folder = tmp_path / f"{n}"
        folder.mkdir()
        local = Local(folder, ManualClock(), HookedDisk())
        remote = make(local, kind)
        put(local, remote, OLD)
        cut = Cut(n)
        if when == "before":
            remote.server.fault_before = cut
        else:
            remote.server.fault_after = cut
        sent = put(local, remote, NEW)
        assert set(remote.server.seen) <= {None, OLD, NEW}
        assert sent <= 2 * (CHANGED + BLOCKS)
        if not cut.done:
            assert n > 6
            return


def test_a_server_that_can_not_copy_gets_all_of_it(local: Local) -> None:
    remote = Remote(local, WatchedServer(SEQUENTIAL), delta=RULE)
    put(local, remote, OLD)
    assert put(local, remote, NEW) == len(NEW)
    assert not list((local.folder / "state" / "signatures").iterdir())


def _same_size(content: bytes) -> bytes:
    return b"by another hand" + content[15:]


@pytest.mark.parametrize(
    "change", [_same_size, lambda c: c[:-1], lambda c: c + b"!", lambda c: b""], ids=range(4)
)
def test_what_another_hand_changed_is_not_copied(
    local: Local, change: Callable[[bytes], bytes]
) -> None:
    remote = make(local)
    put(local, remote, OLD)
    remote.server.put_file("a.csv", change(OLD))
    assert put(local, remote, NEW) >= len(NEW)


def test_another_hand_of_the_same_time_shows_in_the_blocks_that_are_read_back(
    local: Local,
) -> None:
    remote = make(local)
    put(local, remote, OLD)
    st = remote.server._files["a.csv"]
    st.data[:] = bytes(len(OLD))  # same size, same time
    assert put(local, remote, NEW) == len(NEW)


def test_another_hand_while_it_is_being_copied(local: Local) -> None:
    """What was copied may be a mix: it never gets the file's name."""
    remote = make(local)
    put(local, remote, OLD)
    copies = 0

    def change(operation: str, path: str) -> None:
        nonlocal copies
        if operation == "copy":
            copies += 1
            if copies == 2:
                remote.server.put_file("a.csv", bytes(len(OLD)))

    remote.server.fault_before = change
    put(local, remote, NEW)
    assert copies >= 2
    assert set(remote.server.seen) <= {None, OLD, NEW, bytes(len(OLD))}


def test_a_consumer_takes_it_while_it_is_being_copied(local: Local) -> None:
    remote = make(local)
    put(local, remote, OLD)

    def take(operation: str, path: str) -> None:
        if operation == "finish" and remote.server.read_file("a.csv") == OLD:
            remote.server.move_away("a.csv")

    remote.server.fault_before = take
    assert put(local, remote, NEW) <= CHANGED + BLOCKS
    assert set(remote.server.seen) == {None, OLD, NEW}


@pytest.mark.parametrize("error", [RemoteUnsupported("no"), RemoteDenied("no")])
def test_a_copy_that_is_refused(
    local: Local, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    remote = make(local)
    put(local, remote, OLD)

    def refuse(operation: str, path: str) -> None:
        if operation == "copy":
            raise error

    remote.server.fault_before = refuse
    with caplog.at_level(logging.WARNING):
        put(local, remote, NEW)
    assert "sent whole" in caplog.text
    caplog.clear()
    put(local, remote, OLD)
    assert not caplog.text, "it is not tried again over this connection"


def test_a_server_that_is_full(local: Local) -> None:
    remote = make(local)
    put(local, remote, OLD)
    left = 3

    def refuse(operation: str, path: str) -> None:
        nonlocal left
        if operation == "copy" and left:
            left -= 1
            raise RemoteFull("no space is left on the server")

    remote.server.fault_before = refuse
    assert put(local, remote, NEW) <= 2 * (CHANGED + BLOCKS)


def test_after_an_unclean_boot_nothing_is_believed(local: Local) -> None:
    remote = make(local, policy=Policy(unclean_boot=True))
    put(local, remote, OLD)
    assert put(local, remote, NEW) >= len(NEW)


def test_a_signature_that_is_wrong_costs_bytes_only(local: Local) -> None:
    remote = make(local)
    put(local, remote, OLD)
    (file,) = (local.folder / "state" / "signatures").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    remote.open()
    assert put(local, remote, NEW) < len(NEW)


def test_one_signature_for_each_file(local: Local) -> None:
    remote = make(local)
    for content in (OLD, NEW, OLD, b"small", NEW):
        put(local, remote, content)
        names = list((local.folder / "state" / "signatures").iterdir())
        assert len(names) == (len(content) > 1024)
