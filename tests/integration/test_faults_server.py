"""The server is full, read-only, or loses our folder."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pysubtask import TaskMaster
from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import QUICK, Delivery, delivering, wait_until
from tests.servers.fixtures import enter_or_skip
from tests.servers.mounts import Stick
from tests.servers.openssh import OpenSshServer
from tests.servers.smalldisk import fill, small_disk

__all__ = ["row", "rows"]

OTHERS = "The file waits: 3 s, 6 s … 5 minutes; others go on"


@pytest.fixture
def full_disk(openssh: OpenSshServer) -> Iterator[pathlib.Path]:
    """A folder of the server on a disk of 256 KiB."""
    _, folder = openssh.new_folder()
    with ExitStack() as stack:
        yield enter_or_skip(stack, small_disk(folder / "small", 256 * 1024))


def to(server: OpenSshServer, folder: pathlib.Path) -> str:
    return f"sftp://{server.user}@{server.host}:{server.port}{folder}"


def error_of(made: Delivery, name: str) -> str:
    """What status() says of one file."""
    return str(made.master.status().files[str(made.data / name)].last_error)


@fault(
    "the share or stick that a destination folder is on is unmounted",
    "the folder is on another file system than before: nothing is mounted at …; nothing is written "
    "there (mount it; if this is the new place, make an empty file .pysubtask-destination there)",
    "Nothing is written into the bare mount point; tries as for any link",
    "mount it again",
)
def test_a_share_is_unmounted(tmp_path: pathlib.Path, row: Fault) -> None:
    place, data = tmp_path / "mnt", tmp_path / "data"
    place.mkdir()
    data.mkdir()
    with ExitStack() as stack:
        stick = enter_or_skip(stack, Stick(tmp_path / "behind"))
        stick.mount(place)
        master = TaskMaster([str(data / "a")], to=f"file://{place}", **QUICK)
        stack.callback(master.stop, forcekill=True)
        master.start()
        (data / "a").write_bytes(b"1")
        master.notify(data / "a")
        assert master.flush(20)
        wait_until(lambda: not stick.unmount(place), 10)
        (data / "a").write_bytes(b"12")
        master.notify(data / "a")
        row.shown(master)
        assert not list(place.iterdir())
        stick.mount(place)
        assert master.flush(20)
        assert (place / "a").read_bytes() == b"12"


@fault(
    "the server's disk is full",
    "no space is left on the server",
    OTHERS + ". What is visible stays an exact beginning",
    "make room on the server; `flush()` tries at once",
)
def test_the_server_is_full(
    tmp_path: pathlib.Path, openssh: OpenSshServer, full_disk: pathlib.Path, row: Fault
) -> None:
    content = bytes(range(256)) * 256
    with delivering(tmp_path, openssh, ["a", "b"], to=to(openssh, full_disk)) as made:
        made.append("a", content)
        made.flush()
        filler = fill(full_disk)
        made.append("a", content)
        made.append("b", content)
        row.shown(made.master)
        assert "no space is left" in error_of(made, "a")
        assert (
            content + content[: (full_disk / "a").stat().st_size - len(content)]
            == (full_disk / "a").read_bytes()
        )
        assert made.master.status().link == "connected"
        filler.unlink()
        made.flush()
        assert (full_disk / "a").read_bytes() == content * 2
        assert (full_disk / "b").read_bytes() == content
        assert made.master.status().last_error is None


@fault(
    "the server is read-only, or denies permission for a file",
    "the server denies permission",
    OTHERS,
    "have the permissions of the folder changed",
)
def test_a_read_only_server(
    tmp_path: pathlib.Path, open_sshd: Callable[..., OpenSshServer], row: Fault
) -> None:
    server = open_sshd(read_only=True)
    with delivering(tmp_path, server, ["a"]) as made:
        made.append("a", b"1\n")
        row.shown(made.master)
        assert "denies permission" in error_of(made, "a")
        assert made.remote_bytes("a") is None


@fault(
    "the remote folder is removed while we deliver",
    None,
    "It is made anew and the file is sent again as a whole (`on_remote_gone`)",
    "nothing",
)
def test_the_remote_folder_is_removed(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, ["a"], below="/in/here") as made:
        made.append("a", b"1\n")
        made.flush()
        shutil.rmtree(made.remote / "in")
        made.append("a", b"2\n")
        made.flush()
        assert made.remote_bytes("in/here/a") == b"1\n2\n"
        assert made.master.status().last_error is None


@fault(
    "a file stands where a remote folder should be made",
    "make folder …: a file stands where the folder should be",
    OTHERS,
    "remove or rename that file on the server",
)
def test_a_file_in_the_way(tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault) -> None:
    with delivering(tmp_path, openssh, [{"file": "a", "remote_dir": "in"}]) as made:
        (made.remote / "in").write_bytes(b"in the way")
        made.append("a", b"1\n")
        row.shown(made.master)
        (made.remote / "in").unlink()
        made.flush()
        assert made.remote_bytes("in/a") == b"1\n"


@fault(
    "a folder stands where the file should go on the server",
    "replace …: a folder stands where the file should be",
    'With `on_first_contact="keep"` it is renamed to `name~YYYYMMDDThhmmssZ`, as a foreign file '
    'is. With `"replace"` it is left alone, and the file waits; others go on',
    "remove or rename that folder on the server",
)
def test_a_folder_in_the_way(tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault) -> None:
    with delivering(tmp_path, openssh, ["a", "b"], on_first_contact="replace") as made:
        (made.remote / "a").mkdir()
        (made.remote / "a" / "theirs").write_bytes(b"not ours")
        made.append("a", b"1\n")
        made.append("b", b"2\n")
        row.shown(made.master)
        made.wait_for("b", b"2\n")
        assert (made.remote / "a" / "theirs").read_bytes() == b"not ours"
        (made.remote / "a").rename(made.remote / "elsewhere")
        made.flush()
        assert made.remote_bytes("a") == b"1\n"


def test_a_folder_in_the_way_is_kept(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, ["a"]) as made:
        (made.remote / "a").mkdir()
        (made.remote / "a" / "theirs").write_bytes(b"not ours")
        made.append("a", b"1\n")
        made.flush()
        assert made.remote_bytes("a") == b"1\n"
        (kept,) = made.remote.glob("a~*")
        assert (kept / "theirs").read_bytes() == b"not ours"
        assert f"kept as {made.remote_name}/{kept.name}" in made.log()


@fault(
    "a delivered file is removed on the server",
    None,
    "Noticed with the next notify: it is sent again as a whole (`on_remote_gone`)",
    "nothing",
)
def test_a_delivered_file_is_removed(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, ["a"]) as made:
        made.append("a", b"1\n")
        made.flush()
        (made.remote / "a").unlink()
        made.append("a", b"2\n")
        made.flush()
        assert made.remote_bytes("a") == b"1\n2\n"
        wait_until(lambda: made.master.status().last_error is None, 10)


def test_what_a_server_lacks_is_in_the_status_and_the_log(
    tmp_path: pathlib.Path, openssh_denied: OpenSshServer
) -> None:
    with delivering(tmp_path, openssh_denied, ["a"]) as made:
        made.append("a", b"1\n")
        made.flush()
        for lack in ("posix-rename", "copy-data", "fsync"):
            found = [note for note in made.master.status().notes if f"({lack}): " in note]
            assert len(found) == 1
            assert found[0] in made.log()
            assert found[0] in str(made.master.status())
