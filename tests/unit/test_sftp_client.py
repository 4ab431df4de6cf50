"""The SFTP client against a scripted channel: what it sends when, and what it makes of answers."""

from __future__ import annotations

import subprocess
import sys
from struct import pack

import pytest

from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.contract import (
    Copy,
    Finish,
    List,
    MakeDir,
    Read,
    RemoteStat,
    Remove,
    Rename,
    Request,
    Result,
    Stat,
    Write,
)
from pysubtask.transports.sftp.dialect import is_openssh
from tests.servers import scripted as s
from tests.servers.scripted import OPENSSH_EXTENSIONS
from tests.unit.sftp_bench import GO_EXTENSIONS, Bench, kinds


def test_capabilities_of_openssh() -> None:
    found = Bench().client.capabilities
    assert found.sequential
    assert found.atomic_replace
    assert found.server_copy
    assert found.fsync
    assert found.max_write_bytes == 261_120
    assert found.max_files == 46


def test_capabilities_of_a_go_server() -> None:
    found = Bench(GO_EXTENSIONS).client.capabilities
    assert found.atomic_replace
    assert (found.sequential, found.server_copy, found.fsync) == (False, False, False)
    assert found.max_write_bytes == found.max_read_bytes == 32_768


def test_openssh_is_known_whatever_it_denies() -> None:
    assert is_openssh(OPENSSH_EXTENSIONS)
    assert is_openssh(OPENSSH_EXTENSIONS[:6])  # release 8.0
    for denied in OPENSSH_EXTENSIONS:
        assert is_openssh([pair for pair in OPENSSH_EXTENSIONS if pair != denied])
    assert is_openssh([*OPENSSH_EXTENSIONS, (b"new@openssh.com", b"1")])


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        GO_EXTENSIONS,
        OPENSSH_EXTENSIONS[:5],
        [(b"newline", b"\n"), (b"vendor-id", b"x"), *OPENSSH_EXTENSIONS],
        [*OPENSSH_EXTENSIONS, (b"vendor-id", b"x")],
        [*reversed(OPENSSH_EXTENSIONS)],
        [(name, b"9") for name, _ in OPENSSH_EXTENSIONS],
        [OPENSSH_EXTENSIONS[0], (b"check-file", b"1"), *OPENSSH_EXTENSIONS[1:]],
    ],
)
def test_others_are_not_taken_for_openssh(extensions: list[tuple[bytes, bytes]]) -> None:
    assert not is_openssh(extensions)


def test_write_waits_for_the_handle_and_stat_waits_behind_it() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"abc", create=True), Stat("/a"), Stat("/b"))
    first = bench.sent()
    assert [(request.name, request.first) for request in first] == [
        ("OPEN", b"/a"),
        ("STAT", b"/b"),
    ]
    assert first[0].rest == pack(">II", 0x0A, 0)  # write and create, no truncation, no attributes
    bench.server.answer(s.handle(first[0].id, b"H1"))
    second = bench.sent()
    assert [(request.name, request.first) for request in second] == [
        ("WRITE", b"H1"),
        ("STAT", b"/a"),
    ]
    assert len(bench.server.sends) == 2
    bench.server.answer(
        s.status(second[0].id), s.attrs(second[1].id, 3), s.attrs(first[1].id, 9, 0o040755)
    )
    assert bench.collect() == {
        1: None,
        2: RemoteStat(3, 1_700_000_000.0),
        3: RemoteStat(9, 1_700_000_000.0, True),
    }


def test_an_append_and_its_check_are_one_send() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"abc"))
    bench.opened()
    bench.sent()
    bench.server.sends.clear()
    bench.submit(Write("/a", 3, b"def"), Stat("/a"))
    assert bench.server.sends == []
    assert kinds(bench.sent()) == ["WRITE", "STAT"]
    assert len(bench.server.sends) == 1


def test_much_data_is_sent_before_collect() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"", create=True))
    bench.opened()
    bench.collect()
    bench.submit(*(Write("/a", at, bytes(100_000)) for at in range(0, 600_000, 100_000)))
    assert [len(data) > 256 * 1024 for data in bench.server.sends[1:]] == [True, True]


def test_a_missing_file_is_opened_again_for_the_first_write_that_may_create() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"1"), Stat("/a"), Write("/a", 1, b"2", create=True), Stat("/a"))
    (request,) = bench.sent()
    bench.server.answer(s.status(request.id, 2, b"No such file"))
    results = bench.collect()
    assert isinstance(results.pop(1), RemoteNotFound)
    assert results == {}
    stat, again = bench.server.requests()
    assert (stat.name, again.name, again.rest) == ("STAT", "OPEN", pack(">II", 0x0A, 0))
    bench.server.answer(s.handle(again.id, b"H"))
    assert kinds(bench.sent()) == ["WRITE", "STAT"]


def test_a_file_that_cannot_be_opened_fails_all_that_wait_for_it() -> None:
    bench = Bench()
    bench.submit(
        Write("/a", 0, b"1", create=True), Write("/a", 1, b"2"), Stat("/a", by_handle=True),
        Finish("/a"), Stat("/a"), Rename("/a", "/b"), Write("/c", 0, b"", create=True),
    )  # fmt: skip
    (request,) = bench.sent()
    bench.server.answer(s.status(request.id, 3))
    results = bench.collect()
    assert sorted(results) == [1, 2, 3, 4]
    assert all(isinstance(result, RemoteDenied) for result in results.values())
    assert kinds(bench.server.requests()) == ["STAT", "RENAME", "OPEN"]


def test_finish_closes_after_fsync_in_one_flight_on_openssh() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"1", create=True), Finish("/a", sync=True))
    bench.opened(b"HA")
    write, sync, close = bench.sent()
    assert (write.name, sync.first, close.name) == ("WRITE", b"fsync@openssh.com", "CLOSE")
    bench.server.answer(s.status(write.id), s.status(sync.id, 4, b"Failure"), s.status(close.id))
    results = bench.collect()
    assert results[1] is None
    assert isinstance(results[2], RemoteError)
    assert results[2].operation == "sync"


def test_a_parallel_server_gets_close_only_after_fsync_is_acknowledged() -> None:
    bench = Bench((*GO_EXTENSIONS, (b"fsync@openssh.com", b"1")))
    bench.submit(Write("/a", 0, b"", create=True), Finish("/a", sync=True))
    bench.opened()
    assert bench.collect() == {1: None}
    (sync,) = bench.server.requests()
    bench.server.answer(s.status(sync.id))
    (close,) = bench.sent()
    assert close.name == "CLOSE"
    bench.server.answer(s.status(close.id))
    assert bench.collect() == {2: None}


def test_after_finish_the_path_is_opened_anew() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"1"), Finish("/a"), Write("/a", 0, b"2"))
    first, second = bench.sent()
    bench.server.answer(s.handle(first.id, b"H1"), s.handle(second.id, b"H2"))
    assert [(request.name, request.first) for request in bench.sent()] == [
        ("WRITE", b"H1"),
        ("CLOSE", b"H1"),
        ("WRITE", b"H2"),
    ]


def test_finish_of_nothing_is_answered_at_once() -> None:
    bench = Bench()
    bench.submit(Finish("/a"))
    assert bench.collect() == {1: None}
    assert bench.server.sends == []


def test_rename_and_remove_close_what_is_open_under_their_paths() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"1"))
    bench.opened(b"HA")
    (write,) = bench.sent()
    bench.server.answer(s.status(write.id))
    assert bench.collect() == {1: None}
    bench.submit(Rename("/t", "/a", replace=True), Write("/a", 1, b"2"))
    close, rename, opening = bench.sent()
    assert (close.name, close.first, rename.name, opening.name) == (
        "CLOSE",
        b"HA",
        "EXTENDED",
        "OPEN",
    )


def test_a_rename_that_must_wait_holds_up_what_comes_after_it() -> None:
    bench = Bench()
    bench.submit(
        Write("/a", 0, b"1", create=True), Finish("/a"), Rename("/a", "/b", replace=True),
        Stat("/b"), Write("/a", 0, b"2", create=True),
    )  # fmt: skip
    bench.opened(b"H1")
    assert kinds(bench.sent()) == ["WRITE", "CLOSE", "EXTENDED", "STAT", "OPEN"]


def test_a_failed_write_gives_the_handle_up() -> None:
    bench = Bench()
    bench.submit(Write("/a", 0, b"1"))
    bench.opened()
    (write,) = bench.sent()
    bench.server.answer(s.status(write.id, 3))
    assert isinstance(bench.collect()[1], RemoteDenied)
    bench.submit(Write("/a", 0, b"1"))
    assert kinds(bench.sent()) == ["CLOSE", "OPEN"]


@pytest.mark.parametrize(("free", "full"), [(0, True), (10**6, False)])
def test_a_failure_without_reason_is_a_full_disk_if_the_disk_is_full(free: int, full: bool) -> None:
    bench = Bench()
    bench.submit(Write("dir/a", 0, b"12"))
    bench.opened()
    (write,) = bench.sent()
    bench.server.answer(s.status(write.id, 4, b"Failure"))
    asked = [request for request in bench.sent() if request.name == "EXTENDED"]
    assert asked[0].first == b"statvfs@openssh.com"
    assert asked[0].rest == s.string(b"dir")
    body = pack(">11Q", 4096, 1, 0, 0, free, 0, 0, 9, 0, 0, 255)
    bench.server.answer(s.packet(201, asked[0].id, body))
    result = bench.collect()[1]
    assert isinstance(result, RemoteError)
    assert isinstance(result, RemoteFull) is full


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (2, b"", RemoteNotFound),
        (10, b"", RemoteNotFound),
        (3, b"", RemoteDenied),
        (8, b"", RemoteUnsupported),
        (11, b"", RemoteExists),
        (14, b"", RemoteFull),
        (15, b"", RemoteFull),
        (4, b"write /x: No space left on device", RemoteFull),
        (4, b"Disk quota exceeded", RemoteFull),
        (4, b"preallocate: file too big for remaining disk space", RemoteFull),
        (4, b"file exists", RemoteExists),
        (4, b"mkdir /x: read-only file system", RemoteDenied),
        (4, b"open /x: operation not permitted", RemoteDenied),
        (4, b"Failure", RemoteError),
        (5, b"Bad message", RemoteError),
        (77, b"\xff\xfe", RemoteError),
    ],
)
def test_status_codes(code: int, text: bytes, kind: type[RemoteError]) -> None:
    bench = Bench()
    bench.submit(Remove("/a"))
    (request,) = bench.sent()
    bench.server.answer(s.status(request.id, code, text))
    if kind is RemoteError:
        bench.no_file_systems()
    result = bench.collect()[1]
    assert type(result) is kind
    assert (result.operation, result.path) == ("remove", "/a")


def test_rename_onto_something_is_told_from_other_failures() -> None:
    bench = Bench()
    bench.submit(Rename("/a", "/b"), Rename("/c", "/d"))
    first, second = bench.sent()
    bench.server.answer(s.status(first.id, 4, b"Failure"), s.status(second.id, 4, b"Failure"))
    looks = bench.sent()
    assert [look.first for look in looks] == [b"/b", b"/d"]
    bench.server.answer(s.attrs(looks[0].id, 1), s.status(looks[1].id, 2))
    assert type(bench.collect()[1]) is RemoteExists
    for request in bench.server.requests():
        bench.server.answer(s.status(request.id, 8))
    assert type(bench.collect()[2]) is RemoteError


def test_rename_looks_first_where_the_server_may_overwrite() -> None:
    bench = Bench(GO_EXTENSIONS)
    bench.submit(Rename("/a", "/b"))
    (look,) = bench.sent()
    assert (look.name, look.first) == ("STAT", b"/b")
    bench.server.answer(s.attrs(look.id, 1))
    assert type(bench.collect()[1]) is RemoteExists


@pytest.mark.parametrize("code", [3, 4])
def test_rename_does_not_overwrite_what_could_not_be_looked_at(code: int) -> None:
    """Go's RENAME replaces: the file that is kept under that name would be gone, because the disk
    behind the server had no answer just then."""
    bench = Bench(GO_EXTENSIONS)
    bench.submit(Rename("/a", "/b"))
    (look,) = bench.sent()
    bench.server.answer(s.status(look.id, code, b"i/o timeout"))
    assert isinstance(bench.collect()[1], RemoteError)
    assert kinds(bench.server.requests()) == []


def test_what_the_server_cannot_do_is_not_sent() -> None:
    bench = Bench(())
    bench.submit(Rename("/a", "/b", replace=True), Copy("/a", 0, 1, "/b", 0))
    results = bench.collect()
    assert [type(results[ticket]) for ticket in (1, 2)] == [RemoteUnsupported] * 2
    assert bench.server.sends == []


def test_make_dir_accepts_a_folder_that_is_there() -> None:
    bench = Bench()
    bench.submit(MakeDir("/d"), MakeDir("/f"), MakeDir("/no/d"))
    requests = bench.sent()
    bench.server.answer(
        s.status(requests[0].id, 4), s.status(requests[1].id, 4), s.status(requests[2].id, 2)
    )
    result = bench.collect()
    assert type(result[3]) is RemoteNotFound
    looks = bench.server.requests()
    bench.server.answer(s.attrs(looks[0].id, 4096, 0o040755), s.attrs(looks[1].id, 1))
    assert bench.collect() == {1: None}
    for request in bench.server.requests():
        bench.server.answer(s.status(request.id, 8))
    assert type(bench.collect()[2]) is RemoteError


@pytest.mark.parametrize(
    "request_", [Remove("/d/a"), Rename("/d/a", "/b", replace=True), Write("/d/a", 0, b"1")]
)
def test_a_failure_without_reason_on_a_read_only_file_system(request_: Request) -> None:
    bench = Bench()
    bench.submit(request_)
    (request,) = bench.sent()
    bench.server.answer(s.status(request.id, 4, b"Failure"))
    (asked,) = bench.sent()
    assert (asked.first, asked.rest) == (b"statvfs@openssh.com", s.string(b"/d"))
    body = pack(">11Q", 4096, 4096, 0, 0, 9, 9, 9, 9, 0, 1, 255)
    bench.server.answer(s.packet(201, asked.id, body))
    result = bench.collect()[1]
    assert isinstance(result, RemoteDenied)
    assert "read-only" in str(result)
    assert not result.retryable


def test_what_came_while_the_reason_was_looked_for_is_refused_with_it() -> None:
    bench = Bench()
    bench.submit(Write("/d/a", 0, b"1", create=True))
    (request,) = bench.sent()
    bench.server.answer(s.status(request.id, 4, b"Failure"))
    (asked,) = bench.sent()
    bench.submit(Stat("/d/a"), Write("/d/a", 1, b"2", create=True))
    again = bench.server.requests() or bench.sent()
    assert [(r.name, r.first) for r in again] == [("OPEN", b"/d/a")]
    bench.server.answer(s.packet(201, asked.id, pack(">11Q", 1, 1, 0, 0, 0, 9, 9, 9, 0, 0, 255)))
    assert isinstance(bench.collect()[1], RemoteFull)
    (look,) = bench.sent()
    assert (look.name, look.first) == ("STAT", b"/d/a")
    bench.server.answer(s.handle(again[0].id, b"H"), s.status(look.id, 2))
    assert isinstance(bench.collect()[2], RemoteNotFound)
    (write,) = bench.sent()
    bench.server.answer(s.status(write.id, 0))
    assert bench.collect() == {3: None}


def test_read_continues_until_the_end() -> None:
    bench = Bench()
    bench.submit(Read("/a", 10, 8))
    bench.opened(b"R")
    (read,) = bench.sent()
    assert read.rest == pack(">QI", 10, 8)
    bench.server.answer(s.data(read.id, b"12345"))
    (more,) = bench.sent()
    assert more.rest == pack(">QI", 15, 3)
    bench.server.answer(s.status(more.id, 1))
    assert bench.collect() == {1: b"12345"}
    assert kinds(bench.sent()) == ["CLOSE"]


@pytest.mark.parametrize("content", [b"", b"123456789"])
def test_a_read_of_the_wrong_length_breaks_the_protocol(content: bytes) -> None:
    bench = Bench()
    bench.submit(Read("/a", 0, 8))
    bench.opened()
    (read,) = bench.sent()
    bench.server.answer(s.data(read.id, content))
    with pytest.raises(LinkLost, match="broke the SFTP protocol"):
        bench.collect()


def test_copy_goes_before_later_writes_to_the_target() -> None:
    bench = Bench()
    bench.submit(Copy("/old", 1, 2, "/new", 3, create=True), Write("/new", 0, b"x"))
    requests = {request.first: request for request in bench.sent()}
    bench.server.answer(s.handle(requests[b"/new"].id, b"N"))
    assert bench.sent() == []
    bench.server.answer(s.handle(requests[b"/old"].id, b"O"))
    copy, write = bench.sent()
    assert (copy.first, write.name) == (b"copy-data", "WRITE")
    assert copy.rest == s.string(b"O") + pack(">QQ", 1, 2) + s.string(b"N") + pack(">Q", 3)
    bench.server.answer(s.status(copy.id, 1), s.status(write.id))
    results = bench.collect()
    assert type(results[1]) is RemoteError
    assert results[2] is None


@pytest.mark.parametrize("order", [("/old", "/new"), ("/new", "/old")])
def test_a_copy_whose_files_cannot_be_opened_ends_once(order: tuple[str, str]) -> None:
    bench = Bench()
    bench.submit(Copy("/old", 0, 2, "/new", 0))
    requests = {request.first.decode(): request for request in bench.sent()}
    results: dict[int, Result] = {}
    for path in order:
        bench.server.answer(s.status(requests[path].id, 3))
        found = bench.collect()
        assert results.keys().isdisjoint(found)
        results |= found
    assert type(results[1]) is RemoteDenied


def test_list_asks_ahead_and_leaves_out_the_dots() -> None:
    bench = Bench()
    bench.submit(List("/d"))
    bench.opened(b"D")
    first, second = bench.sent()
    bench.server.answer(
        s.names(first.id, (b".", 0, 0o040755), (b"..", 0, 0o040755), (b"a\xff", 5, 0o100644)),
        s.names(second.id, (b"sub", 0, 0o040755), (b"../../etc", 1, 0o100644)),
    )
    more = bench.sent()
    assert len(more) > 2
    bench.server.answer(*(s.status(request.id, 1) for request in more))
    assert bench.collect() == {1: {"a\udcff": RemoteStat(5), "sub": RemoteStat(0, None, True)}}
    assert kinds(bench.server.requests()) == ["CLOSE"]


def test_idle_handles_make_room_busy_ones_stay() -> None:
    bench = Bench(handles=3)
    bench.submit(*(Write(f"/{n}", 0, b"x") for n in range(3)))
    for number, request in enumerate(bench.sent()):
        bench.server.answer(s.handle(request.id, b"H%d" % number))
    writes = bench.sent()
    bench.server.answer(s.status(writes[1].id))  # only /1 is idle
    assert bench.collect() == {2: None}
    bench.submit(Write("/3", 0, b"x"), Write("/4", 0, b"x"))
    (close,) = bench.sent()
    assert (close.name, close.first) == ("CLOSE", b"H1")
    bench.submit(Write("/0", 1, b"y"), Write("/2", 1, b"y"))
    more = bench.sent()
    assert [(request.name, request.first) for request in more] == [
        ("WRITE", b"H0"),
        ("WRITE", b"H2"),
    ]
    bench.server.answer(s.status(close.id))
    (opening,) = bench.sent()
    assert (opening.name, opening.first) == ("OPEN", b"/3")
    bench.server.answer(s.status(writes[0].id), s.status(more[0].id))
    assert bench.collect() == {1: None, 6: None}
    assert [request.first for request in bench.server.requests()] == [b"H0"]


def test_the_least_recently_used_handle_goes_first() -> None:
    bench = Bench(handles=2)
    for name in (b"a", b"b"):
        bench.submit(Write(f"/{name.decode()}", 0, b"", create=True))
        bench.opened(name)
        assert len(bench.collect()) == 1
    bench.submit(Write("/a", 0, b""))
    assert len(bench.collect()) == 1
    bench.submit(Write("/c", 0, b"x"))
    (close,) = bench.sent()
    assert (close.name, close.first) == ("CLOSE", b"b")


def test_a_name_that_cannot_be_sent_is_refused_alone() -> None:
    bench = Bench()
    bench.submit(Write("/a\0b", 0, b"x"), Stat("/\ud800"), Rename("/a", "/\0"))
    results = bench.collect()
    assert all(isinstance(result, RemoteUnsupported) for result in results.values())
    assert len(results) == 3
    assert bench.server.sends == []


def test_too_much_for_one_write_is_refused() -> None:
    bench = Bench(())
    bench.submit(Write("/a", 0, bytes(32_769)))
    assert isinstance(bench.collect()[1], RemoteUnsupported)


def test_the_client_needs_no_ssh_library() -> None:
    code = (
        "import sys, pysubtask.transports.sftp.client, pysubtask.transports.sftp.ssh;"
        "sys.exit(any('paramiko' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
