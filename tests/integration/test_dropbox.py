"""A master, its child and the official SDK, against an emulated Dropbox over TLS."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

import pysubtask
from benchmarks import dropbox_cuts
from pysubtask import LoginRefused, TaskMaster
from pysubtask.dropbox import login
from tests.integration.promises import QUICK, Delivery, is_running, wait_until
from tests.servers.dropbox import DropboxServer, Fault
from tests.servers.proxy import TcpProxy

MIB = 1 << 20


class Dropping(Delivery):
    """A :class:`Delivery` whose remote side is an emulated Dropbox."""

    server: DropboxServer

    def log(self) -> str:
        return (self.logs / "dropbox_subtask.log.txt").read_text("utf-8", "replace")

    def error_of(self, name: str) -> str:
        return self.master.status(str(self.data / name)).last_error or ""


Drop = Callable[..., Any]


@pytest.fixture
def drop(tmp_path: pathlib.Path, dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch) -> Drop:
    """``with drop(["a.csv"], link=…) as at:`` a master that delivers to a new folder."""

    @contextmanager
    def dropping(
        watch: Sequence[str | dict[str, Any]], link: TcpProxy | None = None, **settings: Any
    ) -> Iterator[Dropping]:
        for name, value in dropbox.environment(link).items():
            monkeypatch.setenv(name, value)
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        name, remote = dropbox.new_folder()
        login = {"dropbox_refresh_token": dropbox.refresh_token, "dropbox_app_key": dropbox.app_key}
        if "dropbox_access_token" in settings:
            login = {}
        given = {
            "to": f"dropbox://{name}",
            "ca_file": dropbox.ca_file,
            "bak_to_folder": str(tmp_path / "state"),
            "log_to_folder": str(tmp_path / "logs"),
            **login,
            **QUICK,
            **settings,
        }
        entries = [{"file": e} if isinstance(e, str) else dict(e) for e in watch]
        for entry in entries:
            entry |= {key: str(data / entry[key]) for key in ("file", "dir") if key in entry}
        master = TaskMaster(entries, **given)
        made = Dropping(master, data, remote, name, tmp_path / "state", tmp_path / "logs")
        made.server = dropbox
        master.start()
        try:
            yield made
        finally:
            pid = master.status().pid
            master.stop(forcekill=True)
            assert pid is None or not is_running(pid)

    return dropping


def big(size: int) -> bytes:
    return b"".join(b"%07d\n" % n for n in range(size // 8 + 1))[:size]


def test_files_arrive_and_heartbeats_are_muted(drop: Drop, dropbox: DropboxServer) -> None:
    watch = [{"file": "grow.csv", "growth": "append"}, {"file": "whole.txt", "growth": "rewrite"}]
    with drop(watch, heartbeat_interval_secs=0.3, heartbeat_name="edge") as at:
        at.append("grow.csv", b"one\n")
        at.replace("whole.txt", b"first")
        at.flush()
        at.append("grow.csv", b"two\n")
        at.replace("whole.txt", big(200_000))
        at.flush()
        assert at.remote_bytes("grow.csv") == b"one\ntwo\n"
        assert at.remote_bytes("whole.txt") == big(200_000)
        wait_until(lambda: at.remote_bytes("edge.heartbeat"), 10)
        process = pathlib.Path("/proc", str(at.master.status().pid))
        for place in (
            process / "cmdline",
            process / "environ",
            *at.state.rglob("*"),
            *at.logs.iterdir(),
        ):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # they come and go
                assert dropbox.refresh_token.encode() not in place.read_bytes(), place
        assert "Request to" not in at.log()  # the SDK's own words
        told = dropbox.account.metadata(f"{at.remote_name}/whole.txt")
        local = int((at.data / "whole.txt").stat().st_mtime)
        assert told["client_modified"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(local))
        at.master.stop()
        assert (at.remote_bytes("edge.heartbeat") or b"").startswith(b"0\n")
        assert sorted(p.name for p in at.remote.iterdir()) == [
            "edge.heartbeat", "grow.csv", "whole.txt",
        ]  # fmt: skip
    muted = {path.rpartition("/")[2]: mute for path, mute in dropbox.account.commits}
    assert muted == {"grow.csv": False, "whole.txt": False, "edge.heartbeat": True}
    assert dropbox.requests.count("/oauth2/token") == 1


def test_many_small_files_are_committed_together(drop: Drop, dropbox: DropboxServer) -> None:
    dropbox.commit_secs = 0.05
    names = [f"f{n:03d}.txt" for n in range(120)]
    with drop([{"dir": "."}]) as at:
        for name in names:
            (at.data / name).write_bytes(name.encode())
        wait_until(lambda: len(list(at.remote.iterdir())) == 120, 30)
        for name in names:
            assert at.remote_bytes(name) == name.encode()
    commits = [r for r in dropbox.requests if r in ("upload", "upload_session/finish_batch_v2")]
    assert len(commits) < 60
    assert "upload_session/finish_batch_v2" in commits


def test_files_that_can_not_go_together_go_one_by_one(drop: Drop, dropbox: DropboxServer) -> None:
    faults: list[Fault] = ["cut-after", "damage", "400"]
    with drop([{"dir": "."}]) as at:
        for fault in faults:
            dropbox.fail(fault, "upload_session/append_batch")
            names = [f"{fault}-{n:02d}.txt" for n in range(20)]
            for name in names:
                (at.data / name).write_bytes(name.encode())
            for name in names:
                at.wait_for(name, name.encode())
            assert "upload_session/append_batch" in dropbox.requests
            dropbox.calm()


def test_a_big_upload_over_a_dying_link_with_two_kills(dropbox: DropboxServer) -> None:
    """The short form of ``python -m benchmarks.dropbox_cuts``."""
    found = dropbox_cuts.measure(24_000_000, 5_000_000, 90.0)
    assert found.fine, found
    assert found.cuts >= 2


def test_twenty_kills_and_it_arrives(
    drop: Drop, dropbox: DropboxServer, link: Callable[..., TcpProxy]
) -> None:
    slow = link(dropbox, bytes_per_sec=4_000_000)
    data = big(6 * MIB)
    with drop(["big.dat", {"file": "grow.csv", "growth": "append"}], slow) as at:
        at.append("big.dat", data)
        for kill in range(20):
            at.append("grow.csv", b"line %d\n" % kill)
            before = dropbox.body_bytes
            wait_until(lambda before=before: dropbox.body_bytes > before, 30)
            wait_until(lambda: at.master.status().pid, 30)
            psutil.Process(at.master.status().pid).kill()
            at.master.stop()
            at.master.start()
        at.append("grow.csv", b"last\n")
        at.flush(60)
        assert at.remote_bytes("big.dat") == data
        assert at.remote_bytes("grow.csv") == (at.data / "grow.csv").read_bytes()
        assert sorted(p.name for p in at.remote.iterdir()) == ["big.dat", "grow.csv"]


def test_who_is_asked_to_wait_waits(drop: Drop, dropbox: DropboxServer) -> None:
    faults: list[Fault] = ["429", "429-plain", "429-writes"]
    with drop(["a.csv"]) as at:
        for fault in faults:
            dropbox.fail(fault, "upload", retry_after=1)
            at.append("a.csv", f"{fault}\n".encode())
            wait_until(lambda: "asks to wait 1 s" in str(at.master.status()), 10)
            at.flush()  # which asks for a try at once
            assert at.remote_bytes("a.csv") == (at.data / "a.csv").read_bytes()
    assert dropbox.came_early == 0


def test_every_request_may_fail(drop: Drop, dropbox: DropboxServer) -> None:
    faults: list[Fault] = ["500", "503", "cut-before", "cut-after", "damage"]
    with drop([{"dir": "."}]) as at:
        for route in ("upload", "upload_session/append", "upload_session/finish"):
            data = big(300_000) if "session" in route else b"small\n"
            for fault in faults:
                name = f"{route.rpartition('/')[2]}-{fault}.dat"
                dropbox.fail(fault, route, times=2)
                at.replace(name, data)
                at.flush()
                assert at.remote_bytes(name) == data, name
        assert len(list(at.remote.iterdir())) == 15


def test_a_lost_reply_to_the_commit_costs_nothing(drop: Drop, dropbox: DropboxServer) -> None:
    data = big(3 * MIB)
    with drop(["big.dat"]) as at:
        dropbox.fail("cut-after", "upload_session/finish")
        at.append("big.dat", data)
        at.flush()
        assert at.remote_bytes("big.dat") == data
    assert dropbox.body_bytes == len(data)


def test_an_expired_access_token_is_renewed(drop: Drop, dropbox: DropboxServer) -> None:
    with drop(["a.csv"]) as at:
        at.append("a.csv", b"one\n")
        at.flush()
        dropbox.expire_tokens()
        at.append("a.csv", b"two\n")
        at.flush()
        assert at.remote_bytes("a.csv") == b"one\ntwo\n"
        assert dropbox.requests.count("/oauth2/token") == 2
        assert "lost" not in at.log()


def test_a_single_access_token_is_good_until_it_expires(drop: Drop, dropbox: DropboxServer) -> None:
    token = dropbox.new_access_token()
    with drop(["a.csv"], dropbox_access_token=token) as at:
        at.append("a.csv", b"one\n")
        at.flush()
        dropbox.expire_tokens()
        at.append("a.csv", b"two\n")
        wait_until(lambda: "the access token has expired" in str(at.master.status()), 10)
        told = at.log() + str(at.master.status()) + (at.state / "status.json").read_text()
        assert token not in told
        assert token.encode() not in b"".join(p.read_bytes() for p in at.state.glob("*.*"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: setattr(s, "scopes", {"files.metadata.read"}), "files.content.write"),
        (lambda s: setattr(s, "scopes", {"files.content.write"}), "files.metadata.read"),
    ],
)
def test_a_missing_permission_is_named(
    drop: Drop, dropbox: DropboxServer, spoil: Callable[[DropboxServer], None], words: str
) -> None:
    scopes = set(dropbox.scopes)
    try:
        spoil(dropbox)
        with drop(["a.csv"]) as at:
            at.append("a.csv", b"x")
            wait_until(lambda: f"lacks a permission: {words}" in str(at.master.status()), 10)
    finally:
        dropbox.scopes = scopes


def test_wrong_logins_are_said_in_words(drop: Drop, dropbox: DropboxServer) -> None:
    wrong = {"dropbox_refresh_token": "wrong-refresh-token", "dropbox_app_key": dropbox.app_key}
    with drop(["a.csv"], **wrong) as at:
        at.append("a.csv", b"x")
        wait_until(lambda: "not valid, or was revoked" in str(at.master.status()), 10)
        assert "wrong-refresh-token" not in at.log()
    with drop(["a.csv"], dropbox_app_key="another") as at:
        at.append("a.csv", b"x")
        wait_until(lambda: "are the app key and the token" in str(at.master.status()), 10)


def test_a_certificate_that_does_not_check_is_refused(drop: Drop, dropbox: DropboxServer) -> None:
    with drop(["a.csv"], ca_file=None) as at:
        at.append("a.csv", b"x")
        wait_until(lambda: "certificate does not check" in str(at.master.status()), 10)
        assert dropbox.requests == []


def test_a_full_dropbox_holds_the_file_and_says_so(drop: Drop, dropbox: DropboxServer) -> None:
    with drop(["big.dat", "small.txt"]) as at:
        dropbox.account.space_bytes = dropbox.account.used_bytes + 100_000
        at.append("big.dat", big(700_000))
        wait_until(lambda: "the Dropbox is full" in at.error_of("big.dat"), 10)
        at.append("small.txt", b"small")
        at.wait_for("small.txt", b"small")
        dropbox.account.space_bytes = None
        at.wait_for("big.dat", big(700_000))
    assert dropbox.body_bytes < 800_000  # the upload was kept; only its commit was repeated


@pytest.mark.parametrize(
    ("name", "words"),
    [("desktop.ini", "does not keep files of this name"), ("back\\slash", "can't have a file")],
)
def test_names_that_dropbox_refuses(drop: Drop, name: str, words: str) -> None:
    with drop([name, "good.txt"]) as at:
        at.append(name, b"x")
        at.append("good.txt", b"good")
        at.wait_for("good.txt", b"good")
        wait_until(lambda: words in at.error_of(name), 10)


def test_no_permission_to_write(drop: Drop, dropbox: DropboxServer) -> None:
    with drop(["a.csv"]) as at:
        dropbox.account.read_only.add(at.remote_name)
        at.append("a.csv", b"x")
        wait_until(lambda: "no permission to write there" in at.error_of("a.csv"), 10)


def test_a_session_that_dropbox_forgot_begins_anew(
    drop: Drop, dropbox: DropboxServer, link: Callable[..., TcpProxy]
) -> None:
    slow = link(dropbox, bytes_per_sec=4_000_000)
    data = big(4 * MIB)
    with drop(["big.dat"], slow) as at:
        at.append("big.dat", data)
        wait_until(lambda: dropbox.body_bytes > 2 * MIB, 20)
        dropbox.account.lose_sessions()
        at.flush()
        assert at.remote_bytes("big.dat") == data
    assert dropbox.requests.count("upload_session/start") == 2


def test_what_was_there_is_kept(drop: Drop, dropbox: DropboxServer) -> None:
    with drop(["a.csv", "same.csv"]) as at:
        dropbox.account.put(f"{at.remote_name}/a.csv", b"somebody else's")
        dropbox.account.put(f"{at.remote_name}/same.csv", big(90_000))
        at.append("a.csv", b"ours")
        at.append("same.csv", big(90_000))
        at.flush()
        assert at.remote_bytes("a.csv") == b"ours"
        (aside,) = at.remote.glob("a.csv~*")
        assert aside.read_bytes() == b"somebody else's"
    assert dropbox.body_bytes == 4  # the other one was there, as its digest told


def test_segments_join_to_the_file_as_the_docs_say(
    drop: Drop, dropbox: DropboxServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (pathlib.Path(pysubtask.__file__).parent.parent / "docs/dropbox.md").read_text()
    (shell,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (python,) = (block for block in blocks if "whole.write" in block)

    def join() -> list[bytes]:
        monkeypatch.chdir(at.remote)
        try:
            subprocess.run(["sh", "-ec", shell], check=True, timeout=30)
            first = pathlib.Path("test1.csv").read_bytes()
            pathlib.Path("test1.csv").unlink()
            exec(compile(python, "docs/dropbox.md", "exec"), {})
            return [first, pathlib.Path("test1.csv").read_bytes()]
        finally:
            pathlib.Path("test1.csv").unlink(missing_ok=True)
            monkeypatch.chdir(tmp_path)

    watch = [{"file": "test1.csv", "growth": "append"}, "auto.csv"]
    with drop(watch, segments=True) as at:
        for part in (b"", b"first\n", big(150_000), b"last\n"):
            at.append("test1.csv", part)
            at.append("auto.csv", part[:10])
            at.flush()
        whole = (at.data / "test1.csv").read_bytes()
        assert join() == [whole, whole]
        assert len(list((at.remote / "test1.csv.d").iterdir())) == 3
        assert at.remote_bytes("auto.csv") == (at.data / "auto.csv").read_bytes()
        assert dropbox.body_bytes < len(whole) + 100
        at.replace("test1.csv", b"a new one\n")
        at.flush()
        assert join() == [b"a new one\n"] * 2
        (old,) = at.remote.glob("test1.csv.d~*Z")
        assert b"".join(p.read_bytes() for p in sorted(old.iterdir())) == whole


def test_login(dropbox: DropboxServer) -> None:
    said: list[str] = []
    answers = [dropbox.app_key, ""]

    def ask(prompt: str) -> str:
        if len(answers) == 1:
            url = next(line for text in said for line in text.splitlines() if "https://" in line)
            return f" {dropbox.approve(url)}\n"
        return answers.pop(0)

    given = login(ask=ask, say=said.append, ca_file=dropbox.ca_file)
    assert given["dropbox_app_key"] == dropbox.app_key
    assert any(given["dropbox_refresh_token"] in text for text in said)
    with pytest.raises(LoginRefused, match="did not take the code") as caught:
        login(dropbox.app_key, ask=lambda _: "wr0ng", say=said.append, ca_file=dropbox.ca_file)
    assert "wr0ng" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_login_on_the_command_line(dropbox: DropboxServer) -> None:
    """With the environment's certificates, as behind a proxy that has its own."""
    environment = {**os.environ, **dropbox.environment(), "REQUESTS_CA_BUNDLE": dropbox.ca_file}
    with subprocess.Popen(
        [sys.executable, "-m", "pysubtask.dropbox", "login", dropbox.app_key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write(dropbox.approve(process.stdout.readline()) + "\n")
            process.stdin.close()
            told = process.stdout.read()
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert f"dropbox_app_key = '{dropbox.app_key}'" in told
    assert re.search(r"^dropbox_refresh_token = '[\w-]{40,}'$", told, re.MULTILINE)
