"""What is no file, what can't be read, and very much at once."""

from __future__ import annotations

import os
import pathlib
import time

from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import delivering
from tests.servers.openssh import OpenSshServer

__all__ = ["row", "rows"]

WAITS = "It waits: 3 s, 6 s … 5 minutes; others go on. Nothing hangs"


@fault(
    "a watched path is a FIFO",
    "not a regular file: it is a FIFO",
    WAITS,
    "watch files only",
)
@fault(
    "a watched path leads to a device (`/dev/zero` has no end)",
    "not a regular file: it is a device",
    WAITS,
    "watch files only",
)
@fault(
    "a watched path is a loop of symbolic links",
    "Too many levels of symbolic links",
    WAITS,
    "mend the link",
)
@fault(
    "a watched file may not be read",
    "Permission denied",
    WAITS,
    "give the program's user the right to read it",
)
@fault(
    "a folder stands where a watched file should be",
    "not a regular file: it is a folder",
    WAITS,
    'declare it as `{"dir": …}`, or remove it',
)
def test_what_is_no_file_and_what_can_not_be_read(
    tmp_path: pathlib.Path, openssh: OpenSshServer, rows: list[Fault]
) -> None:
    names = ["fifo", "device", "loop", "unreadable", "folder"]
    with delivering(tmp_path, openssh, [*names, "fine"]) as made:
        os.mkfifo(made.data / "fifo")
        (made.data / "device").symlink_to("/dev/zero")
        (made.data / "loop").symlink_to("loop")
        if os.geteuid():
            (made.data / "unreadable").write_bytes(b"secret")
            (made.data / "unreadable").chmod(0)
        else:  # root may read everything but what the kernel keeps for writing only (proc(5))
            (made.data / "unreadable").symlink_to("/proc/sys/vm/compact_memory")
        (made.data / "folder").mkdir()
        for name in [*names, "fine"]:
            assert made.master.notify_file_by_index([*names, "fine"].index(name))
        for found in rows:
            found.shown(made.master)
        made.append("fine", b"1\n")
        made.wait_for("fine", b"1\n")
        (made.data / "fifo").unlink()
        made.append("fifo", b"now a file\n")
        made.wait_for("fifo", b"now a file\n", 10)
        assert sorted(path.name for path in made.remote.iterdir()) == ["fifo", "fine"]


def test_no_files_in_a_watched_folder(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    """They are passed over: the folder's files go on, and nothing else is delivered."""
    out = tmp_path / "data" / "out"
    out.mkdir(parents=True)
    os.mkfifo(out / "fifo")
    (out / "zero").symlink_to("/dev/zero")
    (out / "loop").symlink_to("loop")
    (out / "folder").mkdir()
    with delivering(tmp_path, openssh, [{"dir": "out"}]) as made:
        (out / "file").write_bytes(b"1\n")
        made.wait_for("file", b"1\n")
        made.flush()
        assert [path.name for path in made.remote.iterdir()] == ["file"]


@fault(
    "files of two watches would have one name at the destination (where it folds case, `a.csv` and "
    "`A.csv` would, too)",
    "has that name at the destination; held until that file is gone (give one of the watches "
    "another 'remote_dir', or rename one of the files)",
    "The one that came first has the name; the later one waits, and nothing of either is lost. "
    "Once the first is gone, not watched any more or named otherwise, the other one takes its "
    "place; what stood there is kept as `name~YYYYMMDDThhmmssZ`",
    "another `as` or `remote_dir`: it holds from the next start",
)
def test_two_files_with_one_name(
    tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault
) -> None:
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with delivering(tmp_path, openssh, [{"dir": "one"}, {"dir": "two"}]) as made:
        (made.data / "one" / "x.csv").write_bytes(b"first\n")
        made.wait_for("x.csv", b"first\n")
        (made.data / "two" / "x.csv").write_bytes(b"second\n")
        (made.data / "two" / "y.csv").write_bytes(b"others go on\n")
        row.shown(made.master)
        made.wait_for("y.csv", b"others go on\n")
        assert made.remote_bytes("x.csv") == b"first\n"
        (made.data / "one" / "x.csv").rename(made.data / "one" / "z.csv")
        made.wait_for("z.csv", b"first\n")
        made.wait_for("x.csv", b"second\n", 60)
        assert [p.read_bytes() for p in made.remote.glob("x.csv~*")] == [b"first\n"]


@fault(
    "5,000 files are dropped into a watched folder at once",
    None,
    "They are delivered as they come, hundreds at a time over one connection",
    "nothing",
)
def test_5000_files_at_once(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    out = tmp_path / "data" / "out"
    out.mkdir(parents=True)
    with delivering(tmp_path, openssh, [{"dir": "out"}]) as made:
        for number in range(5000):
            (out / f"{number}.bin").write_bytes(b"%d" % number)
        # a flush does not wait for files that may still be on their way in, as they are to a
        # subtask that only starts now
        until = time.monotonic() + 240
        while len(os.listdir(made.remote)) < 5000:
            assert time.monotonic() < until
            time.sleep(0.1)
        made.flush(60)
        assert {p.name: p.read_bytes() for p in made.remote.iterdir()} == {
            f"{number}.bin": b"%d" % number for number in range(5000)
        }
        made.master.stop()
        delivered = [line for line in made.log().splitlines() if "INFO: delivered" in line]
        assert 4 <= len(delivered) < 20
        assert any(" files of " in line for line in delivered)


@fault(
    "20,000 notifies in a row",
    None,
    "Those that come while a snapshot is being taken share the next one; `notify()` itself takes "
    "microseconds",
    "nothing",
)
def test_20000_notifies_in_a_row(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, [{"file": "a", "growth": "append"}]) as made:
        path = made.data / "a"
        name = str(path)
        with path.open("ab", buffering=0) as file:
            for number in range(20_000):
                file.write(b"%d\n" % number)
                assert made.master.notify(name)
        made.flush(60)
        assert made.remote_bytes("a") == path.read_bytes()
        made.master.stop()
        assert len(made.log().splitlines()) < 30


@fault(
    "a file is written without end while it is watched",
    None,
    "What a snapshot saw is delivered; what comes meanwhile is for the next one",
    "nothing",
)
def test_a_file_that_never_rests(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, [{"file": "a", "growth": "append"}]) as made:
        sizes: set[int] = set()
        until = time.monotonic() + 60
        while len(sizes) < 20:
            assert time.monotonic() < until
            made.append("a", b"%07d\n" % len(sizes))
            seen = made.remote_bytes("a")
            if seen is not None:
                assert seen == (made.data / "a").read_bytes()[: len(seen)]
                sizes.add(len(seen))
        made.flush()
        assert made.remote_bytes("a") == (made.data / "a").read_bytes()
