"""The command line with real processes and a real server: what a user sees and gets."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from pysubtask import TaskMaster
from pysubtask.cli.app import app
from pysubtask.cli.pushes import forget_old_states, push_states
from pysubtask.holder import holder_pid
from pysubtask.states import find_states, read_status
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
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["elsewhere", "start"]  # fixtures


@pytest.fixture
def target(openssh: OpenSshServer) -> Target:
    return Target(openssh)


# --- push


def test_push_and_push_again(target: Target) -> None:
    pathlib.Path("a.csv").write_text("1\n")
    pathlib.Path("folder").mkdir()
    pathlib.Path("folder/b.bin").write_bytes(b"\0" * 70_000)
    pathlib.Path("folder/.hidden").write_text("x")
    result = run("push", "a.csv", "folder", *target.options)
    assert result.exit_code == 0, result.output
    assert sorted(result.stdout.splitlines()) == [
        "delivered  a.csv  2 B",
        "delivered  folder/b.bin  68.4 KiB",
    ]
    assert "2 of 2 files" in result.stderr
    assert "\x1b" not in result.output  # no terminal, no colours, no bars
    assert (target.folder / "a.csv").read_text() == "1\n"
    assert (target.folder / "b.bin").stat().st_size == 70_000
    assert sorted(os.listdir()) == ["a.csv", "folder"]  # nothing is left beside the data
    assert sorted(os.listdir("folder")) == [".hidden", "b.bin"]
    with open("a.csv", "a") as file:
        file.write("2\n")
    found = messages(run("push", "a.csv", *target.options, "--json").stdout)
    (delivered,) = [m for m in found if m["message_type"] == "delivered"]
    assert (delivered["size_bytes"], delivered["resumed_bytes"]) == (4, 2)
    assert found[-1]["message_type"] == "summary"
    assert found[-1]["exit_code"] == 0
    assert (target.folder / "a.csv").read_text() == "1\n2\n"
    assert run("verify", "a.csv", "folder", *target.options).exit_code == 0
    shown = run("status", "--json")
    assert {m["path"] for m in messages(shown.stdout) if m["message_type"] == "file"} == {
        os.path.abspath("a.csv")
    }


def test_states_of_old_pushes_are_forgotten_unless_they_owe(tmp_path: pathlib.Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    pathlib.Path("a.csv").write_text("1\n")
    assert run("push", "a.csv", "--to", share.as_uri()).exit_code == 0
    quick = ["--give-up-after", "0", "--set", "stop_timeout_secs=0.1"]
    assert run("push", "a.csv", "--to", "file:///no/such/share", *quick).exit_code == 10
    states = find_states(push_states())
    assert len(states) == 2
    forget_old_states(time.time() + 89 * 86_400)
    assert find_states(push_states()) == states
    forget_old_states(time.time() + 91 * 86_400)
    (left,) = find_states(push_states())
    assert read_status(left).destination == "file:///no/such/share"


def test_an_interrupted_push_goes_on_where_it_ended(
    openssh: OpenSshServer, start: Started, link: Callable[..., TcpProxy]
) -> None:
    slow = link(openssh, bytes_per_sec=4_000_000)
    target = Target(openssh, slow.port)
    data = os.urandom(1 << 20) * 8
    pathlib.Path("big.bin").write_bytes(data)
    process = start("push", "big.bin", *target.options, "--json")
    assert process.stdout is not None
    for line in process.stdout:
        told = message(line)
        if told["message_type"] == "progress" and told["sent_bytes"] > 1 << 20:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 130
    last = messages(output)[-1]
    assert "goes on from here" in last["try"]
    slow.bytes_per_sec = None
    before = slow.bytes_up
    found = messages(run("push", "big.bin", *target.options, "--json").stdout)
    (delivered,) = [m for m in found if m["message_type"] == "delivered"]
    assert delivered["resumed_bytes"] > 1 << 20
    rates = [m for m in found if m["message_type"] == "progress" and m["rate_bytes_per_sec"]]
    assert all(m["rate_bytes_per_sec"] > 0 and m["eta_secs"] is not None for m in rates)
    assert slow.bytes_up - before < len(data) - (1 << 20) + 200_000
    assert (target.folder / "big.bin").read_bytes() == data


def test_follow_delivers_what_is_appended(target: Target, start: Started) -> None:
    process = start("push", "a.csv", "--follow", "--follow-secs", "0.05", *target.options)
    state = pathlib.Path(os.environ["XDG_STATE_HOME"], "pysubtask", "push")
    wait_for(lambda: any(holder_pid(found) for found in find_states(str(state))))
    there = target.folder / "a.csv"
    for text in ("1\n", "2\n"):
        with open("a.csv", "a") as file:
            file.write(text)
        wait_for(lambda text=text: there.exists() and there.read_text().endswith(text))
    second = run("push", "a.csv", *target.options)
    assert second.exit_code == 11
    assert f"process {process.pid} does it already" in second.stderr
    process.send_signal(signal.SIGTERM)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 0, notes
    assert "delivered  a.csv  4 B" in output
    assert "1 of 1 files" in notes


def test_two_pushes_at_once_tell_of_their_own_files(target: Target, start: Started) -> None:
    """They share a state folder, and the later one takes it over: the other told of its files,
    and ended with "not delivered" for those of the later one."""
    for name in "ab":
        pathlib.Path(f"{name}.csv").write_text(f"{name}\n")
    pushes = [start("push", name, *target.options) for name in ("a.csv", "b.csv")]
    ended = [(push.communicate(timeout=LIMIT_SECS), push.returncode) for push in pushes]
    for (output, notes), code in ended:
        assert code in (0, 11), (output, notes)
        assert code == 11 or "1 of 1 files" in notes
    assert 0 in [code for _, code in ended]


def test_push_gives_up_with_the_true_cause(
    target: Target, openssh: OpenSshServer, tmp_path: pathlib.Path
) -> None:
    pathlib.Path("a.csv").write_text("1\n")
    quick = ["--give-up-after", "0.5", "--set", "stop_timeout_secs=0.1"]
    where = ["push", "a.csv", "--to", target.url, *quick]
    unknown = run(*where, "--key-file", openssh.key_file)
    assert unknown.exit_code == 13
    assert openssh.fingerprint in unknown.stderr
    assert unknown.stderr.splitlines()[-1].startswith(f"Try: pysubtask trust {target.url}")
    from tests.integration.test_cli_doctor import make_key

    other = make_key(tmp_path / "other")
    login = run(*where, "--key-file", other, "--host-key", openssh.fingerprint)
    assert login.exit_code == 12
    assert "is not accepted" in login.stderr
    nobody = run("push", "a.csv", "--to", "sftp://edge@127.0.0.1:1/in", *quick)
    assert nobody.exit_code == 10
    assert "port 1: Connection refused" in nobody.stderr
    left = run("residuals", "--json")
    assert left.exit_code == 3
    assert {m["destination"] for m in messages(left.stdout) if m["message_type"] == "residual"} == {
        target.url,
        "sftp://edge@127.0.0.1:1/in",
    }


def test_some_files_are_refused(target: Target) -> None:
    (target.folder / "a.csv").mkdir()  # in the way
    pathlib.Path("a.csv").write_text("1\n")
    pathlib.Path("b.csv").write_text("1\n")
    more = ["--give-up-after", "0.5", "--set", "on_first_contact=replace"]
    more += ["--set", "stop_timeout_secs=0.1"]
    result = run("push", "a.csv", "b.csv", *target.options, *more)
    assert result.exit_code == 3, result.output
    assert "1 of 2 files are not delivered" in result.stderr
    assert (target.folder / "b.csv").read_text() == "1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_bars_and_colours_are_for_terminals(openssh: OpenSshServer, link: Any) -> None:
    import pty

    slow = link(openssh, bytes_per_sec=4_000_000)
    target = Target(openssh, slow.port)
    pathlib.Path("big.bin").write_bytes(os.urandom(3 << 19))
    shown = {}
    for no_color in ("", "1"):
        main, side = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pysubtask", "push", "big.bin", *target.options],
            stdin=side, stdout=subprocess.PIPE, stderr=side,
            env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(side)
        seen = b""
        with open(main, "rb", buffering=0) as terminal:
            while True:
                try:
                    data = terminal.read(65536)
                except OSError:  # EIO: the other side is closed (pty(7))
                    break
                if not data:
                    break
                seen += data
        output, _ = process.communicate(timeout=LIMIT_SECS)
        assert process.returncode == 0, seen
        shown[no_color] = seen.decode()
        # data are not mixed with what is drawn, though both come at one time
        assert output.decode() == "delivered  big.bin  1.5 MiB\n"
        (target.folder / "big.bin").unlink()
        pathlib.Path("big.bin").write_bytes(os.urandom(3 << 19))
    assert "of 1.5 MiB" in shown[""]
    assert "━" in shown[""]
    assert "\x1b[32m" in shown[""]
    assert "of 1.5 MiB" in shown["1"]  # a bar that has just begun is blank without colours
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown["1"])


# --- verify


def test_verify_tells_the_differences(target: Target) -> None:
    for name in ("same", "behind", "different", "longer", "missing"):
        pathlib.Path(name).write_bytes(b"0123456789" * 50_000)
        (target.folder / name).write_bytes(b"0123456789" * 50_000)
    os.truncate(target.folder / "behind", 499_990)
    with open(target.folder / "different", "r+b") as file:
        file.seek(400_003)
        file.write(b"x")
    with open(target.folder / "longer", "ab") as file:
        file.write(b"x")
    (target.folder / "missing").unlink()
    names = ["same", "behind", "different", "longer", "missing"]
    result = run("verify", *names, *target.options, "--json")
    found = {m["path"].rpartition("/")[2]: m for m in messages(result.stdout) if "verdict" in m}
    told = {name: (m["verdict"], m["detail"]) for name, m in found.items()}
    assert told == {
        "same": ("equal", ""),
        "behind": ("behind", "10 bytes behind"),
        "different": ("different", "from byte 400,003 on"),
        "longer": ("different", "1 bytes longer than here"),
        "missing": ("missing", "not there"),
    }
    assert result.exit_code == 3
    sizes = run("verify", "different", *target.options, "--sizes")
    assert (sizes.exit_code, "equal" in sizes.stdout) == (0, True)
    assert run("verify", "missing", *target.options).exit_code == 1


# --- login


def test_login_dropbox_saves_what_push_then_needs(
    dropbox: DropboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in dropbox.environment().items():
        monkeypatch.setenv(name, value)
    args = ["login", "dropbox", "--app-key", dropbox.app_key, "--save", "dropbox.toml",
            "--ca-file", dropbox.ca_file]  # fmt: skip
    wrong = CliRunner().invoke(app, args, input="wr0ng\n")
    assert wrong.exit_code == 12
    assert "did not take the code" in wrong.stderr
    assert "begin again" in wrong.stderr.splitlines()[-1]
    assert not os.path.exists("dropbox.toml")

    def visit(text: str, **_: Any) -> str:
        """A person opens the page that was shown, and types the code."""
        return dropbox.approve(shown[-1].split()[-1])

    shown: list[str] = []
    monkeypatch.setattr("click.prompt", visit)
    monkeypatch.setattr("click.echo", lambda text, **_: shown.append(text))
    (saved,) = messages(run(*args, "--json").stdout)
    assert saved == {
        "message_type": "login",
        "service": "dropbox",
        "file": os.path.abspath("dropbox.toml"),
    }
    assert os.stat("dropbox.toml").st_mode & 0o777 == 0o600
    assert dropbox.app_key in pathlib.Path("dropbox.toml").read_text()
    name, folder = dropbox.new_folder()
    pathlib.Path("a.csv").write_text("1\n")
    more = ["--config", "dropbox.toml", "--set", f"ca_file={dropbox.ca_file}"]
    result = run("push", "a.csv", "--to", f"dropbox://{name}", *more)
    assert result.exit_code == 0, result.output
    assert (folder / "a.csv").read_text() == "1\n"
    assert run("verify", "a.csv", "--to", f"dropbox://{name}", *more).exit_code == 0


def test_a_login_that_nobody_can_answer(start: Started) -> None:
    process = start("login", "dropbox", "--app-key", "k", "--save", "dropbox.toml")
    _, told = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == 1
    assert "Error: standard input ended before the answer" in told.splitlines()
    assert told.splitlines()[-1].startswith("Try: ")
    assert "in a terminal: pysubtask login dropbox" in told.splitlines()[-1]
    assert not os.path.exists("dropbox.toml")


# --- run, status, residuals


def test_run_serves_several_destinations(
    target: Target, openssh: OpenSshServer, start: Started, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "share").mkdir()
    pathlib.Path("out").mkdir()
    pathlib.Path("pysubtask.toml").write_text(
        f"""
        [settings]
        host_key = "{openssh.fingerprint}"
        key_file = "{openssh.key_file}"
        [[deliver]]
        name = "collector"
        to = "{target.url}"
        watch = ["a.csv"]
        follow_secs = 0.05
        [[deliver]]
        name = "share"
        to = "{(tmp_path / "share").as_uri()}"
        watch = [{{dir = "out"}}]
        """
    )
    process = start("run", "--json")
    there = target.folder / "a.csv"
    pathlib.Path("a.csv").write_text("1\n")
    pathlib.Path("out/picture.raw").write_bytes(b"123")
    wait_for(lambda: there.exists() and there.read_text() == "1\n")
    wait_for((tmp_path / "share" / "picture.raw").exists)
    shown = messages(run("status", "pysubtask.toml", "--json").stdout)
    states = [m for m in shown if m["message_type"] == "status"]
    assert sorted(m["destination"] for m in states) == sorted(
        [target.url, (tmp_path / "share").as_uri()]
    )
    assert all(m["pid"] for m in states)
    again = run("run", "pysubtask.toml")
    assert again.exit_code == 11
    assert f"kill {process.pid}" in again.stderr.splitlines()[-1]
    process.send_signal(signal.SIGTERM)
    output, notes = process.communicate(timeout=LIMIT_SECS)
    assert (process.returncode, notes) == (0, "")
    told = messages(output)
    kinds = {(m["message_type"], m.get("delivery"), m.get("event")) for m in told}
    for name in ("collector", "share"):
        assert ("delivery", name, "started") in kinds
        assert ("delivery", name, "stopped") in kinds
    assert told[-1]["message_type"] == "summary"
    gone = messages(run("status", "--json").stdout)
    assert gone[0]["link"] == "gone"
    assert run("status", "--check").exit_code == 1
    assert run("residuals", "pysubtask.toml").exit_code == 0
    pathlib.Path("b.csv").write_text("left over")
    beside = run("residuals", "pysubtask.toml", "--json")
    assert beside.exit_code == 3
    found = [m for m in messages(beside.stdout) if m["message_type"] == "residual"]
    assert [(m["kind"], os.path.basename(m["path"])) for m in found] == [("beside", "b.csv")]


def test_status_watches(tmp_path: pathlib.Path, start: Started) -> None:
    (tmp_path / "share").mkdir()
    pathlib.Path("a.csv").write_text("1\n")
    with TaskMaster(["a.csv"], to=(tmp_path / "share").as_uri()) as master:
        master.notify("a.csv")
        assert master.flush(LIMIT_SECS)
        process = start("status", "--watch", "--every", "0.1", "--json")
        assert process.stdout is not None
        first = message(process.stdout.readline())
        assert (first["message_type"], first["pid"]) == ("status", master.status().pid)
        assert run("status", "--check").exit_code == 0
        text = run("status", "a.csv").stdout
        assert "a.csv  ━━━━━━━━━━" in text
        above = run("status", str(tmp_path))
        assert above.exit_code == 1
        assert above.stderr.splitlines()[-1] == f"Try: pysubtask status {tmp_path / 'data'}"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_SECS)
        assert process.returncode == 0


def test_demo() -> None:
    result = run("demo", "--seconds", "0.5", "--keep")
    assert result.exit_code == 0, result.output
    assert "arrived, byte for byte" in result.stdout
    *_, next_step, kept = result.stderr.splitlines()
    assert "pysubtask doctor URL" in next_step
    folder = pathlib.Path(kept.removeprefix("kept: "))
    assert (folder / "there" / "steady.csv").stat().st_size > 0
    shutil.rmtree(folder)


def test_a_demo_that_finds_nobody_does_not_wait_for_long(openssh: OpenSshServer) -> None:
    remote, _ = openssh.new_folder()
    unknown = f"sftp://{openssh.user}@{openssh.host}:{openssh.port}{remote}"
    for to, code, words in (
        ("file:///no/such/share", 10, "the folder is not there"),
        (unknown, 13, "host key unknown"),
    ):
        began = time.monotonic()
        result = run("demo", "--seconds", "0.5", "--to", to)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Try: pysubtask ")
        assert time.monotonic() - began < 20  # not the 30 s that a flush may take, nor the stop's
