"""The local disk is full; the state folder is deleted or overwritten."""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import Delivery, delivering, is_running, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.openssh import OpenSshServer
from tests.servers.smalldisk import fill, make_read_only, small_disk

__all__ = ["row", "rows"]

REBUILT = (
    "What is at the destination is compared with the files, and only what differs is sent. Copies "
    "of bytes that the files no longer hold went with the folder"
)


@pytest.fixture
def small(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A local disk of 1 MiB."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, small_disk(tmp_path / "small", 1 << 20))


def rubbish(state: pathlib.Path) -> None:
    """Overwrite every file of a state folder in place."""
    for path in state.rglob("*"):
        if path.is_file():
            size = max(100, path.stat().st_size)
            path.write_bytes(os.urandom(size))


@fault(
    "the local disk is full",
    "the local disk is full",
    "`notify()` works on, for its file exists since `start()`. What can't be copied stays owed, "
    "and is tried again every 10 s at most. Nothing is lost",
    "make room",
)
def test_the_local_disk_is_full(small: pathlib.Path, openssh: OpenSshServer, row: Fault) -> None:
    with delivering(small, openssh, ["a", "b"], log_to_folder=None) as made:
        made.append("a", b"1\n")
        made.flush()
        (made.data / "b").write_bytes(b"b" * 100_000)  # while there is room
        filler = fill(small)
        with pytest.raises(OSError, match="No space"):
            (made.data / "c").write_bytes(b"c" * 8192)
        for name in ("a", "b"):
            assert made.master.notify(str(made.data / name))

        def named() -> bool:  # what the file system has set aside for the journal has to go, too
            with (made.data / "b").open("r+b") as file:
                file.write(os.urandom(8))
            made.master.notify(str(made.data / "b"))
            return "the local disk is full" in str(made.master.status())

        wait_until(named, 20, "more than a page of notes")
        row.shown(made.master)
        (made.data / "b").write_bytes(b"b" * 50_000)
        pid = made.master.status().pid
        filler.unlink()
        made.append("a", b"2\n")
        assert made.master.notify(str(made.data / "b"))
        made.flush()
        assert made.remote_bytes("a") == b"1\n2\n"
        assert made.remote_bytes("b") == b"b" * 50_000
        assert made.master.status().pid == pid
        assert made.master.status().last_error is None


@fault(
    "the disk of the state folder becomes read-only",
    "the state folder … can't be written any more: is its disk read-only?",
    "What can't be noted stays owed: the touch stands, and it is tried again every 5 minutes at "
    "the latest. The watchdog knows that the subtask has no way to give a sign of life",
    "look at the disk (an SD card that fails becomes read-only), mount it anew",
)
def test_the_disk_becomes_read_only(
    tmp_path: pathlib.Path, small: pathlib.Path, openssh: OpenSshServer, row: Fault
) -> None:
    state = {"bak_to_folder": str(small / "state"), "watchdog_secs": 1.0}
    with delivering(tmp_path, openssh, ["a"], **state) as made:
        made.append("a", b"1\n")
        made.flush()
        pid = made.master.status().pid
        make_read_only(small)
        try:
            made.append("a", b"2\n")
            row.shown(made.master)
            time.sleep(1.5)  # longer than the watchdog waits
        finally:
            make_read_only(small, False)
        made.append("a", b"3\n")
        made.flush()
        assert made.remote_bytes("a") == b"1\n2\n3\n"
        assert made.master.status().pid == pid


@fault(
    "the state folder is deleted while we run",
    "the subtask ended: it can't use its state folder: …: it was removed while it was in use",
    "What was in memory is written anew, and the subtask is started again. " + REBUILT,
    "leave the folder alone",
)
def test_the_state_is_deleted_while_we_run(
    tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault
) -> None:
    content = b"".join(b"%07d\n" % n for n in range(50_000))
    with delivering(tmp_path, openssh, ["a"], timer_interval_secs=0.2) as made:
        made.append("a", content)
        made.flush()
        first = made.master.status().pid
        made.state.rename(tmp_path / "thrown away")  # in one step, as nobody else's rm can
        row.shown(made.master)
        made.append("a", b"2\n")
        pid = wait_until(lambda: made.master.status().pid, 20)
        assert pid != first
        assert first is not None
        assert not is_running(first)
        made.flush()
        assert made.remote_bytes("a") == content + b"2\n"
        assert "removed while it was in use" in made.log()
        assert made.state.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in made.remote.iterdir()) == ["a"]
        wait_until(lambda: sent_bytes(made)[-1:] == [2], 10, "only what is new is sent")


def sent_bytes(made: Delivery) -> list[int]:
    """What the log says was delivered, in bytes."""
    lines = [line for line in made.log().splitlines() if "INFO: delivered" in line]
    return [int(line.split(": ")[3].split(" ")[0].replace(",", "")) for line in lines]


@fault(
    "the state folder is deleted between two runs",
    None,
    "The log says that there is no journal. " + REBUILT,
    "leave the folder alone",
)
def test_the_state_is_deleted_between_two_runs(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    content = b"".join(b"%07d\n" % n for n in range(50_000))
    with delivering(tmp_path, openssh, ["a"]) as made:
        made.append("a", content)
        made.flush()
        made.master.stop()
        shutil.rmtree(made.state)
        made.append("a", b"2\n")
        made.master.start()
        made.wait_for("a", content + b"2\n")
        made.flush()
        assert "there is no journal in" in made.log()
        assert sorted(path.name for path in made.remote.iterdir()) == ["a"]
        wait_until(lambda: sent_bytes(made)[-1:] == [2], 10, "only what is new is sent")


@fault(
    "the files of the state folder are overwritten with rubbish while we run",
    None,
    "The journal is written anew from memory, the log says so; a damaged copy is read from the "
    "file again",
    "leave the folder alone",
)
def test_rubbish_while_we_run(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, ["a"], timer_interval_secs=0.2) as made:
        made.append("a", b"1\n")
        made.flush()
        pid = made.master.status().pid
        rubbish(made.state)
        wait_until(lambda: "written anew from memory" in made.log(), 10)
        wait_until(lambda: made.master.status().link == "connected", 10, "status.json is mended")
        made.append("a", b"2\n")
        made.flush()
        assert made.remote_bytes("a") == b"1\n2\n"
        assert made.master.status().pid == pid
        made.master.stop(forcekill=True)
        made.append("a", b"3\n")
        made.master.start()  # what was written anew can be read
        made.flush()
        assert made.remote_bytes("a") == b"1\n2\n3\n"
        assert "damaged" not in made.log()


@fault(
    "the files of the state folder are overwritten with rubbish between two runs",
    "the journal was damaged and has been rebuilt; what is at the destination is compared",
    "The damaged journal is kept as `journal.damaged-…`. " + REBUILT,
    "leave the folder alone",
)
def test_rubbish_between_two_runs(
    tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault
) -> None:
    content = b"".join(b"%07d\n" % n for n in range(50_000))
    with delivering(tmp_path, openssh, ["a"]) as made:
        made.append("a", content)
        made.flush()
        made.master.stop()
        rubbish(made.state)
        made.append("a", b"2\n")
        made.master.start()
        row.shown(made.master)
        made.wait_for("a", content + b"2\n")
        made.flush()
        assert list(made.state.glob("journal.damaged-*"))
        assert sorted(path.name for path in made.remote.iterdir()) == ["a"]
        wait_until(lambda: sent_bytes(made)[-1:] == [2], 10, "only what is new is sent")
