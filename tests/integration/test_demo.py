"""The demo as its users run it: from a pipe, in a terminal, and ended in every way."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import pysubtask
from tests.servers.openssh import OpenSshServer

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")

pytest.importorskip("asyncssh")


def runs(process: psutil.Process) -> bool:
    """A zombie does not, nor one that ends while it is looked at."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Demo:
    """One run of the demo, in a folder of its own; reaped with all it started."""

    def __init__(self, folder: pathlib.Path, *arguments: str, **options: Any) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        script = options.pop("script", ROOT / "demo.py")
        known = os.environ.items()
        env = {
            **{name: value for name, value in known if name not in ("COLUMNS", "LINES")},
            "TMPDIR": str(self.temporary),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(ROOT),
            **options.pop("env", {}),
        }
        options.setdefault("stdin", subprocess.PIPE)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.STDOUT)
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            env=env,
            start_new_session=True,
            **options,
        )
        self._seen: dict[int, psutil.Process] = {}

    def children(self) -> list[psutil.Process]:
        """What it has started and what of that still runs, also after its end."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[child.pid] = child
        return [child for child in self._seen.values() if runs(child)]

    def wait_for_child(self) -> None:
        wait_for(self.children, 20)

    def talk(self, commands: str) -> str:
        """Give commands by the pipe, wait for the end; gives all that was printed."""
        try:
            output, _ = self.process.communicate(commands.encode(), timeout=60)
        finally:
            self.end()
        return str(output.decode())

    def end(self) -> None:
        left = self.children()
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def wait_for(condition: Callable[[], Any], secs: float) -> Any:
    until = time.monotonic() + secs
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def begin(*arguments: str, **options: Any) -> Demo:
        demos.append(Demo(tmp_path, *arguments, **options))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.end()


def assert_all_equal(output: str, at_least: int) -> None:
    found = re.search(r"(\d+) of (\d+) files are equal, byte for byte", output)
    assert found is not None, output
    assert found[1] == found[2], output
    assert int(found[2]) >= at_least
    assert len(re.findall(r"^  equal ", output, re.MULTILINE)) == int(found[2])


def test_from_a_pipe(start: Callable[..., Demo], tmp_path: pathlib.Path) -> None:
    demo = start()
    demo.wait_for_child()
    output = demo.talk("a\n0\ns\nx\n")
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=3)
    assert "\x1b" not in output
    assert "new data in logs/test1.mrk, logs/test1.csv, logs/watch_all_in_here/" in output
    assert re.search(r"^delivered within \d", output, re.MULTILINE)
    assert re.search(r"^  logs/test1.mrk: [\d.]+ K?i?B, ", output, re.MULTILINE)  # s
    assert not demo.children()
    assert not list(demo.temporary.iterdir())
    assert (tmp_path / "logs" / "ftp_subtask.log.txt").exists()


def test_push_and_pull_side_by_side(start: Callable[..., Demo], tmp_path: pathlib.Path) -> None:
    """Orders change at the server while files grow here; the program does as they say."""
    demo = start("--no-writer")
    demo.wait_for_child()
    output = demo.talk("0\no\n0\nk\no\n0\nx\n")
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=3)
    assert "the server's people want 3 lines at a time" in output
    assert "fetched logs/inbox/orders.cfg (new): " in output
    assert "fetched logs/inbox/orders.cfg (replaced): 4 lines at a time from now on" in output
    assert "  equal      logs/inbox/orders.cfg: 10 bytes" in output
    assert (tmp_path / "logs/inbox/orders.cfg").read_text() == "lines = 4\n"
    written = (tmp_path / "logs/test1.mrk").read_text().splitlines()
    assert len(written) >= 3 + 4 + 1  # the orders of each time


def test_every_command(start: Callable[..., Demo]) -> None:
    demo = start("--no-writer")
    output = demo.talk("?\n1\n1\n1\nc\nr\n2\nk\n0\no\nd\n0\nd\nnonsense\n99\n\nx\n")
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=3)
    for words in (
        "this help",
        "stopped,",
        "killed subtask",
        "the server's people want 3 lines at a time",
        "the server is down",
        "not delivered yet: logs/test1.mrk: ",
        "the server is up again",
        "there is no command 'nonsense'",
        "there is no command '99'",
    ):
        assert words in output
    assert "Traceback" not in output


def test_the_end_of_the_input_is_an_exit(start: Callable[..., Demo]) -> None:
    demo = start("--no-writer")
    output = demo.talk("a\nd\n")  # and the server is down at that moment
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=3)


@pytest.mark.parametrize("more", [(), ("--no-writer",)])
def test_without_any_input_there_is_something_to_see(
    start: Callable[..., Demo], tmp_path: pathlib.Path, more: tuple[str, ...]
) -> None:
    demo = start(*more, stdin=subprocess.DEVNULL)
    output = demo.talk("")
    assert demo.process.returncode == 0, output
    assert "no commands come; it runs for 6 seconds" in output
    assert_all_equal(output, at_least=4)
    for name in ("test1.mrk", "test1.csv"):
        assert (tmp_path / "logs" / name).stat().st_size > 0


def test_a_run_without_questions(start: Callable[..., Demo]) -> None:
    demo = start("--seconds", "3", stdin=subprocess.DEVNULL)
    output = demo.talk("")
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=2)
    assert "Enter cmd" not in output
    assert re.search(r"test1.csv \(burst mode\): .* notified [5-9]", output)


@posix
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ended_by_a_signal(start: Callable[..., Demo], number: str) -> None:
    demo = start()
    demo.wait_for_child()
    time.sleep(1)
    os.killpg(demo.process.pid, getattr(signal, number))  # as a terminal does
    output = demo.process.communicate(timeout=40)[0].decode()
    assert demo.process.returncode == 0, output
    assert_all_equal(output, at_least=2)
    assert not demo.children()
    assert not list(demo.temporary.iterdir())


@posix
def test_killed(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.wait_for_child()
    time.sleep(0.5)
    demo.children()
    demo.process.kill()
    demo.process.wait(10)
    wait_for(lambda: not demo.children(), 15)


@posix
def test_nobody_reads(start: Callable[..., Demo]) -> None:
    reader, writer = os.pipe()
    demo = start(stdout=writer)
    os.close(writer)
    demo.wait_for_child()
    os.close(reader)
    assert demo.process.stdin is not None
    demo.process.stdin.write(b"s\ns\nx\n")
    demo.process.stdin.close()
    demo.process.wait(40)
    assert not demo.children()
    assert not list(demo.temporary.iterdir())


@posix
@pytest.mark.parametrize("no_color", [False, True])
def test_in_a_terminal(start: Callable[..., Demo], no_color: bool) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    env = {"TERM": "xterm", "NO_COLOR": "1" if no_color else ""}
    demo = start(stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    output = b""

    def read_until(words: bytes) -> None:
        nonlocal output
        deadline = time.monotonic() + 40
        while words not in output:
            assert time.monotonic() < deadline, output
            output += os.read(ours, 65_536)

    try:
        read_until(b"Enter cmd: ")
        os.write(ours, b"0\n")
        read_until(b"new data in logs/test1.mrk; notify is on disk")
        os.write(ours, b"o\n")
        # what comes by itself takes the question's line, and the question comes again
        read_until(b"\r\x1b[Kfetched logs/inbox/orders.cfg (")
        read_until(b" at a time from now on\r\nEnter cmd: ")
        os.write(ours, b"\x04")  # Ctrl-D
        read_until(b"byte for byte")
        demo.process.wait(20)
    finally:
        os.close(ours)
    assert demo.process.returncode == 0
    shown = output.decode()
    assert_all_equal(shown.replace("\r", ""), at_least=2)
    assert "\x1b[9;40r" in shown  # the lanes' rows are set apart
    assert "\x1b7\x1b[r\x1b8" in shown  # and given back
    assert re.search(r"\x1b\[3;1H 0  logs/test1.mrk +\d+ B +\d+ B", shown)
    assert bool(re.search(r"\x1b\[[\d;]+m", shown)) is not no_color
    assert not demo.children()


def test_to_somewhere_else(start: Callable[..., Demo], tmp_path: pathlib.Path) -> None:
    (tmp_path / "share").mkdir()
    demo = start("--no-writer", "--to", f"file://{tmp_path}/share")
    output = demo.talk("a\n1\nd\nx\n")
    assert demo.process.returncode == 0, output
    assert "3 of 3 files are delivered, says the subtask" in output
    assert (tmp_path / "share/test1.csv").read_bytes() == (tmp_path / "logs/test1.csv").read_bytes()


def test_a_server_from_the_configuration(
    start: Callable[..., Demo], tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    path, there = openssh.new_folder()
    for file in ROOT.glob("demo*.py"):
        shutil.copy(file, tmp_path)
    config = (tmp_path / "demo_config.py").read_text()
    for name, value in {
        "Host": openssh.host,
        "HostPort": openssh.port,
        "HostPath": path,
        "Username": openssh.user,
        "KeyFile": openssh.key_file,
        "HostKey": openssh.fingerprint,
    }.items():
        config, count = re.subn(rf"^    {name} = .*", f"    {name} = {value!r}", config, flags=re.M)
        assert count == 1, name
    (tmp_path / "demo_config.py").write_text(config)
    for _ in range(2):  # the second time it goes on where the first one ended
        demo = start("--no-writer", script=tmp_path / "demo.py")
        output = demo.talk("a\nx\n")
        assert demo.process.returncode == 0, output
        assert "files are delivered, says the subtask" in output
    for name in ("test1.mrk", "test1.csv"):
        assert (there / name).read_bytes() == (tmp_path / "logs" / name).read_bytes()
        assert (there / name).stat().st_size > 60


def test_a_mistake_is_told_at_once(start: Callable[..., Demo]) -> None:
    demo = start("--to", "dropbox:///folder")
    output = demo.talk("")
    assert demo.process.returncode == 2
    assert "dropbox_refresh_token: is missing" in output
    assert "Traceback" not in output


def test_the_comparison_can_fail(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    import demo

    ours = tmp_path / "a.csv"
    ours.write_bytes(b"0123456789")
    there = tmp_path / "there"
    assert "MISSING" in demo.judge_by_bytes(str(ours), there)[1]
    assert not demo.judge_by_bytes(str(tmp_path / "nowhere"), ours)[0]
    for bytes_there, at in ((b"01234", 5), (b"01234x6789", 5), (b"0123456789x", 10)):
        there.write_bytes(bytes_there)
        equal, line = demo.judge_by_bytes(str(ours), there)
        assert not equal
        assert line.startswith("  DIFFERENT ")
        assert line.endswith(f"from byte {at} on")
    there.write_bytes(b"0123456789")
    assert demo.judge_by_bytes(str(ours), there)[0]

    def master(delivered: int, pending: int) -> Any:
        shown = pysubtask.FileStatus(delivered_bytes=delivered, pending_bytes=pending)
        return SimpleNamespace(status=lambda path: shown)

    assert demo.judge_by_status(master(10, 0), str(ours))[0]
    assert not demo.judge_by_status(master(5, 5), str(ours))[0]
    assert not demo.judge_by_status(master(5, 0), str(ours))[0]


def test_the_server_of_its_own_is_closed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paramiko

    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    from examples.demo_server import OwnServer

    server = OwnServer()
    try:
        with (
            paramiko.Transport(("127.0.0.1", server.port)) as transport,
            pytest.raises(paramiko.AuthenticationException),
        ):
            transport.connect(username=server.user, password="wrong")
        with paramiko.Transport(("127.0.0.1", server.port)) as transport:
            transport.connect(username=server.user, password=server.password)
            assert transport.get_remote_server_key().fingerprint == server.fingerprint
            sftp = paramiko.SFTPClient.from_transport(transport)
            assert sftp is not None
            with sftp.open("/../../above", "w") as file:
                file.write("confined")
            assert (server.files / "above").read_text() == "confined"
            with pytest.raises(PermissionError):
                sftp.symlink("/etc/passwd", "/out")
            with pytest.raises(OSError, match=r"(?i)no such file|failure"):
                sftp.open(str(tmp_path / "nothing"))
            channel = transport.open_session(timeout=10)
            with pytest.raises(paramiko.SSHException):
                channel.exec_command("id")
            with pytest.raises(paramiko.ChannelException):
                transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 0), 10)
    finally:
        server.close()
    assert not list(tmp_path.iterdir())


@posix
def test_with_the_monitor_and_killed(start: Callable[..., Demo]) -> None:
    """The page says that the demo is up; and the monitor does not outlive it."""
    pytest.importorskip("starlette")
    demo = start("--no-writer", "--with-monitor", "--seconds", "60", stdin=subprocess.DEVNULL)
    assert demo.process.stdout is not None
    said = b""
    while not (found := re.search(rb"monitor: (http://[\d.:]+/)", said)):
        line = demo.process.stdout.readline()
        assert line, said.decode()
        said += line

    def is_up() -> bool:
        with urllib.request.urlopen(f"{found[1].decode()}api/v1/clients", timeout=5) as answer:
            clients = json.loads(answer.read())["clients"]
        return [(one["name"], one["state"]) for one in clients] == [("demo", "up")]

    wait_for(is_up, 20)
    demo.children()
    demo.process.kill()
    demo.process.wait(10)
    wait_for(lambda: not demo.children(), 15)
