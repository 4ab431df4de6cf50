"""Fetching from real servers, by a real subtask."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest

from pysubtask import TaskMaster
from pysubtask.arrivals import Arrival
from tests.servers.ftp import FtpServer
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

_PATIENCE_SECS = 60.0


class Inbox:
    """A master that fetches all files of a folder of the server."""

    def __init__(self, server: OpenSshServer, folder: pathlib.Path, port: int = 0) -> None:
        name, self.remote = server.new_folder()
        self.folder = folder / "inbox"
        self.url = f"sftp://{server.user}@{server.host}:{port or server.port}{name}/"
        self.settings = {
            "key_file": server.key_file,
            "host_key": server.fingerprint,
            "settle_secs": 0.1,
            "bak_to_folder": str(folder / "state"),
            "log_to_folder": str(folder / "logs"),
        }
        self.master = self.new_master()

    def new_master(self, **options: object) -> TaskMaster:
        entry = {"pull": self.url, "to": str(self.folder), "interval_secs": 0.2, **options}
        return TaskMaster([entry], **self.settings)

    def news(self) -> list[Arrival]:
        assert self.master.pull(_PATIENCE_SECS), str(self.master.status())
        return list(self.master.arrivals())

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture
def inbox(openssh: OpenSshServer, tmp_path: pathlib.Path) -> Iterator[Inbox]:
    made = Inbox(openssh, tmp_path)
    yield made
    made.master.stop(forcekill=True)


def test_a_file_from_its_first_byte_to_its_end(inbox: Inbox) -> None:
    (inbox.remote / "a.log").write_bytes(b"one\n" * 1000)
    with inbox.master:
        (new,) = inbox.news()
        assert (new.kind, new.start_bytes, new.size_bytes) == ("new", 0, 4000)
        assert new.path == str(inbox.folder / "a.log")
        assert (inbox.folder / "a.log.arrived").exists()
        with (inbox.remote / "a.log").open("ab") as file:
            file.write(b"two\n" * 10)
        (grown,) = inbox.news()
        assert (grown.kind, grown.start_bytes, grown.size_bytes) == ("grown", 4000, 4040)
        assert inbox.read("a.log") == (inbox.remote / "a.log").read_bytes()
        (inbox.remote / "a.log").write_bytes(b"three\n")
        (replaced,) = inbox.news()
        assert (replaced.kind, replaced.start_bytes, replaced.size_bytes) == ("replaced", 0, 6)
        assert inbox.read("a.log") == b"three\n"
        assert inbox.news() == []
        (status,) = inbox.master.status().pulls
        assert (status.link, status.files, status.pending_files) == ("connected", 1, 0)


def test_a_rotated_log_is_renamed_here_instead_of_fetched_again(inbox: Inbox) -> None:
    (inbox.remote / "a.log").write_bytes(os.urandom(200_000))
    with inbox.master:
        inbox.news()
        before = inbox.master.status().pulls[0].fetched_bytes
        os.rename(inbox.remote / "a.log", inbox.remote / "a.log.1")
        (inbox.remote / "a.log").write_bytes(b"fresh\n" * 300)
        kinds = {pathlib.Path(a.path).name: a.kind for a in inbox.news()}
        assert kinds == {"a.log.1": "renamed", "a.log": "new"}
        assert inbox.read("a.log.1") == (inbox.remote / "a.log.1").read_bytes()
        assert inbox.read("a.log") == b"fresh\n" * 300
        assert inbox.master.status().pulls[0].fetched_bytes - before < 30_000


def test_what_the_program_has_changed_is_its_own(inbox: Inbox) -> None:
    (inbox.remote / "a.cfg").write_bytes(b"theirs")
    with inbox.master:
        inbox.news()
        (inbox.folder / "a.cfg").write_bytes(b"mine")
        (inbox.remote / "a.cfg").write_bytes(b"theirs, too")
        (conflict,) = inbox.news()
        assert conflict.kind == "conflict"
        assert pathlib.Path(conflict.path).name.startswith("a.cfg~conflict-")
        assert pathlib.Path(conflict.path).read_bytes() == b"theirs, too"
        assert inbox.read("a.cfg") == b"mine"


def test_what_was_there_before_is_not_taken_for_ours(inbox: Inbox) -> None:
    inbox.folder.mkdir()
    (inbox.folder / "a.cfg").write_bytes(b"was here before")
    (inbox.remote / "a.cfg").write_bytes(b"theirs")
    (inbox.folder / "b.cfg").write_bytes(b"the beg")
    (inbox.remote / "b.cfg").write_bytes(b"the beginning of all")
    with inbox.master:
        kinds = {a.kind for a in inbox.news()}
    assert kinds == {"conflict", "new"}
    assert inbox.read("a.cfg") == b"was here before"
    assert inbox.read("b.cfg") == b"the beginning of all"


def test_what_is_safe_here_is_removed_there(inbox: Inbox) -> None:
    (inbox.remote / "order.txt").write_bytes(b"1 coffee")
    inbox.master = inbox.new_master(delete_remote=True)
    with inbox.master:
        until = time.monotonic() + _PATIENCE_SECS
        while (inbox.remote / "order.txt").exists():
            assert time.monotonic() < until, str(inbox.master.status())
            time.sleep(0.05)
    assert inbox.read("order.txt") == b"1 coffee"


def test_names_that_would_lead_out_stay_there(inbox: Inbox) -> None:
    for name in ("a\\b", "x.notify", "new\nline", ".pysubtask-0123456789abcdef"):
        (inbox.remote / name).write_bytes(b"bad")
    (inbox.remote / "good").write_bytes(b"good")
    (inbox.remote / "folder").mkdir()
    with inbox.master:
        inbox.news()
    here = {path.name for path in inbox.folder.iterdir()}
    assert here == {"good", "good.arrived"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda inbox: inbox.settings.update(host_key="SHA256:" + "A" * 43), "host key"),
        (lambda inbox: os.rmdir(inbox.remote), "no such folder"),
    ],
    ids=["host key", "no folder"],
)
def test_the_status_names_the_cause(
    inbox: Inbox, spoil: Callable[[Inbox], object], words: str
) -> None:
    spoil(inbox)
    inbox.master = inbox.new_master()
    with inbox.master:
        until = time.monotonic() + _PATIENCE_SECS
        while not any(words in str(pull.last_error) for pull in inbox.master.status().pulls):
            assert time.monotonic() < until, str(inbox.master.status())
            time.sleep(0.05)


def test_a_tail_costs_a_tail_and_a_cut_costs_what_was_on_its_way(
    openssh: OpenSshServer, tmp_path: pathlib.Path
) -> None:
    with TcpProxy(openssh.host, openssh.port) as link:
        inbox = Inbox(openssh, tmp_path, link.port)
        inbox.settings["keepalive_secs"] = 0
        inbox.master = inbox.new_master(interval_secs=600)  # looks only when it is asked to
        size = 24_000_000
        (inbox.remote / "big.bin").write_bytes(os.urandom(size))
        link.cut_after_down = 8_000_000
        with inbox.master:
            inbox.news()
            assert inbox.read("big.bin") == (inbox.remote / "big.bin").read_bytes()
            assert link.cuts >= 2
            assert link.bytes_down < 1.10 * size  # 1 GB cut each 20 MB: benchmarks/fetching.py
            link.cut_after_down = None
            time.sleep(0.5)
            before = link.bytes_down
            with (inbox.remote / "big.bin").open("ab") as file:
                file.write(os.urandom(5000))
            inbox.news()
            assert link.bytes_down - before <= 16_384
        inbox.master.stop(forcekill=True)


def test_another_master_goes_on_where_one_was_killed(inbox: Inbox) -> None:
    content = os.urandom(3_000_000)
    (inbox.remote / "a.bin").write_bytes(content)
    inbox.master.start()
    time.sleep(1.0)
    inbox.master.stop(forcekill=True)
    inbox.master = inbox.new_master()
    with inbox.master:
        assert [a.size_bytes for a in inbox.news()] == [len(content)]
    assert inbox.read("a.bin") == content
    assert not list(inbox.folder.glob(".pysubtask-*"))


def test_a_folder_of_an_ftp_server_whose_listing_tells_no_times(
    vsftpd: FtpServer, tmp_path: pathlib.Path
) -> None:
    name, remote = vsftpd.new_folder()
    (remote / "a.cfg").write_bytes(b"one")
    (remote / "b.cfg").write_bytes(b"two" * 1000)
    folder = name.strip("/")
    url = f"ftp://{vsftpd.user}:{vsftpd.password}@{vsftpd.host}:{vsftpd.port}/{folder}/*.cfg"
    inbox = tmp_path / "inbox"
    master = TaskMaster(
        [{"pull": url, "to": str(inbox), "interval_secs": 0.3}],
        settle_secs=0.1,
        bak_to_folder=str(tmp_path / "state"),
        log_to_folder=str(tmp_path / "logs"),
    )
    with master:
        assert master.pull(_PATIENCE_SECS), str(master.status())
        assert sorted(pathlib.Path(a.path).name for a in master.arrivals()) == ["a.cfg", "b.cfg"]
        (remote / "a.cfg").write_bytes(b"six")  # of the same size
        os.utime(remote / "a.cfg", (1.6e9, 1.6e9))
        assert master.pull(_PATIENCE_SECS), str(master.status())
        assert [a.kind for a in master.arrivals()] == ["replaced"]
    assert (inbox / "a.cfg").read_bytes() == b"six"
    assert (inbox / "b.cfg").read_bytes() == b"two" * 1000


def test_a_full_disk_is_told_and_passes(inbox: Inbox) -> None:
    inbox.settings["keep_free_bytes"] = 1 << 60
    inbox.master = inbox.new_master()
    (inbox.remote / "a.cfg").write_bytes(b"some")
    with inbox.master:
        until = time.monotonic() + _PATIENCE_SECS
        while "disk is full" not in str(inbox.master.status().pulls):
            assert time.monotonic() < until, str(inbox.master.status())
            time.sleep(0.05)
        assert inbox.master.status().pid is not None
    inbox.settings["keep_free_bytes"] = 0
    inbox.master = inbox.new_master()
    with inbox.master:
        assert [a.kind for a in inbox.news()] == ["new"]
