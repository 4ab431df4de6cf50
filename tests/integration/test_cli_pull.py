"""``pysubtask pull`` with real processes and real servers: what a user sees and gets."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pysubtask.cli.pushes import forget_old_states
from pysubtask.holder import holder_pid
from pysubtask.states import find_states
from tests.integration.commands import (
    LIMIT_SECS,
    Started,
    Target,
    elsewhere,
    message,
    messages,
    run,
    start,
    wait_for,
)
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["elsewhere", "start"]  # fixtures


@pytest.fixture
def target(openssh: OpenSshServer) -> Target:
    return Target(openssh)


def login(target: Target) -> list[str]:
    return target.options[2:]  # without --to


def told(text: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The messages of one kind."""
    return [m for m in messages(text) if kind in (None, m["message_type"])]


def pulls_state() -> str:
    return os.path.join(os.environ["XDG_STATE_HOME"], "pysubtask", "pull")


def test_one_round_and_another(target: Target) -> None:
    (target.folder / "a.cfg").write_text("one\n")
    (target.folder / "b.bin").write_bytes(os.urandom(70_000))
    (target.folder / ".hidden").write_text("x")
    result = run("pull", f"{target.url}/", "inbox", *login(target))
    assert result.exit_code == 0, result.output
    assert sorted(result.stdout.splitlines()) == [
        "new       inbox/a.cfg  4 B",
        "new       inbox/b.bin  68.4 KiB",
    ]
    assert "2 files arrived, 68.4 KiB in" in result.stderr
    assert "\x1b" not in result.output
    assert pathlib.Path("inbox/a.cfg").read_text() == "one\n"
    assert pathlib.Path("inbox/b.bin").read_bytes() == (target.folder / "b.bin").read_bytes()
    assert os.listdir() == ["inbox"]  # nothing is left beside it
    assert sorted(os.listdir("inbox")) == [
        "a.cfg", "a.cfg.arrived", "b.bin", "b.bin.arrived",
    ]  # fmt: skip

    with open(target.folder / "b.bin", "ab") as file:
        file.write(b"more")
    again = told(run("pull", f"{target.url}/", "inbox", *login(target), "--json").stdout)
    (arrived,) = [m for m in again if m["message_type"] == "arrived"]
    assert (arrived["kind"], arrived["start_bytes"], arrived["size_bytes"]) == (
        "grown", 70_000, 70_004,
    )  # fmt: skip
    assert arrived["path"] == os.path.abspath("inbox/b.bin")
    assert again[-1]["message_type"] == "summary"
    assert (again[-1]["ok"], again[-1]["total"], again[-1]["exit_code"]) == (1, 1, 0)
    assert again[-1]["bytes"] < 20_000  # the new bytes, and the head and the tail
    nothing = run("pull", f"{target.url}/", "inbox", *login(target))
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "nothing new" in nothing.stderr

    (status,) = told(run("status", "inbox", "--json").stdout, "source")
    assert status["source"] == f"{target.url}/*"
    assert (status["files"], status["refused"]) == (2, {})
    assert f"inbox ← {target.url}/*  2 files" in run("status", "inbox").stdout


def test_a_pattern_and_delete_remote(target: Target) -> None:
    for name in ("a.cfg", "b.cfg", "c.txt"):
        (target.folder / name).write_text(name)
    options = ["--delete-remote", "--growth", "rewrite", *login(target)]
    result = run("pull", f"{target.url}/*.cfg", "inbox", *options)
    assert result.exit_code == 0, result.output
    assert [path.name for path in target.folder.iterdir()] == ["c.txt"]
    assert pathlib.Path("inbox/b.cfg").read_text() == "b.cfg"
    refused = run("pull", f"{target.url}/", "inbox", "--delete-remote", "--growth", "append")
    assert refused.exit_code == 1
    assert "does not go with" in refused.stderr


def test_what_was_changed_here_stays(target: Target) -> None:
    (target.folder / "a.cfg").write_text("from the server\n")
    pathlib.Path("inbox").mkdir()
    pathlib.Path("inbox/a.cfg").write_text("mine\n")
    result = run("pull", f"{target.url}/a.cfg", "inbox", *login(target))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("conflict  inbox/a.cfg~conflict-")
    assert pathlib.Path("inbox/a.cfg").read_text() == "mine\n"
    (beside,) = pathlib.Path("inbox").glob("a.cfg~conflict-*Z")
    assert beside.read_text() == "from the server\n"


def test_some_files_are_refused_and_the_others_come(target: Target) -> None:
    (target.folder / "a.cfg").write_text("1")
    (target.folder / "b\\c.cfg").write_text("2")
    result = run("pull", f"{target.url}/", "inbox", *login(target))
    assert result.exit_code == 3, result.output
    assert "new       inbox/a.cfg" in result.stdout
    assert "1 files are not fetched" in result.stderr
    assert "inbox/b\\c.cfg: it has a backslash" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"Try: pysubtask doctor {target.url}")
    found = told(run("pull", f"{target.url}/", "inbox", *login(target), "--json").stdout)
    (failed,) = [m for m in found if m["message_type"] == "failed"]
    assert "backslash" in failed["error"]
    assert [(m["ok"], m["total"]) for m in found if m["message_type"] == "summary"] == [(0, 1)]
    assert found[-1]["exit_code"] == 3
    assert run("status", "inbox", "--check").exit_code != 0


def test_a_folder_in_the_way_stays(target: Target) -> None:
    (target.folder / "a.cfg").write_text("1")
    pathlib.Path("inbox/a.cfg").mkdir(parents=True)  # in the way
    pathlib.Path("inbox/a.cfg/x").write_text("")
    (target.folder / "b.cfg").write_text("2")
    result = run("pull", f"{target.url}/", "inbox", *login(target))
    assert result.exit_code == 0, result.output
    assert pathlib.Path("inbox/b.cfg").read_text() == "2"
    (beside,) = pathlib.Path("inbox").glob("a.cfg~conflict-*Z")
    assert beside.read_text() == "1"


def test_a_file_that_keeps_changing_is_told(target: Target, start: Started) -> None:
    name = target.folder / "a.cfg"
    name.write_text("0")
    (target.folder / "b.cfg").write_text("whole")
    more = ["--growth", "rewrite", "--give-up-after", "4", *login(target)]
    process = start("pull", f"{target.url}/", "inbox", *more)
    number = 0
    while process.poll() is None:
        number += 1
        name.write_text(str(number) * (1 + number % 7))
        time.sleep(0.05)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 3, notes
    assert "new       inbox/b.cfg" in output
    assert "1 files are not here yet: they keep changing" in notes
    assert not pathlib.Path("inbox/a.cfg").exists()


def test_no_such_folder(target: Target) -> None:
    result = run("pull", f"{target.url}/nowhere/", "inbox", *login(target))
    assert result.exit_code == 1
    assert "there is no such folder (yet)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Try: another folder in the URL")


def test_it_gives_up_with_the_true_cause(
    target: Target, openssh: OpenSshServer, tmp_path: pathlib.Path
) -> None:
    quick = ["--give-up-after", "0.5"]
    where = ["pull", f"{target.url}/*.cfg", "inbox", *quick]
    unknown = run(*where, "--key-file", openssh.key_file)
    assert unknown.exit_code == 13
    assert openssh.fingerprint in unknown.stderr
    assert unknown.stderr.splitlines()[-1].startswith(f"Try: pysubtask trust {target.url} ")
    from tests.integration.test_cli_doctor import make_key

    other = make_key(tmp_path / "other")
    wrong = run(*where, "--key-file", other, "--host-key", openssh.fingerprint, "--json")
    assert wrong.exit_code == 12
    link = [m for m in told(wrong.stdout, "link") if m["error_kind"]]
    assert link[0]["error_kind"] == "LoginRefused"
    assert link[0]["source"] == f"{target.url}/*.cfg"
    nobody = run("pull", "sftp://edge@127.0.0.1:1/in/", "inbox", *quick)
    assert nobody.exit_code == 10
    assert "port 1: Connection refused" in nobody.stderr


def test_an_interrupted_pull_goes_on_where_it_ended(
    openssh: OpenSshServer, start: Started, link: Callable[..., TcpProxy]
) -> None:
    slow = link(openssh, bytes_per_sec=800_000)
    target = Target(openssh, slow.port)
    data = os.urandom(1 << 20) * 6
    (target.folder / "big.bin").write_bytes(data)
    command = ["pull", f"{target.url}/big.bin", "inbox", *login(target), "--json"]
    process = start(*command)
    assert process.stdout is not None
    for line in process.stdout:
        told_now = message(line)
        if told_now["message_type"] == "pull_progress" and told_now["fetched_bytes"] > 1 << 20:
            assert 0 < told_now["pending_bytes"] <= len(data)
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 130
    assert "goes on from here" in told(output)[-1]["try"]
    assert not pathlib.Path("inbox/big.bin").exists()
    slow.bytes_per_sec = None
    before = slow.bytes_down
    found = told(run(*command).stdout)
    assert [m["kind"] for m in found if m["message_type"] == "arrived"] == ["new"]
    assert found[-1]["bytes"] < len(data)
    assert slow.bytes_down - before < len(data) - (1 << 20) + 200_000
    assert pathlib.Path("inbox/big.bin").read_bytes() == data


def test_follow_fetches_what_comes(target: Target, start: Started) -> None:
    more = ["--follow", "--interval", "0.2", "--growth", "append", "--json", *login(target)]
    process = start("pull", f"{target.url}/*.log", "inbox", *more)
    wait_for(lambda: any(holder_pid(found) for found in find_states(pulls_state())))
    here = pathlib.Path("inbox/a.log")
    for text in ("1\n", "2\n"):
        with open(target.folder / "a.log", "a") as file:
            file.write(text)
        wait_for(lambda text=text: here.exists() and here.read_text().endswith(text))
    second = run("pull", f"{target.url}/*.log", "inbox", *login(target))
    assert second.exit_code == 11
    assert f"process {process.pid} does it already" in second.stderr
    process.send_signal(signal.SIGTERM)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 0, notes
    kinds = [m["kind"] for m in told(output, "arrived")]
    assert kinds[0] == "new"
    assert told(output)[-1]["message_type"] == "summary"
    assert sum(m["size_bytes"] - m["start_bytes"] for m in told(output, "arrived")) == 4


def test_from_ftp_and_with_a_password(
    pyftpd: FtpServer, monkeypatch: pytest.MonkeyPatch, start: Started
) -> None:
    folder, there = pyftpd.new_folder()
    (there / "a.cfg").write_text("1")
    monkeypatch.setenv("THE_PASSWORD", pyftpd.password)
    url = f"ftp://{pyftpd.user}@{pyftpd.host}:{pyftpd.port}/{folder}/"
    result = run("pull", url, "inbox", "--password-env", "THE_PASSWORD")
    assert result.exit_code == 0, result.output
    assert pathlib.Path("inbox/a.cfg").read_text() == "1"
    for path in pathlib.Path(pulls_state()).rglob("*"):
        assert path.is_dir() or pyftpd.password.encode() not in path.read_bytes()


def test_from_a_dropbox(dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dropbox.environment().items():
        monkeypatch.setenv(name, value)
    config = pathlib.Path("dropbox.toml")
    config.touch(0o600)
    config.write_text(
        f"""[settings]
        dropbox_app_key = "{dropbox.app_key}"
        dropbox_refresh_token = "{dropbox.refresh_token}"
        ca_file = "{dropbox.ca_file}"
        """
    )
    name, _ = dropbox.new_folder()
    for file in "ab":
        dropbox.account.put(f"{name}/{file}.cfg", file.encode())
    options = ["inbox", "--config", "dropbox.toml"]
    result = run("pull", f"dropbox://{name}/*.cfg", *options)
    assert result.exit_code == 0, result.output
    assert [pathlib.Path(f"inbox/{file}.cfg").read_text() for file in "ab"] == ["a", "b"]
    dropbox.account.put(f"{name}/c.cfg", b"c")
    dropbox.account.put(f"{name}/d.cfg", b"d")
    dropbox.fail("400", "download", times=1)  # one is refused, the other comes
    refused = run("pull", f"dropbox://{name}/*.cfg", *options)
    assert refused.exit_code == 3, refused.output
    assert "Dropbox can't read the request" in refused.stderr
    assert len(list(pathlib.Path("inbox").glob("?.cfg"))) == 3
    again = run("pull", f"dropbox://{name}/*.cfg", *options)
    assert again.exit_code == 0, again.output
    assert len(list(pathlib.Path("inbox").glob("?.cfg"))) == 4


def test_states_of_pulls_are_kept_while_their_folder_is_there(tmp_path: pathlib.Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "a.cfg").write_text("1")
    assert run("pull", f"{share.as_uri()}/", "inbox").exit_code == 0
    (state,) = find_states(pulls_state())
    forget_old_states(os.stat(f"{state}/status.json").st_mtime + 91 * 86_400)
    assert find_states(pulls_state()) == [state]
    pathlib.Path("inbox").rename("elsewhere")
    forget_old_states(os.stat(f"{state}/status.json").st_mtime + 89 * 86_400)
    assert find_states(pulls_state()) == [state]
    forget_old_states(os.stat(f"{state}/status.json").st_mtime + 91 * 86_400)
    assert find_states(pulls_state()) == []


SERVICE = """
[[deliver]]
name = "out"
to = "{there}"
watch = ["logs/a.csv"]
follow_secs = 0.05

[[deliver]]
name = "in"
watch = [{{pull = "{orders}/*.cfg", to = "inbox", interval_secs = 0.1}}]
"""


def test_run_delivers_and_fetches(tmp_path: pathlib.Path, start: Started) -> None:
    there, orders = tmp_path / "there", tmp_path / "orders"
    there.mkdir()
    orders.mkdir()
    pathlib.Path("logs").mkdir()
    pathlib.Path("service.toml").write_text(
        SERVICE.format(there=there.as_uri(), orders=orders.as_uri())
    )
    checked = told(run("config", "check", "service.toml", "--json").stdout, "config")
    assert [m["sources"] for m in checked] == [[], [f"{orders.as_uri()}/*.cfg"]]
    assert [m["destination"] for m in checked] == [there.as_uri(), None]
    shown = told(run("config", "show", "service.toml", "--json").stdout, "setting")
    of_in = {m["name"]: m["value"] for m in shown if m["delivery"] == "in"}
    assert of_in["pull"] == f"{orders.as_uri()}/*.cfg"
    assert "to" not in of_in
    process = start("run", "service.toml", "--json")
    pathlib.Path("logs/a.csv").write_text("1\n")
    (orders / "x.cfg").write_text("order")
    wait_for(lambda: (there / "a.csv").exists() and pathlib.Path("inbox/x.cfg").exists())
    assert pathlib.Path("inbox/x.cfg").read_text() == "order"
    states = told(run("status", "service.toml", "--json").stdout)
    assert [m["to"] for m in states if m["message_type"] == "source"] == [os.path.abspath("inbox")]
    process.send_signal(signal.SIGTERM)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 0, notes
    (arrived,) = told(output, "arrived")
    assert (arrived["delivery"], arrived["path"]) == ("in", os.path.abspath("inbox/x.cfg"))
    starts = [m for m in told(output, "delivery") if m["event"] == "started"]
    assert [m["sources"] for m in starts] == [[], [f"{orders.as_uri()}/*.cfg"]]


def test_a_service_that_only_fetches_can_be_swept(tmp_path: pathlib.Path, start: Started) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    (orders / "x.cfg").write_text("order")
    text = f'watch = [{{pull = "{orders.as_uri()}/", to = "inbox", interval_secs = 0.1}}]\n'
    pathlib.Path("service.toml").write_text(text)
    process = start("run", "service.toml", "--sweep", "--json")
    wait_for(pathlib.Path("inbox/x.cfg").exists)
    wait_for(lambda: run("status", "service.toml", "--check").exit_code == 0)
    process.send_signal(signal.SIGTERM)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 0, notes
    assert {m["event"] for m in told(output, "delivery")} == {"started", "stopped"}
    left = run("residuals", "service.toml")
    assert left.exit_code == 0, left.output
    assert "nothing is left" in left.stdout
