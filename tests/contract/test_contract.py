"""The promises of ``pysubtask/transports/contract.py``, for every transport."""

from __future__ import annotations

import os
import time

import pytest

from pysubtask.errors import (
    LinkError,
    LinkLost,
    RemoteError,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.contract import (
    Begin,
    Begun,
    Finish,
    List,
    MakeDir,
    Put,
    Read,
    RemoteStat,
    Remove,
    Rename,
    Request,
    Stat,
    Write,
)
from pysubtask.transports.mount import MARKER
from tests.contract.cases import Driver, Harness, write_whole

NAMES = [
    "plain.csv",
    "with space.txt",
    "ümläut-\N{SNOWMAN}.csv",
    "-rf",
    "quote'\"$`.txt",
    "a" * 200,
    "back\\slash",
    "line\nbreak",
    "#hash%41?",
]


def test_what_is_written_is_there(driver: Driver, harness: Harness) -> None:
    write_whole(driver, harness.path("new"), b"hello")
    assert harness.peek("new") == b"hello"
    found = driver.ask(Stat(harness.path("new")))
    assert isinstance(found, RemoteStat)
    assert found.size == 5
    assert not found.is_dir
    assert found.mtime is None or abs(found.mtime - time.time()) < 120


def test_write_without_create_needs_the_file(driver: Driver, harness: Harness) -> None:
    with pytest.raises(RemoteNotFound):
        driver.ask(Write(harness.path("new"), 0, b"x"))
    assert harness.peek("new") is None


def test_the_first_write_may_fail_and_the_next_one_create(driver: Driver, harness: Harness) -> None:
    path = harness.path("new")
    with pytest.raises(RemoteNotFound):
        driver.ask(Write(path, 0, b"x"))
    driver.ask(Write(path, 0, b"y", create=True))
    driver.ask(Finish(path))
    assert harness.peek("new") == b"y"


def test_an_empty_file_can_be_made(driver: Driver, harness: Harness) -> None:
    write_whole(driver, harness.path("empty"), b"")
    assert harness.peek("empty") == b""


def test_writing_never_truncates(driver: Driver, harness: Harness) -> None:
    harness.put("old", b"0123456789")
    if not driver.transport.capabilities.positioned_write:
        pytest.skip("no positioned writes")
    driver.do(Write(harness.path("old"), 2, b"ab", create=True))
    driver.ask(Finish(harness.path("old")))
    if harness.writes_only_at_end:
        assert harness.peek("old") == b"0123456789"
    else:
        assert harness.peek("old") == b"01ab456789"


def test_an_append_is_seen_by_path_and_by_handle(driver: Driver, harness: Harness) -> None:
    if not driver.transport.capabilities.positioned_write:
        pytest.skip("no positioned writes")
    path = harness.path("log")
    harness.put("log", b"first\n")
    driver.ask(Write(path, 6, b"second\n"))
    by_path, by_handle = driver.do(Stat(path), Stat(path, by_handle=True))
    assert isinstance(by_path, RemoteStat)
    assert by_path.size == 13
    assert isinstance(by_handle, RemoteStat | RemoteUnsupported)
    if isinstance(by_handle, RemoteStat):
        assert by_handle.size == 13
    driver.ask(Finish(path))
    assert harness.peek("log") == b"first\nsecond\n"


def test_stat_by_handle_needs_an_open_file(driver: Driver, harness: Harness) -> None:
    harness.put("closed", b"x")
    with pytest.raises(RemoteUnsupported):
        driver.ask(Stat(harness.path("closed"), by_handle=True))


def test_a_sequential_server_takes_write_and_stat_in_one_flight(
    driver: Driver, harness: Harness
) -> None:
    capabilities = driver.transport.capabilities
    if not (capabilities.sequential and capabilities.positioned_write):
        pytest.skip("not sequential, or no positioned writes")
    path = harness.path("log")
    requests: list[Request] = []
    for index in range(20):
        requests += [Write(path, index * 10, b"0123456789", create=True), Stat(path)]
    results = driver.do(*requests)
    assert results[0::2] == [None] * 20
    assert [s.size for s in results[1::2] if isinstance(s, RemoteStat)] == list(range(10, 201, 10))


def test_finish_of_what_is_not_open_does_nothing(driver: Driver, harness: Harness) -> None:
    assert driver.ask(Finish(harness.path("never"), sync=True)) is None
    assert harness.peek("never") is None


def test_finish_with_sync(driver: Driver, harness: Harness) -> None:
    driver.ask(Write(harness.path("synced"), 0, b"abc", create=True))
    assert driver.ask(Finish(harness.path("synced"), sync=True)) is None
    assert harness.peek("synced") == b"abc"


def test_rename_refuses_an_existing_target(driver: Driver, harness: Harness) -> None:
    harness.put("a", b"A")
    harness.put("b", b"B")
    (result,) = driver.do(Rename(harness.path("a"), harness.path("b")))
    assert isinstance(result, RemoteError)
    assert (harness.peek("a"), harness.peek("b")) == (b"A", b"B")


def test_rename_to_a_free_name(driver: Driver, harness: Harness) -> None:
    harness.put("a", b"A")
    assert driver.ask(Rename(harness.path("a"), harness.path("b"))) is None
    assert (harness.peek("a"), harness.peek("b")) == (None, b"A")


def test_rename_replaces_where_it_is_atomic(driver: Driver, harness: Harness) -> None:
    harness.put("a", b"A")
    harness.put("b", b"B")
    (result,) = driver.do(Rename(harness.path("a"), harness.path("b"), replace=True))
    if driver.transport.capabilities.upload_tokens:  # there only an upload replaces a file
        assert isinstance(result, RemoteUnsupported)
        assert (harness.peek("a"), harness.peek("b")) == (b"A", b"B")
        return
    if driver.transport.capabilities.atomic_replace:
        assert result is None
        assert (harness.peek("a"), harness.peek("b")) == (None, b"A")
    else:
        assert isinstance(result, RemoteUnsupported)


def test_rename_of_nothing(driver: Driver, harness: Harness) -> None:
    with pytest.raises(RemoteError):
        driver.ask(Rename(harness.path("nothing"), harness.path("b")))


def test_after_a_replacement_writes_go_to_the_new_file(driver: Driver, harness: Harness) -> None:
    capabilities = driver.transport.capabilities
    if not (capabilities.atomic_replace and capabilities.positioned_write):
        pytest.skip("no atomic replace or no positioned writes")
    path, temp = harness.path("log"), harness.path("temp")
    driver.ask(Write(path, 0, b"old", create=True))
    write_whole(driver, temp, b"new!")
    driver.ask(Rename(temp, path, replace=True))
    driver.ask(Write(path, 4, b"more"))
    driver.ask(Finish(path))
    assert harness.peek("log") == b"new!more"


def test_remove(driver: Driver, harness: Harness) -> None:
    harness.put("gone", b"x")
    assert driver.ask(Remove(harness.path("gone"))) is None
    assert harness.peek("gone") is None
    with pytest.raises(RemoteNotFound):
        driver.ask(Remove(harness.path("gone")))


def test_stat_of_nothing(driver: Driver, harness: Harness) -> None:
    with pytest.raises(RemoteNotFound):
        driver.ask(Stat(harness.path("nothing")))


def test_a_folder_can_be_made_twice(driver: Driver, harness: Harness) -> None:
    path = harness.path("sub")
    assert driver.ask(MakeDir(path)) is None
    assert driver.ask(MakeDir(path)) is None
    found = driver.ask(Stat(path))
    assert isinstance(found, RemoteStat)
    assert found.is_dir
    write_whole(driver, f"{path}/file", b"x")
    assert harness.peek("sub/file") == b"x"


def test_a_folder_is_not_made_over_a_file(driver: Driver, harness: Harness) -> None:
    harness.put("file", b"x")
    with pytest.raises(RemoteError):
        driver.ask(MakeDir(harness.path("file")))
    assert harness.peek("file") == b"x"


def test_a_folder_needs_its_parent(driver: Driver, harness: Harness) -> None:
    if harness.makes_folders:
        assert driver.ask(MakeDir(harness.path("no/such"))) is None
        return
    with pytest.raises(RemoteError):
        driver.ask(MakeDir(harness.path("no/such")))


def test_a_file_needs_its_folder(driver: Driver, harness: Harness) -> None:
    if harness.makes_folders:
        write_whole(driver, harness.path("no/such"), b"x")
        assert harness.peek("no/such") == b"x"
        return
    with pytest.raises(RemoteNotFound):
        driver.ask(Write(harness.path("no/such"), 0, b"x", create=True))


def test_list_names_files_and_folders(driver: Driver, harness: Harness) -> None:
    driver.ask(MakeDir(harness.path("box")))
    driver.ask(MakeDir(harness.path("box/inner")))
    write_whole(driver, harness.path("box/file"), b"1234")
    listed = driver.ask(List(harness.path("box")))
    assert isinstance(listed, dict)
    assert set(listed) == {"inner", "file"}
    assert listed["inner"].is_dir
    assert (listed["file"].size, listed["file"].is_dir) == (4, False)


def test_list_of_an_empty_folder_and_of_none(driver: Driver, harness: Harness) -> None:
    driver.ask(MakeDir(harness.path("box")))
    assert driver.ask(List(harness.path("box"))) == {}
    with pytest.raises(RemoteNotFound):
        driver.ask(List(harness.path("nothing")))


def test_read_is_short_only_at_the_end(driver: Driver, harness: Harness) -> None:
    if not driver.transport.capabilities.readable:
        pytest.skip("write-only")
    data = os.urandom(700_001)
    harness.put("big", data)
    path = harness.path("big")
    reads = [Read(path, 5, 10), Read(path, 0, len(data)), Read(path, 700_000, 9)]
    reads.append(Read(path, 800_000, 9))
    for tries in range(5):
        try:
            got = driver.do(*reads)
            break
        except LinkLost:
            if tries == 4 or not getattr(harness, "may_hang_up", False):
                raise
            driver.transport.close()
            driver.transport = harness.make(driver.news.set)
            driver.transport.connect()
    assert got == [data[5:15], data, data[700_000:], b""]


def test_read_sees_the_file_that_has_the_name_now(driver: Driver, harness: Harness) -> None:
    harness.put("file", b"one")
    assert driver.ask(Read(harness.path("file"), 0, 10)) == b"one"
    driver.ask(Remove(harness.path("file")))
    harness.put("file", b"two")
    assert driver.ask(Read(harness.path("file"), 0, 10)) == b"two"


def test_odd_names(driver: Driver, harness: Harness) -> None:
    names = [n for n in NAMES if "\n" not in n or harness.keeps_line_breaks]
    for name in harness.impossible_names:
        names.remove(name)
        with pytest.raises(RemoteError) as caught:
            write_whole(driver, harness.path(name), b"")
        assert not caught.value.retryable
    for name in names:
        write_whole(driver, harness.path(name), name.encode())
    listed = driver.ask(List(harness.path("")))
    assert isinstance(listed, dict)
    assert set(names) == set(listed) - {MARKER}
    for name in names:
        assert harness.peek(name) == name.encode(), name
        driver.ask(Remove(harness.path(name)))
        assert harness.peek(name) is None, name


def test_an_impossible_name_is_refused_alone(driver: Driver, harness: Harness) -> None:
    bad, good = driver.do(
        Stat(harness.path("nul\0")), Write(harness.path("ok"), 0, b"", create=True)
    )
    assert isinstance(bad, RemoteError)
    assert good is None


def test_a_large_file_in_many_pieces(driver: Driver, harness: Harness) -> None:
    data = os.urandom(5_000_000)
    step = driver.transport.capabilities.max_write_bytes
    path = harness.path("large")
    pieces = range(0, len(data), step)
    results = driver.do(*(Write(path, at, data[at : at + step], create=True) for at in pieces))
    assert results == [None] * len(pieces)
    driver.ask(Finish(path))
    assert harness.peek("large") == data


def test_as_many_files_as_promised_are_in_hand_at_once(driver: Driver, harness: Harness) -> None:
    count = min(driver.transport.capabilities.max_files, 200)
    paths = [harness.path(f"f{index}") for index in range(count)]
    for round_number in range(3):
        data = str(round_number).encode()
        results = driver.do(*(Write(path, round_number, data, create=True) for path in paths))
        assert results == [None] * count
    assert driver.do(*(Finish(path) for path in paths)) == [None] * count
    assert all(harness.peek(f"f{index}") == b"012" for index in (0, count // 2, count - 1))


def test_more_files_than_promised_take_turns(driver: Driver, harness: Harness) -> None:
    count = driver.transport.capabilities.max_files * 3
    if count > 500:
        pytest.skip("the limit is too high to matter")
    if not driver.transport.capabilities.positioned_write:
        pytest.skip("no positioned writes")
    paths = [harness.path(f"f{index}") for index in range(count)]
    assert driver.do(*(Write(path, 0, b"1", create=True) for path in paths)) == [None] * count
    assert driver.do(*(Write(path, 1, b"2") for path in paths)) == [None] * count
    assert driver.do(*(Finish(path) for path in paths)) == [None] * count
    assert harness.peek(f"f{count - 1}") == b"12"


def test_a_whole_file_in_one_request(driver: Driver, harness: Harness) -> None:
    path = harness.path("whole")
    if not driver.transport.capabilities.max_put_bytes:
        with pytest.raises(RemoteUnsupported):
            driver.ask(Put(path, b"x"))
        return
    for data in (b"first", b"", b"second"):
        told = driver.ask(Put(path, data, modified=1e9))
        assert isinstance(told, RemoteStat)
        assert told == driver.ask(Stat(path))
        assert told.size == len(data)
        assert harness.peek("whole") == data


def test_many_whole_files_at_once_and_a_bad_one_among_them(
    driver: Driver, harness: Harness
) -> None:
    if not driver.transport.capabilities.max_put_bytes:
        pytest.skip("no whole files in one request")
    driver.ask(MakeDir(harness.path("box")))
    bad = {3: "box", 7: "nul\0", 8: "lone\udcff"}
    puts = [
        Put(harness.path(bad.get(index, f"f{index}")), b"%d" % index, quiet=index == 5)
        for index in range(20)
    ]
    results = driver.do(*puts)
    for index, result in enumerate(results):
        if index in bad:
            assert isinstance(result, RemoteError)
        else:
            assert isinstance(result, RemoteStat)
            assert harness.peek(f"f{index}") == b"%d" % index


def test_an_upload_goes_on_over_another_connection(driver: Driver, harness: Harness) -> None:
    temp, path = harness.path(".temp"), harness.path("big")
    if not driver.transport.capabilities.upload_tokens:
        with pytest.raises(RemoteUnsupported):
            driver.ask(Begin(temp))
        return
    harness.put("big", b"old")
    begun = driver.ask(Begin(temp, modified=1e9))
    assert isinstance(begun, Begun)
    assert begun.size == 0
    driver.ask(Write(temp, 0, b"0123", create=True))
    driver.ask(Write(temp, 4, b"45"))
    assert driver.ask(Stat(temp)) == RemoteStat(6)
    for hole in (7, 5):
        with pytest.raises(RemoteError):
            driver.ask(Write(temp, hole, b"x"))
    driver.close()
    again = Driver(harness)
    try:
        assert again.ask(Begin(temp, begun.token, 4)) == Begun(begun.token, 6)
        assert harness.peek("big") == b"old"
        again.ask(Write(temp, 6, b"789"))
        assert again.ask(Finish(temp)) is None
        assert harness.peek(".temp") is None
        with pytest.raises(RemoteError):
            again.ask(Rename(temp, path))
        assert harness.peek("big") == b"old"
        assert again.ask(Rename(temp, path, replace=True)) is None
        assert harness.peek("big") == b"012345789"
        with pytest.raises(RemoteNotFound):
            again.ask(Begin(temp, begun.token, 10))
    finally:
        again.close()


def test_close_is_idempotent_and_ends_everything(driver: Driver, harness: Harness) -> None:
    before = time.monotonic()
    driver.close()
    driver.close()
    assert time.monotonic() - before < 2.0
    with pytest.raises(LinkError):
        driver.ask(Stat(harness.path("x")))


def test_what_is_written_over_at_the_same_place_is_there_once(
    driver: Driver, harness: Harness
) -> None:
    """A broken connection leaves more than was acknowledged: the same bytes come again."""
    if not driver.transport.capabilities.positioned_write:
        pytest.skip("no positioned writes")
    path = harness.path("log")
    harness.put("log", b"0123456789")
    driver.ask(Write(path, 6, b"6789abc"))
    driver.ask(Write(path, 0, b"0123456789abc"))
    driver.ask(Finish(path))
    assert harness.peek("log") == b"0123456789abc"
