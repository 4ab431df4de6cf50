"""What is fetched, and what a kill, a loss of power, a full disk or a change at the wrong moment
leave of it."""

from __future__ import annotations

import errno
import random

import pytest

from pysubtask.errors import LinkLost
from tests.simulation.clock import Killed
from tests.unit.core_fakes import nothing, on_nth
from tests.unit.pull_world import INBOX, SEC, FetchBench

HEAD, ZEROS = b"H" * 1024, bytes(4096)


def _bytes(size: int, seed: int = 5) -> bytes:
    return random.Random(seed).randbytes(size)


def _raise(error: BaseException) -> None:
    raise error


# -- what may not be on the disk ---------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill", "kill, then a stop"])
def test_what_was_not_synced_is_not_believed_after_a_loss_of_power(end: str) -> None:
    """A clean stop says nothing of the bytes of a temporary file."""
    bench, data = FetchBench(), _bytes(3_000_000)
    bench.server.put_file("out/a.bin", data)
    bench.start()
    bench.cut_at("read", 8)
    bench.run(30, until=lambda: not bench.server.up)
    if end == "stop":
        bench.stop()
    else:
        bench.kill()
    if end == "kill, then a stop":
        bench.start()
        bench.run(5)
        bench.stop()
    bench.lose_power(data=False)
    bench.server.up, bench.server.before = True, nothing
    bench.start()
    bench.run(60)
    assert bench.here() == {"a.bin": data}


def test_what_was_synced_of_a_file_that_is_gone_says_nothing_of_the_next() -> None:
    """Two losses of power: the first takes a temporary file's name, the second another one's
    bytes."""
    bench, data = FetchBench(), _bytes(20_000_000)
    bench.server.put_file("out/a.bin", data)
    bench.start()
    bench.cut_at("read", 40)
    bench.run(60, until=lambda: not bench.server.up)
    bench.run(5)
    passage = bench.entry("a.bin").passage
    assert passage is not None
    assert passage.synced > 8_000_000
    bench.lose_power()
    bench.server.up = True
    bench.cut_at("read", 25)
    bench.start()
    bench.run(60, until=lambda: not bench.server.up)
    bench.run(5)
    bench.lose_power(data=False)
    bench.server.up, bench.server.before = True, nothing
    bench.start()
    bench.run(60)
    assert bench.here() == {"a.bin": data}


@pytest.mark.parametrize("deletes", [False, True])
def test_a_name_that_nobody_has_synced_is_no_file_that_the_program_took(deletes: bool) -> None:
    bench = FetchBench(deletes=deletes)
    bench.server.put_file("out/a.cfg", b"q" * 5000)
    bench.start()
    bench.hook = on_nth("sync_dir", INBOX, 1, lambda: _raise(Killed()))
    with pytest.raises(Killed):
        bench.run(60)
    bench.hook = nothing
    bench.kill()
    bench.server.up = False
    bench.start()
    bench.run(5)
    bench.stop()
    bench.lose_power()
    bench.server.up = True
    bench.start()
    bench.run(300)
    assert bench.here() == {"a.cfg": b"q" * 5000}
    assert bench.server.names() == ([] if deletes else ["out/a.cfg"])


def test_a_file_that_can_not_be_looked_at_is_looked_at_again_before_it_is_gone_on_with() -> None:
    bench, data = FetchBench(), _bytes(3_000_000)
    bench.server.put_file("out/a.bin", data)
    bench.start()
    bench.cut_at("read", 8)
    bench.run(30, until=lambda: not bench.server.up)
    bench.kill()
    bench.lose_power(data=False)
    refuse = OSError(errno.EIO, "I/O error")

    def hook(operation: str, path: str) -> None:
        if operation == "open" and ".pysubtask-" in path:
            bench.hook = nothing
            raise refuse

    bench.hook = hook
    bench.server.up, bench.server.before = True, nothing
    bench.start()
    bench.run(60)
    assert bench.here() == {"a.bin": data}


def test_nothing_is_renamed_at_the_server_before_it_is_noted_for_sure() -> None:
    bench = FetchBench(deletes=True)
    bench.server.put_file("out/a.cfg", b"1" * 3000)

    def refuse(operation: str, path: str) -> None:
        known = bench.journal.get(f"{INBOX}/a.cfg")
        if operation == "sync" and "/journal" in path and known and known.leaving:
            raise OSError(errno.EIO, "I/O error", path)

    renamed = []
    bench.hook = refuse
    bench.server.after = lambda name, path: renamed.append(path) if name == "rename" else None
    bench.start()
    bench.run(30)
    assert bench.here() == {"a.cfg": b"1" * 3000}
    assert renamed == []
    bench.hook = nothing
    bench.run(60)
    assert bench.server.names() == []


# -- names that change -------------------------------------------------------------------------


@pytest.mark.parametrize("deletes", [False, True])
def test_a_rename_that_is_refused_here_loses_nothing(deletes: bool) -> None:
    bench, old = FetchBench(), _bytes(5000)
    bench.server.put_file("out/app.log", old)
    bench.start()
    bench.run(30)
    bench.stop()
    bench.deletes = deletes
    bench.rotate("app.log", b"new\n" * 100)
    denied = PermissionError(errno.EACCES, "Permission denied")
    bench.hook = on_nth("rename", "/app.log", 1, lambda: _raise(denied))
    bench.start()
    bench.run(300)
    assert bench.here() == {"app.log": b"new\n" * 100, "app.log.1": old}


@pytest.mark.parametrize("deletes", [False, True])
def test_another_file_that_looks_alike_takes_nobodys_place(deletes: bool) -> None:
    """The same size, the same beginning and end; not the same time."""
    bench = FetchBench(deletes=deletes)
    one, two = HEAD + b"order one " * 300 + ZEROS, HEAD + b"order two " * 300 + ZEROS
    bench.server.put_file("out/1.cfg", one)
    bench.start()
    bench.run(60)
    if not deletes:
        bench.server.take_file("out/1.cfg")
    bench.server.put_file("out/2.cfg", two)
    bench.run(120)
    assert bench.here() == {"1.cfg": one, "2.cfg": two}
    assert bench.news() == [("1.cfg", "new", 0, len(one)), ("2.cfg", "new", 0, len(two))]


def test_a_copy_is_no_rename() -> None:
    bench, old = FetchBench(growth="append"), _bytes(5000)
    bench.server.put_file("out/app.log", old)
    bench.start()
    bench.run(30)
    bench.news()
    bench.server.put_file("out/app.log.bak", old + b"more")
    bench.grow("app.log", b"z" * 100)
    bench.run(60)
    assert bench.here() == {"app.log": old + b"z" * 100, "app.log.bak": old + b"more"}
    assert bench.news() == [
        ("app.log", "grown", 5000, 5100),
        ("app.log.bak", "new", 0, 5004),
    ]


def test_what_may_have_moved_waits_until_the_new_names_are_known() -> None:
    """Else a rotated file might be replaced here, and be fetched once more under its new name."""
    bench = FetchBench()
    bench.server.put_file("out/app.log", b"x" * 3000)
    bench.start()
    bench.run(30)
    bench.rotate("app.log", b"new\n" * 100)
    here: list[set[str]] = []

    def before(name: str, path: str) -> None:
        if (name, path) == ("read", "out/app.log"):
            here.append(set(bench.here()))

    bench.server.before = before
    bench.run(60)
    assert here == [{"app.log.1"}]


def test_a_rotated_file_is_told_of_from_its_first_byte_that_is_news() -> None:
    """The program has not dealt with what it was told of the file under its old name."""
    bench = FetchBench()
    bench.server.put_file("out/app.log", b"x" * 3000)
    bench.start()
    bench.run(30)
    bench.news()
    bench.grow("app.log", b"y" * 2000)
    bench.run(60)
    bench.rotate("app.log", b"new\n" * 100)
    bench.run(60)
    assert bench.news() == [("app.log", "new", 0, 400), ("app.log.1", "renamed", 3000, 5000)]


def test_a_rename_at_the_server_that_is_not_decided_is_asked_for_again() -> None:
    bench = FetchBench(deletes=True)
    bench.server.put_file("out/a.cfg", b"1" * 3000)
    asked: list[str] = []

    def cut(name: str, path: str) -> None:
        if name == "rename" and not asked:
            asked.append(bench.entry("a.cfg").leaving)
            raise LinkLost("cut by the test", operation=name, path=path)

    bench.server.before = cut
    bench.start()
    bench.run(60, until=lambda: bool(asked))
    bench.server.put_file("out/a.cfg", b"2" * 4000)  # so that it is not asked for again at once
    bench.run(3)
    assert bench.entry("a.cfg").leaving == asked[0]
    bench.server.move_file("out/a.cfg", asked[0])  # the old connection's request arrives
    bench.run(300)
    assert bench.here()["a.cfg"] == b"2" * 4000
    assert bench.server.names() == []


# -- telling -----------------------------------------------------------------------------------


def test_a_touch_that_the_disk_refuses_is_repeated() -> None:
    bench = FetchBench()
    bench.server.put_file("out/a.cfg", b"1" * 3000)
    full = OSError(errno.ENOSPC, "No space left on device")
    count = 0

    def refuse(operation: str, path: str) -> None:
        nonlocal count
        if operation == "rename" and "/inbox/.pysubtask-" in path:
            count += 1
            if count == 2:
                raise full

    bench.hook = refuse
    bench.start()
    bench.run(60)
    assert bench.fs.exists(f"{INBOX}/a.cfg.arrived")
    assert bench.entry("a.cfg").told is None


def test_a_touch_is_on_the_disk_when_the_program_counts_as_told() -> None:
    bench = FetchBench()
    bench.server.put_file("out/a.cfg", b"1" * 3000)
    bench.start()
    bench.run(30)
    bench.news()
    bench.lose_power()
    assert bench.fs.read(f"{INBOX}/a.cfg.arrived").endswith(b"}\n")


# -- the program's own -------------------------------------------------------------------------


def test_what_the_program_changes_while_bytes_are_added_is_its_own() -> None:
    bench, base = FetchBench(growth="append"), _bytes(20_000, 1)
    bench.server.put_file("out/a.log", base)
    bench.start()
    bench.run(30)
    more = _bytes(5_000_000, 2)
    bench.grow("a.log", more)
    added = 0

    def count(operation: str, path: str) -> None:
        nonlocal added
        added += operation == "append" and path.endswith("/a.log")

    def edit(name: str, path: str) -> None:
        nonlocal added
        if name == "read" and added == 2:
            added = 99
            bench.clock.advance(10 * SEC)
            bench.fs.write_inode(bench.fs.file(f"{INBOX}/a.log"), 5000, b"MINE")

    bench.hook, bench.server.before = count, edit
    bench.run(60)
    (beside,) = [name for name in bench.here() if "~conflict-" in name]
    assert bench.here()[beside] == base + more
    assert bench.here()["a.log"][5000:5004] == b"MINE"
    assert len(bench.here()["a.log"]) < len(base + more)


def test_what_the_program_adds_behind_ours_is_its_own() -> None:
    bench = FetchBench(growth="append")
    bench.server.put_file("out/a.log", b"1" * 3000)
    bench.start()
    bench.run(30)
    bench.grow("a.log", b"2" * 1000)
    bench.hook = on_nth("sync", "/a.log", 1, lambda: bench.fs.append(f"{INBOX}/a.log", b"MINE"))
    bench.run(60)
    bench.grow("a.log", b"3" * 1000)
    bench.run(100)
    whole = b"1" * 3000 + b"2" * 1000
    assert bench.here().pop("a.log") == whole + b"MINE"
    assert [data for name, data in bench.here().items() if "~" in name] == [whole + b"3" * 1000]


def test_what_the_program_wrote_into_a_file_that_refuses_ours_is_its_own() -> None:
    """As many bytes as before, and then nobody may add any: that is no half of an append."""
    bench, old = FetchBench(growth="append"), _bytes(5000)
    bench.server.put_file("out/a.log", old)
    bench.start()
    bench.run(30)
    bench.grow("a.log", b"more")
    mine = b"m" * 5000
    left = 1

    def deny(operation: str, path: str) -> None:
        nonlocal left
        if operation != "open" or not path.endswith("/a.log") or not left:
            return
        if bench.entry("a.log").reach:
            left = 0
            bench.clock.advance(10 * SEC)
            bench.fs.write_inode(bench.fs.file(path), 0, mine)
            raise PermissionError(errno.EACCES, "Permission denied", path)

    bench.hook = deny
    bench.run(300)
    assert bench.here().pop("a.log") == mine
    assert [data for name, data in bench.here().items() if "~" in name] == [old + b"more"]


@pytest.mark.parametrize("refused", ["append", "sync"])
def test_half_of_what_was_to_be_added_is_taken_back(refused: str) -> None:
    """Else, once the server has rotated the file, it would pass for the program's own."""
    bench, old, more = FetchBench(), _bytes(5000), _bytes(4000, 7)
    bench.server.put_file("out/app.log", old)
    bench.start()
    bench.run(30)
    bench.grow("app.log", more)

    def rotate() -> None:
        bench.rotate("app.log", b"new\n" * 100)
        raise OSError(errno.ENOSPC, "injected, half of it was written")

    bench.hook = on_nth(refused, "/app.log", 1, rotate)
    bench.run(300)
    assert bench.here() == {"app.log": b"new\n" * 100, "app.log.1": old + more}


def test_a_name_that_was_given_though_the_folder_could_not_be_synced_counts_later() -> None:
    bench = FetchBench()
    bench.server.put_file("out/a.cfg", b"1" * 3000)

    def refuse() -> None:
        bench.clock.advance(60 * SEC)
        bench.server.put_file("out/a.cfg", b"2" * 2500)
        raise OSError(errno.EIO, "I/O error")

    bench.start()
    bench.hook = on_nth("sync_dir", INBOX, 1, refuse)
    bench.run(200)
    assert bench.here() == {"a.cfg": b"2" * 2500}


def test_a_long_name_is_shortened_for_what_comes_beside_it() -> None:
    bench, name = FetchBench(), "n" * 235
    bench.fs.append(f"{INBOX}/{name}", b"mine")
    bench.server.put_file(f"out/{name}", b"1" * 3000)
    bench.start()
    bench.run(60)
    assert sorted(bench.here().values()) == [b"1" * 3000, b"mine"]
    assert not bench.puller.status().refused
