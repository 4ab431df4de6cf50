"""Where the words of commands go: closed pipes, closed streams, a full disk, no terminal."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.integration.commands import elsewhere, messages, run

__all__ = ["elsewhere"]  # a fixture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
LIMIT_SECS = 60


@pytest.fixture(autouse=True)
def delivered(elsewhere: None, tmp_path: pathlib.Path) -> str:
    """Some files that were pushed to a folder, which is named."""
    share = tmp_path / "share"
    share.mkdir()
    for number in range(30):
        pathlib.Path(f"{number:02}.csv").write_text("1\n")
    names = [path.name for path in pathlib.Path().glob("*.csv")]
    assert run("push", *names, "--to", share.as_uri()).exit_code == 0
    return share.as_uri()


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line for bash, in which ``pysubtask`` is ours."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    ours = f"pysubtask() {{ '{sys.executable}' -P -m pysubtask \"$@\"; }}; set -o pipefail; "
    return subprocess.run(
        [bash, "-c", ours + line],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT_SECS,
    )


@pytest.mark.parametrize(
    "command",
    [
        "status --json",
        "status",
        "config show --all",
        "config show --all --json",
        "verify *.csv --to {to}",
        "push *.csv --to {to} --json",
        "doctor {to} --json",
        "residuals --json",
        "demo --seconds 0.5 --json",
        "completion bash",
        "--help",
    ],
)
def test_a_reader_that_has_gone_is_no_crash(command: str, delivered: str) -> None:
    done = shell(f"pysubtask {command.format(to=delivered)} | true")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode in (0, 1)  # 0: all was written before the reader went


def test_the_first_line_of_many() -> None:
    done = shell("pysubtask status --json | head -1")
    (first,) = messages(done.stdout)
    assert first["message_type"] == "status"
    assert done.stderr == ""


def test_an_error_that_nobody_reads_keeps_its_code() -> None:
    for words in ("--json", "2>&1"):
        done = shell(f"cd /; pysubtask status /no/such {words} | sleep 0")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = shell("pysubtask status --no-such-option --json | sleep 0")
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_crash(closed: str, delivered: str) -> None:
    for command in ("status", "status --json", f"push 00.csv --to {delivered}", "--help"):
        done = shell(f"pysubtask {command} {closed}")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")
def test_output_that_finds_no_room_is_told_on_standard_error() -> None:
    for command in ("status", "status --json", "completion bash"):
        done = shell(f"pysubtask {command} >/dev/full")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-2] == "Error: No space left on device"
        assert done.stderr.splitlines()[-1].startswith("Try: ")
        assert "Traceback" not in done.stderr


def test_data_are_on_stdout_progress_on_stderr(delivered: str) -> None:
    pathlib.Path("new.csv").write_text("1\n" * 50_000)
    done = shell(f"TERM=xterm-256color pysubtask push new.csv --to {delivered}")
    assert done.stdout == "delivered  new.csv  97.7 KiB\n"
    assert "1 of 1 files" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # no terminal: no bars, no colours
    assert "\r" not in done.stdout + done.stderr
    told = shell(f"pysubtask push new.csv --to {delivered} --json")
    assert told.stderr == ""
    assert messages(told.stdout)[-1]["message_type"] == "summary"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_a_stream_can_not_say_is_no_crash(
    encoding: str, delivered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piped standard output on Windows has no "●", and none of many a file's name: the command
    ended with a traceback, a push in the middle of it."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    pathlib.Path("Ω.csv").write_text("1\n")
    pushed = shell(f"pysubtask push Ω.csv --to {delivered}")
    assert (pushed.returncode, "Traceback" in pushed.stderr) == (0, False)
    assert "\\u03a9.csv" in pushed.stdout
    shown = shell(
        f"pysubtask status; pysubtask status Ω.csv; pysubtask verify Ω.csv --to {delivered}"
    )
    assert (shown.returncode, "Traceback" in shown.stderr) == (0, False)
