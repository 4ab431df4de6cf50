"""``file://`` on a mount that comes and goes: nothing is ever written into the bare mount point."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pysubtask import TaskMaster
from pysubtask.errors import LinkError
from pysubtask.seams.disk import RealDisk
from pysubtask.transports.contract import Finish, List, MakeDir, Remove, Rename, Stat, Write
from pysubtask.transports.folder import FolderTransport
from pysubtask.transports.mount import MARKER, mount_point
from pysubtask.transports.notes import Notes
from tests.integration.promises import QUICK, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.mounts import Stick

OTHER = "another file system than before"


@pytest.fixture
def stick(tmp_path: pathlib.Path) -> Iterator[Stick]:
    with ExitStack() as stack:
        yield enter_or_skip(stack, Stick(tmp_path / "behind"))


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """The mount point."""
    made = tmp_path / "mnt"
    made.mkdir()
    return made


class Folder:
    """Transports to one folder, with notes that survive them."""

    def __init__(self, path: pathlib.Path, notes: Notes | None = None, **options: str) -> None:
        self.path = str(path)
        self.notes = notes or Notes()
        self.options = options

    def open(self) -> FolderTransport:
        made = FolderTransport(self.path, notes=self.notes, **self.options)  # type: ignore[arg-type]
        made.connect()
        return made

    def refusal(self) -> str:
        with pytest.raises(LinkError) as caught:
            self.open()
        return str(caught.value)


def do(transport: FolderTransport, *requests: object) -> list[object]:
    for ticket, request in enumerate(requests):
        transport.submit(ticket, request)  # type: ignore[arg-type]
    return [result for _, result in transport.collect()]


def deliver(transport: FolderTransport, name: str, data: bytes) -> None:
    assert do(transport, Write(name, 0, data, create=True), Finish(name)) == [None, None]


def files(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_on_the_root_file_system_just_works(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysubtask.transports.mount.mount_point", lambda path: None)
    folder = Folder(tmp_path / "plain")
    assert "the folder is not there" in folder.refusal()
    (tmp_path / "plain").mkdir()
    deliver(folder.open(), "a", b"1")
    assert files(tmp_path / "plain") == {"a"}
    (tmp_path / "plain" / "a").unlink()
    (tmp_path / "plain").rmdir()
    (tmp_path / "plain").mkdir()
    deliver(folder.open(), "b", b"1")
    assert files(tmp_path / "plain") == {"b"}
    required = Folder(tmp_path / "plain", mount="required")
    assert "nothing is mounted there" in required.refusal()


def test_a_mount_is_marked_once_and_by_whoever_comes_first(
    stick: Stick, place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    stick.mount(place)
    assert mount_point(str(place)) == str(place)
    (place / "in").mkdir()
    notes = Notes(RealDisk(), str(tmp_path / "destination.json"))
    deliver(Folder(place / "in", notes, mount="required").open(), "a", b"1")
    text = (place / "in" / MARKER).read_bytes()
    assert files(place / "in") == {"a", MARKER}
    other = Folder(place / "in")
    other.open().close()
    assert (place / "in" / MARKER).read_bytes() == text
    assert other.notes.read()["id"] == json.loads(text)["id"]
    assert Notes(RealDisk(), str(tmp_path / "destination.json")).read() == notes.read()


def test_the_bare_mount_point_is_never_written_to(
    stick: Stick, place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    stick.mount(place)
    folder = Folder(place)
    transport = folder.open()
    deliver(transport, "a", b"1")
    assert do(transport, Write("b", 0, b"1", create=True)) == [None]
    assert "busy" in stick.unmount(place)  # it is being delivered to
    transport.relax()
    assert not stick.unmount(place)
    requests = [
        Write("a", 1, b"2"), Write("c", 0, b"", create=True), Rename("a", "b", replace=True),
        Remove("a"), MakeDir("sub"), Stat("a"), List(""),
    ]  # fmt: skip
    for request in requests:
        with pytest.raises(LinkError, match=f"{OTHER}: nothing is mounted at"):
            do(transport, request)
    assert f"{OTHER}: nothing is mounted at {place}; nothing is written there" in folder.refusal()
    assert files(place) == set()
    stick.mount(place)
    deliver(folder.open(), "a", b"2")
    assert (place / "a").read_bytes() == b"2"


def test_a_mount_that_vanishes_in_the_middle_of_a_delivery(
    stick: Stick, place: pathlib.Path
) -> None:
    stick.mount(place)
    for request in (Stat("a"), Write("new", 0, b"x", create=True), Remove("a"), MakeDir("x")):
        transport = Folder(place).open()
        deliver(transport, "a", b"1")
        assert not stick.unmount(place, lazy=True)
        with pytest.raises(LinkError, match=OTHER):
            do(transport, request)
        transport.close()
        assert files(place) == set()
        stick.mount(place)


def test_another_file_system_at_the_same_place(
    stick: Stick, place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    stick.mount(place)
    folder = Folder(place)
    folder.open().close()
    (place / MARKER).unlink()
    folder.open().close()  # somebody emptied it: the same device at the same place
    ours = json.loads((place / MARKER).read_bytes())["id"]
    assert not stick.unmount(place)
    with Stick(tmp_path / "behind2") as second:
        second.mount(place)
        assert f"{OTHER}: it has no {MARKER}" in folder.refusal()
        assert files(place) == set()
        (place / MARKER).touch()  # as the refusal says
        deliver(folder.open(), "a", b"1")
        assert json.loads((place / MARKER).read_bytes())["id"] != ours
        assert not second.unmount(place)
    stick.mount(place)  # it has its marker
    folder.open().close()
    assert not stick.unmount(place)
    (place / MARKER).touch()  # from now on the bare folder is the place
    deliver(folder.open(), "b", b"1")
    deliver(folder.open(), "c", b"1")


def test_a_program_goes_on_while_the_mount_is_gone(
    stick: Stick, place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    stick.mount(place)
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "log.csv"

    def append(master: TaskMaster, data: bytes) -> None:
        with file.open("ab") as out:
            out.write(data)
        assert master.notify(file)

    def master() -> TaskMaster:
        return TaskMaster([str(file)], to=f"file://{place}", **QUICK)

    with contextlib.closing(_Stopping(master())) as first:
        append(first.master, b"one\n")
        assert first.master.flush(20)
        # nothing is open there while nothing is on its way
        wait_until(lambda: not stick.unmount(place), 10, "it can be unmounted")
        append(first.master, b"two\n")
        wait_until(lambda: f"nothing is mounted at {place}" in str(first.master.status()), 10)
        assert first.master.status().link == "retrying"
    with contextlib.closing(_Stopping(master())) as second:  # it remembers
        append(second.master, b"three\n")
        wait_until(lambda: f"nothing is mounted at {place}" in str(second.master.status()), 10)
        assert files(place) == set()
        stick.mount(place)
        assert second.master.flush(20), second.master.status()
        assert (place / "log.csv").read_bytes() == b"one\ntwo\nthree\n"
        assert files(place) == {"log.csv", MARKER}


class _Stopping:
    """A started master; killed at its end, for a graceful stop would wait for the mount."""

    def __init__(self, master: TaskMaster) -> None:
        self.master = master
        master.start()

    def close(self) -> None:
        self.master.stop(forcekill=True)
