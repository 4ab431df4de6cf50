"""Every kind of change to a local file, through real files and a real sshd."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.promises import Delivery, delivering, wait_until
from tests.servers.openssh import OpenSshServer

LINES = b"".join(b"%06d;some text\n" % number for number in range(3000))


def begin(made: Delivery, name: str, data: bytes = LINES) -> pathlib.Path:
    """Have the file delivered as it is at first."""
    made.append(name, data)
    made.flush()
    assert made.remote_bytes(name) == data
    return made.data / name


def growth(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    for _ in range(5):
        made.append(name, b"more\n")
    return path.read_bytes()


def truncation(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    with path.open("r+b") as file:
        file.truncate(100)
    assert made.master.notify(str(path))
    return LINES[:100]


def truncation_to_nothing_and_new_content(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    path.write_bytes(b"another content\n")  # O_TRUNC
    assert made.master.notify(str(path))
    return b"another content\n"


def rotation(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    made.append(name, b"the last line\n")
    path.rename(path.with_name(name + ".1"))
    made.append(name, b"a new beginning\n")
    return b"a new beginning\n"


def rename_and_recreate_the_same(made: Delivery, name: str) -> bytes:
    """The same beginning in another file: it continues."""
    path = begin(made, name)
    path.rename(path.with_name(name + ".old"))
    made.append(name, LINES + b"and more\n")
    return LINES + b"and more\n"


def deletion_and_recreation(made: Delivery, name: str) -> bytes:
    """File systems like to give the inode number again."""
    path = begin(made, name)
    path.unlink()
    made.append(name, b"X" * len(LINES))
    return b"X" * len(LINES)


def replacement(made: Delivery, name: str) -> bytes:
    begin(made, name)
    made.replace(name, b"version 2\n")
    return b"version 2\n"


def same_size_rewrite(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(b"#")
    assert made.master.notify(str(path))
    return LINES[:20_000] + b"#" + LINES[20_001:]


def rewrite_with_the_old_mtime(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert made.master.notify(str(path))
    return b"!" + LINES[1:]


def replacement_with_the_old_mtime(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    before = path.stat()
    new = b"?" + LINES[1:]
    temporary = path.with_name(".new")
    temporary.write_bytes(new)
    os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
    temporary.rename(path)
    assert made.master.notify(str(path))
    return new


def edit_and_growth(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    with path.open("r+b") as file:
        file.seek(5_000)
        file.write(b"EDIT")
    made.append(name, b"more\n")
    return path.read_bytes()


def deletion(made: Delivery, name: str) -> bytes:
    """What was delivered stays there."""
    path = begin(made, name)
    path.unlink()
    assert made.master.notify(str(path))
    return LINES


def deletion_after_the_last_append(made: Delivery, name: str) -> bytes:
    """The child holds a growing file open: what it holds is read to its end."""
    path = begin(made, name)
    made.append(name, b"the last but one\n")
    made.flush()
    with path.open("ab") as file:
        file.write(b"the last line\n")
    assert made.master.notify(str(path))
    path.unlink()
    return LINES + b"the last but one\nthe last line\n"


def emptiness(made: Delivery, name: str) -> bytes:
    made.append(name, b"")
    return b""


def emptied(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    path.write_bytes(b"")
    assert made.master.notify(str(path))
    return b""


def growing_while_it_is_read(made: Delivery, name: str) -> bytes:
    path = made.data / name
    stop = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.0005):
                file.write(LINES[:3400])

    with path.open("ab") as file:
        file.write(LINES * 40)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            assert made.master.notify(str(path))
            seen = made.remote_bytes(name) or b""
            assert (LINES * 80).startswith(seen[: len(LINES) * 40])
            stop.wait(0.01)
    finally:
        stop.set()
        writer.join()
    assert made.master.notify(str(path))
    return path.read_bytes()


def touch_from_a_shell(made: Delivery, name: str) -> bytes:
    path = begin(made, name)
    made.append(name, b"more\n", notify=False)
    subprocess.run(["touch", f"{path}.notify"], check=True, timeout=10)
    made.wait_for(name, LINES + b"more\n")
    return LINES + b"more\n"


def notify_file_deleted(made: Delivery, name: str) -> bytes:
    """Its vanishing counts as a touch, and the next notify makes it again."""
    path = begin(made, name)
    made.append(name, b"more\n", notify=False)
    pathlib.Path(f"{path}.notify").unlink()
    made.wait_for(name, LINES + b"more\n")
    made.append(name, b"still more\n")
    return LINES + b"more\nstill more\n"


def hard_link(made: Delivery, name: str) -> bytes:
    """Appended to by its other name."""
    path = begin(made, name)
    other = path.with_name("other-name")
    other.hardlink_to(path)
    with other.open("ab") as file:
        file.write(b"by the other name\n")
    assert made.master.notify(str(path))
    return LINES + b"by the other name\n"


def appended_to_without_a_break(made: Delivery, name: str) -> bytes:
    """A thousand notifies."""
    for number in range(1000):
        made.append(name, b"%d\n" % number)
    return (made.data / name).read_bytes()


CHANGES = [
    growth,
    truncation,
    truncation_to_nothing_and_new_content,
    rotation,
    rename_and_recreate_the_same,
    deletion_and_recreation,
    replacement,
    same_size_rewrite,
    rewrite_with_the_old_mtime,
    replacement_with_the_old_mtime,
    edit_and_growth,
    deletion,
    deletion_after_the_last_append,
    emptiness,
    emptied,
    growing_while_it_is_read,
    touch_from_a_shell,
    notify_file_deleted,
    hard_link,
    appended_to_without_a_break,
]
ONLY_WITH_APPENDING = {rotation, rename_and_recreate_the_same, growth, deletion, emptiness}
"""What a program may do that has promised to append only."""


def cases() -> Iterator[Any]:
    for change in CHANGES:
        yield pytest.param(change, "auto", id=f"{change.__name__}-auto")
        if change in ONLY_WITH_APPENDING | {appended_to_without_a_break, touch_from_a_shell}:
            yield pytest.param(change, "append", id=f"{change.__name__}-append")
        if change in {replacement, same_size_rewrite, rewrite_with_the_old_mtime, emptied}:
            yield pytest.param(change, "rewrite", id=f"{change.__name__}-rewrite")


@pytest.mark.parametrize(("change", "growth"), list(cases()))
def test_change(
    tmp_path: pathlib.Path,
    openssh: OpenSshServer,
    change: Callable[[Delivery, str], bytes],
    growth: str,
) -> None:
    with delivering(tmp_path, openssh, [{"file": "a.csv", "growth": growth}]) as made:
        expected = change(made, "a.csv")
        made.flush()
        assert made.remote_bytes("a.csv") == expected, made.log()
        assert sorted(path.name for path in made.remote.iterdir()) == ["a.csv"]


LONGEST = "n" * 251 + ".csv"  # 255 bytes: no name.notify fits beside it
ODD_NAMES = {
    "spaces": "a file with  spaces.csv",
    "newline": "two\nlines.csv",
    "not UTF-8": os.fsdecode(b"caf\xe9 \xff.csv"),
    "the longest": LONGEST,
    "a dash first": "-rf.csv",
    "decomposed (NFD)": "Gro\u0308\u00dfe.csv",
    "composed (NFC)": "Gr\u00f6\u00dfe.csv",
    "Chinese": "\u6e2c\u8a66.csv",
    "an emoji": "\U0001f984.csv",
    "quotes and backslash": "a'b\"c\\d.csv",
    "shell": "$(touch x);*?[a].csv",
    "dots last": "a....",
    "percent": "%41%s.csv",
    "tabs and escapes": "a\tb\x1b[31m.csv",
}


@pytest.mark.parametrize("place", ["declared", "in a watched folder"])
def test_odd_names(tmp_path: pathlib.Path, openssh: OpenSshServer, place: str) -> None:
    """All of them at once: each has to arrive under its own name, byte by byte."""
    names = list(ODD_NAMES.values())
    watch: list[str | dict[str, Any]] = [*names] if place == "declared" else [{"dir": "."}]
    with delivering(tmp_path, openssh, watch, settle_secs=0.2) as made:
        for turn in (1, 2):
            for number, name in enumerate(names):
                made.append(name, b"%d of turn %d\n" % (number, turn))
            made.flush()
        expected = {
            os.fsencode(name): b"%d of turn 1\n%d of turn 2\n" % (number, number)
            for number, name in enumerate(names)
        }
        found = {
            os.fsencode(path.name): path.read_bytes()
            for path in made.remote.iterdir()
            if not path.name.startswith(".")
        }
        assert found == expected
        shown = str(made.master.status())
        shown.encode("utf-8")
        assert "\x1b" not in shown


def at_work(made: Delivery) -> None:
    """Wait until the subtask is up and sees what happens in the folder."""
    made.append("first.csv", b"1\n")
    made.flush()


def test_a_file_copied_slowly_into_a_watched_folder(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """It is complete when it is closed: until then no reader sees any of it."""
    with delivering(tmp_path, openssh, [{"dir": "."}], settle_secs=30.0) as made:
        at_work(made)
        with (made.data / "slow.bin").open("wb", buffering=0) as file:
            for turn in range(10):
                file.write(LINES)
                made.append("first.csv", b"more\n")
                made.wait_for_size("first.csv", 7 + 5 * turn)
                assert made.remote_bytes("slow.bin") is None
        made.wait_for("slow.bin", LINES * 10, 10)


def test_flush_is_about_what_was_notified(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    """It does not wait for a file that somebody is still copying into a watched folder."""
    with delivering(tmp_path, openssh, [{"dir": "."}], settle_secs=60.0) as made:
        at_work(made)
        with (made.data / "slow.bin").open("wb", buffering=0) as file:
            file.write(LINES)
            made.append("first.csv", b"more\n")
            made.flush(10)
            assert made.remote_bytes("first.csv") == b"1\nmore\n"
            assert made.remote_bytes("slow.bin") is None


def test_a_file_that_nobody_closes_goes_once_it_has_settled(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    with (
        delivering(tmp_path, openssh, [{"dir": "."}], settle_secs=0.3) as made,
        (made.data / "open.bin").open("wb", buffering=0) as file,
    ):
        file.write(LINES)
        made.wait_for("open.bin", LINES)
        file.write(LINES)
        made.wait_for("open.bin", LINES * 2)


def test_files_renamed_into_a_watched_folder(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """At once, and subfolders and hidden names never."""
    with delivering(tmp_path, openssh, [{"dir": "."}], settle_secs=60.0) as made:
        at_work(made)
        (made.data / "sub").mkdir()
        (made.data / "sub" / "deep.bin").write_bytes(b"x")
        (made.data / ".hidden").write_bytes(b"x")
        for number in range(30):
            made.replace(f"{number}.bin", b"%d\n" % number * 100, notify=False)

        def arrived() -> bool:
            return all(made.remote_bytes(f"{n}.bin") == b"%d\n" % n * 100 for n in range(30))

        wait_until(arrived, 10, "all have arrived")
        made.replace("7.bin", b"seven, anew\n", notify=False)
        made.wait_for("7.bin", b"seven, anew\n", 10)
        assert len(list(made.remote.iterdir())) == 31


def test_a_deleted_file_comes_back_to_a_watched_folder(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    with delivering(tmp_path, openssh, [{"dir": "."}]) as made:
        for content in (b"first\n", b"second, longer\n", b"3rd\n"):
            made.replace("x.bin", content, notify=False)
            made.wait_for("x.bin", content, 10)
            (made.data / "x.bin").unlink()
        with contextlib.suppress(FileNotFoundError):
            (made.data / "x.bin").unlink()
        made.flush()
        assert made.remote_bytes("x.bin") == b"3rd\n"


def test_an_edit_that_no_sample_shows_is_repaired(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """``growth="auto"`` above ``verify_up_to_bytes``: whole checks in the background."""
    content = bytearray(os.urandom(3 << 20))
    with delivering(tmp_path, openssh, ["big.dat"], verify_up_to_bytes=65_536) as made:
        begin(made, "big.dat", bytes(content))
        content[9000:9006] = b"edited"
        with (made.data / "big.dat").open("r+b") as file:
            file.seek(9000)
            file.write(b"edited")
        made.master.notify(0)
        wait_until(lambda: made.remote_bytes("big.dat") == content, 30)
        assert "edited near byte 8704" in made.log()


def test_whole_lines(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    watch = [{"file": "rows.csv", "records": "lines"}]
    with delivering(tmp_path, openssh, watch, line_wait_secs=2.0) as made:
        made.append("rows.csv", b"one\ntw")
        made.wait_for("rows.csv", b"one\n", 10)
        made.append("rows.csv", b"o\nthr")
        made.wait_for("rows.csv", b"one\ntwo\n", 10)
        made.wait_for("rows.csv", b"one\ntwo\nthr", 10)  # it has waited enough
        made.append("rows.csv", b"ee\nfour")
        made.flush()
        assert made.remote_bytes("rows.csv") == b"one\ntwo\nthree\nfour"
