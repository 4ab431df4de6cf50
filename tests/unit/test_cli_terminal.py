"""What the command line shows on a terminal of 80 columns."""

from __future__ import annotations

import io
import time
from collections import deque

import pytest
from rich.console import Console

from pysubtask.cli.output import Output
from pysubtask.cli.status import panel
from pysubtask.cli.wrapping import fold, fold_attempt
from pysubtask.status import FileStatus, PullStatus, Status

URL = "sftp://edge@collector.example/incoming"


def test_lines_are_folded_between_words() -> None:
    assert fold("one two three four", 12, indent=4, taken=4) == "one two\n    three\n    four"
    assert fold("one " + "x" * 20, 12, indent=2) == "one\n  " + "x" * 20
    assert fold("one\ntwo", 80, indent=7, taken=7) == "one\n       two"
    assert fold("", 80, indent=2) == ""


def test_a_command_to_try_stays_on_one_line() -> None:
    command = f"pysubtask trust {URL}/{'x' * 40}"
    remark = "(shows the fingerprint, and pins it)"
    assert fold_attempt(f"{command}   {remark}", 80, taken=5) == f"{command}\n     {remark}"
    assert fold_attempt(f"{command}   {remark}", 200, taken=5) == f"{command}   {remark}"
    ways = "another user in the URL, or --key-file, --password-file, --password-command, or others"
    first, second = fold_attempt(ways, 80, taken=5).splitlines()
    assert len("Try: " + first) <= 80
    assert second.startswith("     ")
    assert f"{first} {second.strip()}" == ways


@pytest.mark.parametrize("columns", [80, 120])
def test_an_error_fits(columns: int) -> None:
    output = Output(as_json=False)
    output.err = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=columns)
    output.fail(
        "deliver the files: " + "some words that tell what failed " * 5,
        f"pysubtask doctor {URL}   (tells which part of the way is broken)",
        10,
        None,
    )
    assert isinstance(output.err.file, io.StringIO)
    lines = output.err.file.getvalue().splitlines()
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
    assert all(len(line) <= columns for line in plain), plain
    assert plain[0].startswith("Error: deliver")
    assert any(line.startswith(f"Try: pysubtask doctor {URL}") for line in plain)


def test_a_pipe_gets_lines_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.fail("word " * 300, "word " * 300, 1, None)
    error, attempt = capsys.readouterr().err.splitlines()
    assert error.count("word") == attempt.count("word") == 300


def shown(status: Status, sparks: dict[str, deque[int]], columns: int) -> list[str]:
    console = Console(file=io.StringIO(), width=columns)
    console.print(panel("state", status, sparks, columns))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def a_status(*paths: str) -> Status:
    files = {
        path: FileStatus(
            size_bytes=1 << 20,
            delivered_bytes=1 << 19,
            pending_bytes=1 << 19,
            notified_at=time.time() - 90,
        )
        for path in paths
    }
    return Status(link="connected", destination=URL, files=files)


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize("looks", [0, 1, 20])
def test_lanes_are_whole_at_any_width(columns: int, looks: int) -> None:
    path = "logs/temperature.csv"
    sparks = {f"state\0{path}": deque([1] * looks)} if looks else {}
    lines = shown(a_status(path), sparks, columns)
    (row,) = (line for line in lines if "temperature" in line)
    assert f"  {path}  " in row
    assert ("━━━───" if looks and columns == 80 else "━━━━━─────") in row
    assert "…" not in row
    assert all(len(line) <= columns for line in lines)
    if looks:
        assert "news" in lines[1]
        assert row.rstrip().endswith("█")


def test_a_long_name_shows_its_end_and_news_give_way_first() -> None:
    path = "measurements/of/the/northern/station/temperature.csv"
    lines = shown(a_status(path), {f"state\0{path}": deque([1] * 20)}, 80)
    (row,) = (line for line in lines if "temperature" in line)
    assert "  …ion/temperature.csv  " in row
    assert "━━━───" in row
    assert len(row) <= 80


def test_one_file_is_no_files() -> None:
    for count, words in ((1, "  1 file"), (2, "  2 files"), (0, "  0 files")):
        pull = PullStatus(source="sftp://h/*", to="inbox", files=count)
        (line,) = (
            x for x in shown(Status(link="connected", pulls=(pull,)), {}, 80) if "inbox" in x
        )
        assert line.rstrip().endswith(words)
