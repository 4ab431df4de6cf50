"""A state folder of any format is taken over and all of it delivered, or refused and left alone."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import sys
import zlib
from collections.abc import Iterator
from unittest import mock

import msgspec
import pytest

from pysubtask import TaskMaster
from pysubtask.errors import StateError
from pysubtask.states import read_owed, read_status
from pysubtask.status import Link, Status
from pysubtask.subtask.boot import boot_id
from tests.integration.promises import wait_until
from tests.servers.fixtures import enter_or_skip
from tests.upgrades.cases import CASES, LOCAL, Place, rows, watch_list
from tests.upgrades.kept import archive_of, copy_of, reboot, unpack

KEPT = sorted((pathlib.Path(__file__).parent / "states").glob("format-*.tar.xz"))
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="made on a POSIX system")


def name_of(archive: pathlib.Path) -> str:
    return archive.name.removesuffix(".tar.xz").split("-", 2)[2]


@contextlib.contextmanager
def program(
    home: pathlib.Path, archive: pathlib.Path, *, same_boot: bool
) -> Iterator[tuple[TaskMaster, Place]]:
    """The program of a kept state, back at work on another machine; not started yet."""
    with contextlib.ExitStack() as stack:
        place: Place = enter_or_skip(stack, CASES[name_of(archive)].run(home))
        unpack(archive, home, place.base)
        place.fill(home / "remote")
        state = next((home / "data" / "upload").iterdir())
        reboot(state, boot_id() if same_boot else "the boot before")
        stack.enter_context(mock.patch.dict(os.environ, place.environment))
        master = TaskMaster(
            watch_list(home / "data"),
            to=place.to,
            retry_short_wait_secs=0.2,
            retry_long_wait_secs=0.5,
            **place.settings,
        )
        stack.callback(master.stop, forcekill=True)
        yield master, place


def log(home: pathlib.Path) -> str:
    return "".join(path.read_text() for path in (home / "data" / "logs").glob("*subtask*"))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("same_boot", [True, False], ids=["update", "reboot"])
@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_a_state_is_taken_over(
    tmp_path: pathlib.Path, archive: pathlib.Path, same_boot: bool
) -> None:
    """All that it owes arrives, of a log that was rotated and deleted, too."""
    home = tmp_path.resolve()
    data = home / "data"
    with program(home, archive, same_boot=same_boot) as (master, place):
        # Of the rotated log the outbox has no more than the end. A Dropbox takes whole files only;
        # and elsewhere a loss of power leaves it open whether there is more than the journal says.
        apart = name_of(archive) == "dropbox" or not same_boot
        former = os.open(place.folder / "machine.log", os.O_RDONLY)  # until it is replaced
        try:
            assert os.fstat(former).st_size == 100 * len(rows("rotated.log", 0, 1))
            master.start()
            wait_until(lambda: master.status().pending_bytes > 0, 30, "it knows that it owes")
            assert master.flush(timeout=60), f"{master.status()}\n{log(home)}"
            whole = os.pread(former, 1 << 20, 0)
        finally:
            os.close(former)
        rotated = rows("rotated.log", 0, 160)
        assert whole == (rows("rotated.log", 0, 100) if apart else rotated)
        assert_all_there(place, data, apart=apart)
        if name_of(archive) == "dropbox":
            return
        assert not list(place.folder.rglob(".pysubtask-*[0-9a-f]")), "an upload was left behind"
        with (data / "grow.csv").open("ab") as file:
            file.write(rows("grow.csv", 200, 300))
        master.notify(data / "grow.csv")
        assert master.flush(timeout=30)
        assert (place.folder / "grow.csv").read_bytes() == rows("grow.csv", 0, 300)


def assert_all_there(place: Place, data: pathlib.Path, *, apart: bool = False) -> None:
    """Every file at the destination is the one here.

    Args:
        apart: the end of the rotated log is in a file of its own, since its beginning is lost
            here, or can't be compared with what is there.
    """
    for there, here in LOCAL.items():
        assert (place.folder / there).read_bytes() == (data / here).read_bytes(), there
    aside = {path.name: path.read_bytes() for path in place.folder.rglob("*~*")}
    end = {"machine.log~4200-6720": rows("rotated.log", 100, 160)}
    assert aside == (end if apart else {}), "what we had delivered was taken for somebody else's"


def test_an_edit_costs_what_changed(tmp_path: pathlib.Path) -> None:
    """The signature of what was delivered is taken over as well."""
    home = tmp_path.resolve()
    with program(home, archive_of(1, "sftp"), same_boot=True) as (master, place):
        assert place.link is not None
        master.start()
        assert master.flush(timeout=60)
        size = (place.folder / "image.bin").stat().st_size
        assert size > 1_000_000
        rest = sum((place.folder / name).stat().st_size for name in LOCAL if name != "image.bin")
        assert place.link.bytes_up < rest + 100_000 < size


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_what_is_owed_can_be_listed(tmp_path: pathlib.Path, archive: pathlib.Path) -> None:
    home = tmp_path.resolve()
    unpack(archive, home, "/in")
    (state,) = (home / "data" / "upload").iterdir()
    owed = {one.remote: one.pending_bytes for one in read_owed(str(state))}
    assert owed["grow.csv"] == len(rows("grow.csv", 100, 200))
    assert owed["machine.log"] == len(rows("rotated.log", 100, 160) + rows("rotated again", 0, 20))
    assert owed["large.bin"] == len(rows("large", 0, 20_000))
    assert owed["pictures/two.jpg"] == len(rows("two", 0, 70))
    status = read_status(str(state))
    assert status.link == "gone"
    assert status.pending_bytes == sum(owed.values())
    assert status.files[str(home / "data" / "grow.csv")].delivered_bytes == 3900


# --- the other way: a state of a later version ----------------------------------------------------


def make_newer(journal: pathlib.Path, where: str) -> bytes:
    """As a later version would have left it; gives what it was before."""
    before = journal.read_bytes()
    first, *rest = before.splitlines(keepends=True)
    header = json.loads(first[9:]) | {"journal": 2, "something": "new"}
    body = json.dumps(header).encode()
    line = b"%08x %s\n" % (zlib.crc32(body), body)
    journal.write_bytes(b"".join([line, *rest]) if where == "first" else before + line)
    return before


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_newer_state_is_refused_and_left_alone(tmp_path: pathlib.Path, where: str) -> None:
    """Not one byte of it is changed, or sent; with the newer version back it is all there."""
    home = tmp_path.resolve()
    with program(home, archive_of(1, "folder"), same_boot=True) as (master, place):
        (state,) = (home / "data" / "upload").iterdir()
        before = make_newer(state / "journal", where)
        kept = {
            name: data
            for name, data in copy_of(state).items()
            if name.startswith(("journal", "outbox", "signatures", "blanks", "destination"))
        }
        there = copy_of(place.folder)
        with contextlib.suppress(StateError):
            master.start()
        wait_until(lambda: master.status().last_error, 20, "it says why")
        words = str(master.status())
        assert "written by a newer pysubtask (format 2)" in words
        assert "install that version again" in words
        assert not master.flush(timeout=1)
        with pytest.raises(StateError, match="newer pysubtask"):
            read_owed(str(state))
        master.stop()
        after = copy_of(state)
        assert {name: after.get(name) for name in kept} == kept
        assert copy_of(place.folder) == there
        (state / "journal").write_bytes(before)
        master.start()
        assert master.flush(timeout=60)
        assert_all_there(place, home / "data")


def test_a_damaged_header_is_no_crash(tmp_path: pathlib.Path) -> None:
    """A line that says to be a header, and of no format at all."""
    home = tmp_path.resolve()
    with program(home, archive_of(1, "folder"), same_boot=True) as (master, place):
        (state,) = (home / "data" / "upload").iterdir()
        body = b'{"journal":"two"}'
        with (state / "journal").open("ab") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(body), body))
        master.start()
        assert master.flush(timeout=60), f"{master.status()}\n{log(home)}"
        assert_all_there(place, home / "data", apart=True)
        assert list(state.glob("journal.damaged-*"))


# --- status.json, which other programs read -------------------------------------------------------


class FileOfFormat1(msgspec.Struct, forbid_unknown_fields=False):
    """What a reader of today may rely on, for each file. Never to be changed."""

    size_bytes: int | None
    notified_at: float | None
    delivered_bytes: int
    pending_bytes: int
    last_error: str | None


class StatusOfFormat1(msgspec.Struct, forbid_unknown_fields=False):
    """The same for the whole. Never to be changed."""

    pid: int | None
    link: str
    since: float | None
    next_try: float | None
    last_error: str | None
    last_error_kind: str | None
    pending_bytes: int
    outbox_bytes: int
    files: dict[str, FileOfFormat1]
    files_left_out: int
    destination: str | None
    updated_at: float
    notes: list[str]


LINKS_OF_FORMAT_1 = {"connecting", "connected", "resting", "retrying", "conflict", "gone"}


def test_older_readers_of_the_status_keep_working(tmp_path: pathlib.Path) -> None:
    """What the present version writes can be read by a program that knows only format 1."""
    home = tmp_path.resolve()
    with program(home, archive_of(1, "folder"), same_boot=True) as (master, _):
        master.start()
        assert master.flush(timeout=60)
        (state,) = (home / "data" / "upload").iterdir()
        seen = msgspec.json.decode((state / "status.json").read_bytes(), type=StatusOfFormat1)
        assert seen.link in LINKS_OF_FORMAT_1
        assert seen.files[str(home / "data" / "grow.csv")].delivered_bytes == 7800
    found = set(re.findall(r"'(\w+)'", str(Link)))
    assert found == LINKS_OF_FORMAT_1, "an older reader would not know a further one"


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_kept_and_future_statuses_can_be_read(
    tmp_path: pathlib.Path, archive: pathlib.Path
) -> None:
    unpack(archive, tmp_path, "/in")
    (path,) = tmp_path.glob("data/upload/*/status.json")
    plain = json.loads(path.read_bytes())
    msgspec.convert(plain, StatusOfFormat1)
    kept = Status.from_plain(plain)
    assert kept.files
    plain["of_the_future"] = {"a": [1]}
    for file in plain["files"].values():
        file["of_the_future"] = True
    assert Status.from_plain(plain) == kept
